"""An extractor of somebody else's: all of it is in this file."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field

from basicsr_semantic.extractors import EXTRACTOR_REGISTRY, Extractor, FramePriors


@EXTRACTOR_REGISTRY.register()
class Stripes(Extractor):
    """Stripes of a frame as masks, and their mean colours as tokens.

    Args:
        levels: Stripes of a frame; 100% of its pixels are in one.
        along: Whether stripes are 'rows' or 'columns'.
        ends: Brightness that counts as dark and as bright, two numbers.
        weights: One or more factors on the colours.
        brighter: Whether to leave out stripes darker than :class:`this <x>` mean.
        offset: Added to the colours; None: nothing.
    """

    kind = 'toy_stripes'

    def __init__(
        self,
        levels: Annotated[int, Field(ge=1, le=8)],
        along: Literal['rows', 'columns'] = 'rows',
        ends: tuple[float, float] = (0.25, 0.75),
        weights: list[float] | None = None,
        brighter: bool = False,
        offset: float | None = None,
    ) -> None:
        assert isinstance(ends, (tuple, list)) and len(ends) == 2
        self.max_masks = levels
        self.tokens = {'num': levels, 'dim': 8, 'global_dim': 8}
        self.parameters = {'along': along, 'ends': list(ends), 'weights': weights, 'brighter': brighter}
        self.shift = offset or 0.0

    def describe_frame(self, frame: np.ndarray) -> FramePriors:
        """Describe a frame, (h, w, 3) uint8."""
        place = np.arange(frame.shape[0])[:, None] if self.parameters['along'] == 'rows' else np.arange(frame.shape[1])
        side = frame.shape[0 if self.parameters['along'] == 'rows' else 1]
        stripe = np.broadcast_to(place * self.max_masks // side, frame.shape[:2])
        masks = stripe == np.arange(self.max_masks)[:, None, None]
        colours = np.stack([frame[mask].mean(0) for mask in masks]) / 255 + self.shift
        tokens = np.pad(colours, ((0, 0), (0, 5))).astype(np.float32)
        return FramePriors(tokens, tokens.mean(0), None, masks)

    def describe(self, frames: torch.Tensor, wanted=()) -> SimpleNamespace:
        """Describe a clip, (T, 3, h, w) in [0, 1]."""
        found = [self.describe_frame((frame * 255).byte().permute(1, 2, 0).cpu().numpy()) for frame in frames]
        tokens, of_all = (torch.from_numpy(np.stack([getattr(one, n) for one in found])) for n in self._fields)
        masks = torch.from_numpy(np.stack([one.masks for one in found]).astype(np.uint8))
        return SimpleNamespace(
            frame_tokens=tokens, global_tokens=of_all, masks=masks, instance_tokens=tokens.mean(0), pixel_features=None
        )

    _fields = ('frame_tokens', 'global_token')
