"""The one exception that means "the user can mend this"."""

from __future__ import annotations

import errno
import inspect
import os
import reprlib
from collections.abc import Mapping
from typing import Any

from .printing import printable


class UserError(ValueError):
    """A mistake or a condition outside the program: misspelt option, missing file, wrong checkpoint, full disk.

    The message is one or more full sentences that say what was wrong, where (file, key, frame) and what to do.
    The command line prints it alone; every other exception is a defect of ours and keeps its trace.
    """


def full_stop(message: object) -> str:
    """Another's message as a sentence of ours: it ends in one full stop."""
    return f'{str(message).rstrip(".")}.'


def reason(error: BaseException) -> str:
    """An exception of somebody else's code as part of a sentence: its kind, words and line."""
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    place = f' ({frames[-1].filename}:{frames[-1].lineno})' if frames else ''
    said = f'it needs the key {error}' if isinstance(error, KeyError) else str(error).strip()
    if 'Original Traceback' in said:  # of a loader's process, whose last line is the error
        said = said.splitlines()[-1].partition(': ')[2]
    return f'{type(error).__name__}: {said.rstrip(".")}{place}.'


_NO_MEMORY = (os.strerror(errno.ENOMEM), "can't allocate memory", 'out of memory', 'failed to map segment')
_NO_MEMORY += ('could not create a primitive',)  # oneDNN, which says no more of it


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
