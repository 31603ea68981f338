"""Parts of an optimiser step."""

from __future__ import annotations

import contextlib

import torch
from torch import nn

_AMP_TYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}


def autocast(device: torch.device, amp: str | None):
    """Mixed precision as an option file names it; None: none."""
    return torch.autocast(device.type, _AMP_TYPES[amp]) if amp else contextlib.nullcontext()


def clip_gradients(
    optimizer: torch.optim.Optimizer, largest: float, scaler: torch.amp.GradScaler | None
) -> torch.Tensor:
    """Scale the gradients of everything that an optimiser trains to an L2 norm of at most ``largest``.

    Returns:
        The norm before.
    """
    if scaler:
        scaler.unscale_(optimizer)
    return nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group['params']], largest)


def take_step(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None) -> None:
    """Let the optimiser step, and the scale of the loss follow."""
    if scaler:
        scaler.step(optimizer)
        scaler.update()
    else:
        optimizer.step()


@torch.no_grad()
def move_average(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Move the average of the weights towards the weights that train."""
    pairs = [(a, p) for a, p in zip(average.parameters(), net.parameters(), strict=True) if p.requires_grad]
    torch._foreach_lerp_([a for a, _ in pairs], [p for _, p in pairs], 1 - decay)
