"""``basicsr export``: a trained network as one file that needs nothing else."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..utils.errors import UserError
from ..utils.printing import printable, say

EXAMPLES = """examples:
  basicsr export tune_BasicVSRSEEM_mine mine.safetensors --half
  basicsr export options/seem/tune_BasicVSRSEEM_mine.yml mine.safetensors --licence Apache-2.0 --card card.md
  basicsr export basicvsr-vimeo90k-bi tuned.safetensors --adapter net_g_seem_latest.pth
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb ``export``."""
    parser = subparsers.add_parser(
        'export',
        help='write a trained network and all that is known of it as one file, safetensors',
        description='Write the weights of a network (their moving average where there is one), its class, arguments '
        'and scale, the kind of its priors and the options of their extractor as one file. Loading it needs nothing '
        'else and runs no code.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', metavar='SOURCE', help='a training, a checkpoint or adapter, or an option file')
    parser.add_argument('out', metavar='OUT', help='file to write, NAME.safetensors')
    parser.add_argument('-opt', dest='options', metavar='FILE', help='option file of its training, for older files')
    parser.add_argument('--adapter', metavar='FILE', help='tuned part to merge in first')
    parser.add_argument('--priors', metavar='STORE', help='store whose extractor the network needs')
    parser.add_argument('--half', action='store_true', help='weights as float16, half the size')
    parser.add_argument('--degradation', help='how LR frames were made in training, for example BI')
    parser.add_argument('--licence', help='SPDX identifier, for example Apache-2.0')
    parser.add_argument('--card', metavar='FILE', help='text on data, figures and limits, a file')
    parser.add_argument('--force', action='store_true', help='replace an existing file')
    parser.set_defaults(run=run)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding='utf-8')
    except OSError as error:
        raise UserError(f'--card {path} cannot be read: {error.strerror}.') from error
    except UnicodeDecodeError as error:
        raise UserError(f'--card {path} is not a text in UTF-8.') from error


def run(args: argparse.Namespace) -> int:
    """Export, and say what the file holds.

    Raises:
        UserError: See `basicsr_semantic.inference.exporting.export`.
    """
    from ..inference.exporting import export

    card = None if args.card is None else _text_of(Path(args.card))
    said = export(
        args.source,
        args.out,
        adapter=args.adapter,
        options=args.options,
        priors=args.priors,
        half=args.half,
        notes={'degradation': args.degradation, 'licence': args.licence, 'card': card},
        force=args.force,
    )
    network = said['arch']['network']['type']
    kind = said.get('prior_kind')
    size = Path(args.out).stat().st_size
    priors = f'priors of {kind}' if kind else 'no priors'
    what = f'adapter of {network}' if 'tuned' in said else network
    scale = said['arch'].get('scale')
    what = what if scale is None else f'{what} x{scale}'
    say(f'{printable(args.out)} is written: {what}, {priors}, {size / 1e6:.2f} MB.')
    return 0
