"""Small files that are either whole or not there, and what only looks like a file."""

from __future__ import annotations

import contextlib
import os
import stat
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


def why_no_file(path: Path) -> str | None:
    """Why a file cannot be read as a whole and be done with, without opening it: a pipe or a device never ends.

    Returns:
        A clause such as 'it is a link to nothing', or None where it is a regular file.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink() and isinstance(error, FileNotFoundError):
            return f"it is a link to '{path.readlink()}', which is not there"
        return f'it cannot be read: {error.strerror}'
    if stat.S_ISREG(mode):
        return None
    kinds = {stat.S_IFIFO: 'a pipe', stat.S_IFDIR: 'a folder', stat.S_IFSOCK: 'a socket'}
    return f'it is {kinds.get(stat.S_IFMT(mode), "a device")}, not a file'
