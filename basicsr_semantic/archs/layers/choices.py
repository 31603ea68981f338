"""Arguments that take one of a few values."""

from __future__ import annotations

from collections.abc import Sequence


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Refuse a value that is none of the choices.

    Args:
        name: Of the argument, as option files have it.
        value: What was given.
        choices: What may be given.

    Raises:
        ValueError: Another value.
    """
    if value not in choices:
        raise ValueError(f'{name} is one of {", ".join(map(str, choices))}, not {value}.')
