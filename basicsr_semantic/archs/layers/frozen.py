"""Frozen convolutions that keep nothing for the backward pass but their weight.

PyTorch's convolution keeps its input whenever the input needs a gradient, although only the gradient to the weight
uses it. Where the weight is frozen, as in adapter tuning, that is most of the memory of a training step. ReLU and
LeakyReLU keep their output, of which only the sign is used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input


def lean_frozen_convs(module: nn.Module) -> int:
    """Let the frozen 2-D convolutions in a network, and the activations next to them, keep less for backward.

    Outputs and gradients stay the same to the bit. Modules change their class in place, so that names, state dicts,
    hooks, copies and pickles work as before. Call it after freezing. A convolution that trains when it is called,
    because it was thawed later, keeps its input as usual.

    Args:
        module: The network.

    Returns:
        Number of convolutions that keep less now.
    """
    count = 0
    for parent in module.modules():
        convs = [child for child in parent.children() if isinstance(child, nn.Conv2d)]
        frozen = [conv for conv in convs if not _trains(conv)]
        for conv in frozen:
            # Reflected, circular and string-named padding work otherwise and stay as they are, subclasses too.
            if type(conv) is nn.Conv2d and conv.padding_mode == 'zeros' and not isinstance(conv.padding, str):
                conv.__class__ = LeanConv2d
                count += 1
        # Next to a convolution that trains, which keeps the activation's output anyway, a mask would only add memory.
        if frozen and len(frozen) == len(convs):
            for child in parent.children():
                if type(child) in _LEAN_ACTIVATIONS:
                    child.__class__ = _LEAN_ACTIVATIONS[type(child)]
    return count


class LeanConv2d(nn.Conv2d):
    """A convolution that keeps no input for the backward pass while it is frozen."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if _trains(self) or not _keeps_graph(input):
            return super().forward(input)
        return _FrozenConv.apply(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class LeanReLU(nn.ReLU):
    """A ReLU that keeps a boolean mask for the backward pass."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return _MaskedActivation.apply(input, 0.0, self.inplace) if _keeps_graph(input) else super().forward(input)


class LeanLeakyReLU(nn.LeakyReLU):
    """A LeakyReLU that keeps a boolean mask for the backward pass."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not _keeps_graph(input):
            return super().forward(input)
        return _MaskedActivation.apply(input, self.negative_slope, self.inplace)


_LEAN_ACTIVATIONS: dict[type[nn.Module], type[nn.Module]] = {nn.ReLU: LeanReLU, nn.LeakyReLU: LeanLeakyReLU}


def _trains(conv: nn.Conv2d) -> bool:
    return conv.weight.requires_grad or (conv.bias is not None and conv.bias.requires_grad)


def _keeps_graph(input: torch.Tensor) -> bool:
    return torch.is_grad_enabled() and input.requires_grad


class _FrozenConv(torch.autograd.Function):
    """conv2d with a gradient to the input only."""

    @staticmethod
    def forward(ctx: Any, x, weight, bias, stride, padding, dilation, groups) -> torch.Tensor:
        ctx.save_for_backward(weight)
        ctx.x_shape, ctx.x_dtype = x.shape, x.dtype
        ctx.geometry = stride, padding, dilation, groups
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        (grad,) = grads
        # Under autocast the output, and so its gradient, is of lower precision than what came in.
        grad_x = conv2d_input(ctx.x_shape, weight.to(grad.dtype), grad, *ctx.geometry)
        return grad_x.to(ctx.x_dtype), None, None, None, None, None, None


class _MaskedActivation(torch.autograd.Function):
    """ReLU (slope 0) or LeakyReLU."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, slope: float, inplace: bool) -> torch.Tensor:
        ctx.slope = slope
        ctx.save_for_backward(x > 0)
        if inplace:
            ctx.mark_dirty(x)
        return F.leaky_relu(x, slope, inplace) if slope else F.relu(x, inplace)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (positive,) = ctx.saved_tensors
        (grad,) = grads
        return torch.where(positive, grad, grad * ctx.slope if ctx.slope else 0), None, None
