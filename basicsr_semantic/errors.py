"""The one exception that means "the user can mend this"."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake or a condition outside the program: misspelt option, missing file, wrong checkpoint, full disk.

    The message is one or more full sentences that say what was wrong, where (file, key, frame) and what to do.
    The command line prints it alone; every other exception is a defect of ours and keeps its trace.
    """
