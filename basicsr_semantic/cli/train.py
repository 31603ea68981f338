"""``basicsr train``: train a model from an option file."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers) -> None:
    """Add the verb to the command."""
    from ..engine.pipeline import add_run_arguments

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
