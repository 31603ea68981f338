"""Parts of an optimiser step."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from torch import nn

from ..engine.checkpoint import load_weights
from ..engine.freezing import optimizer_groups
from .common_options import OptimiserOptions, rate_groups

_AMP_TYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}


def autocast(device: torch.device, amp: str | None):
    """Mixed precision as an option file names it; None: none."""
    return torch.autocast(device.type, _AMP_TYPES[amp]) if amp else contextlib.nullcontext()


def make_optimizer(
    model: BaseModel,
    net: nn.Module,
    optim_g: Mapping[str, Any],
    multipliers: dict[str, float],
    no_decay: tuple[type[nn.Module], ...] = (),
) -> torch.optim.Optimizer:
    """The optimiser of a section ``train:optim_g``, of everything that trains.

    Args:
        model: The model, which makes the optimiser of its groups.
        net: The bare network, after freezing.
        optim_g: The section: type, arguments, and ``groups``.
        multipliers: See :func:`optimizer_groups`; they multiply with the factors of ``groups``.
        no_decay: See :func:`optimizer_groups`.

    Raises:
        UserError: Nothing trains, or groups that do not fit the network.
    """
    arguments = {key: value for key, value in optim_g.items() if key not in OptimiserOptions.model_fields}
    groups = optimizer_groups(net, arguments['lr'], multipliers, no_decay, rate_groups(optim_g))
    return model.get_optimizer(arguments.pop('type'), groups, **arguments)


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


class MovingAverage:
    """The exponential moving average of a network's weights, as a network of its own.

    Only what trains is moved; what is frozen is equal already and stays so. Buffers stay as they were.

    Args:
        net: The bare network, after freezing and before warm-up stages, which freeze for a while alone.
        device: Where the average is kept.
        checkpoint: File whose ``params_ema`` the average goes on from; None: the weights of ``net``.

    Attributes:
        net: The averaged network, in evaluation mode.

    Raises:
        UserError: The checkpoint is not that of such a network.
    """

    def __init__(self, net: nn.Module, device: torch.device, checkpoint: str | None = None) -> None:
        self._trains = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
        self._pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
        average = deepcopy(net)
        if checkpoint:
            load_weights(average, checkpoint, True, 'params_ema', role=None)
        self.net = average.requires_grad_(False).to(device).eval()

    @torch.no_grad()
    def move(self, net: nn.Module, decay: float) -> None:
        """Move towards the weights of the bare network, the same one at each call."""
        if not self._pairs:
            averages, weights = dict(self.net.named_parameters()), dict(net.named_parameters())
            self._pairs = [(averages[name], weights[name]) for name in self._trains]
        if self._pairs:  # nothing may train in a network that follows another one
            torch._foreach_lerp_([a for a, _ in self._pairs], [w for _, w in self._pairs], 1 - decay)
