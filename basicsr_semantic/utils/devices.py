"""Devices by their names, told apart from those that this machine lacks before anything is put there."""

from __future__ import annotations

import torch

from .errors import UserError


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
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"The {what} '{device}' cannot be used: {str(error).splitlines()[0]}") from error
    return chosen
