"""A coarse-to-fine flow network small enough for a CPU."""

from __future__ import annotations

from itertools import pairwise

import torch
from basicsr.archs.arch_util import flow_warp
from torch import nn
from torch.nn import functional as F


class SharedFlow(nn.Module):
    """Optical flow as SPyNet finds it, from coarse to fine, with one small network for all levels.

    SPyNet (Ranjan and Black, CVPR 2017) has a network of 7x7 kernels for each of six levels, 320,000 multiplications a
    pixel: several times all of a small restorer. Here the levels share five convolutions of 3x3, and the finest level
    has half the size of the frames; 9,000 multiplications a pixel.

    Args:
        num_feat: Channels of the convolutions.
        num_level: Levels; the coarsest has 1 / 2 ** num_level of the size.

    Raises:
        ValueError: A size that is not positive.
    """

    def __init__(self, num_feat: int = 32, num_level: int = 4) -> None:
        super().__init__()
        if min(num_feat, num_level) < 1:
            raise ValueError(f'num_feat and num_level must be positive; they are {num_feat} and {num_level}.')
        self.num_level = num_level
        widths = (8, num_feat, num_feat, num_feat, max(num_feat // 2, 1))
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 1, 1), nn.LeakyReLU(0.1, inplace=True)]
        self.step = nn.Sequential(*layers, nn.Conv2d(widths[-1], 2, 3, 1, 1))
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
        multiple = 2**self.num_level
        size = [-(-length // multiple) * multiple for length in (h, w)]
        pair = F.interpolate(torch.cat([ref, supp], dim=1), size=size, mode='bilinear', align_corners=False)
        levels = []
        for _ in range(self.num_level):
            pair = F.avg_pool2d(pair, 2)
            levels.append(pair)
        flow = ref.new_zeros(n, 2, *levels[-1].shape[-2:])
        for k, pair in enumerate(reversed(levels)):
            if k:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode='bilinear', align_corners=False)
            first, second = pair.chunk(2, dim=1)
            warped = flow_warp(second, flow.permute(0, 2, 3, 1), padding_mode='border')
            flow = flow + self.step(torch.cat([first, warped, flow], dim=1))
        flow = F.interpolate(flow, size=(h, w), mode='bilinear', align_corners=False)
        return flow * flow.new_tensor([2 * w / size[1], 2 * h / size[0]]).view(1, 2, 1, 1)
