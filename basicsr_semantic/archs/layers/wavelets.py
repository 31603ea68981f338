"""The orthonormal Haar transform, one level and packets, as maps between resolution and channels."""

from __future__ import annotations

import torch


def haar(x: torch.Tensor) -> torch.Tensor:
    """One level: every 2x2 block [[a, b], [c, d]] becomes four values (SeeClear, Eq. 7).

    LL = (a + b + c + d) / 2, LH = (a + b - c - d) / 2, HL = (a - b + c - d) / 2, HH = (a - b - c + d) / 2. Orthonormal:
    energy is kept and white noise stays white.

    Args:
        x: (..., c, h, w); h and w are even.

    Returns:
        (..., 4c, h / 2, w / 2): the c channels of LL, then those of LH, HL and HH.

    Raises:
        ValueError: A side is odd.
    """
    height, width = x.shape[-2:]
    if height % 2 or width % 2:
        raise ValueError(f'The Haar transform halves both sides; {height}x{width} has an odd one.')
    top, bottom = x[..., 0::2, :], x[..., 1::2, :]
    low, high = (top + bottom) * 0.5, (top - bottom) * 0.5
    left_low, right_low, left_high, right_high = (z[..., k::2] for z in (low, high) for k in (0, 1))
    bands = (left_low + right_low, left_high + right_high, left_low - right_low, left_high - right_high)
    return torch.cat(bands, dim=-3)


def inverse_haar(x: torch.Tensor) -> torch.Tensor:
    """Undo :func:`haar`: (..., 4c, h, w) -> (..., c, 2h, 2w).

    Raises:
        ValueError: The number of channels does not divide by four.
    """
    if x.size(-3) % 4:
        raise ValueError(f'The inverse Haar transform joins four bands; {x.size(-3)} channels do not divide by four.')
    ll, lh, hl, hh = x.chunk(4, dim=-3)
    rows = []
    for sign in (1, -1):  # top and bottom row of each block
        left, right = ll + sign * lh, hl + sign * hh
        rows.append(torch.stack(((left + right) * 0.5, (left - right) * 0.5), dim=-1).flatten(-2))
    return torch.stack(rows, dim=-2).flatten(-3, -2)


def haar_packet(x: torch.Tensor, levels: int) -> torch.Tensor:
    """Apply :func:`haar` to all bands, k = ``levels`` times: (..., c, h, w) -> (..., 4^k c, h / 2^k, w / 2^k).

    The paper gives no k; with log2 of the scale the bands have the size of the LR frame.
    """
    for _ in range(levels):
        x = haar(x)
    return x


def inverse_haar_packet(x: torch.Tensor, levels: int) -> torch.Tensor:
    """Undo :func:`haar_packet`."""
    for _ in range(levels):
        x = inverse_haar(x)
    return x
