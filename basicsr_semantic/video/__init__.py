"""Videos restored whole: sources, scenes, segments, and what runs them."""

from __future__ import annotations

from .frames import upscale

__all__ = ['upscale']
