"""Everything that is wrong with an option file, in one report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..utils.errors import UserError, full_stop
from ..utils.printing import printable

if TYPE_CHECKING:
    from .option_file import KeyPath, OptionFile


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
    """Whether the only thing wrong is that a file or folder is missing."""
    warning: bool = False
    """Whether the run goes on regardless."""
    note: bool = False
    """For a warning, whether the setting may be intended: then it is not an error where warnings are errors."""
    error: BaseException | None = None
    """The error that the message comes from, if any: the command line may know a command for it."""

    def __str__(self) -> str:
        place = f'{self.file}:{self.line}' if self.line else self.file
        message = f'{"warning: " * self.warning}{self.message} {self.suggestion}'.rstrip()
        return f'{printable(place)}: {printable(self.key)}: {message}'


def problem_of(
    file: OptionFile,
    path: KeyPath,
    said: str | UserError,
    suggestion: str = '',
    missing_file: bool = False,
    warning: bool = False,
    note: bool = False,
) -> Problem:
    """A problem of an option file.

    Args:
        file: The file, for places.
        path: Keys down to the one that is wrong; it need not exist.
        said: A sentence, or an error that says it.
        suggestion: See `Problem`.
        missing_file: See `Problem`.
        warning: See `Problem`.
        note: See `Problem`.
    """
    error = said if isinstance(said, UserError) else None
    message = str(said) if error is None else full_stop(said)
    key = ':'.join(path)
    value = file.value(path)
    return Problem(*file.place(path), key, value, message, suggestion, missing_file, warning, note, error)


class OptionError(UserError):
    """The problems of an `OptionFile`, all of them in one error; the caller may add commands that resolve them."""

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
