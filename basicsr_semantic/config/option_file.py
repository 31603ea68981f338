"""An option file: YAML read safely, changed by ``--force_yml``, with the line of every key.

Values are those of PyYAML's safe loader, as BasicSR reads them, with two differences: ``2e-4`` and ``1E5`` are numbers
(PyYAML reads text), and ``2024-01-31`` is text (PyYAML makes a date of it, which no option wants). A tag that is not
plain data and a key that is written twice are refused; PyYAML would follow the tag and keep the last of the keys.
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
from .named_weights import put_files_of_names

FLAG = '--force_yml'
MAX_NODES = 100_000
"""More values than any option file has; a file that unfolds its aliases into more than that is refused."""
KeyPath = tuple[str, ...]
Places = dict[KeyPath, tuple[str, int | None]]
_TAGS = 'tag:yaml.org,2002:'
_PLAIN = {f'{_TAGS}{name}': name for name in ('null', 'bool', 'int', 'float', 'str', 'seq', 'map', 'merge')}


class _Loader(yaml.SafeLoader):
    """SafeLoader with the two differences of the module's docstring."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != f'{_TAGS}timestamp']
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_SCIENTIFIC = re.compile(r'^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$')
_Loader.add_implicit_resolver(f'{_TAGS}float', _SCIENTIFIC, list('-+.0123456789'))


