"""The pixel decoder: a deformable transformer over four scales, then one step of a feature pyramid.

Zhang et al., "A Simple Framework for Open-Vocabulary Segmentation and Detection" (ICCV 2023), after Mask DINO (CVPR
2023). Parameters have the released names.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ..layers.normed_conv import NormedConv
from ..layers.sine_positions import sine_positions
from .deformable_attention import DeformableAttention, Sizes, pixel_centres

#: Scales that the transformers see: strides 8, 16, 32 and 64.
LEVELS = 4


class DeformableEncoderLayer(nn.Module):
    """Every position reads all scales near itself; post-norm, positions are added to queries only.

    Args:
        dim: Width C.
        num_heads: Heads.
        points: Places that a head reads of each scale.
        feedforward_dim: Width inside the feed-forward part.
    """

    def __init__(self, dim: int, num_heads: int, points: int, feedforward_dim: int) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(dim, LEVELS, num_heads, points)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor, position: torch.Tensor, centres: torch.Tensor, sizes: Sizes) -> torch.Tensor:
        """x (n, p, C), positions (p, C) and centres (p, 2) of levels of ``sizes`` to (n, p, C)."""
        x = self.norm1(x + self.self_attn(x + position, centres, x, sizes))
        return self.norm2(x + self.linear2(F.relu(self.linear1(x))))


class DeformableEncoder(nn.Module):
    """Layers under the released name ``encoder.layers``, and an embedding of each scale.

    Args:
        layers: How many.
        dim: Width C.
        num_heads: Heads.
        points: Places that a head reads of each scale.
        feedforward_dim: Width inside the feed-forward parts.
    """

    def __init__(self, layers: int, dim: int, num_heads: int, points: int, feedforward_dim: int) -> None:
        super().__init__()
        encoder = nn.ModuleList(DeformableEncoderLayer(dim, num_heads, points, feedforward_dim) for _ in range(layers))
        self.encoder = nn.ModuleDict({'layers': encoder})
        self.level_embed = nn.Parameter(torch.randn(LEVELS, dim))

    def forward(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Four tensors (n, C, h, w) to four of the same shapes."""
        sizes = [(each.size(2), each.size(3)) for each in features]
        x = torch.cat([each.flatten(2).transpose(1, 2) for each in features], 1)
        position = torch.cat(
            [
                sine_positions(size, x.size(2), x.device).to(x.dtype) + embed
                for size, embed in zip(sizes, self.level_embed, strict=True)
            ]
        )
        centres = pixel_centres(sizes, x.device).to(x.dtype)
        for layer in self.encoder['layers']:  # pyright: ignore[reportGeneralTypeIssues]
            x = layer(x, position, centres, sizes)
        parts = x.split([h * w for h, w in sizes], 1)
        return [part.transpose(1, 2).unflatten(2, size) for part, size in zip(parts, sizes, strict=True)]


class DeformablePixelDecoder(nn.Module):
    """From the backbone's four scales to features for the queries and features for the masks.

    Args:
        in_dims: Widths of the four scales, the finest first.
        dim: Width C of all features inside.
        mask_dim: Width of the mask features.
        num_heads: Heads of the transformer.
        points: Places that a head reads of each scale.
        feedforward_dim: Width inside its feed-forward parts.
        layers: Its layers.
        norm_groups: Groups of the norms.
    """

    def __init__(
        self,
        in_dims: Sequence[int],
        dim: int,
        mask_dim: int,
        num_heads: int,
        points: int,
        feedforward_dim: int,
        layers: int,
        norm_groups: int,
    ) -> None:
        super().__init__()
        finest, *coarser = in_dims
        projections = [nn.Conv2d(width, dim, 1) for width in coarser]
        projections.append(nn.Conv2d(coarser[-1], dim, 3, stride=2, padding=1))
        self.input_proj = nn.ModuleList(nn.Sequential(conv, nn.GroupNorm(norm_groups, dim)) for conv in projections)
        for conv in projections:
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)  # pyright: ignore[reportArgumentType]
        self.transformer = DeformableEncoder(layers, dim, num_heads, points, feedforward_dim)
        self.adapter_1 = NormedConv(finest, dim, 1, norm_groups)
        self.layer_1 = NormedConv(dim, dim, 3, norm_groups)
        self.mask_features = nn.Conv2d(dim, mask_dim, 1)

    def forward(self, features: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Decode.

        Args:
            features: Four tensors (n, width, h / stride, w / stride), strides 4, 8, 16 and 32.

        Returns:
            Four tensors (n, C, h / stride, w / stride), strides 8, 16, 32 and 64 (rounded up), and the mask features
            (n, mask_dim, h / 4, w / 4).
        """
        finest, *coarser = features
        sources = [*coarser, coarser[-1]]  # the coarsest once more, for the scale of stride 64
        levels = self.transformer([project(each) for project, each in zip(self.input_proj, sources, strict=True)])
        side = self.adapter_1(finest)
        x = side + F.interpolate(levels[0], side.shape[-2:], mode='bilinear', align_corners=False)
        return levels, self.mask_features(F.relu(self.layer_1(x)))
