"""Which keys a component takes: from its signature, from a dataclass of options, with types, defaults and docs."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import re
import sys
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from .value_types import hint_from_default, hints_of

REQUIRED: Any = inspect.Parameter.empty
"""The default of a key that has none."""


@dataclass(frozen=True)
class Key:
    """One key of a section."""

    name: str
    """As written in the option file."""
    hint: Any = Any
    """Type hint that values must fit."""
    required: bool = False
    """Whether the section is incomplete without it."""
    default: Any = REQUIRED
    """Value without the key, where one is known."""
    doc: str = ''
    """What it means, in one paragraph."""


@dataclass
class KeySet:
    """The keys of one section."""

    owner: str
    """Whose keys they are, for messages."""
    keys: dict[str, Key] = field(default_factory=dict)
    """By name, in the order of the source."""
    rest: Literal['refused', 'ignored', 'taken'] = 'refused'
    """What happens to further keys: an error, nothing at all, or somebody unknown uses them."""

    def merged(self, *others: KeySet) -> KeySet:
        """These keys and those of others; the first to name a key describes it, and the most tolerant rest wins."""
        sets = (self, *others)
        keys = {name: key for one in reversed(sets) for name, key in one.keys.items()}
        order = dict.fromkeys(name for one in sets for name in one.keys)
        rests = {one.rest for one in sets}
        rest = next(r for r in ('taken', 'ignored', 'refused') if r in rests)
        return KeySet(self.owner, {name: keys[name] for name in order}, rest)  # type: ignore[arg-type]

    def without(self, names: Iterable[str]) -> KeySet:
        """These keys but for some that somebody else gives."""
        left_out = set(names)
        return dataclasses.replace(self, keys={k: v for k, v in self.keys.items() if k not in left_out})


def keys_of_dataclass(cls: type, owner: str | None = None) -> KeySet:
    """The fields of a dataclass of options.

    Args:
        cls: A dataclass with a docstring string under each field.
        owner: Name for messages; None takes the class's.
    """
    hints, docs = hints_of(cls), field_docs(cls)
    keys = {}
    for one in dataclasses.fields(cls):
        default = REQUIRED if one.default is dataclasses.MISSING else one.default
        if one.default_factory is not dataclasses.MISSING:
            default = one.default_factory()
        keys[one.name] = Key(one.name, hints.get(one.name, Any), default is REQUIRED, default, docs.get(one.name, ''))
    return KeySet(owner or cls.__name__, keys)


def field_docs(cls: type) -> dict[str, str]:
    """The docstring under each field of a class and its bases."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        tree = parse_source(base)
        body = tree.body[0].body if tree is not None and isinstance(tree.body[0], ast.ClassDef) else []
        for statement, following in itertools.pairwise(body):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
                and isinstance(following.value.value, str)
            ):
                docs[statement.target.id] = ' '.join(following.value.value.split())
    return docs


def keys_of_callable(target: Callable[..., Any], owner: str | None = None) -> KeySet:
    """The arguments of a class's constructor or of a function.

    ``**kwargs`` are followed: to the base class or the function they are handed on to, or to the names popped from
    them. If nothing uses them, further keys are "ignored"; if they go where the source does not tell, "taken".

    Args:
        target: A class or function.
        owner: Name for messages; None takes the target's.
    """
    keys = _arguments(target, seen=set())
    docs = argument_docs(target, keys.keys)
    described = {name: dataclasses.replace(key, doc=docs.get(name, '')) for name, key in keys.keys.items()}
    return KeySet(owner or getattr(target, '__name__', str(target)), described, keys.rest)


