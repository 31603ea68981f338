"""Extractors: from whole low-resolution frames or clips to masks, tokens and pixel features.

An extractor is a subclass of :class:`~basicsr_semantic.extractors.base.Extractor` that is registered in
``EXTRACTOR_REGISTRY``. Those of this package are named there without importing what they need.
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from ..utils.errors import UserError
from ..utils.nearest import nearest
from .names import EXTRACTORS

if TYPE_CHECKING:
    from .base import (
        EXTRACTOR_REGISTRY,
        ClipExtractor,
        ClipPriors,
        Extractor,
        FrameExtractor,
        FramePriors,
        MaskExtractor,
        OnlineExtractor,
    )


def __getattr__(name: str) -> Any:
    """What is in base.py, which is imported when it is first used: names alone need no PyTorch.

    Raises:
        AttributeError: The package has no such name.
    """
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module('.base', __name__), name)


def extractor_class(name: str) -> type[Extractor]:
    """The class of an extractor, imported now.

    Raises:
        UserError: There is no extractor of this name.
    """
    from .base import EXTRACTOR_REGISTRY

    if name not in EXTRACTOR_REGISTRY:
        names = EXTRACTOR_REGISTRY.keys()
        near = nearest(name, names)
        hint = f' Did you mean {near!r}?' if near else ''
        raise UserError(f'There is no extractor {name!r}.{hint} There are: {", ".join(names)}.')
    return EXTRACTOR_REGISTRY.get(name)


def build_extractor(name: str, **parameters: Any) -> Extractor:
    """Build an extractor.

    Args:
        name: a name of ``EXTRACTOR_REGISTRY``.
        parameters: arguments of its constructor.

    Raises:
        UserError: The name or an argument is unknown, a needed argument is missing, or the extractor refuses a value.
    """
    chosen = extractor_class(name)
    known = inspect.signature(chosen).parameters
    named = {key: item for key, item in known.items() if item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)}
    takes_more = any(item.kind is item.VAR_KEYWORD for item in known.values())
    for parameter in parameters if not takes_more else ():
        if parameter not in named:
            near = nearest(parameter, named)
            hint = f' Did you mean {near!r}?' if near else ''
            takes = f'It takes: {", ".join(named)}.' if named else 'It takes none.'
            raise UserError(f'The extractor {name!r} takes no argument {parameter!r}.{hint} {takes}')
    missing = [key for key, item in named.items() if item.default is item.empty and key not in parameters]
    if missing:
        raise UserError(f'The extractor {name!r} needs the argument {missing[0]!r}.')
    make: Any = chosen  # each constructor has arguments of its own
    return make(**parameters)


__all__ = [
    'EXTRACTORS',
    'EXTRACTOR_REGISTRY',
    'ClipExtractor',
    'ClipPriors',
    'Extractor',
    'FrameExtractor',
    'FramePriors',
    'MaskExtractor',
    'OnlineExtractor',
    'build_extractor',
    'extractor_class',
]
