"""Post-norm transformer blocks of query decoders (DETR and what came after it), with their usual parameter names."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head attention with the parameters of ``nn.MultiheadAttention``, in its batch-first form.

    Projections and attention proper are separate methods, so that a caller can attend within parts of a sequence that
    was projected once.

    Args:
        dim: Width C.
        num_heads: Heads; divides ``dim``.

    Raises:
        ValueError: ``num_heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'A width of {dim} cannot be divided among {num_heads} heads.')
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def project(self, x: torch.Tensor, part: slice) -> torch.Tensor:
        """Apply neighbouring thirds of the input projection: ``slice(0, 2)`` gives queries and keys in a row."""
        dim = self.in_proj_weight.size(1)
        rows = slice(part.start * dim, part.stop * dim)
        return F.linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Attention of projected queries, before the output projection.

        Args:
            query: (n, q, C).
            key: (n, k, C).
            value: (n, k, C).
            mask: bool, broadcast to (n, heads, q, k), True where attention is allowed; every row needs one True.

        Returns:
            (n, q, C).
        """
        heads = [x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (query, key, value)]
        return F.scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2).flatten(2)

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As :meth:`attend` on inputs that are not projected yet, with the output projection."""
        query = self.project(query, slice(0, 1))
        key = self.project(key, slice(1, 2))
        value = self.project(value, slice(2, 3))
        return self.out_proj(self.attend(query, key, value, mask))


class SelfAttentionBlock(nn.Module):
    """x -> LayerNorm(x + attention(x)); positions are added to queries and keys only.

    Args:
        dim: Width C.
        num_heads: Heads.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.self_attn = Attention(dim, num_heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """x (n, q, C) and position, broadcast to it, to (n, q, C)."""
        placed = x + position
        return self.norm(x + self.self_attn(placed, placed, x))


class CrossAttentionBlock(nn.Module):
    """x -> LayerNorm(x + attention(x to a memory)).

    Args:
        dim: Width C.
        num_heads: Heads.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.multihead_attn = Attention(dim, num_heads)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        x: torch.Tensor,
        position: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """x (n, q, C), its position, keys and values (n, k, C), mask as in :meth:`Attention.attend`, to (n, q, C)."""
        return self.norm(x + self.multihead_attn(x + position, key, value, mask))


class FeedForwardBlock(nn.Module):
    """x -> LayerNorm(x + linear(ReLU(linear(x)))).

    Args:
        dim: Width C.
        hidden_dim: Width between the two layers.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, hidden_dim)
        self.linear2 = nn.Linear(hidden_dim, dim)
        self.norm = nn.LayerNorm(dim)
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C) to (..., C)."""
        return self.norm(x + self.linear2(F.relu(self.linear1(x))))


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        widths: Width of the input, of each layer between, and of the output.
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., first width) to (..., last width)."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)
