"""Optical flow, warping and offsets in float32 whatever type the features have; no crash on values such as NaN.

Under mixed precision features are bfloat16 or float16. bfloat16 holds no odd integer above 256, so a grid of pixel
positions in that type is off by a pixel in nearly half of the columns beyond.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from basicsr.utils import get_root_logger
from torch import Tensor
from torch.nn import functional as F

from ..utils.errors import UserError


def flow_warp(
    x: Tensor,
    flow: Tensor,
    interp_mode: str = 'bilinear',
    padding_mode: str = 'zeros',
    align_corners: bool = True,
) -> Tensor:
    """Warp features with optical flow.

    basicsr/archs/arch_util.py, flow_warp, makes its grid in the type of the features. In float32 this one gives the
    same bits.

    Args:
        x: Features (b, c, h, w).
        flow: (b, h, w, 2), in pixels, x first.
        interp_mode: ``bilinear`` or ``nearest``.
        padding_mode: What is beyond the frame: ``zeros``, ``border`` or ``reflection``.
        align_corners: As in ``grid_sample``.

    Returns:
        (b, c, h, w) in the type of the features.

    Raises:
        UserError: On a CPU, a flow that is not finite.
    """
    assert x.size()[-2:] == flow.size()[1:3]
    h, w = x.shape[-2:]
    exact = torch.promote_types(x.dtype, torch.float32)
    check_finite(flow, 'The optical flow')
    rows, columns = (torch.arange(size, device=x.device, dtype=exact) for size in (h, w))
    x_position = 2.0 * (columns + flow[..., 0]) / max(w - 1, 1) - 1.0
    y_position = 2.0 * (rows[:, None] + flow[..., 1]) / max(h - 1, 1) - 1.0
    grid = torch.stack((x_position, y_position), dim=3)
    return F.grid_sample(x.to(exact), grid, interp_mode, padding_mode, align_corners).to(x.dtype)


def in_float32(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A network that estimates optical flow, outside of mixed precision."""

    @functools.wraps(forward)
    def exact(self: Any, *frames: Tensor) -> Tensor:
        with torch.autocast(frames[0].device.type, enabled=False):
            return forward(self, *(frame.float() if frame.dtype != torch.float64 else frame for frame in frames))

    return exact


_LOOK_EVERY = 100
"""Forwards of a deformable convolution between two looks at its offsets: each look waits for the GPU."""


def deform(self: Any, x: Tensor, feat: Tensor) -> Tensor:
    """basicsr/archs/arch_util.py, DCNv2Pack.forward, waits for the GPU in each call to warn of large offsets.

    Here the offsets are looked at in every 100th call.

    Args:
        self: A DCNv2Pack.
        x: What is convolved (b, c, h, w).
        feat: What offsets and masks are made of, of the same shape.

    Raises:
        UserError: On a CPU, offsets that are not finite.
    """
    first, second, mask = torch.chunk(self.conv_offset(feat), 3, dim=1)
    offset = torch.cat((first, second), dim=1)
    check_finite(offset, 'The offset of a deformable convolution')
    self.forwards = getattr(self, 'forwards', 0) + 1
    if self.forwards % _LOOK_EVERY == 0 and not torch.compiler.is_compiling():
        mean = offset.detach().abs().mean().item()
        if mean > 50:
            get_root_logger().warning(f'Offset abs mean is {mean:g}, larger than 50.')
    settings = self.stride, self.padding, self.dilation
    return torchvision.ops.deform_conv2d(x, offset, self.weight, self.bias, *settings, mask=torch.sigmoid(mask))


def check_finite(geometry: Tensor, what: str) -> None:
    """On a CPU, refuse positions at which PyTorch and torchvision would read or write beyond their memory.

    grid_sample (backward, padding ``border`` and ``reflection``) and deform_conv2d end the process there. On a GPU
    they do not, and the loss that comes of it is refused before the step.

    Raises:
        UserError: Something in it is not finite.
    """
    looks = geometry.device.type == 'cpu' and not torch.compiler.is_compiling()
    if looks and not torch.isfinite(geometry).all():
        raise UserError(
            f'{what} is not finite: the weights of the network or its frames hold values that are not finite.'
        )
