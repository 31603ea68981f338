"""An option file: YAML read safely, changed by ``--force_yml``, with the line of every key.

Values are those of PyYAML's safe loader, as BasicSR reads them, with two differences: ``2e-4`` and ``1E5`` are numbers
(PyYAML reads text), and ``2024-01-31`` is text (PyYAML makes a date of it, which no option wants). A tag that is not
plain data and a key that is written twice are refused; PyYAML obeys the one and keeps the last of the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..utils.errors import UserError
from ..utils.nearest import nearest

FLAG = '--force_yml'

MAX_NODES = 100_000
"""More values than any option file has; a file that unfolds its aliases into more than that is refused."""

KeyPath = tuple[str, ...]

_TAGS = 'tag:yaml.org,2002:'
_PLAIN = {'null', 'bool', 'int', 'float', 'str', 'seq', 'map', 'merge'}


class _Loader(yaml.SafeLoader):
    """SafeLoader with the two differences of the module's docstring."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != f'{_TAGS}timestamp']
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    f'{_TAGS}float', re.compile(r'^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$'), list('-+.0123456789')
)


@dataclass
class OptionFile:
    """The options of a file, as plain Python values, and where each was written."""

    values: dict[str, Any]
    """The options."""
    file: str = 'options'
    """What messages call the file."""
    places: dict[KeyPath, tuple[str, int | None]] = field(default_factory=dict)
    """Path of a key -> file and line, from 1; the flag and None where the command line changed it."""

    @classmethod
    def read(cls, path: str | Path, overrides: Iterable[str] | None = None) -> OptionFile:
        """Read an option file.

        Args:
            path: A UTF-8 YAML file that holds one mapping.
            overrides: Entries of ``--force_yml``, see :meth:`override`.

        Raises:
            UserError: The file is missing, is not YAML, holds a tag that is not plain data, the same key twice, or no
                mapping; the message names file and line.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f'The option file {path} does not exist.{_nearest_file(path)}')
        try:
            text = path.read_text(encoding='utf-8-sig')
        except UnicodeDecodeError as error:
            raise UserError(f'The option file {path} is not UTF-8 text (byte {error.start}).') from None
        read = cls({}, str(path))
        values = _parse(text, str(path), read.places)
        if not isinstance(values, dict):
            what = 'is empty' if values is None else f'holds a {type(values).__name__}'
            raise UserError(f'The option file {path} {what}; it must be a mapping of "key: value".')
        read.values = values
        return read.override(overrides)

    def override(self, entries: Iterable[str] | None) -> OptionFile:
        """Change options as in ``--force_yml train:total_iter=100 datasets:train:gt_size=64``, and return self.

        Values are parsed as in an option file and never evaluated. Keys and sections that do not exist are made. A
        number in the path indexes a list (one past its end appends). An integer that replaces a float stays a float,
        and a ``name`` is always text.

        Args:
            entries: ``section:key=value``; the value may hold further ``=``.

        Raises:
            UserError: An entry without ``=``, a path through something that is no section, an index out of range.
        """
        for entry in entries or ():
            path, equals, text = entry.partition('=')
            keys = [key.strip() for key in path.split(':')]
            if not equals or not all(keys):
                raise UserError(f"{FLAG} '{entry}' is not of the form section:key=value, as in train:optim_g:lr=1e-4.")
            source = f'{FLAG} {path.strip()}'
            quoted = text.strip()[:1] in ('"', "'")
            value = text.strip() if keys[-1] == 'name' and not quoted else parse_value(text, source)
            parent: Any = self.values
            for depth, key in enumerate(keys):
                if not isinstance(parent, dict | list):
                    raise UserError(f'{source}: {":".join(keys[:depth])} is {parent!r}, which has no keys of its own.')
                known = _key_of(parent, key, source)
                child = (
                    parent[known] if isinstance(parent, dict) and known in parent or _within(parent, known) else None
                )
                if depth == len(keys) - 1:
                    child = float(value) if isinstance(child, float) and type(value) is int else value
                elif child is None:
                    child = {}
                if isinstance(parent, list) and known == len(parent):
                    parent.append(child)
                else:
                    parent[known] = child
                parent = child
            changed = tuple(keys)
            self.places = {k: v for k, v in self.places.items() if k[: len(changed)] != changed}
            self.places[changed] = (FLAG, None)
        return self

    def place(self, path: KeyPath) -> tuple[str, int | None]:
        """File and line of a key; of the section it is missing from, where it is missing."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        return self.file, None

    def value(self, path: KeyPath) -> Any:
        """The value of a key, None where there is none."""
        node: Any = self.values
        for key in path:
            if isinstance(node, dict):
                node = next((child for known, child in node.items() if str(known) == key), None)
            else:
                node = node[int(key)] if isinstance(node, list) and key.isdecimal() and int(key) < len(node) else None
        return node


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The options of a file; replaces ``basicsr.utils.options.yaml_load``.

    Raises:
        UserError: See :meth:`OptionFile.read`.
    """
    return OptionFile.read(path).values


def parse_value(text: str, source: str) -> Any:
    """Parse the value of an override such as ``--force_yml train:total_iter=100``.

    Brackets, braces, quotes and ``!!float`` are read as YAML; anything else is one scalar, so that ``a: b``, ``x #1``
    or ``*.png`` stay the text they are. ``none`` in any case, ``~`` and nothing at all are None.

    Raises:
        UserError: Something that begins like YAML is not YAML, or carries a tag that is not plain data.
    """
    text = text.strip()
    if text.lower() in ('none', ''):
        return None
    if text[0] in '[{\'"' or text.startswith('!!'):
        return _parse(text, source, {})
    loader = _Loader('')
    try:
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))
        return text if '\n' in text else loader.construct_object(yaml.ScalarNode(tag, text))
    except ValueError:
        return text
    finally:
        loader.dispose()


def _parse(text: str, source: str, places: dict[KeyPath, tuple[str, int | None]]) -> Any:
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:  # characters that no YAML has
        raise UserError(f'{source} is not valid YAML: {" ".join(str(error).split())}.') from None
    try:
        node = loader.get_single_node()
        return None if node is None else _Builder(loader, source, places).build(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f':{mark.line + 1}' if mark else ''
        what = '; '.join(part for part in (error.context, error.problem, error.note) if part)
        raise UserError(f'{source}{line} is not valid YAML: {what}.') from None
    except yaml.YAMLError as error:
        raise UserError(f'{source} is not valid YAML: {" ".join(str(error).split())}.') from None
    except RecursionError:
        raise UserError(f'{source} is nested too deeply to be read.') from None
    finally:
        loader.dispose()


class _Builder:
    """Turns YAML nodes into data. Aliases become copies, so that changing one place changes one place."""

    def __init__(self, loader: _Loader, source: str, places: dict[KeyPath, tuple[str, int | None]]) -> None:
        self.loader, self.source, self.places = loader, source, places
        self.open: set[int] = set()
        self.checked: set[int] = set()
        self.nodes = 0

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise UserError(f'{self.at(node)} unfolds into more than {MAX_NODES} values.')
        tag = node.tag.removeprefix(_TAGS)
        if tag == node.tag or tag not in _PLAIN:
            shown = f'!!{tag}' if tag != node.tag else tag
            raise UserError(
                f'{self.at(node)} holds the tag {shown}, which is refused: option files hold plain data only.'
            )
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, tag)
        if id(node) in self.open:
            raise UserError(f'{self.at(node)} holds an alias to a mapping or list that it is itself a part of.')
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode) and tag == 'seq':
                return [self.build(child, (*path, str(k))) for k, child in enumerate(node.value)]
            if isinstance(node, yaml.MappingNode) and tag == 'map':
                return self.mapping(node, path)
        finally:
            self.open.discard(id(node))
        raise UserError(f'{self.at(node)} gives the tag !!{tag} to a value that is none.')

    def scalar(self, node: yaml.ScalarNode, tag: str) -> Any:
        if tag in ('seq', 'map', 'merge'):
            raise UserError(f"{self.at(node)} holds '{node.value}' where a value is expected.")
        try:
            return self.loader.construct_object(node)
        except (ValueError, KeyError, IndexError):
            raise UserError(f"{self.at(node)}: '{node.value}' is not a {tag}.") from None

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[Any, Any]:
        if id(node) not in self.checked:  # an alias comes by again, with what it inherits filled in
            self.checked.add(id(node))
            lines: dict[Any, int] = {}
            for key_node, _ in node.value:
                if not isinstance(key_node, yaml.ScalarNode):
                    raise UserError(f'{self.at(key_node)} has a list or a mapping as a key; keys are plain words.')
                key = key_node.value if key_node.tag == f'{_TAGS}merge' else self.build(key_node, path)
                if key in lines:
                    first = f'the first is in line {lines[key]}'
                    raise UserError(f"{self.at(key_node)} has the key '{key}' a second time; {first}.")
                lines[key] = key_node.start_mark.line + 1
            self.loader.flatten_mapping(node)  # "<<": what is inherited comes first, so that the own keys win
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.build(key_node, path)
            result[key] = self.build(value_node, (*path, str(key)))
            self.places[(*path, str(key))] = (self.source, key_node.start_mark.line + 1)
        return result

    def at(self, node: yaml.Node) -> str:
        return f'{self.source}:{node.start_mark.line + 1}'


def _key_of(parent: dict[Any, Any] | list[Any], key: str, source: str) -> Any:
    """The index for a list, else the key as the mapping has it (a YAML key may be a number)."""
    if isinstance(parent, dict):
        return next((known for known in parent if str(known) == key), key)
    if not key.isdecimal() or int(key) > len(parent):
        raise UserError(f"{source}: '{key}' is not an index into a list of {len(parent)} (0 to {len(parent)}).")
    return int(key)


def _within(parent: dict[Any, Any] | list[Any], index: Any) -> bool:
    return isinstance(parent, list) and index < len(parent)


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f' Neither does the folder {path.parent}.'
    names = [entry.name for entry in path.parent.iterdir() if entry.suffix in ('.yml', '.yaml')]
    near = nearest(path.name, names)
    return f' Did you mean {path.parent / near}?' if near else ''
