"""What docstrings say about arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any


def argument_docs(target: Any) -> dict[str, str]:
    """What the docstrings of a component (class, constructor, bases) say about arguments or option keys.

    Args:
        target: A class or function.
    """
    docs: dict[str, str] = {}
    for one in target.__mro__ if inspect.isclass(target) else (target,):
        if getattr(one, '__module__', '').partition('.')[0] in ('builtins', 'torch', 'typing', 'pydantic'):
            continue
        constructor = vars(one).get('__init__') if inspect.isclass(one) else None
        for text in (one.__doc__, getattr(constructor, '__doc__', None)):
            for name, doc in _described(inspect.cleandoc(text or '')):
                docs.setdefault(name, doc)
    return docs


_ENTRY = re.compile(r'^(\s*)\*{0,2}(\w+)(?:\s*\([^)]*\))?\s*[::]\s*(.*)$')


def _described(text: str) -> Iterator[tuple[str, str]]:
    """(name, description) for each entry of a docstring; deeper indented lines continue a description."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        entry = _ENTRY.match(line)
        if not entry:
            continue
        indent, words = len(entry.group(1)), [entry.group(3)]
        for following in lines[number + 1 :]:
            if not following.strip() or len(following) - len(following.lstrip()) <= indent:
                break
            words.append(following.strip())
        yield entry.group(2), ' '.join(' '.join(words).split())
