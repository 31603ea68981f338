"""Type hints as rules for option values: does a value fit, what does the hint say in words, and in JSON Schema.

A hint that no YAML value can have (a class, a callable, a tensor) is not judged: a rule that we do not understand
must not turn into a complaint.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Collection, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from pathlib import Path, PurePath
from typing import Any, Literal, Union, get_args, get_origin

_ARRAYS = (list, tuple, Sequence, MutableSequence, Iterable, Collection, set, frozenset)
_MAPPINGS = (dict, Mapping, MutableMapping)


def hints_of(target: Any) -> dict[str, Any]:
    """Resolved annotations of a function or class; those that cannot be resolved are left out."""
    try:
        return typing.get_type_hints(target)
    except Exception:  # annotations are code of others: names imported for type checkers only, newer syntax
        pass
    names = getattr(target, '__globals__', None) or vars(sys.modules[target.__module__])
    resolved = {}
    for name, hint in getattr(target, '__annotations__', {}).items():

        def one() -> None: ...

        one.__annotations__ = {name: hint}
        try:
            resolved |= typing.get_type_hints(one, dict(names))
        except Exception:  # as above: this one stays unknown, the others are judged
            continue
    return resolved


def hint_from_default(default: Any) -> Any:
    """What a default value says about the type of an argument without annotation; always allows None."""
    if isinstance(default, bool):
        return bool | None
    if isinstance(default, int | float):
        return float | None
    if isinstance(default, str):
        return str | None
    if isinstance(default, list | tuple):
        return list | None
    if isinstance(default, dict):
        return dict | None
    return Any


def fits(value: Any, hint: Any) -> bool:
    """Whether a value from YAML may be given where ``hint`` is expected.

    Integers are floats, lists are tuples, text is a path; ``true`` is neither 1 nor 1.0.
    """
    origin = get_origin(hint)
    if hint is None or hint is type(None):
        return value is None
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in get_args(hint))
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in get_args(hint))
    if origin is typing.Annotated:
        return fits(value, get_args(hint)[0])
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is str or hint in (Path, PurePath):
        return isinstance(value, str)
    base = origin or hint
    if base in _ARRAYS:
        return isinstance(value, list | tuple) and _items_fit(value, base, get_args(hint))
    if base in _MAPPINGS:
        arguments = get_args(hint)
        return isinstance(value, Mapping) and (
            not arguments or all(fits(k, arguments[0]) and fits(v, arguments[1]) for k, v in value.items())
        )
    if dataclasses.is_dataclass(hint):
        return isinstance(value, Mapping)
    return True


def _items_fit(value: Sequence[Any], base: Any, arguments: tuple[Any, ...]) -> bool:
    if not arguments:
        return True
    if base is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        return len(value) == len(arguments) and all(fits(v, a) for v, a in zip(value, arguments, strict=True))
    return all(fits(item, arguments[0]) for item in value)


def describe(hint: Any) -> str:
    """The hint in words, to follow "expected": ``an integer``, ``one of BI, BD, BD_DUF, or ~``."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is None or hint is type(None):
        return '~'
    if origin in (Union, types.UnionType):
        known = [describe(one) for one in arguments if to_schema(one) or one is Any]
        return ' or '.join(dict.fromkeys(known))
    if origin is Literal:
        shown = ', '.join(str(one) for one in arguments)
        return f'one of {shown}' if len(arguments) > 1 else shown
    if origin is typing.Annotated:
        return describe(arguments[0])
    words = {bool: 'true or false', int: 'an integer', float: 'a number', str: 'text', Any: 'anything'}
    if hint in words:
        return words[hint]
    if hint in (Path, PurePath):
        return 'a path'
    base = origin or hint
    if base is tuple and arguments and arguments[-1] is not Ellipsis:
        items = [describe(one) for one in arguments]
        return f'a list of {len(items)}, ' + (f'each {items[0]}' if len(set(items)) == 1 else ', '.join(items))
    if base in _ARRAYS:
        return f'a list, each {describe(arguments[0])}' if arguments and arguments[0] is not Any else 'a list'
    if base in _MAPPINGS or dataclasses.is_dataclass(hint):
        return 'a section of keys'
    return getattr(hint, '__name__', str(hint))


def to_schema(hint: Any) -> dict[str, Any]:
    """The hint as a JSON Schema (2020-12); ``{}`` where anything goes."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is None or hint is type(None):
        return {'type': 'null'}
    if origin in (Union, types.UnionType):
        parts = [to_schema(one) for one in arguments]
        if not all(parts):
            return {}
        if all(part.keys() == {'type'} for part in parts):
            return {'type': list(dict.fromkeys(part['type'] for part in parts))}
        return {'anyOf': parts}
    if origin is Literal:
        return {'enum': list(arguments)}
    if origin is typing.Annotated:
        return to_schema(arguments[0])
    scalars = {bool: 'boolean', int: 'integer', float: 'number', str: 'string', Path: 'string', PurePath: 'string'}
    if hint in scalars:
        return {'type': scalars[hint]}
    base = origin or hint
    if base in _ARRAYS:
        schema: dict[str, Any] = {'type': 'array'}
        if base is tuple and arguments and arguments[-1] is not Ellipsis:
            schema |= {'prefixItems': [to_schema(one) for one in arguments]}
            schema |= {'minItems': len(arguments), 'maxItems': len(arguments)}
        elif arguments and to_schema(arguments[0]):
            schema['items'] = to_schema(arguments[0])
        return schema
    if base in _MAPPINGS:
        values = to_schema(arguments[1]) if len(arguments) == 2 else {}
        return {'type': 'object', **({'additionalProperties': values} if values else {})}
    if dataclasses.is_dataclass(hint):
        return {'type': 'object'}
    return {}
