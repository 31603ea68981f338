"""What a denoising network needs in addition to attention: the step's embedding, and convolutions that use it."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

#: Groups of the GroupNorms; widths are multiples of it.
GROUPS = 24


def group_norm(dim: int) -> nn.GroupNorm:
    """GroupNorm of at most :data:`GROUPS` groups, fewer where the width does not divide by as many."""
    return nn.GroupNorm(math.gcd(GROUPS, dim), dim)


class StepEmbedding(nn.Module):
    """Sines and cosines of the step, and two layers.

    Args:
        dim: Sines and cosines together; even.
        out_dim: Width of the embedding.
    """

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.fc1 = nn.Linear(dim, out_dim)
        self.fc2 = nn.Linear(out_dim, out_dim)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        """Steps (b,) to (b, out_dim)."""
        half = self.dim // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
        angles = t.float()[:, None] * frequencies
        return self.fc2(F.silu(self.fc1(torch.cat([angles.cos(), angles.sin()], dim=-1))))


class TimeResBlock(nn.Module):
    """Two convolutions with GroupNorm and SiLU; the step scales and shifts between them. Starts as its shortcut.

    Args:
        in_dim: Channels in.
        dim: Channels C out.
        step_dim: Width of the step's embedding.
    """

    def __init__(self, in_dim: int, dim: int, step_dim: int) -> None:
        super().__init__()
        self.norm1 = group_norm(in_dim)
        self.conv1 = nn.Conv2d(in_dim, dim, 3, 1, 1)
        self.step = nn.Linear(step_dim, dim * 2)
        self.norm2 = group_norm(dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, 1, 1)
        self.shortcut = nn.Identity() if in_dim == dim else nn.Conv2d(in_dim, dim, 1)
        zero(self.conv2)

    def forward(self, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """x (n, in_dim, h, w) and the embedding (n, step_dim) to (n, C, h, w)."""
        y = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.step(F.silu(step))[:, :, None, None].chunk(2, dim=1)
        y = torch.addcmul(shift, self.norm2(y), 1 + scale)
        return self.shortcut(x) + self.conv2(F.silu(y))


def zero(layer: nn.Conv2d | nn.Linear) -> None:
    """Let a layer begin with zeros."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
