"""The transformer decoder of X-Decoder: object queries and one global query read the image.

Zou et al., "Generalized Decoding for Pixel, Image, and Language" (CVPR 2023), after Mask2Former (CVPR 2022).
Parameters have the released names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from ...archs.layers.query_blocks import MLP, CrossAttentionBlock, FeedForwardBlock, SelfAttentionBlock
from ..layers.language import LanguagePart, unit
from ..layers.sine_positions import sine_positions


class ObjectSelfAttention(SelfAttentionBlock):
    """Self-attention in which object queries and the global query, the last one, do not see each other."""

    def forward(self, x: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """x (n, K + 1, C) and positions (K + 1, C) to (n, K + 1, C)."""
        placed = x + position
        whole = torch.arange(x.size(1), device=x.device) == x.size(1) - 1
        return self.norm(x + self.self_attn(placed, placed, x, mask=whole[:, None] == whole))


@dataclass
class Prediction:
    """What the heads read off the queries after one decoder layer; K object tokens, then the global one."""

    tokens: torch.Tensor
    """(n, K + 1, C) normalised queries; the last slot is the recomputed global token."""
    class_embeds: torch.Tensor
    """(n, K + 1, projection_dim) to be compared with texts."""
    masks: torch.Tensor
    """(n, K + 1, h / 4, w / 4) mask logits."""


class Predictor(nn.Module):
    """The decoder and its heads.

    Args:
        dim: Width C.
        projection_dim: Width of class and text embeddings.
        mask_dim: Width of the mask features.
        num_queries: Object queries K plus the global one.
        num_heads: Heads.
        feedforward_dim: Width inside the feed-forward parts.
        layers: Decoder layers.
    """

    def __init__(
        self,
        dim: int,
        projection_dim: int,
        mask_dim: int,
        num_queries: int,
        num_heads: int,
        feedforward_dim: int,
        layers: int,
    ) -> None:
        super().__init__()
        count = range(layers)
        self.transformer_cross_attention_layers = nn.ModuleList(CrossAttentionBlock(dim, num_heads) for _ in count)
        self.transformer_self_attention_layers = nn.ModuleList(ObjectSelfAttention(dim, num_heads) for _ in count)
        self.transformer_ffn_layers = nn.ModuleList(FeedForwardBlock(dim, feedforward_dim) for _ in count)
        self.decoder_norm = nn.LayerNorm(dim)
        self.query_feat = nn.Embedding(num_queries, dim)
        self.query_embed = nn.Embedding(num_queries, dim)
        self.level_embed = nn.Embedding(3, dim)
        self.mask_embed = MLP(dim, dim, dim, mask_dim)
        self.class_embed = nn.Parameter(torch.empty(dim, projection_dim))
        nn.init.trunc_normal_(self.class_embed, std=0.02)
        self.lang_encoder = LanguagePart()

    def forward(self, levels: Sequence[torch.Tensor], mask_features: torch.Tensor) -> list[Prediction]:
        """Decode.

        Args:
            levels: Three tensors (n, C, h, w), the coarsest first.
            mask_features: (n, mask_dim, h / 4, w / 4).

        Returns:
            The prediction of the learned queries themselves, then one for each layer.
        """
        sizes, keys, values = [], [], []
        for level, embed in zip(levels, self.level_embed.weight, strict=True):
            values.append(level.flatten(2).transpose(1, 2) + embed)
            position = sine_positions(level.shape[-2:], level.size(1), level.device)
            keys.append(values[-1] + position.to(level.dtype))
            sizes.append(level.shape[-2:])
        x = self.query_feat.weight.expand(mask_features.size(0), -1, -1)
        position = self.query_embed.weight
        predictions = [self._predict(x, mask_features)]
        layers = zip(
            self.transformer_cross_attention_layers,
            self.transformer_self_attention_layers,
            self.transformer_ffn_layers,
            strict=True,
        )
        for i, (cross_attention, self_attention, feed_forward) in enumerate(layers):
            level = i % len(sizes)
            allowed = attended_region(predictions[-1].masks, sizes[level])
            x = cross_attention(x, position, keys[level], values[level], mask=allowed)
            x = feed_forward(self_attention(x, position))
            predictions.append(self._predict(x, mask_features))
        return predictions

    def _predict(self, x: torch.Tensor, mask_features: torch.Tensor) -> Prediction:
        tokens = recompute_global(self.decoder_norm(x))
        masks = torch.einsum('nqc,nchw->nqhw', self.mask_embed(tokens), mask_features)
        return Prediction(tokens, tokens @ self.class_embed, masks)


def recompute_global(tokens: torch.Tensor) -> torch.Tensor:
    """Replace the last slot by a sum of the object tokens, weighted by the softmax of their cosine to it.

    The cosines are taken as they are, without a temperature.

    Args:
        tokens: (n, K + 1, C).

    Returns:
        (n, K + 1, C); the first K are unchanged.
    """
    directions = unit(tokens)
    weights = (directions[:, -1:] @ directions[:, :-1].transpose(1, 2)).softmax(-1)
    return torch.cat((tokens[:, :-1], weights @ tokens[:, :-1]), 1)


def attended_region(masks: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Where each query may look next: inside its own mask, or everywhere if that is empty.

    The global query is masked like the others. X-Decoder means to except it but addresses the row after the last one,
    so the released weights have learned with the mask.

    Args:
        masks: (n, K + 1, h, w) logits.
        size: Height and width of the level that is attended to.

    Returns:
        (n, 1, K + 1, height * width) bool, True where attention is allowed; no row is all False. It has no gradient.
    """
    resized = F.interpolate(
        masks.detach().float(), size=tuple(size), mode='bicubic', align_corners=False, antialias=True
    ).flatten(2)
    allowed = resized.sigmoid() >= 0.5
    return (allowed | ~allowed.any(-1, keepdim=True))[:, None]
