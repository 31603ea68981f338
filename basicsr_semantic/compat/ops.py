"""Functions of BasicSR that need a compiled extension or one layout of memory, in plain PyTorch.

Each one keeps the signature of the function that it replaces. A compiled extension is used where there is one and the
tensors are on a GPU.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torchvision
from torch import Tensor
from torch.nn import functional as F

from .geometry import check_finite


def replace_everywhere(original: Any, replacement: Any) -> None:
    """Put ``replacement`` in the place of a function in every module of BasicSR that has imported it by name."""
    for name, module in list(sys.modules.items()):
        if name.split('.')[0] != 'basicsr' or not isinstance(module, ModuleType):
            continue
        for key in [key for key, value in vars(module).items() if value is original]:
            vars(module)[key] = replacement


def replace_ops() -> None:
    """basicsr/ops: without compiled extensions StyleGAN2 and the deformable convolutions end in a NameError."""
    fused_act = sys.modules['basicsr.ops.fused_act.fused_act']
    upfirdn2d = sys.modules['basicsr.ops.upfirdn2d.upfirdn2d']
    dcn = sys.modules['basicsr.ops.dcn.deform_conv']
    for module, extension, name, stand_in in (
        (fused_act, 'fused_act_ext', 'fused_leaky_relu', fused_leaky_relu),
        (upfirdn2d, 'upfirdn2d_ext', 'upfirdn2d', _upfirdn2d(upfirdn2d)),
        (dcn, 'deform_conv_ext', 'deform_conv', deform_conv),
        (dcn, 'deform_conv_ext', 'modulated_deform_conv', modulated_deform_conv),
    ):
        original = vars(module)[name]
        replace_everywhere(original, _unless_compiled(original, stand_in, hasattr(module, extension)))


def _unless_compiled(original: Callable, stand_in: Callable, compiled: bool) -> Callable:
    @functools.wraps(stand_in)
    def chosen(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return (original if compiled and input.is_cuda else stand_in)(input, *args, **kwargs)

    return chosen


def fused_leaky_relu(input: Tensor, bias: Tensor, negative_slope: float = 0.2, scale: float = 2**0.5) -> Tensor:
    """Add a bias to each channel, then a leaky ReLU, then a factor."""
    bias = bias.view(1, -1, *[1] * (input.ndim - 2))
    return F.leaky_relu(input + bias, negative_slope) * scale


def _upfirdn2d(module: ModuleType) -> Callable:
    """BasicSR has a plain form of this one already, but takes it on a CPU only."""

    def upfirdn2d(input: Tensor, kernel: Tensor, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)) -> Tensor:
        return module.upfirdn2d_native(input, kernel, up, up, down, down, pad[0], pad[1], pad[0], pad[1])

    return upfirdn2d


def deform_conv(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    deformable_groups: int = 1,
    im2col_step: int = 64,
) -> Tensor:
    """Deformable convolution; torchvision reads both numbers of groups from the shapes."""
    return modulated_deform_conv(input, offset, None, weight, None, stride, padding, dilation)


def modulated_deform_conv(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    deformable_groups: int = 1,
) -> Tensor:
    """Modulated deformable convolution, in the same order of offsets as BasicSR's."""
    check_finite(offset, 'The offset of a deformable convolution')
    pairs: Any = [(v, v) if isinstance(v, int) else tuple(v) for v in (stride, padding, dilation)]
    return torchvision.ops.deform_conv2d(input, offset, weight, bias, *pairs, mask=mask)


def filter2d(img: Tensor, kernel: Tensor) -> Tensor:
    """basicsr/utils/img_process_util.py, filter2D: its ``view`` ends in an error for images with channels last.

    Args:
        img: (b, c, h, w).
        kernel: (1 or b, k, k): one for all images, or one for each; k is odd.

    Returns:
        (b, c, h, w), contiguous: the borders are filtered by reflection.

    Raises:
        ValueError: k is even.
    """
    b, c, h, w = img.shape
    k = kernel.shape[-1]
    if k % 2 == 0:
        raise ValueError('Wrong kernel size')
    padded = F.pad(img.contiguous(), [k // 2] * 4, mode='reflect')
    if kernel.shape[0] == 1:
        filtered = F.conv2d(padded.reshape(b * c, 1, *padded.shape[2:]), kernel.reshape(1, 1, k, k))
    else:
        weight = kernel.reshape(b, 1, k, k).repeat_interleave(c, dim=0)
        filtered = F.conv2d(padded.reshape(1, b * c, *padded.shape[2:]), weight, groups=b * c)
    return filtered.reshape(b, c, h, w).contiguous()
