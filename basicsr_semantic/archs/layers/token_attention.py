"""Pixels that attend to tokens: what ISEE, InCAM and the reading of CaTeGory have in common."""

from __future__ import annotations

import torch
from torch import nn

from .scaled_attention import scaled_attention


class TokenAttention(nn.Module):
    """Multi-head cross-attention of normed pixels to tokens. Keys and values may be worked out once for many calls.

    Args:
        dim: Channels C of the pixels.
        num_heads: Heads; must divide C.
        token_dim: Channels of the tokens.
    """

    def __init__(self, dim: int, num_heads: int, token_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key, self.value = (nn.Linear(token_dim, dim) for _ in range(2))
        self.proj = nn.Linear(dim, dim)

    def keys_values(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (b, n, token_dim) to keys and values (b, heads, n, C / heads)."""
        return self._heads(self.key(tokens)), self._heads(self.value(tokens))

    def attend(self, pixels: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """What the tokens say to pixels (b * k, ..., C), k frames of each of the b sets of tokens; the same shape."""
        q = self._heads(self.query(self.norm(pixels)).reshape(keys.size(0), -1, pixels.size(-1)))
        attended = scaled_attention(q, keys.to(q.dtype), values.to(q.dtype))
        return self.proj(attended.transpose(1, 2).flatten(2)).view(pixels.shape)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
