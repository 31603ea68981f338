"""``basicsr train``: train a model from an option file."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..engine.arguments import add_run_arguments


def add_parser(subparsers) -> None:
    """Add the verb to the command."""
    parser = subparsers.add_parser('train', help='train a model from an option file', description=__doc__)
    add_run_arguments(parser, dry_run=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train; experiments and logs go below the current folder."""
    from ..engine.distributed import process_group
    from ..engine.pipeline import train

    with process_group():
        train(args, Path.cwd())
    return 0