@dataclass
class OptionFile:
    """The options of a file, as plain Python values, and where each was written."""

    values: dict[str, Any]
    """The options."""
    file: str = 'options'
    """What messages call the file."""
    places: Places = field(default_factory=dict)
    """Path of a key -> file and line, from 1; the flag and None where the command line changed it."""

    @classmethod
    def read(cls, path: str | Path, overrides: Iterable[str] | None = None) -> OptionFile:
        """Read an option file and change it by ``overrides``, see :meth:`override`.

        Names of released weights in section ``path`` become the paths of their files, see `named_weights`.

        Raises:
            UserError: The file is missing, is not UTF-8 or not YAML, holds a tag that is not plain data, the same key
                twice, or no mapping; the message names file and line. Or released weights have a wrong checksum.
        """
        path = Path(path)
        if path.is_dir():
            raise UserError(f'{path} is a folder; give an option file.')
        if not path.is_file():
            raise UserError(f'The option file {path} does not exist.{_nearest_file(path)}')
        file = cls({}, str(path))
        try:
            values = _parse(path.read_text(encoding='utf-8-sig'), str(path), file.places)
        except UnicodeDecodeError as error:
            raise UserError(f'The option file {path} is not UTF-8 text (byte {error.start}).') from None
        if not isinstance(values, dict):
            what = 'is empty' if values is None else f'holds a {type(values).__name__}'
            raise UserError(f'The option file {path} {what}; it must be a mapping of "key: value".')
        file.values = values
        file.override(overrides)
        put_files_of_names(file.values)
        return file

    def override(self, entries: Iterable[str] | None) -> OptionFile:
        """Change options as in ``--force_yml train:total_iter=100 datasets:train:gt_size=64``, and return self.

        Values are parsed as in an option file and never evaluated. Keys and sections that do not exist are made. A
        number in the path indexes a list (one past its end appends). An integer that replaces a float stays a float,
        and a ``name`` is always text.

        Raises:
            UserError: An entry without ``=``, a path through something that is no section, an index out of range.
        """
        for entry in entries or ():
            path, equals, text = entry.partition('=')
            keys = tuple(key.strip() for key in path.split(':'))
            if not equals or not all(keys):
                raise UserError(f"{FLAG} '{entry}' is not of the form section:key=value, as in train:optim_g:lr=1e-4.")
            source = f'{FLAG} {path.strip()}'
            is_name = keys[-1] == 'name' and text.strip()[:1] not in ('"', "'")
            value = text.strip() if is_name else parse_value(text, source)
            parent: Any = self.values
            for depth, key in enumerate(keys):
                if not isinstance(parent, dict | list):
                    raise UserError(f'{source}: {":".join(keys[:depth])} is {parent!r}, which has no keys of its own.')
                known = _key_of(parent, key, source)
                child = parent.get(known) if isinstance(parent, dict) else [*parent, None][known]
                if depth == len(keys) - 1:
                    child = float(value) if isinstance(child, float) and type(value) is int else value
                if isinstance(parent, list) and known == len(parent):
                    parent.append(None)
                parent[known] = {} if child is None and depth < len(keys) - 1 else child
                parent = parent[known]
            self.places = {k: v for k, v in self.places.items() if k[: len(keys)] != keys} | {keys: (FLAG, None)}
        return self

    def place(self, path: KeyPath) -> tuple[str, int | None]:
        """File and line of a key; of the section it is missing from, where it is missing."""
        found = (self.places[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.places)
        return next(found, (self.file, None))

    def value(self, path: KeyPath) -> Any:
        """The value of a key, None where there is none."""
        node: Any = self.values
        for key in path:
            items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
            node = next((child for known, child in items if str(known) == key), None)
        return node


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The options of a file, see :meth:`OptionFile.read`; replaces ``basicsr.utils.options.yaml_load``."""
    return OptionFile.read(path).values


def parse_value(text: str, source: str) -> Any:
    """The value of an override; :class:`UserError` for what begins like YAML but is not, and for tags that run code.

    Brackets, braces, quotes and ``!!float`` are read as YAML; anything else is one scalar, so that ``a: b``, ``x #1``
    or ``*.png`` stay the text they are. ``none`` in any case, ``~`` and nothing at all are None.
    """
    text = text.strip()
    if text.lower() in ('none', ''):
        return None
    if text[0] in '[{\'"' or text.startswith('!!'):
        return _parse(text, source, {})
    loader = _Loader('')
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))
    try:
        return text if '\n' in text else loader.construct_object(yaml.ScalarNode(tag, text))
    except (yaml.YAMLError, ValueError, LookupError):  # '!', '<<' and '0b_' resolve to a type that has no such value
        return text


def _parse(text: str, source: str, places: Places) -> Any:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _Builder(loader, source, places).build(node, ())
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None) or getattr(error, 'context_mark', None)
        parts = [getattr(error, name, None) for name in ('context', 'problem', 'note')]
        what = '; '.join(filter(None, parts)) if mark else ' '.join(str(error).split())
        raise UserError(f'{source}{f":{mark.line + 1}" if mark else ""} is not valid YAML: {what}.') from None
    except RecursionError:
        raise UserError(f'{source} is nested too deeply to be read.') from None


class _Builder:
    """Turns YAML nodes into data. Aliases become copies, so that changing one place changes one place."""

    def __init__(self, loader: _Loader, source: str, places: Places) -> None:
        self.loader, self.source, self.places = loader, source, places
        self.open: set[int] = set()
        self.checked: set[int] = set()
        self.nodes = 0

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        at = f'{self.source}:{node.start_mark.line + 1}'
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise UserError(f'{at} unfolds into more than {MAX_NODES} values.')
        if (tag := _PLAIN.get(node.tag)) is None:
            shown = f'!!{node.tag.removeprefix(_TAGS)}' if node.tag.startswith(_TAGS) else node.tag
            raise UserError(f'{at} holds the tag {shown}, which is refused: option files hold plain data only.')
        if isinstance(node, yaml.ScalarNode):
            if tag in ('seq', 'map', 'merge'):
                raise UserError(f"{at} holds '{node.value}' where a value is expected.")
            try:
                return self.loader.construct_object(node)
            except (ValueError, KeyError, IndexError):
                raise UserError(f"{at}: '{node.value}' is not {'an' if tag == 'int' else 'a'} {tag}.") from None
        if id(node) in self.open:
            raise UserError(f'{at} holds an alias to a mapping or list that it is itself a part of.')
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode) and tag == 'seq':
                return [self.build(child, (*path, str(k))) for k, child in enumerate(node.value)]
            if isinstance(node, yaml.MappingNode) and tag == 'map':
                return self.mapping(node, path)
        finally:
            self.open.discard(id(node))
        raise UserError(f'{at} gives the tag !!{tag} to a value of another type.')

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in () if id(node) in self.checked else node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise UserError(f'{self.source}:{line} has a list or a mapping as a key; keys are plain words.')
            key = key_node.value if _PLAIN.get(key_node.tag) == 'merge' else self.build(key_node, path)
            if key in lines:
                first = f'the first is in line {lines[key]}'
                raise UserError(f"{self.source}:{line} has the key '{key}' a second time; {first}.")
            lines[key] = line
        self.checked.add(id(node))  # an alias is visited again, with what it inherits filled in
        self.loader.flatten_mapping(node)  # "<<": what is inherited comes first, so that the own keys win
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.build(key_node, path)
            result[key] = self.build(value_node, (*path, str(key)))
            self.places[(*path, str(key))] = (self.source, key_node.start_mark.line + 1)
        return result


def _key_of(parent: dict[Any, Any] | list[Any], key: str, source: str) -> Any:
    """The index for a list, else the key as the mapping has it (a YAML key may be a number)."""
    if isinstance(parent, dict):
        return next((known for known in parent if str(known) == key), key)
    if not key.isdecimal() or int(key) > len(parent):
        raise UserError(f"{source}: '{key}' is not an index into a list of {len(parent)} (0 to {len(parent)}).")
    return int(key)


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f' Neither does the folder {path.parent}.'
    near = nearest(path.name, [entry.name for entry in path.parent.glob('*.y*ml')])
    return f' Did you mean {path.parent / near}?' if near else ''
