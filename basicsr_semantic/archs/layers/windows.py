"""Frames to windows and back: padding, shift and partition as one gathering of rows, in both directions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .window_attention import MASKED_SCORE


@dataclass(frozen=True, eq=False)
class Windows:
    """How the tokens of frames (b, t, h, w) are arranged in windows of t frames.

    Windows with the same mask follow one another, so that attention needs one mask a kind and not one a window: inside
    of the frame, right end, lower end, corner. Without shift there is one kind.

    Attributes:
        index: Row of the frames' tokens for every token of the windows (windows * n,); the number of rows means a token
            of zeros, beyond the frame.
        inverse: Row of the windows' tokens for every token of the frames (b * t * h * w,).
        tokens: Tokens n of a window.
        counts: Windows of each kind.
        mask: What is added to the scores of each kind (kinds, n, n), or None.
    """

    index: torch.Tensor
    inverse: torch.Tensor
    tokens: int
    counts: tuple[int, ...]
    mask: torch.Tensor | None

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """Frames (b, t, h, w, c) to windows (windows, n, c); what is beyond the frames is zero."""
        rows: Any = _GatherRows.apply(x.flatten(0, -2), self.index, self.inverse)
        return rows.unflatten(0, (-1, self.tokens))

    def join(self, windows: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Windows (windows, n, c) back to frames of ``shape`` (b, t, h, w, c)."""
        rows: Any = _GatherRows.apply(windows.flatten(0, 1), self.inverse, self.index)
        return rows.view(shape)


class _GatherRows(torch.autograd.Function):
    """Gather rows; the gradient is gathered too, by the inverse, instead of scattered."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, index: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(inverse)
        ctx.padded = index.numel() > rows.size(0), index.numel() < rows.size(0)
        return _gather(rows, index, ctx.padded[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        (inverse,) = ctx.saved_tensors
        return _gather(grad, inverse, ctx.padded[1]), None, None


def _gather(rows: torch.Tensor, index: torch.Tensor, padded: bool) -> torch.Tensor:
    return (F.pad(rows, (0, 0, 0, 1)) if padded else rows).index_select(0, index)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is kept here must serve training too
def make_windows(
    shape: tuple[int, int, int, int], window: tuple[int, int], shift: tuple[int, int], device: torch.device
) -> Windows:
    """Lay windows over frames.

    Args:
        shape: Frames b, t, h, w. A window covers all t frames.
        window: Rows and columns of a window; h and w are padded to multiples, below and to the right.
        shift: Rows and columns by which the frames are rolled up and to the left first; (0, 0) for none.
        device: Where the indices are needed.
    """
    (b, t, h, w), (rows, columns) = shape, window
    number = b * t * h * w
    place = torch.arange(number).view(shape)
    place = F.pad(place, (0, -w % columns, 0, -h % rows), value=number)
    place = place.roll((-shift[0], -shift[1]), (2, 3))
    place = place.unflatten(3, (-1, columns)).unflatten(2, (-1, rows))  # b t nh rows nw columns
    place = place.permute(0, 2, 4, 1, 3, 5).flatten(3)  # b nh nw n
    if any(shift):
        inner, end = slice(None, -1), slice(-1, None)
        kinds = [place[:, y, x] for y, x in ((inner, inner), (inner, end), (end, inner), (end, end))]
        mask = _shift_mask(t, window, shift).to(device)
    else:
        kinds, mask = [place], None
    index = torch.cat([kind.flatten() for kind in kinds])
    inverse = torch.empty(number + 1, dtype=torch.long)  # the last one for what was padded
    inverse = inverse.index_copy(0, index, torch.arange(len(index)))[:number]
    counts = tuple(kind[..., 0].numel() for kind in kinds)
    return Windows(index.to(device), inverse.to(device), t * rows * columns, counts, mask)


@lru_cache(maxsize=8)
def _shift_mask(frames: int, window: tuple[int, int], shift: tuple[int, int]) -> torch.Tensor:
    """Masks of the four kinds (4, n, n): rows and columns that were rolled in do not meet the others."""
    rolled = [torch.arange(size) >= size - by for size, by in zip(window, shift, strict=True)]
    lower = rolled[0][None, :, None].expand(frames, *window).flatten()
    right = rolled[1][None, None, :].expand(frames, *window).flatten()
    apart = [part[:, None] != part[None, :] for part in (lower, right)]
    blocked = torch.stack([torch.zeros_like(apart[0]), apart[1], apart[0], apart[0] | apart[1]])
    return torch.where(blocked, MASKED_SCORE, 0.0)
