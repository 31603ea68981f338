"""The backbone of X-Decoder: a focal modulation network with overlapping patches.

Yang et al., "Focal Modulation Networks" (NeurIPS 2022), in the two forms that X-Decoder's weights were released for:
Focal-T has depthwise convolutions between the parts of a block, Focal-L has none. Parameters have the released names.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ...archs.layers.mlp import Mlp


class StochasticDepth(nn.Module):
    """Leaves out a residual branch of whole samples in training and scales the others up.

    Args:
        rate: Share of the samples whose branch is left out, at least 0 and below 1.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (n, ...) to (n, ...)."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(x.size(0), *[1] * (x.dim() - 1), device=x.device) >= self.rate
        return x * kept.to(x.dtype) / (1 - self.rate)


class FocalModulation(nn.Module):
    """Each position is modulated by what surrounds it, gathered at several ranges (Eq. 4-7 of FocalNet).

    Args:
        dim: Width C.
        levels: Ranges L without the global one.
        window: Kernel side of the first range; each further one is 2 wider.
    """

    def __init__(self, dim: int, levels: int, window: int) -> None:
        super().__init__()
        self.levels = levels
        self.f = nn.Linear(dim, 2 * dim + levels + 1)
        self.h = nn.Conv2d(dim, dim, 1)
        self.proj = nn.Linear(dim, dim)
        kernels = [window + 2 * level for level in range(levels)]
        self.focal_layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(dim, dim, k, padding=k // 2, groups=dim, bias=False), nn.GELU()) for k in kernels
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (n, h, w, C) to (n, h, w, C)."""
        dim = x.size(-1)
        query, context, gates = self.f(x).permute(0, 3, 1, 2).split((dim, dim, self.levels + 1), 1)
        gathered = torch.zeros_like(query)
        for level, layer in enumerate(self.focal_layers):
            context = layer(context)
            gathered = gathered + context * gates[:, level : level + 1]
        whole = F.gelu(context.mean((2, 3), keepdim=True))
        # The division by the number of ranges is X-Decoder's; the paper has the plain sum.
        gathered = (gathered + whole * gates[:, self.levels :]) / (self.levels + 1)
        return self.proj((query * self.h(gathered)).permute(0, 2, 3, 1))


class FocalBlock(nn.Module):
    """Focal modulation, then an MLP, both residual with a learned scale per channel.

    The two released backbones differ in more than the depthwise convolutions: with them the norms come after the
    residual sum, without them they come after the branch, before it is scaled and added.

    Args:
        dim: Width C.
        levels: Ranges of the modulation.
        window: Kernel side of its first range.
        mlp_ratio: Width inside the MLP over C.
        depthwise: Whether there are depthwise 3x3 convolutions.
        layer_scale: Start value of the scales.
        drop_path: Rate of stochastic depth.
    """

    def __init__(
        self,
        dim: int,
        levels: int,
        window: int,
        mlp_ratio: float,
        depthwise: bool,
        layer_scale: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.dw1 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim) if depthwise else None
        self.norm1 = nn.LayerNorm(dim)
        self.modulation = FocalModulation(dim, levels, window)
        self.dw2 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim) if depthwise else None
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.gamma_1 = nn.Parameter(torch.full((dim,), float(layer_scale)))
        self.gamma_2 = nn.Parameter(torch.full((dim,), float(layer_scale)))
        self.drop_path = StochasticDepth(drop_path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (n, h, w, C) to (n, h, w, C)."""
        if self.dw1 is None or self.dw2 is None:
            x = x + self.drop_path(self.gamma_1 * self.norm1(self.modulation(x)))
            return x + self.drop_path(self.gamma_2 * self.norm2(self.mlp(x)))
        x = x + _channels_last(self.dw1, x)
        x = self.norm1(x + self.drop_path(self.gamma_1 * self.modulation(x)))
        x = x + _channels_last(self.dw2, x)
        return self.norm2(x + self.drop_path(self.gamma_2 * self.mlp(x)))


class PatchEmbed(nn.Module):
    """A convolution with stride, then LayerNorm.

    Args:
        in_dim: Width before.
        dim: Width after.
        kernel: Side of the kernel.
        stride: Stride.
        padding: Zeros around.
    """

    def __init__(self, in_dim: int, dim: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_dim, dim, kernel, stride, padding)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (n, h, w, C) to (n, h / stride, w / stride, dim)."""
        return self.norm(_channels_last(self.proj, x))


class FocalStage(nn.Module):
    """Blocks of one width, and the step to the next width.

    Args:
        blocks: The blocks.
        downsample: The step, halving height and width; None after the last stage.
    """

    def __init__(self, blocks: Sequence[FocalBlock], downsample: PatchEmbed | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample


class FocalNet(nn.Module):
    """The backbone: four stages at strides 4, 8, 16 and 32, widths C, 2C, 4C and 8C.

    Args:
        embed_dim: Width C of the first stage.
        depths: Blocks of each stage.
        focal_levels: Ranges of the modulation in each stage.
        focal_windows: Kernel side of the first range in each stage.
        mlp_ratio: Width inside the MLPs over that outside.
        depthwise: Focal-T's blocks, with depthwise convolutions, or Focal-L's, without.
        layer_scale: Start value of the residual scales.
        drop_path: Highest rate of stochastic depth; it grows linearly from 0 at the first block.
    """

    def __init__(
        self,
        embed_dim: int,
        depths: Sequence[int],
        focal_levels: Sequence[int],
        focal_windows: Sequence[int],
        mlp_ratio: float,
        depthwise: bool,
        layer_scale: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.widths = [embed_dim * 2**i for i in range(len(depths))]
        # The stem of the released Focal-L pads by 2 where that of Focal-T pads by 3.
        self.patch_embed = PatchEmbed(3, embed_dim, kernel=7, stride=4, padding=3 if depthwise else 2)
        rates = (drop_path * i / max(sum(depths) - 1, 1) for i in range(sum(depths)))
        stages = []
        for i, width in enumerate(self.widths):
            shared = (width, focal_levels[i], focal_windows[i], mlp_ratio, depthwise, layer_scale)
            blocks = [FocalBlock(*shared, drop_path=next(rates)) for _ in range(depths[i])]
            last = i == len(depths) - 1
            stages.append(
                FocalStage(blocks, None if last else PatchEmbed(width, 2 * width, kernel=3, stride=2, padding=1))
            )
        self.layers = nn.ModuleList(stages)
        for i, width in enumerate(self.widths):
            self.add_module(f'norm{i}', nn.LayerNorm(width))
        self.apply(_initialise)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Features of normalised images.

        Args:
            images: (n, 3, h, w); h and w are multiples of 32.

        Returns:
            Four tensors (n, width, h / stride, w / stride), the finest first.
        """
        x = self.patch_embed(images.permute(0, 2, 3, 1))
        features = []
        for i, stage in enumerate(self.layers):
            for block in stage.blocks:  # pyright: ignore[reportGeneralTypeIssues]
                x = block(x)
            features.append(getattr(self, f'norm{i}')(x).permute(0, 3, 1, 2).contiguous())
            if stage.downsample is not None:
                x = stage.downsample(x)  # pyright: ignore[reportCallIssue]
        return features


def _channels_last(convolution: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A convolution on (n, h, w, C)."""
    return convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _initialise(module: nn.Module) -> None:
    """Linear layers start as truncated normals of 0.02, as in FocalNet; convolutions and norms as PyTorch has them."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
