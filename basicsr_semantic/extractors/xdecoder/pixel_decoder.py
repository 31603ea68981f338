"""The pixel decoder of X-Decoder: a transformer on the coarsest features, then a feature pyramid.

Zou et al., "Generalized Decoding for Pixel, Image, and Language" (CVPR 2023), after MaskFormer (NeurIPS 2021).
Parameters have the released names.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ...archs.layers.query_blocks import Attention
from ..layers.normed_conv import NormedConv, initialise
from ..layers.sine_positions import sine_positions


class EncoderLayer(nn.Module):
    """A post-norm transformer layer; positions are added to queries and keys only.

    Args:
        dim: Width C.
        num_heads: Heads.
        feedforward_dim: Width inside the feed-forward part.
    """

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int) -> None:
        super().__init__()
        self.self_attn = Attention(dim, num_heads)
        self.linear1 = nn.Linear(dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(self, x: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """x (n, p, C) and positions (p, C) to (n, p, C)."""
        placed = x + position
        x = self.norm1(x + self.self_attn(placed, placed, x))
        return self.norm2(x + self.linear2(F.relu(self.linear1(x))))


class Encoder(nn.Module):
    """Layers under the released name ``encoder.layers``.

    Args:
        layers: How many.
        dim: Width C.
        num_heads: Heads.
        feedforward_dim: Width inside the feed-forward parts.
    """

    def __init__(self, layers: int, dim: int, num_heads: int, feedforward_dim: int) -> None:
        super().__init__()
        encoder = nn.ModuleList(EncoderLayer(dim, num_heads, feedforward_dim) for _ in range(layers))
        self.encoder = nn.ModuleDict({'layers': encoder})

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(n, C, h, w) to (n, C, h, w)."""
        size = features.shape[-2:]
        position = sine_positions(size, features.size(1), features.device).to(features.dtype)
        x = features.flatten(2).transpose(1, 2)
        for layer in self.encoder['layers']:  # pyright: ignore[reportGeneralTypeIssues]
            x = layer(x, position)
        return x.transpose(1, 2).unflatten(2, size)


class PixelDecoder(nn.Module):
    """From the backbone's four scales to features for the queries and features for the masks.

    Args:
        in_dims: Widths of the four scales, the finest first.
        dim: Width C of all features inside.
        mask_dim: Width of the mask features.
        num_heads: Heads of the transformer.
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
        feedforward_dim: int,
        layers: int,
        norm_groups: int,
    ) -> None:
        super().__init__()
        *finer, coarsest = in_dims
        self.scales = len(in_dims)
        self.input_proj = initialise(nn.Conv2d(coarsest, dim, 1))
        self.transformer = Encoder(layers, dim, num_heads, feedforward_dim)
        for i, width in enumerate(finer, 1):
            self.add_module(f'adapter_{i}', NormedConv(width, dim, 1, norm_groups))
        for i in range(1, self.scales + 1):
            self.add_module(f'layer_{i}', NormedConv(dim, dim, 3, norm_groups))
        self.mask_features = initialise(nn.Conv2d(dim, mask_dim, 3, padding=1))

    def forward(self, features: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Decode.

        Args:
            features: Four tensors (n, width, h / stride, w / stride), strides 4, 8, 16 and 32.

        Returns:
            Three tensors (n, C, h / stride, w / stride), strides 32, 16 and 8, and the mask features
            (n, mask_dim, h / 4, w / 4).
        """
        x = F.relu(self.get_submodule(f'layer_{self.scales}')(self.transformer(self.input_proj(features[-1]))))
        levels = [x]
        for i in range(self.scales - 1, 0, -1):
            side = self.get_submodule(f'adapter_{i}')(features[i - 1])
            x = F.relu(self.get_submodule(f'layer_{i}')(side + F.interpolate(x, side.shape[-2:], mode='nearest')))
            levels.append(x)
        return levels[:3], self.mask_features(x)