def _arguments(target: Any, seen: set[Any], start: int = 0) -> KeySet:
    """Arguments of a callable; a class's constructor is looked up in its MRO from place ``start`` on."""
    classes = target.__mro__[start:] if inspect.isclass(target) else ()
    owner = next((cls for cls in classes if '__init__' in vars(cls)), None)
    function = vars(owner)['__init__'] if owner else target
    if inspect.isclass(target) and (owner is None or owner is object or owner.__module__ == 'torch.nn.modules.module'):
        return KeySet('')
    try:
        parameters = list(inspect.signature(function).parameters.values())[1 if owner else 0 :]
    except (TypeError, ValueError):
        return KeySet('', rest='taken')
    hints = hints_of(inspect.unwrap(function))
    keys: dict[str, Key] = {}
    rest: KeySet | None = None
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            position = target.__mro__.index(owner) if owner else 0
            rest = _follow(target, function, parameter.name, position, seen)
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            required = parameter.default is parameter.empty
            default = REQUIRED if required else parameter.default
            hint = hints.get(parameter.name, Any if required else hint_from_default(default))
            if default is None and hint is not Any:
                hint = hint | None if not isinstance(hint, str) else Any
            keys[parameter.name] = Key(parameter.name, hint, required, default)
    own = KeySet('', keys)
    return own.merged(rest) if rest is not None else own


def _follow(target: Any, function: Any, name: str, position: int, seen: set[Any]) -> KeySet:
    """Where ``**name`` of a function goes."""
    tree = parse_source(function)
    if tree is None or function in seen:
        return KeySet('', rest='taken')
    seen = seen | {function}
    result, understood, used = KeySet('', rest='ignored'), set(), 0
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            if keyword.arg is None and isinstance(keyword.value, ast.Name) and keyword.value.id == name:
                understood.add(keyword.value)
                taken = _callee(node, target, function, position, seen)
                named = {k.arg for k in node.keywords if k.arg}
                positional = list(taken.keys)[: len(node.args)]
                result = result.merged(taken.without({*named, *positional}))
                result.rest = (
                    taken.rest if used == 0 else ('taken' if 'taken' in (taken.rest, result.rest) else 'refused')
                )
                used += 1
        popped = node.func
        if (
            isinstance(popped, ast.Attribute)
            and popped.attr in ('pop', 'get')
            and isinstance(popped.value, ast.Name)
            and popped.value.id == name
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            understood.add(popped.value)
            key = str(node.args[0].value)
            result.keys.setdefault(key, Key(key))
    uses = {n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == name}
    if uses - understood:
        result.rest = 'taken'
    return result


def _callee(call: ast.Call, target: Any, function: Any, position: int, seen: set[Any]) -> KeySet:
    """Arguments of what a call inside ``function`` calls; unknown callees take everything."""
    called = call.func
    if isinstance(called, ast.Attribute) and called.attr == '__init__' and inspect.isclass(target):
        if isinstance(called.value, ast.Call) and getattr(called.value.func, 'id', '') == 'super':
            return _arguments(target, seen, position + 1)
    elif isinstance(called, ast.Name):
        found = inspect.unwrap(function).__globals__.get(called.id)
        if inspect.isclass(found) or inspect.isfunction(found):
            return _arguments(found, seen)
    return KeySet('', rest='taken')


@functools.lru_cache(maxsize=4096)
def parse_source(target: Any) -> ast.Module | None:
    """The syntax tree of a class or function, not to be changed, or None where there is no source."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(target))))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None


def argument_docs(target: Any, names: Iterable[str]) -> dict[str, str]:
    """What the docstrings of a component (class, constructor, bases) say about arguments or option keys.

    Args:
        target: A class or function.
        names: The names to look for, in lines such as ``num_feat (int): Channels.`` or ``num_feat: Channels.``
    """
    wanted = set(names)
    docs: dict[str, str] = {}
    classes = target.__mro__ if inspect.isclass(target) else (target,)
    for one in classes:
        if getattr(one, '__module__', '').partition('.')[0] in ('builtins', 'torch', 'typing'):
            continue
        for text in (
            one.__doc__,
            getattr(vars(one).get('__init__'), '__doc__', None) if inspect.isclass(one) else None,
        ):
            for name, doc in _described(inspect.cleandoc(text or '')):
                if name in wanted:
                    docs.setdefault(name, doc)
    return docs


_ENTRY = re.compile(r'^(\s*)\*{0,2}(\w+)(?:\s*\([^)]*\))?\s*[::]\s*(.*)$')


def _described(text: str) -> Iterable[tuple[str, str]]:
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


def module_of(target: Any) -> str:
    """Top-level package in which a component is defined."""
    name = getattr(inspect.unwrap(target), '__module__', '') or ''
    return name.partition('.')[0] if name in sys.modules else ''
