"""Queries: chosen among the positions of the image by their likeness to texts, then decoded.

Zhang et al., "A Simple Framework for Open-Vocabulary Segmentation and Detection" (ICCV 2023), after DINO (ICLR 2023)
and Mask DINO (CVPR 2023). Parameters have the released names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ...archs.layers.query_blocks import MLP, Attention
from ..layers.language import LanguagePart, unit
from .deformable_attention import DeformableAttention, Sizes, pixel_centres
from .pixel_decoder import LEVELS

_EPSILON = 1e-5  # boxes end this far from 0 and 1 before their logits are taken
_BOX_SIDE = 0.05  # first guess of a box's sides at the coarsest level
_INSIDE = (0.01, 0.99)  # a position is a candidate if its first box lies between


class DecoderLayer(nn.Module):
    """Queries see each other, then the image within their boxes; post-norm.

    Args:
        dim: Width C.
        num_heads: Heads.
        points: Places that a head reads of each scale.
        feedforward_dim: Width inside the feed-forward part.
    """

    def __init__(self, dim: int, num_heads: int, points: int, feedforward_dim: int) -> None:
        super().__init__()
        self.cross_attn = DeformableAttention(dim, LEVELS, num_heads, points)
        self.norm1 = nn.LayerNorm(dim)
        self.self_attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self, x: torch.Tensor, position: torch.Tensor, boxes: torch.Tensor, memory: torch.Tensor, sizes: Sizes
    ) -> torch.Tensor:
        """x and positions (n, q, C), boxes (n, q, 4) and memory (n, p, C) of levels of ``sizes`` to (n, q, C)."""
        placed = x + position
        x = self.norm2(x + self.self_attn(placed, placed, x))
        x = self.norm1(x + self.cross_attn(x + position, boxes, memory, sizes))
        return self.norm3(x + self.linear2(F.relu(self.linear1(x))))


class BoxGuidedDecoder(nn.Module):
    """Layers and the embedding of boxes under the released names ``layers`` and ``ref_point_head``.

    Args:
        layers: How many.
        dim: Width C.
        num_heads: Heads.
        points: Places that a head reads of each scale.
        feedforward_dim: Width inside the feed-forward parts.
    """

    def __init__(self, layers: int, dim: int, num_heads: int, points: int, feedforward_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(dim, num_heads, points, feedforward_dim) for _ in range(layers))
        self.ref_point_head = MLP(2 * dim, dim, dim)


class QueryDecoder(nn.Module):
    """Two-stage query selection, the decoder and its heads.

    The released file names some parameters more than once (``decoder.norm`` is ``decoder_norm``; every ``bbox_embed.i``
    is ``_bbox_embed``); here each has one name.

    Args:
        dim: Width C.
        projection_dim: Width P of class and text embeddings.
        mask_dim: Width of the mask features.
        num_queries: Queries Q.
        num_heads: Heads.
        points: Places that a head reads of each scale.
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
        points: int,
        feedforward_dim: int,
        layers: int,
    ) -> None:
        super().__init__()
        self.num_queries = num_queries
        self.enc_output = nn.Linear(dim, dim)
        self.enc_output_norm = nn.LayerNorm(dim)
        self.class_embed = nn.Parameter(torch.empty(dim, projection_dim))
        nn.init.trunc_normal_(self.class_embed, std=0.02)
        self.mask_embed = MLP(dim, dim, dim, mask_dim)
        self.decoder_norm = nn.LayerNorm(dim)
        self.decoder = BoxGuidedDecoder(layers, dim, num_heads, points, feedforward_dim)
        self._bbox_embed = MLP(dim, dim, dim, 4)
        nn.init.zeros_(self._bbox_embed.layers[-1].weight)  # pyright: ignore[reportArgumentType]
        nn.init.zeros_(self._bbox_embed.layers[-1].bias)  # pyright: ignore[reportArgumentType]
        self.lang_encoder = LanguagePart()

    def forward(self, levels: Sequence[torch.Tensor], text_embeddings: torch.Tensor) -> torch.Tensor:
        """Decode.

        Args:
            levels: Four tensors (n, C, h, w), the finest first.
            text_embeddings: (V, P).

        Returns:
            Tokens (n, Q, C).
        """
        levels = levels[::-1]
        sizes = [(each.size(2), each.size(3)) for each in levels]
        memory = torch.cat([each.flatten(2).transpose(1, 2) for each in levels], 1)
        x, boxes = self.select(memory, sizes, text_embeddings)
        for layer in self.decoder.layers:
            position = self.decoder.ref_point_head(box_embedding(boxes, x.size(2)))
            x = layer(x, position, boxes, memory, sizes)
            boxes = (self._bbox_embed(x) + box_logits(boxes)).sigmoid().detach()
        # The decoder normalises what each layer gives, and the heads normalise it once more, with the same weights.
        return self.decoder_norm(self.decoder_norm(x))

    def select(
        self, memory: torch.Tensor, sizes: Sizes, text_embeddings: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose the positions that are most like any of the texts.

        A position at the frame's border is not a candidate. Where there are fewer candidates than queries, the rest are
        all alike: what the network makes of an empty position, with the whole frame's right lower corner as centre and
        all of the frame as size.

        Args:
            memory: (n, positions, C), the coarsest level first.
            sizes: Height and width of each level.
            text_embeddings: (V, P).

        Returns:
            Queries (n, Q, C) and their boxes (n, Q, 4), centre x, y, width, height in 0 to 1, without gradient; the
            most similar first.
        """
        guesses = first_boxes(sizes, memory.device).to(memory.dtype)
        # Images with fewer positions than queries, which the released code cannot read, get more empty positions.
        lacking = max(0, self.num_queries - len(guesses))
        guesses = F.pad(guesses, (0, 0, 0, lacking), value=0.0)
        candidate = ((guesses > _INSIDE[0]) & (guesses < _INSIDE[1])).all(-1)
        features = F.pad(memory, (0, 0, 0, lacking)) * candidate[:, None]
        features = self.enc_output_norm(self.enc_output(features))
        likeness = self.class_scores(features, text_embeddings).amax(-1).masked_fill(~candidate, -torch.inf)
        chosen = likeness.topk(self.num_queries, dim=1).indices[..., None]
        queries = features.gather(1, chosen.expand(-1, -1, features.size(2)))
        logits = guesses.logit()[chosen[..., 0]]
        boxes = (self._bbox_embed(queries) + logits).sigmoid().masked_fill(~candidate[chosen], 1.0)
        return queries.detach(), boxes.detach()

    def class_scores(self, x: torch.Tensor, text_embeddings: torch.Tensor) -> torch.Tensor:
        """Scaled cosine similarities of x (..., C) to texts (V, P): (..., V)."""
        scale = self.lang_encoder.logit_scale.exp()
        return scale * unit(x @ self.class_embed) @ text_embeddings.T

    def masks(self, tokens: torch.Tensor, mask_features: torch.Tensor) -> torch.Tensor:
        """Mask logits (n, Q, h, w) of tokens (n, Q, C) in mask features (n, mask_dim, h, w)."""
        return torch.einsum('nqc,nchw->nqhw', self.mask_embed(tokens), mask_features)


def first_boxes(sizes: Sizes, device: torch.device | str | None = None) -> torch.Tensor:
    """A square around each position, (positions, 4) float32: centre x, y, width, height in 0 to 1.

    Squares double from level to level in the order given. OpenSeeD gives the coarsest level first, so that the smallest
    squares are those of the coarsest positions; its weights have learned with that.
    """
    sides = [torch.full((h * w, 2), _BOX_SIDE * 2.0**i, device=device) for i, (h, w) in enumerate(sizes)]
    return torch.cat((pixel_centres(sizes, device), torch.cat(sides)), -1)


def box_logits(boxes: torch.Tensor) -> torch.Tensor:
    """Inverse of the sigmoid; 0 and 1 give finite values."""
    return (boxes.clamp(min=_EPSILON) / (1 - boxes).clamp(min=_EPSILON)).log()


def box_embedding(boxes: torch.Tensor, dim: int) -> torch.Tensor:
    """Sines and cosines of the four numbers of boxes.

    Args:
        boxes: (..., 4), centre x, y, width, height in 0 to 1.
        dim: Width C; each number takes half of it.

    Returns:
        (..., 2 C), in the order y, x, width, height.
    """
    half = dim // 2
    exponents = torch.arange(half, device=boxes.device).div(2, rounding_mode='floor') * 2 / half
    angles = 2 * math.pi * boxes[..., (1, 0, 2, 3), None] / torch.pow(10000, exponents).to(boxes.dtype)
    return torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), -1).flatten(-3)
