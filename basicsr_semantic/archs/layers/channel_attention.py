"""Self-attention among channels: the relation of the bands of a wavelet packet to each other."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class ChannelAttention(nn.Module):
    """Transposed attention (Zamir et al., "Restormer", CVPR 2022, Eq. 1): channels attend to channels of their head.

    Args:
        dim: Channels C.
        num_heads: Heads; must divide C.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Conv2d(dim, dim * 3, 1)
        self.depthwise = nn.Conv2d(dim * 3, dim * 3, 3, 1, 1, groups=dim * 3)
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, C, h, w) to the same shape, with a residual."""
        normed = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        qkv = self.depthwise(self.qkv(normed)).flatten(2)
        q, k, v = qkv.unflatten(1, (3, self.num_heads, -1)).unbind(1)  # (n, heads, C / heads, h w)
        # the norms run over all pixels: in half precision they would overflow
        scores = F.normalize(q.float(), dim=-1) @ F.normalize(k.float(), dim=-1).mT
        attention = (scores * self.temperature).softmax(-1).to(v.dtype)
        return x + self.proj((attention @ v).flatten(1, 2).view(x.shape))
