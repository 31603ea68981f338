"""Devices by their names, told apart from those that this machine lacks before anything is put there."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from .errors import UserError

Network = TypeVar('Network', bound=nn.Module)


def usable_device(device: str | torch.device, what: str = 'device') -> torch.device:
    """A device that tensors can be put on.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``, ...
        what: What it is, for the message.

    Raises:
        UserError: PyTorch knows no such device, or this machine has none.
    """
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).tolist()  # meta has no values
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"The {what} '{device}' cannot be used: {str(error).splitlines()[0]}") from error
    return chosen


def put_on(device: str | torch.device, net: Network, name: str) -> Network:
    """A network on a device.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``, ...
        net: The network.
        name: Its name, for the message.

    Raises:
        UserError: PyTorch knows no such device, this machine has none, or it has no room.
    """
    try:
        return net.to(device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f'{name} cannot run on the device {str(device)!r}: {str(error).splitlines()[0]}') from error
