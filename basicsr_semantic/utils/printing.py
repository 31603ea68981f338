"""Text for a terminal or a log: names in it come from files and must not steer the terminal."""

from __future__ import annotations

import contextlib
import os
import re
import sys

LAYOUT = '\n\t'
"""Characters that a whole message may hold; in a name even these are escaped."""

_PLAIN = {'\n': '\\n', '\r': '\\r', '\t': '\\t'}
# Controls (C0, DEL, C1), line separators, marks that turn the direction of text, and halves of characters, which no
# terminal can encode. Joiners inside words and emoji stay.
_STEERING = re.compile('[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')


def printable(text: object, keep: str = '') -> str:
    """Text in which characters that steer a terminal, or that turn the direction of writing, are escaped.

    The escapes are those of JSON, so JSON remains JSON.

    Args:
        text: A name, or with ``keep=LAYOUT`` a message that names are part of.
        keep: Characters that stay.
    """

    def escape(found: re.Match[str]) -> str:
        character = found[0]
        return character if character in keep else _PLAIN.get(character, f'\\u{ord(character):04x}')

    return _STEERING.sub(escape, str(text))


_LONG = re.compile(r'(\S{300})\S{200,}(\S{100})')


def short(message: object) -> str:
    """A message whose names of many hundred characters are cut in their middle, so that it can be read."""
    return _LONG.sub(r'\1...\2', str(message))


class OutputError(Exception):
    """The output cannot be written: its reader has ended, or the disk is full; the cause is the OSError."""


def say(text: object = '') -> None:
    """Print a line or lines of the command's output.

    Raises:
        OutputError: They cannot be written.
    """
    try:
        print(printable(text, LAYOUT))
    except OSError as error:
        raise OutputError from error


def end_output() -> None:
    """Write what is still buffered; what cannot be written is dropped, or Python would report it when it ends.

    Raises:
        OutputError: It cannot be written.
    """
    output = sys.stdout
    if output is None:  # closed before we began: then print does nothing
        return
    try:
        output.flush()
    except OSError as error:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
        raise OutputError from error


def complain(text: object) -> None:
    """Print to the terminal's error stream; if that is closed or full, nothing is raised."""
    with contextlib.suppress(OSError):
        print(printable(short(text), LAYOUT), file=sys.stderr, flush=True)
