"""Starting points for BasicSR's SPyNet: released weights, or no motion at all."""

from __future__ import annotations

from pathlib import Path

import torch
from basicsr.archs.spynet_arch import SpyNet
from torch import nn

from ...utils.torch_files import load_plain


def load_spynet(spynet: SpyNet, path: str) -> None:
    """Load released weights, reading tensors only.

    Args:
        spynet: The network to fill.
        path: A file as BasicSR releases it, {'params': state dict}.

    Raises:
        ValueError: The file is missing, unreadable, or does not hold SPyNet.
    """
    if not Path(path).is_file():
        raise ValueError(
            f'spynet_path: the file {path} does not exist. BasicSR releases it as spynet_sintel_final-3d2a1287.pth; '
            'without it, set zero_flow: true.'
        )
    try:
        weights = load_plain(path)['params']
        # the released file has convolutions alone: BasicSR registers mean and standard deviation after it has loaded
        spynet.load_state_dict({'mean': spynet.mean, 'std': spynet.std} | weights)
    except Exception as error:  # torch raises half a dozen types here
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"spynet_path: {path} does not hold BasicSR's SPyNet as {{'params': state dict}} ({first})."
        ) from error


def start_at_zero_flow(spynet: SpyNet) -> None:
    """Zero the last convolution of each level, so that the flow is exactly zero until training changes it."""
    for parameter in _last_parameters(spynet):
        nn.init.zeros_(parameter)


def is_at_zero_flow(spynet: SpyNet) -> bool:
    """Whether the flow is zero whatever the frames, and no gradient is asked for, so that it need not be computed."""
    last = _last_parameters(spynet)
    trains = torch.is_grad_enabled() and any(p.requires_grad for p in spynet.parameters())
    return not trains and not any(bool(p.any()) for p in last)


def _last_parameters(spynet: SpyNet) -> list[nn.Parameter]:
    convs = ([m for m in level.modules() if isinstance(m, nn.Conv2d)][-1] for level in spynet.basic_module)
    return [parameter for conv in convs for parameter in conv.parameters()]
