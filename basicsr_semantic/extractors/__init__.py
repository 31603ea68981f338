"""Extractors: from whole low-resolution frames or clips to masks, tokens and pixel features.

An extractor is a class with the attributes of :class:`~basicsr_semantic.extractors.base.MaskExtractor`,
:class:`~basicsr_semantic.extractors.base.FrameExtractor` or
:class:`~basicsr_semantic.extractors.base.ClipExtractor`; the table below names them without importing what they need.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from typing import TYPE_CHECKING, Any

from ..utils.errors import UserError

if TYPE_CHECKING:
    from .base import ClipExtractor, Extractor, FrameExtractor, MaskExtractor, OnlineExtractor

#: name, as in ``basicsr extract --extractor NAME`` -> 'module:Class'
EXTRACTORS: dict[str, str] = {
    'sam': 'basicsr_semantic.extractors.sam:SAMExtractor',
    'regions': 'basicsr_semantic.extractors.regions:RegionsExtractor',
    'annotations': 'basicsr_semantic.extractors.annotations:AnnotationsExtractor',
    'xdecoder': 'basicsr_semantic.extractors.xdecoder.extractor:XDecoderExtractor',
    'openseed': 'basicsr_semantic.extractors.openseed.extractor:OpenSeeDExtractor',
}

_OF_BASE = ('ClipExtractor', 'Extractor', 'FrameExtractor', 'MaskExtractor', 'OnlineExtractor')


def __getattr__(name: str) -> Any:
    """The interfaces, which are imported when they are first used.

    Raises:
        AttributeError: The package has no such name.
    """
    if name not in _OF_BASE:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module('.base', __name__), name)


def extractor_class(name: str) -> type[Extractor]:
    """The class of an extractor, imported now.

    Raises:
        UserError: There is no extractor of this name.
    """
    if name not in EXTRACTORS:
        near = difflib.get_close_matches(name, EXTRACTORS, 1)
        hint = f' Did you mean {near[0]!r}?' if near else ''
        raise UserError(f'There is no extractor {name!r}.{hint} There are: {", ".join(EXTRACTORS)}.')
    module, _, class_name = EXTRACTORS[name].partition(':')
    return getattr(importlib.import_module(module), class_name)


def build_extractor(name: str, **parameters: Any) -> Extractor:
    """Build an extractor.

    Args:
        name: a key of ``EXTRACTORS``.
        parameters: arguments of its constructor.

    Raises:
        UserError: The name or an argument is unknown, a needed argument is missing, or the extractor refuses a value.
    """
    chosen = extractor_class(name)
    known = inspect.signature(chosen).parameters
    for parameter in parameters:
        if parameter not in known:
            near = difflib.get_close_matches(parameter, known, 1)
            hint = f' Did you mean {near[0]!r}?' if near else ''
            raise UserError(
                f'The extractor {name!r} takes no argument {parameter!r}.{hint} It takes: {", ".join(known)}.'
            )
    missing = [key for key, item in known.items() if item.default is item.empty and key not in parameters]
    if missing:
        raise UserError(f'The extractor {name!r} needs the argument {missing[0]!r}.')
    return chosen(**parameters)


__all__ = [
    'EXTRACTORS',
    'ClipExtractor',
    'Extractor',
    'FrameExtractor',
    'MaskExtractor',
    'OnlineExtractor',
    'build_extractor',
    'extractor_class',
]
