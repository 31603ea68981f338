"""Dense maps of the frames of a clip, between the two passes over it: kept while they fit, else computed again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..base import check_enlarged


class ClipMaps:
    """Maps of frames by their numbers, in half precision.

    What is computed again goes through half precision too, so the budget changes time and memory, not results.

    Args:
        budget: Bytes that may be kept.
        compute: Gives the map of a frame by its number.
    """

    def __init__(self, budget: float, compute: Callable[[int], Tensor]) -> None:
        self._room = budget
        self._compute = compute
        self._kept: dict[int, Tensor] = {}

    def put(self, number: int, frame_map: Tensor) -> None:
        """Keep a map if there is room for it."""
        half = frame_map.to(torch.float16)
        size = half.numel() * half.element_size()
        if size <= self._room:
            self._room -= size
            self._kept[number] = half.clone()  # of its own, not a view of the maps of several frames

    def get(self, number: int) -> Tensor:
        """The map of a frame, float32 of half precision."""
        kept = self._kept.get(number)
        return (self._compute(number).to(torch.float16) if kept is None else kept).float()


def resize_short_side(frames: Tensor, short_side: int | None) -> Tensor:
    """Resize frames bicubically so that their shorter side has ``short_side`` pixels.

    Args:
        frames: (n, 3, h, w) in [0, 1].
        short_side: Pixels; None: as they are.

    Returns:
        (n, 3, H, W) in [0, 1].

    Raises:
        UserError: The frames are so thin that they would become huge.
    """
    height, width = frames.shape[-2:]
    if short_side is None or min(height, width) == short_side:
        return frames
    factor = short_side / min(height, width)
    size = [max(1, round(height * factor)), max(1, round(width * factor))]
    check_enlarged((height, width), size)
    # antialias matters where frames become smaller; bicubic values reach over [0, 1]
    return F.interpolate(frames, size, mode='bicubic', align_corners=False, antialias=factor < 1).clamp(0, 1)


def masks_at_frame_size(logits: Tensor, seen: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Binary masks of a frame from logits at a quarter of what the network saw, padding included.

    Args:
        logits: (I, H' / 4, W' / 4), H' and W' the padded size.
        seen: (H, W) that the network saw, without padding.
        size: (h, w) of the frame.

    Returns:
        (I, h, w) bool: bilinear logits above zero.
    """
    if not len(logits):
        return torch.zeros((0, *size), dtype=torch.bool, device=logits.device)
    padded = [4 * side for side in logits.shape[-2:]]
    full = F.interpolate(logits[None], padded, mode='bilinear', align_corners=False)[..., : seen[0], : seen[1]]
    if seen != size:
        full = F.interpolate(full, size, mode='bilinear', align_corners=False)
    return full[0] > 0
