"""What is wrong with an option file, all of it at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..utils.errors import UserError


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
    warning: bool = False
    """Whether the run goes on all the same."""

    def __str__(self) -> str:
        place = f'{self.file}:{self.line}' if self.line else self.file
        return f'{place}: {self.key}: {"warning: " * self.warning}{self.message} {self.suggestion}'.rstrip()


def raise_problems(problems: Iterable[Problem]) -> None:
    """Raise one error that lists every problem; return if there is none but warnings.

    Raises:
        UserError: There is a problem.
    """
    listed = [problem for problem in problems if not problem.warning]
    if len(listed) == 1:
        raise UserError(str(listed[0]))
    if listed:
        files = ' and '.join(dict.fromkeys(problem.file for problem in listed))
        raise UserError(f'{len(listed)} problems in {files}:\n' + '\n'.join(f'  {problem}' for problem in listed))
