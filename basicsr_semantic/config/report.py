"""Collects the problems of one option file, and checks any section against the keys it may hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

from .components import KINDS, Component, components, find
from .keys import Key, KeySet
from .problems import Problem, nearest, shown
from .safe_yaml import parse_value
from .sections import COUNTS, RANGES
from .value_types import describe, fits

Path = tuple[str, ...]


class Report:
    """The problems found so far in one file."""

    def __init__(self, opt: Mapping[str, Any], file: str) -> None:
        self.opt = opt
        self.file = file
        self.problems: list[Problem] = []
        self.homes: dict[str, str] = {}
        """Key -> section it belongs to, to help with a key in the wrong one."""

    def add(self, path: Path, message: str, suggestion: str = '', *, missing_file: bool = False) -> None:
        """Add a problem with the key at ``path``, which need not exist."""
        file, line, value = self._place(path)
        self.problems.append(Problem(file, line, ':'.join(path), value, message, suggestion, missing_file))

    def _place(self, path: Path) -> tuple[str, int | None, Any]:
        """(file, line, value) of a key; for one that is missing the place of the section it is missing from."""
        node: Any = self.opt
        file, line = self.file, None
        for key in path:
            if isinstance(node, Mapping) and key in node:
                file, line = getattr(node, 'places', {}).get(key, (file, line))
                node = node[key]
            elif isinstance(node, list) and key.isdecimal() and int(key) < len(node):
                node = node[int(key)]
            else:
                return file, line, None
        return file, line, node

    def section(self, path: Path, value: Any) -> bool:
        """Whether ``value`` is a section; a problem if it is something else."""
        if isinstance(value, Mapping):
            return True
        # the type of the key may have said so already
        if not any(problem.key == ':'.join(path) for problem in self.problems):
            self.add(path, f'A section of keys is expected, but it is {shown(value)}.')
        return False

    def component(self, kind: str, path: Path, section: Mapping[str, Any], key: str = 'type') -> Component | None:
        """The component that a section names; a problem if it names none that is registered."""
        if section.get(key) is None:
            self.add((*path, key), f"The key '{key}' is missing: the name of a registered {kind}.")
            return None
        name = section[key]
        found = find(kind, name)
        if found is None:
            others = [other for other in KINDS if other != kind and find(other, name)]
            near = nearest(name, components(kind))
            if others:
                advice = f'{name} is {_a(others[0])}.'
            elif near:
                advice = f'Did you mean {near}?'
            else:
                advice = f'"basicsr components --kind {kind}" lists all; --import brings in those of your own modules.'
            self.add((*path, key), f'No {kind} is registered as {shown(name)}; {_a(kind)} is needed here.', advice)
        return found

    def keys(
        self,
        path: Path,
        section: Mapping[str, Any],
        keyset: KeySet,
        *,
        ranges: str = '',
        given: Iterable[str] = (),
        allowed: Iterable[str] = (),
    ) -> None:
        """Check that a section holds the right keys with the right values.

        Args:
            path: Where the section is.
            section: The section.
            keyset: The keys it may hold.
            ranges: Name of the section in `RANGES`.
            given: Keys that somebody else sets, so that the file need not.
            allowed: Keys that are checked elsewhere or by nobody.
        """
        allowed, misspelt = set(allowed), set()
        for name, value in section.items():
            if name in keyset.keys:
                self.value((*path, str(name)), value, keyset.keys[name], ranges)
            elif name not in allowed and keyset.rest != 'taken':
                misspelt.add(self._unknown((*path, str(name)), value, keyset))
        for key in keyset.keys.values():
            if key.required and key.name not in section and key.name not in {*given, *misspelt}:
                what = f' {key.doc}' if key.doc else ''
                self.add((*path, key.name), f"The key '{key.name}', which {keyset.owner} needs, is missing.{what}")

    def _unknown(self, path: Path, value: Any, keyset: KeySet) -> str | None:
        """Report an unknown key; returns the name it was probably meant to be."""
        name = path[-1]
        # what **kwargs swallow does nothing: there, only what looks like a slip of the pen is worth a word
        near = nearest(name, keyset.keys, 0.8 if keyset.rest == 'ignored' else 0.6)
        home = self.homes.get(name)
        if keyset.rest == 'ignored' and near is None:
            return None
        message = f"{keyset.owner} has no key '{name}' (its value here is {shown(value)})."
        if home and home != ':'.join(path[:-1]) and nearest(name, keyset.keys, 0.85) is None:
            self.add(path, message, f'It belongs into {home}.')
            return None
        if near:
            self.add(path, message, f'Did you mean {near}?')
        elif len(keyset.keys) <= 12:
            self.add(path, message, f'It has: {", ".join(keyset.keys)}.')
        else:
            self.add(path, message)
        return near

    def value(self, path: Path, value: Any, key: Key, ranges: str = '') -> None:
        """Check the type and the range of one value, and the keys of a section whose type is a dataclass."""
        if key.name in COUNTS and isinstance(value, float) and value.is_integer():
            value = int(value)
        if not fits(value, key.hint):
            wanted = describe(key.hint)
            only = get_origin(key.hint) is Literal and len(get_args(key.hint)) == 1  # a name, which keeps its letters
            message = f'{wanted if only else wanted[0].upper() + wanted[1:]} is expected, but it is {shown(value)}.'
            self.add(path, message, _advice(value, key))
            return
        limits = RANGES.get(ranges, {}).get(key.name)
        if limits is not None and isinstance(value, int | float) and not limits[0] <= value <= limits[1]:
            self.add(path, f'It is {shown(value)}, but must be {limits[2]}.')


def _a(kind: str) -> str:
    """'an arch', 'a model'."""
    return f'{"an" if kind[0] in "aeiou" else "a"} {kind}'


def combined(host: KeySet, own: KeySet, owner: str) -> KeySet:
    """The keys of the loops and those of a class: the loops' describe, either may require."""
    both = host.merged(own)
    keys = {
        name: dataclasses.replace(key, required=key.required or (name in own.keys and own.keys[name].required))
        for name, key in both.keys.items()
    }
    return KeySet(owner, keys, own.rest)


def _advice(value: Any, key: Key) -> str:
    """How to write what was probably meant."""
    if isinstance(value, str):
        if value.lower() == 'none' and fits(None, key.hint):
            return 'Write ~ for nothing.'
        meant = parse_value(value, key.name) if value[:1] not in tuple('[{\'"!') else value
        if not isinstance(meant, str) and fits(meant, key.hint):
            return f'Write {value} without quotes.'
        choices = [one for one in getattr(key.hint, '__args__', ()) if isinstance(one, str)]
        for nested in getattr(key.hint, '__args__', ()):
            choices += [one for one in getattr(nested, '__args__', ()) if isinstance(one, str)]
        near = nearest(value, choices)
        if near:
            return f'Did you mean {near}?'
    if isinstance(value, float) and value.is_integer() and fits(int(value), key.hint):
        return f'Write {int(value)}.'
    if isinstance(value, int) and fits(str(value), key.hint):
        return f"Write '{value}' in quotes for text."
    if not isinstance(value, list | Mapping) and fits([value], key.hint):
        return f'Write [{shown(value)}].'
    return ''
