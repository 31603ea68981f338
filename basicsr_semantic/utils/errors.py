"""The one exception that means "the user can mend this"."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake or a condition outside the program: misspelt option, missing file, wrong checkpoint, full disk.

    The message is one or more full sentences that say what was wrong, where (file, key, frame) and what to do.
    The command line prints it alone; every other exception is a defect of ours and keeps its trace.
    """


def full_stop(message: object) -> str:
    """Another's message as a sentence of ours: it ends in one full stop."""
    return f'{str(message).rstrip(".")}.'
