"""A network of somebody's own, as one new file: it tints frames by the share of them that is masked."""

from __future__ import annotations

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn
from torch.nn import functional as F

from basicsr_semantic.archs.semantic_arch import SemanticArch
from basicsr_semantic.priors import SemanticPriors


@ARCH_REGISTRY.register()
class ToyArch(nn.Module, SemanticArch):
    """Bilinear frames plus what a convolution makes of them and of the masked share of each pixel.

    Args:
        upscale: How many times it enlarges.
    """

    prior_fields = ('masks',)

    def __init__(self, upscale: int = 4) -> None:
        super().__init__()
        self.scale = upscale
        self.body = nn.Conv2d(4, 3 * upscale**2, 3, 1, 1)
        nn.init.zeros_(self.body.weight)

    def forward(self, lq: torch.Tensor, priors: SemanticPriors | None = None) -> torch.Tensor:
        """(b, t, 3, h, w) to (b, t, 3, scale h, scale w)."""
        assert priors is not None and priors.masks is not None
        share = priors.masks.float().mean(2, keepdim=True)
        x = torch.cat([lq, share], 2).flatten(0, 1)
        y = F.pixel_shuffle(self.body(x), self.scale) + F.interpolate(x[:, :3], scale_factor=self.scale)
        return y.unflatten(0, lq.shape[:2])
