"""The stages of SeeClear's Pixel Condenser: what one resolution of its U-Net does to the frames of a clip."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from .incam import InstanceAlignment, InstanceGuide
from .mfsa import SwinBlock
from .texture_memory import TextureReader
from .time_blocks import TimeResBlock

#: Keys and values of the texture memory for one stage.
Textures = tuple[torch.Tensor, torch.Tensor]


class ChannelAttention(nn.Module):
    """Transposed attention (Zamir et al., "Restormer", CVPR 2022, Eq. 1): channels attend to channels of their head.

    Args:
        dim: Channels C.
        num_heads: Heads; must divide C.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Conv2d(dim, dim * 3, 1)
        self.depthwise = nn.Conv2d(dim * 3, dim * 3, 3, 1, 1, groups=dim * 3)
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, C, h, w) to the same shape, with a residual."""
        normed = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        qkv = self.depthwise(self.qkv(normed)).flatten(2)
        q, k, v = qkv.unflatten(1, (3, self.num_heads, -1)).unbind(1)  # (n, heads, C / heads, h w)
        # the norms run over all pixels: in half precision they would overflow
        scores = F.normalize(q.float(), dim=-1) @ F.normalize(k.float(), dim=-1).mT
        attention = (scores * self.temperature).softmax(-1).to(v.dtype)
        return x + self.proj((attention @ v).flatten(1, 2).view(x.shape))


class AttentionStage(nn.Module):
    """Window attention and channel attention between two residual blocks (SeeClear, Section 3.1 and Appendix C).

    Args:
        in_dim: Channels in.
        dim: Channels C out.
        step_dim: Width of the step's embedding.
        num_heads: Heads.
        window_size: Frames, rows and columns of a window; with one frame, each frame is attended to for itself.
        mlp_ratio: Hidden channels of the MLP behind the window attention, in units of C.
        shifted: Shift the windows by half their rows and columns.
        windows: With window attention.
        channels: With channel attention.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        step_dim: int,
        num_heads: int,
        window_size: Sequence[int],
        mlp_ratio: float,
        shifted: bool,
        windows: bool,
        channels: bool,
    ) -> None:
        super().__init__()
        self.frames = window_size[0]
        self.first = TimeResBlock(in_dim, dim, step_dim)
        self.windows = SwinBlock(dim, window_size, num_heads, mlp_ratio, shifted) if windows else None
        self.channels = ChannelAttention(dim, num_heads) if channels else None
        self.second = TimeResBlock(dim, dim, step_dim)

    def forward(self, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """x (n, in_dim, h, w) of n = batch * frames and the embedding (n, step_dim) to (n, C, h, w)."""
        x = self.first(x, step)
        if self.windows is not None:
            clips = x.permute(0, 2, 3, 1).unflatten(0, (-1, self.frames))
            x = self.windows(clips).flatten(0, 1).permute(0, 3, 1, 2)
        if self.channels is not None:
            x = self.channels(x)
        return self.second(x, step)


class GuidedStage(nn.Module):
    """A stage of the middle or the decoder: InCAM in front, the memory of textures behind.

    Args:
        stage: The stage between the two.
        align: InCAM, or None.
        textures: The reader of the memory, or None.
    """

    def __init__(self, stage: AttentionStage, align: InstanceAlignment | None, textures: TextureReader | None) -> None:
        super().__init__()
        self.stage, self.align, self.textures = stage, align, textures

    def forward(
        self, x: torch.Tensor, step: torch.Tensor, guide: InstanceGuide | None, textures: Textures | None
    ) -> torch.Tensor:
        """x (n, in_dim, h, w) to (n, C, h, w).

        Args:
            x: Features.
            step: Embedding of the step (n, step_dim).
            guide: Of the clip, for InCAM.
            textures: Of the memory; None leaves it unread.
        """
        if self.align is not None:
            assert guide is not None
            x = self.align(x, guide)
        x = self.stage(x, step)
        if self.textures is not None and textures is not None:
            x = self.textures(x, textures)
        return x
