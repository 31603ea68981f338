"""The one exception that means "the user can correct this"."""

from __future__ import annotations

import errno
import inspect
import json
import os
import reprlib
import sys
from collections.abc import Mapping
from typing import Any, Literal

from .printing import printable


class UserError(ValueError):
    """A mistake or a condition outside the program: misspelt option, missing file, wrong checkpoint, full disk.

    The message is one or more full sentences that say what was wrong, where (file, key, frame) and what to do; the
    command line adds which command does it, see :class:`MissingError`. That prints it without a trace; every other
    exception is a defect of ours and keeps its trace.
    """


What = Literal['priors', 'tokens', 'features', 'openseed text', 'xdecoder text', 'clips', 'component', 'processes']
"""What can be missing and a command makes, lists or starts; ``cli.remedies`` has one for each."""

_CARRIED = '\0missing: '
"""Between a sentence and its data in JSON; no name of a file holds it."""


class MissingError(UserError):
    """Something is missing that a command makes: a sentence on what is wrong and where, and values for the command.

    Args:
        sentence: What is wrong, where, and what to do about it, without the command.
        what: What is missing; None: no command makes it.
        values: What is known of it: ``kind``, ``frames`` and ``store`` of priors, ``file``, ``folder``, ....
    """

    def __init__(self, sentence: str, what: What | None = None, **values: object) -> None:
        message, _, carried = sentence.rpartition(_CARRIED) if what is None else (sentence, '', '')
        self.what: What | None = what
        self.values = {name: str(value) for name, value in values.items()}
        if message and carried:  # out of a process of a loader
            self.what, self.values = json.loads(carried)
        super().__init__(message or sentence)

    def __str__(self) -> str:
        """The sentence; in a process of a loader also the data, since PyTorch passes on class and text alone."""
        data = sys.modules.get('torch.utils.data')
        carried = self.what is not None and data is not None and data.get_worker_info() is not None
        return super().__str__() + (_CARRIED + json.dumps([self.what, self.values]) if carried else '')


def missing_in(error: BaseException | None) -> MissingError | None:
    """What an error, or the one it was raised from, says is missing; None where no command makes it."""
    while error is not None:
        if isinstance(error, MissingError) and error.what is not None:
            return error
        error = error.__cause__
    return None


def full_stop(message: object) -> str:
    """A message from elsewhere as a sentence of ours: it ends in one full stop."""
    return f'{str(message).rstrip(".")}.'


def reason(error: BaseException) -> str:
    """An exception of somebody else's code as part of a sentence: its kind, words and line."""
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    place = f' ({frames[-1].filename}:{frames[-1].lineno})' if frames else ''
    message = f'it needs the key {error}' if isinstance(error, KeyError) else str(error).strip()
    if 'Original Traceback' in message:  # of a loader's process, whose last line is the error
        message = message.splitlines()[-1].partition(': ')[2]
    return f'{type(error).__name__}: {message.rstrip(".")}{place}.'


_NO_MEMORY = (os.strerror(errno.ENOMEM), "can't allocate memory", 'not enough memory', 'out of memory')
_NO_MEMORY += ('failed to map segment', 'could not create a primitive')  # oneDNN, which says no more of it


def short_of_memory(error: BaseException | None) -> bool:
    """Whether memory or address space ran out, as Python, LMDB, PyTorch and processes of a loader say it."""
    while error is not None:
        if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
            return True
        error = error.__cause__
    return False


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80
_short.maxlist = _short.maxtuple = 8


def shown(value: Any) -> str:
    """A value as a message shows it: short, text in quotes, ~ for nothing."""
    if value is None or isinstance(value, bool):
        return {None: '~', True: 'true', False: 'false'}[value]
    if isinstance(value, Mapping):
        return '{' + ', '.join(printable(key) for key in list(value)[:6]) + (', ...}' if len(value) > 6 else '}')
    return _short.repr(value)
