"""Semantic priors: what they are, how they are cut, where they are stored."""

from __future__ import annotations

from .geometry import ClipGeometry
from .semantic_priors import CELL, SemanticPriors
from .store import PriorStoreReader, PriorStoreWriter
from .store_meta import store_metadata

__all__ = ['CELL', 'ClipGeometry', 'PriorStoreReader', 'PriorStoreWriter', 'SemanticPriors', 'store_metadata']
