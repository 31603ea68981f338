"""Pixels that attend to tokens: what ISEE, InCAM and the reading of CaTeGory have in common."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .scaled_attention import scaled_attention


def known_tokens(tokens: torch.Tensor) -> torch.Tensor:
    """1 for the tokens (..., n, c) that say something, 0 for zero tokens: (..., n, 1), in the type of ``tokens``."""
    return (tokens != 0).any(-1, keepdim=True).to(tokens.dtype)


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

    def prior_keys_values(self, tokens: torch.Tensor, nothing: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of priors, among which a zero token says that nothing is known: its key and value are zero.

        Not for what is learned: values that start at zero would get no gradient.

        Args:
            tokens: (b, n, token_dim).
            nothing: Put a zero token behind them, for pixels that no token is about.

        Returns:
            Keys and values (b, heads, n, C / heads), n + 1 with ``nothing``.
        """
        known = known_tokens(tokens)[:, None]
        keys, values = (part * known for part in self.keys_values(tokens))
        return (F.pad(keys, (0, 0, 0, 1)), F.pad(values, (0, 0, 0, 1))) if nothing else (keys, values)

    def attend(self, pixels: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """What the tokens say to pixels (b * k, ..., C), k frames of each of the b sets of tokens; the same shape."""
        q = self._heads(self.query(self.norm(pixels)).reshape(keys.size(0), -1, pixels.size(-1)))
        attended = scaled_attention(q, keys.to(q.dtype), values.to(q.dtype))
        return self.proj(attended.transpose(1, 2).flatten(2)).view(pixels.shape)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
