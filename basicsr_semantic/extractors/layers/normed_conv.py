"""A convolution with its norm, as in the pixel decoders after Mask2Former (CVPR 2022). Released parameter names."""

from __future__ import annotations

import torch
from torch import nn


class NormedConv(nn.Conv2d):
    """A convolution without bias, followed by GroupNorm under the name ``norm``.

    Args:
        in_dim: Width before.
        dim: Width after.
        kernel: Side of the kernel, odd.
        groups: Groups of the norm.
    """

    def __init__(self, in_dim: int, dim: int, kernel: int, groups: int) -> None:
        super().__init__(in_dim, dim, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.GroupNorm(groups, dim)
        initialise(self)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(n, in_dim, h, w) to (n, dim, h, w)."""
        return self.norm(super().forward(input))


def initialise(convolution: nn.Conv2d) -> nn.Conv2d:
    """Uniform weights that keep the variance of the input's fan-in, no bias: the start of detectron2's pyramids."""
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution
