"""What the extractor of X-Decoder says about frames and about clips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class FramePass(NamedTuple):
    """What the frame pass says about n frames."""

    tokens: Tensor
    """(n, K, C) object tokens O_t, float32 of half precision, as a store keeps them."""
    global_tokens: Tensor
    """(n, C) global tokens, float32 of half precision."""
    mask_features: Tensor
    """(n, mask_dim, H' / 4, W' / 4) pixel features at the size that the network saw, padded."""
    mask_logits: Tensor
    """(n, K, H' / 4, W' / 4) mask logits of the frame decoder's own queries."""
    seen: tuple[int, int]
    """(H, W) that the network saw, without padding."""
    pixel_features: Tensor | None
    """(n, mask_dim, hp, wp) features of cells of 4x4 pixels, where they are wanted."""


class BothPasses(NamedTuple):
    """What both passes say about a clip of T frames."""

    tokens: Tensor
    """(T, K, C)."""
    global_tokens: Tensor
    """(T, C)."""
    instance_tokens: Tensor
    """(N, C)."""
    scores: Tensor
    """(I,) of the instances that are kept."""
    masks: Iterator[Tensor]
    """Their masks, (I, h, w) bool frame by frame, made when asked for."""
    pixel_features: Iterator[Tensor] | None
    """(mask_dim, hp, wp) frame by frame, made when asked for, where they are wanted."""


@dataclass
class ClipSemantics:
    """Everything about one clip of T frames, on the device of the extractor."""

    frame_tokens: Tensor
    """(T, K, C)."""
    global_tokens: Tensor
    """(T, C)."""
    instance_tokens: Tensor
    """(N, C)."""
    masks: Tensor
    """(T, max_instances, h, w) uint8, 0 or 1; unused channels are zero and come last."""
    pixel_features: Tensor | None
    """(T, mask_dim, hp, wp), one vector for each cell of 4x4 pixels; None where they are not wanted."""
