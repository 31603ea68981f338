"""YAML text in, plain ordered options out, safely, remembering where every key was written.

The rules, where they differ from PyYAML's (which follows YAML 1.1):

* Only plain data is read. A tag such as ``!!python/object`` is refused, never obeyed.
* Floats follow YAML 1.2: ``2e-4`` and ``1E5`` are numbers (PyYAML reads text), as is ``!!float 2e-4``.
* Digits with a leading zero are text: ``[000, 011]`` names two clips (PyYAML reads the octal numbers 0 and 9).
* ``2024-01-31`` and ``12:30`` are text (PyYAML reads a date and the number 750).
* A key that is written twice in one mapping is refused. PyYAML keeps the last one without a word.
"""

from __future__ import annotations

import difflib
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import yaml

from ..utils.errors import UserError

MAX_NODES = 100_000
"""More values than any option file has; a file that unfolds its aliases into more than that is refused."""

_PLAIN_TAGS = {'null', 'bool', 'int', 'float', 'str', 'seq', 'map', 'merge'}
_TAG_PREFIX = 'tag:yaml.org,2002:'


class YamlMapping(OrderedDict):
    """An ordered dict that knows where its keys were written.

    Attributes:
        places: Key -> (file, line), line counted from 1, or None for a key that no file holds (``--force_yml``).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.places: dict[Any, tuple[str, int | None]] = {}


class _Loader(yaml.SafeLoader):
    """SafeLoader with the number rules of the module's docstring."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag.removeprefix(_TAG_PREFIX) in ('null', 'bool', 'merge')]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _TAG_PREFIX + 'int',
    re.compile(r'^(?:[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+)$'),
    list('-+0123456789'),
)
_Loader.add_implicit_resolver(
    _TAG_PREFIX + 'float',
    re.compile(
        r'^(?:[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9_]*)(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?'
        r'|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$'
    ),
    list('-+0123456789.'),
)


def load_yaml(path: str | Path) -> YamlMapping:
    """Read an option file.

    Args:
        path: A UTF-8 YAML file that holds one mapping.

    Returns:
        The options, mappings ordered as in the file and each with its ``places``.

    Raises:
        UserError: The file is missing, is not YAML, holds a tag that is not plain data, the same key twice, or
            no mapping; the message names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'The option file {path} does not exist.{_nearest_file(path)}')
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise UserError(f'The option file {path} is not UTF-8 text (byte {error.start}).') from None
    options = parse_yaml(text, str(path))
    if options is None:
        raise UserError(f'The option file {path} is empty.')
    if not isinstance(options, YamlMapping):
        raise UserError(f'The option file {path} holds a {_describe(options)}; it must be a mapping of "key: value".')
    return options


def parse_yaml(text: str, source: str) -> Any:
    """Parse YAML text by the rules of this module.

    Args:
        text: One YAML document.
        source: What to call the text in messages and in ``places``: a file name or a flag.

    Raises:
        UserError: As for `load_yaml`.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _Builder(loader, source).build(node)
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
        if loader is not None:
            loader.dispose()


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
        return parse_yaml(text, source)
    loader = _Loader('')
    try:
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))
        return text if '\n' in text else loader.construct_object(yaml.ScalarNode(tag, text))
    finally:
        loader.dispose()


class _Builder:
    """Turns YAML nodes into data. Aliases become copies, so that changing one place changes one place."""

    def __init__(self, loader: _Loader, source: str) -> None:
        self.loader = loader
        self.source = source
        self.open: set[int] = set()
        self.nodes = 0

    def build(self, node: yaml.Node) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise UserError(f'{self.at(node)} unfolds into more than {MAX_NODES} values.')
        tag = node.tag.removeprefix(_TAG_PREFIX)
        if tag == node.tag or tag not in _PLAIN_TAGS:
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
                return [self.build(child) for child in node.value]
            if isinstance(node, yaml.MappingNode) and tag == 'map':
                return self.mapping(node)
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

    def mapping(self, node: yaml.MappingNode) -> YamlMapping:
        result, merged = YamlMapping(), []
        for key_node, value_node in node.value:
            if key_node.tag == _TAG_PREFIX + 'merge':
                merged.append(value_node)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise UserError(f'{self.at(key_node)} has a list or a mapping as a key; keys are plain words.')
            key = self.build(key_node)
            line = key_node.start_mark.line + 1
            if key in result:
                first = result.places[key][1]
                raise UserError(
                    f"{self.source}:{line} has the key '{key}' a second time; the first is in line {first}."
                )
            result[key] = self.build(value_node)
            result.places[key] = (self.source, line)
        for value_node in merged:
            bases = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            for base in bases:
                if not isinstance(base, yaml.MappingNode):
                    raise UserError(f'{self.at(base)}: "<<" takes a mapping or a list of mappings.')
                inherited = self.build(base)
                for key in inherited:
                    if key not in result:
                        result[key] = inherited[key]
                        result.places[key] = inherited.places[key]
        return result

    def at(self, node: yaml.Node) -> str:
        return f'{self.source}:{node.start_mark.line + 1}'


def _describe(value: Any) -> str:
    return 'list' if isinstance(value, list) else f'{type(value).__name__} ({value!r})'


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f' Neither does the folder {path.parent}.'
    names = [entry.name for entry in path.parent.iterdir() if entry.suffix in ('.yml', '.yaml')]
    near = difflib.get_close_matches(path.name, names, n=1)
    return f' Did you mean {path.parent / near[0]}?' if near else ''
