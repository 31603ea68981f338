"""Pad clips to the sizes that an arch accepts, and crop the result back."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def pad_amount(height: int, width: int, requirements) -> tuple[int, int]:
    """Rows and columns to add below and to the right.

    Args:
        height: LR height.
        width: LR width.
        requirements: An arch's ``size_requirements`` (``minimum``, ``multiple_of``), or None for no demand.
    """
    if requirements is None:
        return 0, 0

    def missing(size: int) -> int:
        wanted = max(size, requirements.minimum)
        return -(-wanted // requirements.multiple_of) * requirements.multiple_of - size

    return missing(height), missing(width)


def pad_clip(x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Extend (b, t, c, h, w) of any type below and to the right by mirroring, as often as the size needs."""
    while rows or columns:
        r, c = min(rows, x.size(-2) - 1), min(columns, x.size(-1) - 1)
        if r == 0 and c == 0:  # one pixel has no mirror image
            return (
                torch.cat([x, x[..., -1:, :].expand(*x.shape[:-2], rows, x.size(-1))], dim=-2)
                if rows
                else torch.cat([x, x[..., -1:].expand(*x.shape[:-1], columns)], dim=-1)
            )
        flat = x.reshape(-1, 1, *x.shape[-2:])
        padded = F.pad(flat.float(), (0, c, 0, r), mode='reflect').to(x.dtype)
        x = padded.reshape(*x.shape[:-2], *padded.shape[-2:])
        rows, columns = rows - r, columns - c
    return x
