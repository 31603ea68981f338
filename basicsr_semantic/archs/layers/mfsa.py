"""Multi-frame self-attention: Swin blocks over windows of a few frames, as PSRT stacks them ("Rethinking Alignment
in Video Super-Resolution Transformers", NeurIPS 2022). Parameters have the names of its released weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from .mlp import Mlp
from .window_attention import WindowAttention
from .windows import make_windows

Result = TypeVar('Result')

#: What a branch does before its k-th group of blocks: ``embed(k, x)``, x of shape (b, t, h, w, c).
Embed = Callable[[int, torch.Tensor], torch.Tensor]


def conv_channels_last(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Convolve each frame of (..., h, w, c); nothing is copied, since that is PyTorch's memory format channels_last."""
    out = conv(x.flatten(0, -4).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return out.contiguous().unflatten(0, x.shape[:-3])


def run(module: Callable[..., Result], *inputs: Any, checkpointing: bool) -> Result:
    """Call a module or a method; with ``checkpointing``, keep its inputs only and work it out again going backwards."""
    if checkpointing and torch.is_grad_enabled():
        result: Any = checkpoint(module, *inputs, use_reentrant=False)
        return result
    return module(*inputs)


class SwinBlock(nn.Module):
    """Window attention and an MLP, each after a LayerNorm and with a residual.

    Args:
        dim: Channels C.
        window_size: Frames, rows and columns of a window; the frames are all that there are.
        num_heads: Heads.
        mlp_ratio: Hidden channels of the MLP, in units of C.
        shifted: Shift the windows by half their rows and columns.
        drop_path: Probability of leaving out attention, and the MLP, of a sample in training.
    """

    def __init__(
        self,
        dim: int,
        window_size: Sequence[int],
        num_heads: int,
        mlp_ratio: float,
        shifted: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.window = (window_size[1], window_size[2])
        self.shift = (window_size[1] // 2, window_size[2] // 2) if shifted else (0, 0)
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, window_size, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, t, h, w, c) to the same shape, for any h and w."""
        b, t, h, w, _ = x.shape
        windows = make_windows((b, t, h, w), self.window, self.shift, x.device)
        attended = self.attn(windows.split(self.norm1(x)), windows.mask, windows.counts)
        x = x + self._drop(windows.join(attended, x.shape))
        return x + self._drop(self.mlp(self.norm2(x)))

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        """Stochastic depth. A multiplication even where all samples are left out, so that every gradient exists."""
        if not self.training or self.drop_path == 0:
            return x
        keep = 1 - self.drop_path
        return x * x.new_empty(x.size(0), *[1] * (x.dim() - 1)).bernoulli_(keep).div_(keep)


class _Blocks(nn.Module):
    """Blocks, named as in the released weights."""

    def __init__(self, blocks: list[SwinBlock]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)


class MultiFrameAttention(nn.Module):
    """MFSAB: Swin blocks, alternately unshifted and shifted, a convolution of each frame, and a residual.

    Args:
        dim: Channels C.
        window_size: Frames, rows and columns of a window.
        num_heads: Heads.
        mlp_ratio: Hidden channels of the MLPs, in units of C.
        drop_paths: Probability of leaving out, for every block; as many blocks are made.
    """

    def __init__(
        self, dim: int, window_size: Sequence[int], num_heads: int, mlp_ratio: float, drop_paths: Sequence[float]
    ) -> None:
        super().__init__()
        self.residual_group = _Blocks(
            [SwinBlock(dim, window_size, num_heads, mlp_ratio, i % 2 == 1, p) for i, p in enumerate(drop_paths)]
        )
        self.conv = nn.Conv2d(dim, dim, 3, 1, 1)

    def forward(self, x: torch.Tensor, checkpointing: bool = False) -> torch.Tensor:
        """(b, t, h, w, c) to the same shape."""
        y = x
        for block in self.residual_group.blocks:
            y = run(block, y, checkpointing=checkpointing)
        return conv_channels_last(self.conv, y) + x


class _PatchEmbed(nn.Module):
    """A LayerNorm, named as in the released weights."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)


class PropagationBranch(nn.Module):
    """Body of a propagation branch: LayerNorm, groups of blocks, LayerNorm, and a convolution of the middle frame.

    Args:
        dim: Channels C.
        depths: Blocks of each group.
        num_heads: Heads of each group.
        window_size: Frames, rows and columns of a window.
        mlp_ratio: Hidden channels of the MLPs, in units of C.
        drop_path_rate: Probability of leaving out the last block in training; it grows linearly from 0 at the first.
    """

    def __init__(
        self,
        dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_size: Sequence[int],
        mlp_ratio: float,
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        number = sum(depths)
        rates = iter([drop_path_rate * i / max(number - 1, 1) for i in range(number)])
        self.patch_embed = _PatchEmbed(dim)
        self.layers = nn.ModuleList(
            MultiFrameAttention(dim, window_size, heads, mlp_ratio, list(islice(rates, depth)))
            for heads, depth in zip(num_heads, depths, strict=True)
        )
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = nn.Conv2d(dim, dim, 3, 1, 1)
        self.apply(_initialise)

    def forward(self, x: torch.Tensor, embed: Embed | None = None, checkpointing: bool = False) -> torch.Tensor:
        """Refine the middle frame.

        Args:
            x: Features of an odd number of frames (b, t, h, w, c).
            embed: Called before each group of blocks.
            checkpointing: Work blocks out again in the backward pass instead of keeping what they need for it.

        Returns:
            (b, h, w, c).
        """
        middle = x.size(1) // 2
        centre = x[:, middle]
        x = self.patch_embed.norm(x)
        for k, layer in enumerate(self.layers):
            x = layer(x if embed is None else embed(k, x), checkpointing)
        return conv_channels_last(self.conv_after_body, self.norm(x[:, middle])) + centre


def _initialise(module: nn.Module) -> None:
    """Linear layers as the released code starts them."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
