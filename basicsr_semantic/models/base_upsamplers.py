"""What makes the frames that SeeClear's diffusion starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..archs.semantic_arch import arch_of
from ..engine.checkpoint import load_weights
from ..utils.errors import UserError
from .networks import make_network
from .padding import run_padded

BASE = 'base_network'
"""Where a checkpoint of SeeClear has the network that made its base: its section and its weights."""


class BicubicUpsampler(nn.Module):
    """Enlarges LR frames (b, t, 3, h, w) in [0, 1] to (b, t, 3, H, W) in [0, 1], bicubically.

    Args:
        scale: How much.
    """

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        return enlarge_bicubic(lq, self.scale)


class NetworkUpsampler(nn.Module):
    """Restores LR frames (b, t, 3, h, w) in [0, 1] to (b, t, 3, H, W) in [0, 1] with a frozen network.

    Args:
        net: A network that takes frames alone and restores every one.

    Raises:
        UserError: It takes priors. Called: it cannot take frames of their size, or restores one frame of a clip.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.requires_grad_(False).eval()
        self._arch = arch_of(net)
        if self._arch.prior_fields:
            raise UserError(
                f'base_upsampler is a {type(net).__name__}, which takes priors of its own. Choose an arch that takes '
                'frames alone.'
            )

    @torch.no_grad()
    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        height, width = lq.shape[-2:]
        try:
            restored = run_padded(self.net, (lq,), self._arch.size_requirements)
        except (RuntimeError, AssertionError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise UserError(
                f'base_upsampler: {type(self.net).__name__} cannot restore LR frames of {height}x{width} (height x '
                f'width): {str(error).splitlines()[0]}. Networks with SPyNet want 36 pixels or more: choose a larger '
                'gt_size.'
            ) from error
        if restored.shape[:3] != lq.shape[:3]:
            raise UserError(
                f'base_upsampler made {tuple(restored.shape)} of frames {tuple(lq.shape)}. It must restore every '
                'frame of a clip, as BasicVSR does.'
            )
        return restored.clamp(0, 1)


def make_base_upsampler(
    section: str | Mapping[str, Any],
    scale: int,
    checkpoint: str | None,
    param_key: str | None = 'params',
    device: str | torch.device = 'cpu',
) -> BicubicUpsampler | NetworkUpsampler:
    """Build what makes the base: SeeClear's is bicubic, that of SeeClear* a video super-resolution network.

    Args:
        section: ``bicubic``, or ``type`` and arguments of a registered arch that takes frames alone.
        scale: How much it enlarges.
        checkpoint: Weights of the arch.
        param_key: Which weights of the file.
        device: Where it runs.

    Raises:
        UserError: An unknown name, no weights, or weights that do not fit.
    """
    if section == 'bicubic':
        return BicubicUpsampler(scale)
    if not isinstance(section, Mapping):
        raise UserError(f'base_upsampler is {section!r}. Say bicubic, or name an arch: {{type: BasicVSR, ...}}.')
    if not checkpoint:
        raise UserError(
            f'base_upsampler is a {section.get("type")} without weights, so its frames would mean nothing. Give them: '
            'path:pretrain_base_upsampler: FILE.'
        )
    upsampler = NetworkUpsampler(make_network(dict(section), scale, 'base_upsampler'))
    load_weights(upsampler.net, checkpoint, True, param_key, 'base_upsampler')
    return upsampler.to(device)


def enlarge_bicubic(lq: torch.Tensor, scale: int) -> torch.Tensor:
    """Enlarge frames (b, t, 3, h, w) bicubically with a = -1/2, as MATLAB does but for the outermost pixels."""
    b, t, _, height, width = lq.shape
    size = (height * scale, width * scale)
    # PyTorch's antialiased kernel has a = -1/2, the other one -3/4; enlarging, they differ in nothing else
    return F.interpolate(lq.flatten(0, 1), size, mode='bicubic', antialias=True).clamp(0, 1).unflatten(0, (b, t))
