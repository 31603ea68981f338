"""The arguments that an object was made with, for checkpoints to say and for making another one like it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from .plain_values import to_plain

Constructor = TypeVar('Constructor', bound=Callable[..., None])

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def records_arguments(constructor: Constructor) -> Constructor:
    """Decorate an ``__init__``, so that objects have its arguments in ``config``, defaults too, before it begins.

    ``config`` is a dict in the order of the signature, without ``*args`` and ``**kwargs``, and ``type(x)(**x.config)``
    makes another one. Its values are copies that ``weights_only`` loading takes back: sequences are lists, mappings
    dicts, numpy's numbers Python's. Where a class and its base both record, the arguments of the class are there. The
    class declares ``config: dict[str, Any]``, for type checkers.

    Args:
        constructor: The ``__init__``; its signature stays visible.
    """
    signature = inspect.signature(constructor)
    names = [name for name, one in list(signature.parameters.items())[1:] if one.kind in _NAMED]

    @functools.wraps(constructor)
    def recording(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            bound = signature.bind(self, *args, **kwargs)
        except TypeError:  # the constructor raises Python's own error
            return constructor(self, *args, **kwargs)
        bound.apply_defaults()
        # there already where the constructor of a subclass has called this one
        vars(self).setdefault('config', {name: _plain(bound.arguments[name]) for name in names})
        return constructor(self, *args, **kwargs)

    return recording  # pyright: ignore[reportReturnType]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {to_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    return to_plain(value)
