"""The ``basicsr`` command: one verb a file, one sentence an error."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from .. import __version__, register
from ..utils.errors import UserError, full_stop, short_of_memory
from ..utils.interrupts import raise_at_interrupt
from ..utils.printing import LAYOUT, OutputError, complain, end_output, printable
from . import (
    adapter,
    check,
    components,
    convert,
    export,
    extract,
    mm_config,
    models,
    prepare,
    show,
    test,
    train,
    upscale,
)

CLOSED_PIPE = 141
"""Exit code where the output is no longer read: that of a program which SIGPIPE ends."""

VERBS = (upscale, train, test, extract, show, prepare, adapter, check, components, convert, export, mm_config, models)


class _Parser(argparse.ArgumentParser):
    """A parser that shows arguments in its messages without characters that steer a terminal."""

    take_over: Callable[[Sequence[str], argparse.Namespace | None], tuple[argparse.Namespace, list[str]]] | None = None
    """Parses the arguments instead, for a verb whose flags depend on them; None: the parser itself does."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As of ArgumentParser."""
        if self.take_over is not None:
            return self.take_over(args, namespace)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        super().error(printable(message, LAYOUT))


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    parser = _Parser(
        prog='basicsr',
        description='BasicSR with semantic video super-resolution: train, test, extract priors, prepare data.',
        epilog='Set BASICSR_TRACEBACK=1 to see where an error arose.',
    )
    parser.add_argument('--version', action='version', version=f'basicsr_semantic {__version__}')
    subparsers = parser.add_subparsers(title='verbs', metavar='VERB', required=True)
    for verb in VERBS:
        verb.add_parser(subparsers)
    return parser


_MEMORY = (
    'Memory is short, or a limit (ulimit -v) leaves the process too little address space. End other programs, raise '
    'the limit, or use smaller batches and fewer workers.'
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; None takes ``sys.argv``.

    Returns:
        The exit code: 0 for success, 1 for a negative answer (``check``), 2 for a mistake that the user can correct,
        130 after an interrupt, 141 where the reader of the output has gone.
    """
    try:
        code = _run(argv)
        end_output()
        return code
    except OutputError as error:
        with contextlib.suppress(OutputError):
            end_output()
        if isinstance(error.__cause__, BrokenPipeError):
            return CLOSED_PIPE
        complain(f'basicsr: The output could not be written: {error.__cause__}.')
        return 2


def _run(argv: Sequence[str] | None) -> int:
    try:
        parser = build_parser()
        arguments = sys.argv[1:] if argv is None else list(argv)
        if '' in arguments:  # a path that is empty would be the current folder
            parser.error('an argument is empty, perhaps because a shell variable is empty.')
        args = parser.parse_args(arguments)
        register()  # what takes seconds, once the arguments are known to be right
        raise_at_interrupt()
        return args.run(args)
    except SystemExit:  # argparse has answered
        end_output()
        raise
    except KeyboardInterrupt:
        complain('Interrupted.')
        return 130
    except Exception as error:
        known = isinstance(error, UserError | OSError) or short_of_memory(error)
        if not known or os.environ.get('BASICSR_TRACEBACK'):
            raise
        complain(f'basicsr: {_sentence(error)}')
        return 2


def _sentence(error: Exception) -> str:
    """The message alone; a DataLoader wraps that of a worker in the worker's trace."""
    text = str(error)
    if 'Original Traceback' in text:
        text = re.split(r'^[\w.]*Error: ', text, flags=re.MULTILINE)[-1].strip()
    if short_of_memory(error):  # before anything is imported, for which there may be no memory either
        first = text if isinstance(error, UserError) else text.partition('\n')[0]  # PyTorch adds its own stack
        return f'{full_stop(first or "Out of memory")} {_MEMORY}'
    from ..config.problems import OptionError
    from .remedies import with_remedies, with_remedy

    if isinstance(error, OptionError) and error.options is not None:
        return str(OptionError(with_remedies(error.problems, error.options)))
    return with_remedy(text, error)
