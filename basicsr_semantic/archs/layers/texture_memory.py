"""CaTeGory, the channel-wise texture aggregation memory of SeeClear (Section 3.3), carried from clip to clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn import functional as F

from .choices import check_choice
from .query_blocks import Attention
from .time_blocks import zero
from .token_attention import TokenAttention

# Features of a level are averaged to so many cells a side before they enter the memory.
_CELLS = 8

MemoryStart = Literal['unit', 'near_zero']


@dataclass
class MemoryState:
    """The running memory of a batch of videos; a value, never changed in place.

    Attributes:
        semantics: C of Eq. 16 (b, J, N, M), for J groups, N clip tokens, M items.
        textures: T of Eq. 16 (b, J, M, d).
    """

    semantics: torch.Tensor
    textures: torch.Tensor

    def detach(self) -> MemoryState:
        """The same without the history of the textures; semantics are parameters, and have none."""
        return MemoryState(self.semantics, self.textures.detach())


class TextureMemory(nn.Module):
    """Read textures by the channels of the clip's tokens, and update them from the features of the decoder.

    C and T must agree in the number of items and, by Eq. 17, T^ = C T in that of the tokens: so M = N.

    The paper initialises C and T with zeros. Then A T and C T are zero, and no gradient reaches either but rounding
    errors. Here neither is, and the update is added to the T that was learned. The readers start as the identity, so
    the network starts as it is without the memory.

    Args:
        dim: Width d of clip tokens and textures.
        num_tokens: Tokens N of a clip.
        groups: Groups J.
        num_heads: Heads of the attentions of the update.
        level_dims: Channels of the features of each decoder layer.
        start: ``unit``: C has a standard deviation of 1 / sqrt(N), so that the scores of Eq. 19 for tokens of unit size
            have one of 1, and T has one of 1. ``near_zero``: 0.02 for C, and T is zero; then the softmax of Eq. 19 is
            uniform, whatever the tokens say.

    Raises:
        ValueError: Another start.
    """

    def __init__(
        self,
        dim: int,
        num_tokens: int,
        groups: int,
        num_heads: int,
        level_dims: Sequence[int],
        start: MemoryStart = 'unit',
    ) -> None:
        super().__init__()
        check_choice('memory_start', start, get_args(MemoryStart))
        self.semantics = nn.Parameter(torch.empty(groups, num_tokens, num_tokens))
        self.textures = nn.Parameter(torch.zeros(groups, num_tokens, dim))
        nn.init.trunc_normal_(self.semantics, std=num_tokens**-0.5 if start == 'unit' else 0.02)
        if start == 'unit':
            nn.init.normal_(self.textures)
        self.levels = nn.ModuleList(nn.Conv2d(channels, dim, 1) for channels in level_dims)
        self.level_embed = nn.Parameter(torch.empty(len(level_dims), dim))
        nn.init.trunc_normal_(self.level_embed, std=0.02)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(5))
        self.cross, self.own = Attention(dim, num_heads), Attention(dim, num_heads)
        self.feedforward = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, dim * 4), nn.GELU(), nn.Linear(dim * 4, dim)) for _ in range(2)
        )
        self.write = nn.Linear(dim, dim)
        zero(self.write)

    def initial(self, batch: int) -> MemoryState:
        """What was learned from the whole data set: the state at the start of a video."""
        return MemoryState(self.semantics.expand(batch, -1, -1, -1), self.textures.expand(batch, -1, -1, -1))

    def read(self, clip_tokens: torch.Tensor, state: MemoryState) -> torch.Tensor:
        """Textures for the channels of the clip's tokens (Eq. 19, and A T of Eq. 20).

        Args:
            clip_tokens: O_c (b, N, d).
            state: The memory.

        Returns:
            (b, J d, d).
        """
        scores = clip_tokens.mT[:, None] @ state.semantics.to(clip_tokens.dtype)  # (b, J, d, M)
        return (scores.softmax(-1) @ state.textures.to(clip_tokens.dtype)).flatten(1, 2)

    def update(self, state: MemoryState, features: Sequence[torch.Tensor]) -> MemoryState:
        """Take in what a clip showed (Eq. 16 to 18). Pure: the given state stays as it is.

        Eq. 16 returns new semantics, too, but no equation makes them: they stay as they were learned.

        Args:
            state: The memory before.
            features: Of every decoder layer (b, T, C_k, h_k, w_k), of the last step of the diffusion.
        """
        tokens = torch.cat(
            [
                (F.adaptive_avg_pool2d(conv(x.flatten(0, 1)), _CELLS).flatten(2).mT + embed)  # (b T, cells, d)
                .unflatten(0, x.shape[:2])
                .flatten(1, 2)
                for conv, embed, x in zip(self.levels, self.level_embed, features, strict=True)
            ],
            dim=1,
        )
        groups = state.textures.size(1)
        tokens = tokens.repeat_interleave(groups, dim=0)  # (b J, tokens, d)
        x = (state.semantics @ state.textures).flatten(0, 1).to(tokens.dtype)  # Eq. 17
        x = x + self.cross(self.norms[0](x), tokens, tokens)
        x = x + self.feedforward[0](self.norms[1](x))
        y = self.norms[2](x)
        x = x + self.own(y, y, y)
        x = x + self.feedforward[1](self.norms[3](x))
        # Eq. 18 replaces T by the result, whose N rows belong to tokens; M = N. Here the result is added, from zero on,
        # to what was learned, so that the memory starts as that and its gradient does not vanish. Added to the T before
        # it would grow with every clip of a video; that T takes part through T^.
        written = self.write(self.norms[4](x)).unflatten(0, (-1, groups))
        return MemoryState(state.semantics, self.textures + written.to(self.textures.dtype))


class TextureReader(TokenAttention):
    """Bring what was read to the features of one layer (Eq. 20). Starts as the identity.

    Args:
        dim: Channels C.
        num_heads: Heads.
        texture_dim: Width d of the textures.
    """

    def __init__(self, dim: int, num_heads: int, texture_dim: int) -> None:
        super().__init__(dim, num_heads, texture_dim)
        zero(self.proj)

    def forward(self, x: torch.Tensor, guide: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Features (n, C, h, w) of n = b * frames to the same shape; ``guide`` are keys and values of the textures."""
        pixels = x.permute(0, 2, 3, 1)
        return (pixels + self.attend(pixels, *guide)).permute(0, 3, 1, 2)
