"""Resolution changes of SeeClear's U-Net: down by a wavelet, up by its inverse, and the LR frame on every level."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from .wavelets import haar, inverse_haar

Transform = Callable[[torch.Tensor], torch.Tensor]


class Bands(NamedTuple):
    """A transform of 2x2 blocks to four bands, (n, c, h, w) to (n, 4c, h / 2, w / 2), and its inverse."""

    split: Transform
    join: Transform
    gain: float
    """How much larger the low band is than the mean of the block."""


def _polyphase(x: torch.Tensor) -> torch.Tensor:
    """The four pixels of a block, in the order of the bands of :func:`haar`: one after the other, all channels each."""
    return F.pixel_unshuffle(x, 2).unflatten(1, (-1, 4)).transpose(1, 2).flatten(1, 2)


def _inverse_polyphase(x: torch.Tensor) -> torch.Tensor:
    return F.pixel_shuffle(x.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2), 2)


HAAR = Bands(haar, inverse_haar, 2.0)
#: Replaces the wavelet in the rows "without DWT": the same sizes, no separation of frequencies.
POLYPHASE = Bands(_polyphase, _inverse_polyphase, 1.0)


class WaveletUp(nn.Module):
    """Twice the resolution: the features are the low band, what the encoder set aside are the high ones.

    Args:
        in_dim: Channels of the features.
        skip_dim: Channels of each high band.
        dim: Channels C out.
        bands: The transform.
    """

    def __init__(self, in_dim: int, skip_dim: int, dim: int, bands: Bands) -> None:
        super().__init__()
        self.low = nn.Conv2d(in_dim, dim, 1)
        self.high = nn.Conv2d(skip_dim * 3, dim * 3, 3, 1, 1, groups=3)
        self.bands = bands

    def forward(self, x: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        """x (n, in_dim, h, w) and high bands (n, 3 skip_dim, h, w) to (n, C, 2h, 2w)."""
        # the low band of the orthonormal wavelet is twice as large as the mean, which the features are
        return self.bands.join(torch.cat([self.bands.gain * self.low(x), self.high(high)], dim=1))


class FramePyramid(nn.Module):
    """LR frames for the levels below the first: a transform and a convolution of its bands, level by level.

    Args:
        dim: Channels C of each level.
        levels: Levels below the first.
        bands: The transform.
    """

    def __init__(self, dim: int, levels: int, bands: Bands) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d((dim if i else 3) * 4, dim, 3, 1, 1) for i in range(levels))
        self.bands = bands

    def forward(self, lq: torch.Tensor) -> list[torch.Tensor]:
        """Frames (n, 3, h, w) to features (n, C, h / 2, w / 2), (n, C, h / 4, w / 4), and so on."""
        levels, x = [], lq
        for conv in self.convs:
            x = conv(self.bands.split(x))
            levels.append(x)
        return levels
