"""Names that become folders and files: what a run may be called, and names from data that must not lead elsewhere."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from .errors import UserError, shown

LONGEST = 200
"""Bytes. File systems stop at 255, and archived folders and logs add up to 40 characters to the name."""

_LONGEST_PART, _LONGEST_PATH = 255, 3000
_UNSEEN = {'Cc': 'control', 'Cf': 'invisible formatting', 'Zl': 'line-breaking', 'Zp': 'line-breaking'}


def wrong_folder_name(name: str) -> str | None:
    """Say why a name cannot be the name of a folder.

    A name like ``.`` or ``a/../b`` would make a run move or overwrite folders that are not its own, and one with
    invisible characters cannot be typed again.

    Args:
        name: The name, as the user gave it.

    Returns:
        The end of a sentence that begins with the name, without a full stop (``has a '/' in it``), or None where
        the name is fine. Spaces and dots inside are fine, and so are letters of every script.
    """
    if not name:
        return 'is empty'
    if not name.strip():
        return 'is nothing but blanks'
    if name in ('.', '..'):
        return 'names a folder that is there already, not one of its own'
    for character in name:
        if character in '/\\':
            return f'has a {character} in it, which would make it a path'
        kind = unicodedata.category(character)
        if kind in _UNSEEN:
            return f'has the {_UNSEEN[kind]} character U+{ord(character):04X} in it'
        if kind == 'Cs':
            return f'has U+{ord(character):04X} in it, half a character, which no file system takes'
    if name != name.strip():
        return 'begins or ends with a blank'
    if (size := len(name.encode())) > LONGEST:
        return f'is {size} bytes long, more than the {LONGEST} that leave room for the names of its files'
    return None


def folder_name(name: str) -> str:
    """A name that is that of one folder, as pydantic checks it.

    Raises:
        ValueError: It is not.
    """
    if (wrong := wrong_folder_name(name)) is not None:
        raise ValueError(f'It is {name!r}, which cannot be the name of a folder: {wrong}.')
    return name


def wrong_inner_name(name: str) -> str | None:
    """Say why a name, which may have folders in it as '00001/0001', may lie outside the folder that it is joined to.

    What is refused does not depend on the system, so that data work on all systems or on none.

    Returns:
        The end of a sentence that begins with the name, without a full stop, or None where the name stays inside.
    """
    if not name:
        return 'is empty'
    if '\0' in name:
        return 'has the control character U+0000 in it'
    if '\\' in name:
        return 'has a \\ in it, which leads elsewhere on Windows'
    if name.startswith('/') or re.match('[A-Za-z]:', name):
        return 'begins at the root of a file system or drive'
    parts = name.split('/')
    if '..' in parts:
        return "has '..' in it, which leads out of a folder"
    if any(len(part.encode('utf-8', 'surrogatepass')) > _LONGEST_PART for part in parts) or len(name) > _LONGEST_PATH:
        return 'is longer than a file system takes'
    return None if any(part not in ('', '.') for part in parts) else 'names no folder or file of its own'


def inner_name(name: str) -> str:
    """A name that stays inside the folder that it is joined to, as pydantic checks it.

    Raises:
        ValueError: It does not.
    """
    if (wrong := wrong_inner_name(name)) is not None:
        raise ValueError(f'It is {shown(name)}, which {wrong}. It becomes the name of files and folders.')
    return name


def end_of_name(text: str) -> str:
    """What is put at the end of names of files, as pydantic checks it.

    Raises:
        ValueError: It would lead elsewhere.
    """
    if (wrong := wrong_inner_name(f'_{text}')) is not None:
        raise ValueError(f'It is {text!r}, which {wrong}. It becomes the end of names of files.')
    return text


def as_text(name: str) -> str:
    """A name of a file as text that can be written; bytes of it that are no UTF-8 become ``\\xe9``."""
    return name.encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace')


def inside(folder: str | Path, *names: str, where: str = '') -> Path:
    """Join names that come from data to a folder; nothing else does that.

    Args:
        folder: Where files are written or read.
        names: Names of clips, data sets, frames; a '/' in one makes folders. Links in the file system are followed.
        where: Beginning of the message about a refused name: the file that holds it.

    Raises:
        UserError: One of the names may lead out of the folder.
    """
    for name in names:
        if (wrong := wrong_inner_name(name)) is not None:
            message = f'{where}: the' if where else 'The'
            raise UserError(f'{message} name {shown(name)} {wrong}. Rename it: it must stay inside {folder}.')
    return Path(folder, *names)
