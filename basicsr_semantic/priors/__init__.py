"""Semantic priors: what they are, how they are cut, where they are stored."""

from __future__ import annotations

import warnings
from typing import Any

from .geometry import ClipGeometry
from .semantic_priors import CELL, SemanticPriors
from .store import PriorStore, PriorStoreWriter
from .store_meta import store_metadata

__all__ = ['CELL', 'ClipGeometry', 'PriorStore', 'PriorStoreWriter', 'SemanticPriors', 'store_metadata']


def __getattr__(name: str) -> Any:
    """``PriorStoreReader``, the name of `PriorStore` until 0.2, with a warning.

    Raises:
        AttributeError: There is no such name.
    """
    if name == 'PriorStoreReader':
        warnings.warn('PriorStoreReader is called PriorStore now.', DeprecationWarning, stacklevel=2)
        return PriorStore
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
