"""What a run may be called: its name becomes the name of a folder."""

from __future__ import annotations

import unicodedata

LONGEST = 200
"""Bytes. File systems stop at 255, and archived folders and logs carry up to 40 characters besides the name."""

_UNSEEN = {'Cc': 'control', 'Cf': 'invisible formatting', 'Zl': 'line-breaking', 'Zp': 'line-breaking'}


def wrong_folder_name(name: str) -> str | None:
    """Say why a name cannot be that of one folder.

    A name like ``.`` or ``a/../b`` would make a run move or overwrite folders that are not its own, and one with
    characters that nobody sees cannot be typed again.

    Args:
        name: The name, as the user gave it.

    Returns:
        The end of a sentence that begins with the name, without a full stop (``has a '/' in it``), or None where
        the name is fine. Fine are spaces and dots inside, and letters of every script.
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
