"""``basicsr mm-config``: an option file as a configuration of MMEngine."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..utils.errors import UserError
from ..utils.printing import printable, say

EXAMPLES = """examples:
  basicsr mm-config options/seem/tune_BasicVSRSEEM_REDS.yml -o tune_seem.py
  python -m basicsr_semantic.mm.train tune_seem.py --work-dir work_dirs/seem
docs/mmagic.md says more.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb ``mm-config``."""
    parser = subparsers.add_parser(
        'mm-config',
        help='write an option file as a configuration of MMEngine',
        description='Write a configuration in the Python style of MMEngine and MMagic from an option file of ours. It '
        'builds the same networks, data, optimiser, schedule and metrics.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('options', metavar='FILE', help='option file, for training or a test')
    parser.add_argument('-o', '--out', metavar='OUT', help='file to write; without it the configuration is printed')
    parser.add_argument('--force', action='store_true', help='replace an existing file')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the configuration, or print it.

    Raises:
        UserError: The option file has mistakes or no counterpart, or the file to write exists.
    """
    from ..config.option_file import OptionFile
    from ..mm.config import config_text
    from ..utils.files import write_whole

    text = config_text(args.options)
    if args.out is None:
        say(text.removesuffix('\n'))
        return 0
    out = Path(args.out)
    if out.exists() and not args.force:
        raise UserError(f'{out} exists; give another name, or --force to replace it.')
    write_whole(out, text.encode())
    verb = 'train' if 'train' in OptionFile.read(args.options).values else 'test'
    say(f'{printable(out)} is written: python -m basicsr_semantic.mm.{verb} {printable(out)}')
    return 0
