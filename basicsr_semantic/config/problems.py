"""What is wrong with an option file, all of it at once."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..utils.errors import UserError

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80
_short.maxlist = _short.maxtuple = 8


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and what would make it right."""

    file: str
    """Option file, or ``--force_yml`` for a value from the command line."""
    line: int | None
    """Line of the key, from 1; None where no line holds it."""
    key: str
    """Path of the key: ``train:optim_g:lr``."""
    value: Any
    """Value of the key; None for a key that is missing."""
    message: str
    """What is wrong: a sentence."""
    suggestion: str = ''
    """What to do: a sentence, the nearest valid name, or a command; may be empty."""
    missing_file: bool = False
    """Whether all that is wrong is that a file or folder is not there."""

    def __str__(self) -> str:
        place = f'{self.file}:{self.line}' if self.line else self.file
        return f'{place}: {self.key}: {self.message}' + (f' {self.suggestion}' if self.suggestion else '')


def raise_problems(problems: Iterable[Problem]) -> None:
    """Raise one error that lists every problem; return if there is none.

    Raises:
        UserError: There is a problem.
    """
    listed = list(problems)
    if not listed:
        return
    if len(listed) == 1:
        raise UserError(str(listed[0]))
    files = ' and '.join(dict.fromkeys(problem.file for problem in listed))
    raise UserError(f'{len(listed)} problems in {files}:\n' + '\n'.join(f'  {problem}' for problem in listed))


def shown(value: Any) -> str:
    """A value as a message shows it: short, text in quotes, ~ for nothing."""
    if value is None:
        return '~'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return '{' + ', '.join(str(key) for key in list(value)[:6]) + (', ...}' if len(value) > 6 else '}')
    return _short.repr(value)


def nearest(name: Any, names: Iterable[Any], cutoff: float = 0.6) -> str | None:
    """The most similar of some names, None if none is similar.

    Upper and lower case, dashes and underscores, and the order of words make no difference: ``min-eta`` is ``eta_min``.

    Args:
        name: What was written.
        names: What could have been meant.
        cutoff: Similarity asked for, 0 to 1 (as in difflib).
    """
    known = [str(one) for one in names]
    for simplify in (_plain, _sorted_words):
        simple = {simplify(one): one for one in known}
        near = difflib.get_close_matches(simplify(str(name)), list(simple), n=1, cutoff=cutoff)
        if near:
            return simple[near[0]]
    return None


def _plain(name: str) -> str:
    return name.lower().replace('-', '_')


def _sorted_words(name: str) -> str:
    return '_'.join(sorted(_plain(name).split('_')))
