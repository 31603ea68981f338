"""The position of a pixel as sines and cosines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


def sine_positions(size: Sequence[int], dim: int, device: torch.device | str | None = None) -> torch.Tensor:
    """Sine positions of DETR (ECCV 2020, A.4), rows and columns normalised to (0, 2 pi].

    Args:
        size: Rows and columns.
        dim: Width C, a multiple of 4: the first half is for the row, the second for the column.
        device: Where the result lives.

    Returns:
        (rows * columns, C) float32.
    """
    half = dim // 2
    exponents = torch.arange(half, device=device).div(2, rounding_mode='floor') * 2 / half
    frequencies = torch.pow(10000, exponents)
    axes = []
    for count in size:
        places = torch.arange(1, count + 1, dtype=torch.float32, device=device) / (count + 1e-6) * (2 * math.pi)
        angles = places[:, None] / frequencies
        axes.append(torch.stack((angles[:, 0::2].sin(), angles[:, 1::2].cos()), -1).flatten(1))
    rows = axes[0][:, None].expand(*size, half)
    columns = axes[1][None].expand(*size, half)
    return torch.cat((rows, columns), -1).flatten(0, 1)
