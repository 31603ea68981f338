"""A video network of a few hundred parameters, for tests of everything around networks."""

from __future__ import annotations

import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY
from torch import nn
from torch.nn import functional as F


@ARCH_REGISTRY.register()
class TinyVSR(nn.Module):
    """Bilinear x4 plus what two convolutions find; ``spynet`` and ``body`` are there for their names.

    Args:
        num_feat (int): Channels. Default: 4.
    """

    def __init__(self, num_feat: int = 4) -> None:
        super().__init__()
        self.spynet = nn.Conv2d(3, num_feat, 3, 1, 1)
        self.body = nn.Conv2d(num_feat, 48, 3, 1, 1)

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        """(b, t, 3, h, w) to (b, t, 3, 4h, 4w)."""
        b, t = lq.shape[:2]
        x = lq.flatten(0, 1)
        y = F.pixel_shuffle(self.body(F.leaky_relu(self.spynet(x), 0.1)), 4)
        return (y + F.interpolate(x, scale_factor=4, mode='bilinear')).unflatten(0, (b, t))


@DATASET_REGISTRY.register()
class ForeignData(torch.utils.data.Dataset):
    """A data set of somebody else's, which reads a key that nobody knows of."""

    def __init__(self, opt) -> None:
        self.root = opt['secret']
