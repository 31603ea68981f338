"""``basicsr test``: test a model from an option file."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..engine.arguments import add_run_arguments


def add_parser(subparsers) -> None:
    """Add the verb to the command."""
    parser = subparsers.add_parser('test', help='test a model on data sets from an option file', description=__doc__)
    add_run_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Test; results go below the current folder."""
    from ..engine.distributed import process_group
    from ..engine.pipeline import test

    with process_group():
        test(args, Path.cwd())
    return 0
