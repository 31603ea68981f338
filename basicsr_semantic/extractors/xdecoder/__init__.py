"""X-Decoder as an extractor: tokens and masks of each frame, with the released weights or one's own."""

from __future__ import annotations

from .checkpoint import load_xdecoder
from .instances import load_instance_transformer
from .network import PRESETS, FrameSemantics, XDecoder, build_xdecoder

__all__ = ['PRESETS', 'FrameSemantics', 'XDecoder', 'build_xdecoder', 'load_instance_transformer', 'load_xdecoder']
