"""Constructors and functions as sections: a pydantic model made of a signature.

Types are those that a signature declares; nothing is guessed from a default. A hint that no YAML value can have (a
class, a callable, a tensor) is not checked: a rule that we do not understand must not become an error.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from pathlib import Path, PurePath
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

import torch
from pydantic import BaseModel, ConfigDict, Field, Strict, create_model

from .section import Number, Section

_ARRAYS = (list, Sequence, MutableSequence, Iterable, Collection, set, frozenset)
_MAPPINGS = (dict, Mapping, MutableMapping)
_UNJUDGED: Any = object()
_ROOTS = (object, torch.nn.Module)


class Arguments(Section):
    """The arguments of a callable."""

    model_config = ConfigDict(allow_inf_nan=True, use_attribute_docstrings=False)

    takes_more: ClassVar[bool] = False
    """Whether the callable has ``**kwargs``: then it may take further keys."""


@functools.lru_cache(maxsize=1024)
def arguments_of(target: Callable[..., Any], without: frozenset[str] = frozenset()) -> type[Arguments]:
    """The arguments of a class's constructor or of a function.

    ``**kwargs`` of a constructor are taken to go to the bases', whose arguments are then known, too.

    Args:
        target: A class or function.
        without: Arguments that the option file does not give.
    """
    docs = argument_docs(target)
    fields: dict[str, Any] = {}
    parameters, takes_more = _parameters(target)
    for name, (parameter, hint, needed) in parameters.items():
        if name in without or name.startswith('_') or hasattr(Arguments, name):  # pydantic reserves such names
            takes_more = takes_more or name not in without
            continue
        hint = hint | None if parameter.default is None and hint is not Any else hint
        default = None if parameter.default is parameter.empty else parameter.default
        fields[name] = (hint, Field(default=... if needed else default, description=docs.get(name)))
    result = create_model(getattr(target, '__name__', 'Arguments'), __base__=Arguments, **fields)
    result.takes_more = takes_more
    return result


def _parameters(target: Any) -> tuple[dict[str, tuple[inspect.Parameter, Any, bool]], bool]:
    """Name -> (parameter, hint, whether it must be given), and whether there may be others."""
    is_class = inspect.isclass(target)
    owners: list[Any] = [target]
    if is_class:
        owners = [vars(cls)['__init__'] for cls in target.__mro__ if '__init__' in vars(cls) and cls not in _ROOTS]
    found: dict[str, tuple[inspect.Parameter, Any, bool]] = {}
    takes_more = False
    for function in owners:
        try:
            parameters = list(inspect.signature(function).parameters.values())[1 if is_class else 0 :]
        except (TypeError, ValueError):
            return found, True
        hints = _hints_of(inspect.unwrap(function))
        for one in parameters:
            if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
                # what a base needs may be given by the class itself
                needed = one.default is one.empty and function is owners[0]
                found.setdefault(one.name, (one, _any(_strict(hints.get(one.name, Any))), needed))
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
        takes_more = True
    return found, takes_more


def _hints_of(target: Any) -> dict[str, Any]:
    """Resolved annotations of a function; none where they are code that does not run here."""
    try:
        return typing.get_type_hints(target, include_extras=True)
    except Exception:  # names imported for type checkers only, newer syntax: of others, so not judged
        return {}


def _strict(hint: Any) -> Any:
    """A type hint in the form in which pydantic checks values from YAML."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint in (None, type(None), bool, int, str, Any):
        return hint
    if hint is float:
        return Number
    if hint in (Path, PurePath):
        return Annotated[hint, Strict(False)]
    if origin in (Union, types.UnionType):
        parts = [part for part in map(_strict, inner) if part is not _UNJUDGED]
        return Union[tuple(parts)] if any(part is not type(None) for part in parts) else _UNJUDGED  # noqa: UP007
    if origin is Literal:
        return hint
    if origin is Annotated:
        part = _strict(inner[0])
        return part if part is _UNJUDGED else Annotated[(part, *hint.__metadata__)]  # pyright: ignore[reportInvalidTypeForm]
    base = origin or hint
    if base is tuple:
        items = tuple(one if one is Ellipsis else _any(_strict(one)) for one in inner)
        return Annotated[tuple[items] if items else tuple, Strict(False)]  # pyright: ignore[reportInvalidTypeForm]
    if base in _ARRAYS:
        return list[_any(_strict(inner[0]))] if inner else list
    if base in _MAPPINGS:
        return dict[inner[0], _any(_strict(inner[1]))] if len(inner) == 2 else dict
    return hint if inspect.isclass(hint) and issubclass(hint, BaseModel) else _UNJUDGED


def _any(hint: Any) -> Any:
    return Any if hint is _UNJUDGED else hint


def package_of(target: Any) -> str:
    """Top-level package in which a component is defined."""
    name = getattr(inspect.unwrap(target), '__module__', '') or ''
    return name.partition('.')[0] if name in sys.modules else ''


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
