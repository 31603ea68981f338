"""Trained networks in use: frames in, frames out, from a checkpoint alone."""

from __future__ import annotations

from .loading import load
from .restorer import Restorer, SeeClearRestorer

__all__ = ['Restorer', 'SeeClearRestorer', 'load']
