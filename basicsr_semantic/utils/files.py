"""Small files that are either whole or not there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .errors import UserError


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file beside its place and rename it; folders are made.

    Args:
        path: Destination; an older file of that name is replaced only by a whole one.
        content: The bytes.

    Raises:
        UserError: Full disk, read-only folder.
    """
    path = Path(path)
    beside = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        raise UserError(f'{path} could not be written: {error}. Earlier files are untouched.') from error
    finally:
        with contextlib.suppress(OSError):  # the folder itself may be what failed, and that has been said
            beside.unlink(missing_ok=True)
