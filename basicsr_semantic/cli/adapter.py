"""`basicsr adapter`: what tuning a part of a network has written, merged with its base or taken out of a whole one."""

from __future__ import annotations

import argparse

import yaml

from ..utils.printing import say

EXAMPLES = """examples:
  basicsr adapter merge BasicVSR_REDS4.pth net_g_seem_latest.pth net_g_merged.pth
  basicsr adapter split net_g_latest.pth net_g_seem.pth
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb ``adapter`` with what can be done to one."""
    parser = subparsers.add_parser(
        'adapter',
        help='merge an adapter (tuned SEEM, say) with its base network, or take it out of a whole one',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    ways = parser.add_subparsers(title='what to do', metavar='WHAT', required=True)
    merge = ways.add_parser('merge', help='one checkpoint of a base network and an adapter, which loads strictly')
    merge.add_argument(
        'baseline',
        help="checkpoint of the base network, {'params': state dict}: that of the adapter's training; or the name of "
        'released weights',
    )
    merge.add_argument(
        'adapter',
        help='net_g_seem_*.pth or net_g_adapter_*.pth, as training with train:trainable writes it; or the name of one',
    )
    merge.set_defaults(run=run_merge)
    split = ways.add_parser('split', help='the adapter in the checkpoint of a network of which a part was tuned')
    split.add_argument('checkpoint', help='checkpoint of the whole network')
    split.set_defaults(run=run_split)
    for way in (merge, split):
        way.add_argument('out', help='file to write')
        way.add_argument('--force', action='store_true', help='replace an existing file')


def run_merge(args: argparse.Namespace) -> int:
    """Merge, and say what was written."""
    from ..config.named_weights import weights_file
    from ..models.adapter_files import merge_files

    network = merge_files(weights_file(args.baseline), weights_file(args.adapter), args.out, args.force)
    described = yaml.safe_dump(network, default_flow_style=True, sort_keys=False, width=10**6).strip()
    say(f'{args.out} is written; it loads strictly into network_g: {described}')
    return 0


def run_split(args: argparse.Namespace) -> int:
    """Take out, and say what was written."""
    from ..models.adapter_files import split_file

    values = split_file(args.checkpoint, args.out, args.force)
    say(f'{args.out} is written; the adapter has {values:,} values.')
    return 0
