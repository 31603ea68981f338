"""`basicsr prepare`: make data sets out of what people have."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """examples:
  basicsr prepare clips datasets/REDS/train_sharp datasets/REDS_lmdb
  basicsr prepare clips my_videos datasets/mine --degradation BD
  basicsr prepare clips my_videos datasets/mine --verify
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb ``prepare`` with what can be prepared."""
    parser = subparsers.add_parser('prepare', help='make LMDBs of clips from frames or videos')
    things = parser.add_subparsers(title='what to prepare', metavar='WHAT', required=True)
    clips = things.add_parser(
        'clips',
        help='folders of frames or video files to a pair of LMDBs, GT and LQ',
        description=(
            'Turn a folder of frame folders or of video files into DST/gt.lmdb and DST/lq.lmdb with meta info and a '
            'manifest. Run the same command again to continue after an interruption.'
        ),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    clips.add_argument(
        'source', metavar='SRC', type=Path, help='folder with one folder of frames, or one video, a clip'
    )
    clips.add_argument('target', metavar='DST', type=Path, help='folder to write to')
    clips.add_argument(
        '--degradation',
        default='BI',
        choices=('BI', 'BD', 'BD_DUF'),
        help='how LQ is made: MATLAB bicubic, Gaussian as BasicVSR, Gaussian as DUF (default: %(default)s)',
    )
    clips.add_argument('--scale', type=int, default=4, help='how many times smaller LQ is (default: %(default)s)')
    clips.add_argument(
        '--strict', action='store_true', help='refuse frames that cannot be used instead of skipping them'
    )
    clips.add_argument('--verify', action='store_true', help='at the end, read everything again and compare checksums')
    clips.add_argument('--workers', type=int, help='threads (default: one for each CPU, at most 8)')
    clips.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prepare, and verify where asked.

    Returns:
        0; mistakes and damage are raised as UserError.
    """
    from ..data.prepare_clips import prepare_clips, verify_clips
    from ..data.prepare_output import MANIFEST
    from ..errors import UserError

    if args.workers is not None and args.workers < 1:
        raise UserError(f'--workers is {args.workers}; at least 1 is needed.')
    target: Path = args.target
    if args.verify and not args.source.exists() and (target / MANIFEST).is_file():
        print(f'{args.source} is gone: only what was prepared from it is verified.')
    else:
        prepared = prepare_clips(args.source, target, args.degradation, args.scale, args.strict, args.workers)
        for skipped in prepared.skipped[:20]:
            print(f'skipped {skipped["source"]}: {skipped["reason"]}')
        if len(prepared.skipped) > 20:
            print(f'skipped {len(prepared.skipped) - 20} more')
        if prepared.skipped:
            print(f'Clips are cut where frames were skipped; {target / MANIFEST} says how and lists all.')
        print(f'{target} has {len(prepared.clips)} clips of {prepared.frames} frames, GT and LQ ({args.degradation}).')
    if args.verify:
        print(f'All {2 * verify_clips(target).frames} images agree with {target / MANIFEST}.')
    return 0
