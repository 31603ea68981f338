"""The arguments of a training or a test, apart from what runs it, so that ``--help`` needs no PyTorch."""

from __future__ import annotations

import argparse


def add_run_arguments(parser: argparse.ArgumentParser, dry_run: bool = False) -> None:
    """Add BasicSR's flags for a run, ``--import`` and, for a training, ``--dry-run``."""
    parser.add_argument('-opt', required=True, metavar='F.yml', help='option file')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none', help='job launcher')
    parser.add_argument('--auto_resume', action='store_true', help='continue from the newest training state, if any')
    parser.add_argument('--debug', action='store_true', help='log, save and validate every few iterations')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument('--force_yml', nargs='+', metavar='a:b=v', help='change options: train:optim_g:lr=1e-4')
    if dry_run:
        text = 'build all, run one iteration and one validation item, keep nothing'
        parser.add_argument('--dry-run', action='store_true', help=text)
    parser.add_argument('--import', dest='imports', nargs='+', default=[], metavar='my.module', help='import first')
