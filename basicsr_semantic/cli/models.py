"""``basicsr models``: released weights that can be named, and where their files are."""

from __future__ import annotations

import argparse
import json

from ..utils.errors import UserError
from ..utils.printing import printable, say

EXAMPLES = """examples:
  basicsr models                                  all of them
  basicsr models basicvsr-vimeo90k-bi             one, with its network
In an option file:   path: {pretrain_network_g: basicvsr-vimeo90k-bi}
In Python:           basicsr_semantic.load('basicvsr-vimeo90k-bi')
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb ``models``."""
    parser = subparsers.add_parser(
        'models',
        help='list released weights that can be named, and where their files are',
        description='List released weights that can be named in option files: name, file, SHA-256, size, licence, and '
        'where the file is. Files are looked for in experiments/pretrained_models and in installed packages.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('name', nargs='?', metavar='NAME', help='only this one, with its network')
    parser.add_argument('--json', action='store_true', help='print JSON')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print them.

    Raises:
        UserError: There are none of that name.
    """
    from ..config.named_weights import NAMED, nearest_name

    if args.name is not None and args.name not in NAMED:
        raise UserError(f'No released weights are called {printable(args.name)}.{nearest_name(args.name)}')
    rows = []
    for weights in NAMED.values() if args.name is None else [NAMED[args.name]]:
        try:
            place = weights.find()
            where = weights.missing() if place is None else str(place)
        except UserError as error:
            place, where = None, str(error)
        rows.append(
            {
                'name': weights.name,
                'about': weights.about,
                'file': weights.file,
                'sha256': weights.sha256,
                'bytes': weights.size,
                'licence': weights.licence,
                'network': dict(weights.network),
                'base': weights.base or None,
                'found': None if place is None else str(place),
                'where': where,
            }
        )
    if args.json:
        say(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    for row in rows:
        say(row['name'])
        say(f'  {row["about"]}')
        if row['base']:
            say(f'  adapter of {row["base"]}')
        say(f'  {row["file"]}, {row["bytes"] / 1e6:.1f} MB, {row["licence"]}')
        say(f'  SHA-256 {row["sha256"]}')
        if args.name is not None:
            say(f'  network_g: {json.dumps(row["network"])}')
        say(f'  {"found: " if row["found"] else ""}{printable(row["where"])}')
    return 0
