"""The two-layer network of transformer blocks."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Mlp(nn.Module):
    """Linear, GELU, linear.

    Args:
        dim: Channels in and out.
        hidden: Channels between.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., dim) to (..., dim)."""
        return self.fc2(F.gelu(self.fc1(x)))
