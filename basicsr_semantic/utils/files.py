"""Files that are either whole or not there, what only looks like a file, and the checksum of one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import UserError

_UNFINISHED = re.compile(r'\..+\.[0-9]+\.tmp', re.DOTALL)
"""Names that :func:`whole_file` gives; temporary files of others are left alone."""


@contextlib.contextmanager
def whole_file(path: str | Path, durable: bool = True) -> Iterator[BinaryIO]:
    """A new file that takes its place only when the block ends, whole and on disk; if the block fails, it never does.

    It is written next to its place, as ``.NAME.PID.tmp``, and renamed.

    Args:
        path: Destination, in a folder that exists; an older file of that name stays until then.
        durable: Wait until the disk has it, so that even after a power cut there is the old file or the new one.

    Yields:
        The file, open for writing bytes.

    Raises:
        UserError: The file could not be written (full disk, read-only folder), or the block raised an OSError.
    """
    path = Path(path)
    unfinished = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with unfinished.open('wb') as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise UserError(_unwritten(path, error)) from error
    finally:
        with contextlib.suppress(OSError):  # the folder itself may be what failed, and that has been said
            unfinished.unlink(missing_ok=True)


def write_whole(path: str | Path, content: bytes, durable: bool = True) -> None:
    """Write a :func:`whole_file` in one go; folders are made.

    Args:
        path: Destination.
        content: The bytes.
        durable: See :func:`whole_file`; for thousands of images the wait is too long.

    Raises:
        UserError: Full disk, read-only folder.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(_unwritten(path, error)) from error
    with whole_file(path, durable) as file:
        file.write(content)


def remove_leftovers(folder: str | Path) -> None:
    """Delete the unfinished files that killed processes left in a folder; nothing may be writing to it."""
    for file in Path(folder).glob('.*.tmp'):
        if _UNFINISHED.fullmatch(file.name):
            with contextlib.suppress(OSError):  # a leftover does no harm
                file.unlink()


def _unwritten(path: Path, error: OSError) -> str:
    return f'{path} could not be written: {error}. Earlier files are untouched.'


def check_free(path: str | Path, force: bool) -> None:
    """Whether a file may be written at a place.

    Raises:
        UserError: There is one, and nobody asked to replace it.
    """
    if Path(path).exists() and not force:
        raise UserError(f'{path} exists already. Give another name, or --force to replace it.')


def check_not_read(out: str | Path, *sources: str | Path) -> None:
    """Whether a result would replace, or be put among, what it is made of.

    Args:
        out: File or folder to write.
        sources: Files and folders that are read; names that are no paths are passed over.

    Raises:
        UserError: It would, whatever was asked for.
    """
    place = Path(out).resolve()
    for source in map(Path, sources):
        if source.exists() and place.exists() and place.samefile(source):
            raise UserError(f'{out} is what is read. Give another name for what is to be written.')
        if source.is_dir() and source.resolve() in place.parents:
            raise UserError(f'{out} is in {source}, which is read. Give another place for what is to be written.')


def make_folder_of(path: Path) -> None:
    """Make the folder that a file is to be in, before what is to be in the file is worked out.

    Raises:
        UserError: It cannot be made, or nothing may be written into it.
    """
    folder = path.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{path} cannot be written: {folder}: {error.strerror}.') from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f'{path} cannot be written: nothing may be written into {folder}.')


def why_no_file(path: Path) -> str | None:
    """Why a path cannot be read as a whole file, without opening it: a pipe or a device never ends.

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


def left_by_a_download(path: Path) -> str | None:
    """What a file is that a download or a clone has left in place of another, by its first bytes.

    Returns:
        A clause such as 'it is empty', or None where it may be what it should be.
    """
    with path.open('rb') as file:
        begin = file.read(512).lstrip()
    if begin.startswith(b'version https://git-lfs'):
        return 'it is a pointer of Git LFS to the file, which "git lfs pull" fetches'
    if begin[:9].lower() == b'<!doctype' or begin[:5].lower() == b'<html':
        return 'it is a web page, which a link to the file may give in its place'
    return None if begin else 'it is empty'


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as hex digits, read in pieces.

    Raises:
        UserError: The file does not exist or cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open('rb') as file:
            while piece := file.read(1 << 22):
                digest.update(piece)
    except OSError as error:
        raise UserError(f'The file {path} cannot be read: {error.strerror}.') from error
    return digest.hexdigest()
