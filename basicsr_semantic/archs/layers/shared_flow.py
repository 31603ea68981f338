"""A coarse-to-fine flow network small enough for a CPU."""

from __future__ import annotations

from itertools import pairwise

import torch
from basicsr.archs.arch_util import flow_warp
from torch import nn
from torch.nn import functional as F

_SHARPNESS = 8.0
"""Of the choice of the nearest neighbourhood."""
_NOISE = 0.01
"""Mean difference below which all neighbourhoods count as alike."""


class SharedFlow(nn.Module):
    """Optical flow as SPyNet finds it, from coarse to fine, with one small network for all levels.

    SPyNet (Ranjan and Black, CVPR 2017) has a network of 7x7 kernels for each of six levels, 320,000 multiplications a
    pixel: several times all of a small restorer. Here the levels share five convolutions of 3x3, and the finest level
    has half the size of the frames; 11,000 multiplications a pixel. So small a network does not learn to compare frames
    by itself: it is given how unlike the neighbourhoods of nearby pixels are, and begins with the nearest of them.

    Args:
        num_feat: Channels of the convolutions.
        num_level: Levels; the coarsest has 1 / 2 ** num_level of the size.
        radius: How far a level looks for the nearest neighbourhood, in its pixels.

    Raises:
        ValueError: A size that is not positive.
    """

    def __init__(self, num_feat: int = 32, num_level: int = 4, radius: int = 2) -> None:
        super().__init__()
        if min(num_feat, num_level, radius) < 1:
            raise ValueError(
                f'num_feat, num_level and radius must be positive; they are {num_feat}, {num_level} and {radius}.'
            )
        self.num_level, self.radius = num_level, radius
        widths = (7 + (2 * radius + 1) ** 2, num_feat, num_feat, num_feat, max(num_feat // 2, 1))
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 1, 1), nn.LeakyReLU(0.1, inplace=True)]
        self.step = nn.Sequential(*layers, nn.Conv2d(widths[-1], 2, 3, 1, 1))
        shifts = torch.arange(-radius, radius + 1.0)
        self.register_buffer('offsets', torch.cartesian_prod(shifts, shifts).flip(1), persistent=False)
        for parameter in self.step[-1].parameters():  # starts with no motion
            nn.init.zeros_(parameter)

    def forward(self, ref: torch.Tensor, supp: torch.Tensor) -> torch.Tensor:
        """Where the pixels of ``ref`` are in ``supp``.

        Args:
            ref: Frames (n, 3, h, w), RGB in [0, 1].
            supp: Frames of the same shape.

        Returns:
            Flow (n, 2, h, w), in pixels, x before y: what warps ``supp`` onto ``ref``.
        """
        n, _, h, w = ref.shape
        if not n:  # a clip of one frame
            return ref.new_zeros(n, 2, h, w)
        return resize_flow(self.levels(ref, supp)[-1], h, w)

    def levels(self, ref: torch.Tensor, supp: torch.Tensor) -> list[torch.Tensor]:
        """The flow of every level, from coarse to fine, (n, 2, height, width) in pixels of the level."""
        multiple = 2**self.num_level
        size = [-(-length // multiple) * multiple for length in ref.shape[-2:]]
        pair = F.interpolate(torch.cat([ref, supp], dim=1), size=size, mode='bilinear', align_corners=False)
        pairs = []
        for _ in range(self.num_level):
            pair = F.avg_pool2d(pair, 2)
            pairs.append(pair)
        flow, found = ref.new_zeros(len(ref), 2, *pair.shape[-2:]), []
        for pair in reversed(pairs):
            first, second = pair.chunk(2, dim=1)
            flow = resize_flow(flow, *first.shape[-2:])
            warped = flow_warp(second, flow.permute(0, 2, 3, 1), padding_mode='border')
            costs = self.costs(first, warped)
            costs = costs / (costs.mean(dim=1, keepdim=True) + _NOISE)
            nearest = torch.einsum('nkhw,kc->nchw', torch.softmax(-_SHARPNESS * costs, dim=1), self.offsets)
            flow = flow + nearest
            flow = flow + self.step(torch.cat([first - 0.5, costs - 1, nearest, flow], dim=1))
            found.append(flow)
        return found

    def costs(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """How unlike the 3x3 pixels around a pixel of ``first`` and around those near it in ``second`` are.

        Args:
            first: Frames (n, 3, h, w).
            second: Frames of the same shape.

        Returns:
            Mean absolute differences of brightness (n, (2 radius + 1) ** 2, h, w), row by row.
        """
        h, w = first.shape[-2:]
        first, second = (one.mean(dim=1, keepdim=True) for one in (first, second))
        padded = F.pad(second, [self.radius] * 4, mode='replicate')
        shifts = range(2 * self.radius + 1)
        shifted = torch.cat([padded[..., y : y + h, x : x + w] for y in shifts for x in shifts], dim=1)
        return F.avg_pool2d((first - shifted).abs(), 3, 1, 1, count_include_pad=False)


def resize_flow(flow: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Bring a flow (n, 2, h, w), in pixels, to another size, in the pixels of that size."""
    h, w = flow.shape[-2:]
    if (h, w) == (height, width):
        return flow
    flow = F.interpolate(flow, size=(height, width), mode='bilinear', align_corners=False)
    return flow * flow.new_tensor([width / w, height / h]).view(1, 2, 1, 1)
