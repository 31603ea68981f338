"""`basicsr prepare`: make data sets out of what people have."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..utils.printing import printable, say
from .limits import add_max_megapixels, check_max_megapixels

if TYPE_CHECKING:
    from ..data.prepare.output import Prepared

CLIPS_EXAMPLES = """examples:
  basicsr prepare clips datasets/REDS/train_sharp datasets/REDS_lmdb
  basicsr prepare clips my_videos datasets/mine --degradation BD
  basicsr prepare clips my_videos datasets/mine --verify
"""

YTVIS_EXAMPLES = """examples:
  basicsr prepare ytvis datasets/ytvis19 datasets/ytvis19_BI/train
  basicsr prepare ytvis datasets/ytvis19 datasets/ytvis19_BD/valid --split valid --degradation BD
  basicsr prepare ytvis datasets/ytvis21 datasets/ytvis21_BI/train --json instances.json --frames frames
"""

TEXT_EXAMPLES = """examples:
  basicsr prepare text xdecoder_focalt_last.pt ytvis19.pt --tokenizer clip-vit-base-patch32
  basicsr prepare text model_state_dict_swint_51.2ap.pt openseed_coco.pt --tokenizer clip-vit-base-patch32 \\
      --classes coco_panoptic

The folder of the tokenizer holds vocab.json and merges.txt of CLIP ViT-B/32; nothing is downloaded.
"""
CLASSES = ('ytvis2019', 'ytvis2021', 'coco_panoptic')

MOST_WORKERS = 1024


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb ``prepare`` with what can be prepared."""
    parser = subparsers.add_parser(
        'prepare', help='make data sets of frames, videos or annotations, and text embeddings'
    )
    things = parser.add_subparsers(title='what to prepare', metavar='WHAT', required=True)
    _add_text(things)
    clips = things.add_parser(
        'clips',
        help='folders of frames or video files to a pair of LMDBs, GT and LQ',
        description=(
            'Turn a folder of frame folders or of video files into DST/gt.lmdb and DST/lq.lmdb with meta info and a '
            'manifest. Run the same command again to continue after an interruption.'
        ),
        epilog=CLIPS_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    clips.add_argument(
        'source', metavar='SRC', type=Path, help='folder with one folder of frames, or one video, a clip'
    )
    _add_common(clips)
    clips.set_defaults(run=run)
    ytvis = things.add_parser(
        'ytvis',
        help='YouTube-VIS 2019, 2021 or 2022 to a pair of LMDBs, GT and LQ, and annotations that fit them',
        description=(
            'Turn one split of YouTube-VIS (train.json and train/JPEGImages) into DST/gt.lmdb and DST/lq.lmdb with '
            'meta info and a manifest, and DST/instances.json: the annotations of the frames that were written, at '
            'their size. Run the same command again to continue after an interruption.'
        ),
        epilog=YTVIS_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    ytvis.add_argument('source', metavar='SRC', type=Path, help='folder with train.json and train/JPEGImages')
    ytvis.add_argument('--split', default='train', help='train, valid, test, ... (default: %(default)s)')
    ytvis.add_argument('--json', type=Path, metavar='FILE', help='annotations, if they are elsewhere')
    ytvis.add_argument(
        '--frames', type=Path, metavar='FOLDER', help="folder of the videos' folders, if it is elsewhere"
    )
    ytvis.add_argument(
        '--all-frames',
        action='store_true',
        help='all frames of a video, not only those that the annotations list (SRC/train_all_frames, if there)',
    )
    _add_common(ytvis)
    ytvis.set_defaults(run=run_ytvis)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('target', metavar='DST', type=Path, help='folder to write to')
    parser.add_argument(
        '--degradation',
        default='BI',
        choices=('BI', 'BD', 'BD_DUF'),
        help='how LQ is made: MATLAB bicubic, Gaussian as BasicVSR, Gaussian as DUF (default: %(default)s)',
    )
    parser.add_argument(
        '--scale',
        type=int,
        default=4,
        help='how many times smaller LQ is: 2, 3 or 4, with BD 4 alone (default: %(default)s)',
    )
    parser.add_argument(
        '--strict', action='store_true', help='refuse frames that cannot be used instead of skipping them'
    )
    parser.add_argument('--verify', action='store_true', help='at the end, read everything again and compare checksums')
    parser.add_argument('--workers', type=int, help='threads (default: one for each CPU, at most 8)')
    add_max_megapixels(parser, 'skipped')


def _add_text(things: argparse._SubParsersAction) -> None:
    text = things.add_parser(
        'text',
        help='text embeddings of class names, which OpenSeeD and stage 1 of Semantic Lens take',
        description='Embed class names with the text encoder of a released X-Decoder or OpenSeeD.',
        epilog=TEXT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text.add_argument('checkpoint', type=Path, help='a released file of X-Decoder or OpenSeeD, with its text encoder')
    text.add_argument('out', metavar='OUT', type=Path, help='file to write')
    text.add_argument('--tokenizer', required=True, metavar='FOLDER', help='folder with vocab.json and merges.txt')
    text.add_argument('--classes', choices=CLASSES, default='ytvis2019', help='whose names (default: %(default)s)')
    text.add_argument('--names', metavar='FILE', help='a text file with one class name a line, instead of --classes')
    text.add_argument('--checksum', help='SHA-256 that the checkpoint must have')
    text.add_argument('--heads', type=int, default=8, help='attention heads of the text encoder (default: 8)')
    text.add_argument('--force', action='store_true', help='replace an existing file')
    text.set_defaults(run=run_text)


def run_text(args: argparse.Namespace) -> int:
    """Embed, and say what was written."""
    from ..engine.checkpoint import check_checkpoint_place, save_atomic
    from ..extractors import text_embeddings
    from ..utils.errors import UserError

    check_checkpoint_place(args.out, args.force, *filter(None, (args.checkpoint, args.tokenizer, args.names)))
    if not 1 <= args.heads <= 1024:
        raise UserError(f'--heads is {args.heads}; it must be from 1 to 1024.')
    read = text_embeddings.read_names
    names = text_embeddings.CLASSES[args.classes] if args.names is None else read(Path(args.names))
    content = text_embeddings.embed(args.checkpoint, args.tokenizer, names, args.checksum, args.heads)
    save_atomic(content, args.out)
    shape = tuple(content['embeddings'].shape)
    say(f'{args.out} is written: embeddings {shape} of {names[0]} to {names[-1]}.')
    return 0


def run(args: argparse.Namespace) -> int:
    """Prepare clips, and verify where asked.

    Returns:
        0; mistakes and damage are raised as UserError.
    """
    from ..data.prepare.clips import prepare_clips

    if not _only_verifies(args):
        how = args.degradation, args.scale, args.strict, args.workers, args.max_megapixels
        _tell(args, prepare_clips(args.source, args.target, *how))
    _verify(args)
    return 0


def run_ytvis(args: argparse.Namespace) -> int:
    """Prepare a split of YouTube-VIS, and verify where asked.

    Returns:
        0; mistakes and damage are raised as UserError.
    """
    from ..data.prepare.ytvis import INSTANCES, prepare_ytvis
    from ..priors.youtube_vis import read_youtube_vis

    if not _only_verifies(args):
        prepared = prepare_ytvis(
            args.source,
            args.target,
            args.split,
            args.json,
            args.frames,
            args.all_frames,
            args.degradation,
            args.scale,
            args.strict,
            args.workers,
            args.max_megapixels,
        )
        _tell(args, prepared)
    file = read_youtube_vis(args.target / INSTANCES)
    instances = sum(len(video.instances) for video in file.videos)
    what = f'{instances} instances of {len(file.categories)} categories' if file.annotated else 'no annotations'
    say(f'{file.path} has {len(file.videos)} videos with {what}.')
    _verify(args)
    return 0


def _only_verifies(args: argparse.Namespace) -> bool:
    """Whether the source is gone and only what was made of it is to be verified."""
    from ..data.prepare.output import MANIFEST
    from ..utils.errors import UserError

    check_max_megapixels(args)
    if args.workers is not None and not 1 <= args.workers <= MOST_WORKERS:
        raise UserError(f'--workers is {args.workers}; it must be from 1 to {MOST_WORKERS}.')
    if not args.verify or args.source.exists() or not (args.target / MANIFEST).is_file():
        return False
    say(f'{args.source} is gone: only what was prepared from it is verified.')
    return True


def _tell(args: argparse.Namespace, prepared: Prepared) -> None:
    from ..data.prepare.output import MANIFEST

    target: Path = args.target
    for skipped in prepared.skipped[:20]:
        say(f'skipped {printable(skipped["source"])}: {skipped["reason"]}')
    if len(prepared.skipped) > 20:
        say(f'skipped {len(prepared.skipped) - 20} more')
    if prepared.skipped:
        say(f'{target / MANIFEST} lists all that was skipped. A clip is cut where frames of it were, as it says.')
    say(f'{target} has {len(prepared.clips)} clips of {prepared.frames} frames, GT and LQ ({args.degradation}).')


def _verify(args: argparse.Namespace) -> None:
    from ..data.prepare.clips import verify_clips
    from ..data.prepare.output import MANIFEST

    if args.verify:
        prepared = verify_clips(args.target)
        say(f'All {2 * prepared.frames} images agree with {args.target / MANIFEST}.')
        say(f'Digest of the records: {prepared.digest()}')
