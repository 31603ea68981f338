"""``basicsr convert``: weights in the names of another toolbox."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..utils.errors import UserError
from ..utils.printing import printable, say

EXAMPLES = """examples:
  basicsr convert basicvsr-vimeo90k-bi basicvsr_mmagic.pth --to mmagic
  basicsr convert EDVR_of_mmagic.pth EDVR.pth --to basicsr
A file with MMagic's names needs no conversion to be used here: path:pretrain_network_g takes it as it is.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb ``convert``."""
    parser = subparsers.add_parser(
        'convert',
        help="write weights in MMagic's names, or MMagic's in BasicSR's",
        description='Write the weights of a checkpoint of BasicSR in the names and kind of file of MMagic, or back: '
        'EDVR, BasicVSR, BasicVSR++, IconVSR, SPyNet, and RRDBNet of ESRGAN and Real-ESRGAN. Tensors stay as they are, '
        'and back again gives the names of before. A moving average (params_ema, generator_ema) goes with its network.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', metavar='IN', help='checkpoint, or the name of released weights')
    parser.add_argument('out', metavar='OUT', help='file to write')
    parser.add_argument('--to', required=True, choices=('mmagic', 'basicsr'), help='whose names to write')
    parser.add_argument(
        '--arch', metavar='CLASS', help='the network in IN, by its class in BasicSR, if names leave it open'
    )
    parser.add_argument('--force', action='store_true', help='replace an existing file')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert, and say what was written and what was left out.

    Raises:
        UserError: See `convert_file`.
    """
    from ..config.named_weights import nearest_name, weights_file
    from ..engine.conversion import convert_file

    source = weights_file(args.source)
    if not Path(source).exists() and (near := nearest_name(source)):
        raise UserError(f'There is no file {source}, and no released weights have that name.{near}')
    done = convert_file(source, args.out, args.to, args.arch, args.force)
    parts = ' and '.join(f'{number} tensors under {name!r}' for name, number in done.parts.items())
    say(f'{printable(args.out)} is written: {done.network}, {parts}.')
    if done.left:
        say(printable(f'Left out, since it is no part of the network: {"; ".join(done.left)}.'))
    return 0
