"""The backbone: Swin Transformer (Liu et al., ICCV 2021), with the released parameter names.

Not torchvision's: that one does not shift windows which are larger than the features, and OpenSeeD's weights were
trained and tested with the shift.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ...archs.layers.mlp import Mlp
from ...archs.layers.window_attention import WindowAttention
from ...archs.layers.windows import make_windows

PATCH = 4


class SwinTransformerBlock(nn.Module):
    """Window attention, then an MLP, each with a norm before and a residual connection.

    Args:
        dim: Width C.
        num_heads: Heads.
        window_size: Side of a window in tokens.
        shift: Rows and columns by which the windows are shifted.
        mlp_ratio: Width inside the MLP over C.
    """

    def __init__(self, dim: int, num_heads: int, window_size: int, shift: int, mlp_ratio: float) -> None:
        super().__init__()
        self.window, self.shift = (window_size, window_size), (shift, shift)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, (1, window_size, window_size), num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, round(dim * mlp_ratio))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, h, w, C) to (n, h, w, C)."""
        y = self.norm1(x)[:, None]  # each image is one frame, so that windows stay within it
        n, t, h, w, _ = y.shape
        # Tokens beyond the frame are zeros after the norm and attended to like others, as released.
        windows = make_windows((n, t, h, w), self.window, self.shift, y.device)
        y = windows.join(self.attn(windows.split(y), windows.mask, windows.counts), y.shape)
        x = x + y[:, 0]
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Two by two neighbours become one token of twice the width.

    Args:
        dim: Width C before.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, h, w, C) to (n, h / 2, w / 2, 2 C), both rounded up."""
        x = F.pad(x, (0, 0, 0, x.size(2) % 2, 0, x.size(1) % 2))
        # The order of the four neighbours is that of columns: upper left, lower left, upper right, lower right.
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).permute(0, 1, 3, 4, 2, 5).flatten(3)
        return self.reduction(self.norm(x))


class SwinStage(nn.Module):
    """Blocks of one scale and, but for the last stage, the step to the next.

    Args:
        dim: Width C.
        depth: Blocks; every second one has shifted windows.
        num_heads: Heads.
        window_size: Side of a window in tokens.
        mlp_ratio: Width inside the MLPs over C.
        last: Whether no stage follows.
    """

    def __init__(self, dim: int, depth: int, num_heads: int, window_size: int, mlp_ratio: float, last: bool) -> None:
        super().__init__()
        shifts = [0 if i % 2 == 0 else window_size // 2 for i in range(depth)]
        self.blocks = nn.ModuleList(
            SwinTransformerBlock(dim, num_heads, window_size, shift, mlp_ratio) for shift in shifts
        )
        if not last:
            self.downsample = PatchMerging(dim)


class PatchEmbedding(nn.Module):
    """Patches of 4 x 4 pixels to tokens.

    Args:
        dim: Width C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, PATCH)
        self.norm = nn.LayerNorm(dim)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, H, W), multiples of 4, to (n, H / 4, W / 4, C)."""
        return self.norm(self.proj(images).permute(0, 2, 3, 1))


class SwinTransformer(nn.Module):
    """Four stages; the tokens of each are normalised on their way out.

    Args:
        embed_dim: Width of the first stage; it doubles from stage to stage.
        depths: Blocks of each stage.
        num_heads: Heads of each stage.
        window_size: Side of a window in tokens.
        mlp_ratio: Width inside the MLPs over that outside.
    """

    def __init__(
        self, embed_dim: int, depths: Sequence[int], num_heads: Sequence[int], window_size: int, mlp_ratio: float
    ) -> None:
        super().__init__()
        self.widths = [embed_dim * 2**i for i in range(len(depths))]
        self.patch_embed = PatchEmbedding(embed_dim)
        self.layers = nn.ModuleList(
            SwinStage(width, depth, heads, window_size, mlp_ratio, last=i == len(depths) - 1)
            for i, (width, depth, heads) in enumerate(zip(self.widths, depths, num_heads, strict=True))
        )
        for i, width in enumerate(self.widths):
            self.add_module(f'norm{i}', nn.LayerNorm(width))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Images (n, 3, H, W), multiples of 32, to features (n, width, H / stride, W / stride), strides 4 to 32."""
        x = self.patch_embed(images)
        features = []
        for i, stage in enumerate(self.layers):
            for block in stage.blocks:  # pyright: ignore[reportGeneralTypeIssues]
                x = block(x)
            features.append(self.get_submodule(f'norm{i}')(x).permute(0, 3, 1, 2))
            if i < len(self.widths) - 1:
                x = stage.downsample(x)  # pyright: ignore[reportCallIssue]
        return features
