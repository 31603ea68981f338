"""Random SEEM networks, and Eq. 1 to 3 of the paper written down a second time, from a state dict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.clips import NUM_MASKS, data_sets
from helpers.project import training_options
from torch import nn
from torch.nn import functional as F


def randomise(net: nn.Module, seed: int = 0, std: float = 0.05) -> nn.Module:
    """Give every parameter random values, zero-initialised ones too; SPyNet's make flows of a pixel or so."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            flow = 'basic_module' in name
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
            parameter.mul_(parameter[0].numel() ** -0.5 if flow and parameter.dim() == 4 else 0.02 if flow else std)
    return net


def random_input(b: int, t: int, n: int, h: int, w: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames (b, t, 3, h, w) and uint8 masks (b, t, n, h, w)."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.rand(b, t, 3, h, w, generator=generator)
    return frames, torch.randint(0, 2, (b, t, n, h, w), generator=generator, dtype=torch.uint8)


def parameters(net: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in net.parameters())


def tune_only_adapter(net: nn.Module) -> nn.Module:
    """Freeze the baseline."""
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name.startswith(net.adapter_prefixes))
    return net


def conv(state: dict, name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
    """A 3x3 (or 1x1) convolution of that name."""
    weight = state[f'{name}.weight']
    return F.conv2d(x, weight, state[f'{name}.bias'], stride, weight.shape[-1] // 2)


def lrelu(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x >= 0, x, 0.1 * x)


def block(state: dict, name: str, x: torch.Tensor) -> torch.Tensor:
    """Residual block without normalisation."""
    return x + conv(state, f'{name}.conv2', conv(state, f'{name}.conv1', x).clamp(min=0))


def blocks(state: dict, name: str, x: torch.Tensor) -> torch.Tensor:
    i = 0
    while f'{name}.{i}.conv1.weight' in state:
        x = block(state, f'{name}.{i}', x)
        i += 1
    return x


def f_r(state: dict, frame: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Eq. 1."""
    x = lrelu(conv(state, 'sam_embed.conv1', torch.cat([frame, masks.float()], 1)))
    return block(state, 'sam_embed.block', lrelu(conv(state, 'sam_embed.conv2', x)))


def f_seem(state: dict, name: str, feat: torch.Tensor, representation: torch.Tensor) -> torch.Tensor:
    """Eq. 2 and 3."""
    f_m = conv(state, f'{name}.conv2', lrelu(conv(state, f'{name}.conv1', torch.cat([feat, representation], 1))))
    f_p = f_m.flatten(2).sum(2) / (f_m.shape[2] * f_m.shape[3])
    f_d = (f_p @ state[f'{name}.fc_down.weight'].T + state[f'{name}.fc_down.bias']).clamp(min=0)
    f_u = f_d @ state[f'{name}.fc_up.weight'].T + state[f'{name}.fc_up.bias']
    f_a = 1 / (1 + torch.exp(-f_u))
    f_cab = f_a[..., None, None] * f_m
    return f_m + f_cab


def upsample(state: dict, feat: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
    """Both hosts' end: pixel shuffle twice, two convolutions, the bilinear frame."""
    x = lrelu(F.pixel_shuffle(conv(state, 'upconv1', feat), 2))
    x = lrelu(F.pixel_shuffle(conv(state, 'upconv2', x), 2))
    x = conv(state, 'conv_last', lrelu(conv(state, 'conv_hr', x)))
    return x + F.interpolate(frame, scale_factor=4, mode='bilinear', align_corners=False)


def small_semantic_vsr_model(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An adapter that trains on a frozen network, with masks of a store."""
    network = {'type': 'BasicVSRSEEM', 'num_feat': 8, 'num_block': 1, 'reduction': 4, 'zero_flow': True}
    return training_options(
        folder,
        datasets=data_sets(folder),
        network_g=network | {'num_masks': NUM_MASKS},
        train={'trainable': ['sam_embed', 'seem_']},
        val={'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}},
    )
