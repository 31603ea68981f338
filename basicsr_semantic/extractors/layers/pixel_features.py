"""Pixel features of a frame's cells from the dense features of a segmentation network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...priors import CELL
from ...priors.feature_records import cells

#: Mask features of a network have this fraction of the side of its input.
_STRIDE = 4


def extend_to_cells(frames: Tensor) -> Tensor:
    """Frames (n, c, h, w), extended below and to the right by their last row and column to whole cells."""
    height, width = frames.shape[-2:]
    extra = (0, cells(width) * CELL - width, 0, cells(height) * CELL - height)
    return F.pad(frames, extra, mode='replicate') if any(extra) else frames


def features_of_cells(mask_features: Tensor, seen: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Average dense features over the cells of a frame.

    Args:
        mask_features: (n, Cp, H' / 4, W' / 4) of frames that were extended to whole cells, then resized; H' and W' with
            the network's own padding.
        seen: (H, W) that the network saw, without padding.
        size: (h, w) of the frames, before they were extended.

    Returns:
        (n, Cp, hp, wp) float32 of half precision, as a store keeps them.
    """
    rows, columns = (max(1, round(side / _STRIDE)) for side in seen)
    grid = (cells(size[0]), cells(size[1]))
    found = F.adaptive_avg_pool2d(mask_features[..., :rows, :columns].float(), grid)
    return found.to(torch.float16).float()
