"""What is wrong with an option file, all of it at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..utils.errors import UserError
from ..utils.printing import printable


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
    message: str
    suggestion: str = ''
    """What to do: a sentence, the nearest valid name, or a command; may be empty."""
    missing_file: bool = False
    """Whether all that is wrong is that a file or folder is not there."""
    warning: bool = False
    """Whether the run goes on all the same."""

    def __str__(self) -> str:
        place = f'{self.file}:{self.line}' if self.line else self.file
        said = f'{"warning: " * self.warning}{self.message} {self.suggestion}'.rstrip()
        return f'{printable(place)}: {printable(self.key)}: {said}'


class OptionError(UserError):
    """The problems of an `OptionFile`, all of them in one error; which command mends them the caller may add."""

    def __init__(self, problems: list[Problem], options: Any = None) -> None:
        self.problems, self.options = problems, options
        files = ' and '.join(dict.fromkeys(problem.file for problem in problems))
        listed = f'{len(problems)} problems in {files}:\n' + '\n'.join(f'  {problem}' for problem in problems)
        super().__init__(str(problems[0]) if len(problems) == 1 else listed)


def raise_problems(problems: Iterable[Problem], options: Any = None) -> None:
    """Raise one error that lists every problem; return if there is none but warnings.

    Raises:
        OptionError: There is a problem.
    """
    if listed := [problem for problem in problems if not problem.warning]:
        raise OptionError(listed, options)
