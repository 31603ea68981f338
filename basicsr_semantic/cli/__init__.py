"""The ``basicsr`` command: one verb a file, one sentence an error."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..utils.errors import UserError
from . import check, components, extract, prepare, test, train

VERBS = (train, test, extract, prepare, check, components)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog='basicsr',
        description='BasicSR with semantic video super-resolution: train, test, extract priors, prepare data.',
        epilog='Set BASICSR_TRACEBACK=1 to see where an error arose.',
    )
    parser.add_argument('--version', action='version', version=f'basicsr_semantic {__version__}')
    subparsers = parser.add_subparsers(title='verbs', metavar='VERB', required=True)
    for verb in VERBS:
        verb.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; None takes ``sys.argv``.

    Returns:
        The exit code: 0 for success, 1 for a negative answer (``check``), 2 for a mistake that the user can mend,
        130 after an interrupt.
    """
    args = build_parser().parse_args(argv)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print('Interrupted.', file=sys.stderr)
        return 130
    except (UserError, OSError) as error:
        if os.environ.get('BASICSR_TRACEBACK'):
            raise
        print(f'basicsr: {_sentence(error)}', file=sys.stderr)
        return 2


def _sentence(error: Exception) -> str:
    """The message alone; a DataLoader wraps that of a worker in the worker's trace."""
    from ..config.problems import OptionError
    from .remedies import with_remedies

    if isinstance(error, OptionError) and error.options is not None:
        error = OptionError(with_remedies(error.problems, error.options))
    text = str(error)
    if 'Original Traceback' in text:
        text = text.rsplit('UserError: ', 1)[-1].rsplit('Error: ', 1)[-1].strip()
    return text
