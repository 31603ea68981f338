"""SPACE, the semantics-powered attention cross-embedding of Semantic Lens: GPS, ISEE and the compression of tokens."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .mfsa import conv_channels_last
from .token_attention import TokenAttention, known_tokens


class TokenCompression(nn.Module):
    """Tokens of the semantic extractor to the channels of the features, once a clip.

    The paper says that 512 channels become 120. The LayerNorm, which it does not mention, makes the scale of the
    tokens independent of the extractor. A zero token, which stands for an unknown one, stays zero: behind a LayerNorm
    it would be as strong as any other.

    Args:
        token_dim: Channels of the tokens.
        dim: Channels C of the features.
    """

    def __init__(self, token_dim: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(token_dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(..., token_dim) to (..., C)."""
        return self.norm(self.linear(tokens)) * known_tokens(tokens)


class GlobalPerspectiveShifter(nn.Module):
    """GPS: scale and shift every pixel by the global token of its frame (Eq. 6 to 8). Starts as the identity.

    Args:
        dim: Channels C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, 1, 1)
        self.conv2 = nn.Conv2d(dim, dim * 2, 3, 1, 1)
        nn.init.zeros_(self.conv2.weight)
        assert self.conv2.bias is not None
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Modulate.

        Args:
            x: Features (b, t, h, w, c).
            tokens: Global tokens (b, t, c).

        Returns:
            (b, t, h, w, c).
        """
        # Eq. 6 prints a dot product, but its result has the shape C x H x W; that leaves the product by channel.
        extended = x * tokens[:, :, None, None, :].to(x.dtype)
        # Eq. 7: "two convolutional layers followed by a ReLU". A ReLU at the end would allow no negative scale or
        # shift, so it is between the layers.
        hidden = F.relu(conv_channels_last(self.conv1, extended), inplace=True)
        scale, shift = conv_channels_last(self.conv2, hidden).chunk(2, dim=-1)
        return torch.addcmul(shift, x, scale) + x  # Eq. 8


class InstanceEmbeddingEncoder(TokenAttention):
    """ISEE: pixels attend to the instance tokens of the clip (Eq. 9 to 11). Starts as the identity.

    The equations have three projections and one head. The norm of the pixels, the heads (those of the first group of
    blocks), the biases and the output projection are ours, as in the window attention that follows.

    Args:
        dim: Channels C.
        num_heads: Heads; must divide ``dim``.
        residual: Add the result to the features. False is Eq. 11 as printed.
        nothing: Pixels may attend to a zero token, too. As printed, a softmax over the instances gives every pixel of
            the background some instance's embedding.
    """

    def __init__(self, dim: int, num_heads: int = 6, residual: bool = True, nothing: bool = False) -> None:
        super().__init__(dim, num_heads, token_dim=dim)
        self.residual, self.nothing = residual, nothing
        if residual:
            nn.init.zeros_(self.proj.weight)
            nn.init.zeros_(self.proj.bias)

    def forward(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Embed.

        Args:
            x: Features (b, t, h, w, c).
            tokens: Instance tokens (b, n, c), n >= 1, the same for all frames.

        Returns:
            (b, t, h, w, c).
        """
        embedded = self.attend(x, *self.prior_keys_values(tokens, self.nothing))
        # Eq. 11 has no residual. A V is a mixture of a few tokens, so without one the pixels themselves would be lost,
        # while the text describes embedding priors "into the original features" like a position embedding.
        return x + embedded if self.residual else embedded


class SpaceBlock(nn.Module):
    """SPACE: GPS, then ISEE, in front of a group of blocks.

    Args:
        dim: Channels C.
        gps: With GPS.
        isee: With ISEE.
        num_heads: Heads of ISEE.
        isee_options: ``residual`` and ``nothing`` of :class:`InstanceEmbeddingEncoder`.
    """

    def __init__(self, dim: int, gps: bool = True, isee: bool = True, num_heads: int = 6, **isee_options: bool) -> None:
        super().__init__()
        self.gps = GlobalPerspectiveShifter(dim) if gps else None
        self.isee = InstanceEmbeddingEncoder(dim, num_heads, **isee_options) if isee else None

    def forward(
        self, x: torch.Tensor, global_tokens: torch.Tensor | None, instance_tokens: torch.Tensor | None
    ) -> torch.Tensor:
        """Features (b, t, h, w, c), global tokens (b, t, c) and instance tokens (b, n, c) to features."""
        if self.gps is not None:
            assert global_tokens is not None
            x = self.gps(x, global_tokens)
        if self.isee is not None:
            assert instance_tokens is not None
            x = self.isee(x, instance_tokens)
        return x
