"""Building the network of an option file, with its mistakes as sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.archs import build_network
from basicsr.utils import get_root_logger
from torch import nn

from ..archs.semantic_arch import wrong_scale
from ..utils.errors import UserError

REFUSALS = (ValueError, RuntimeError, ZeroDivisionError, AssertionError)
"""What constructors of networks, ours and PyTorch's, raise for arguments out of range."""


def make_network(section: dict[str, Any], scale: int | None, name: str = 'network_g') -> nn.Module:
    """Build the network of a section.

    Args:
        section: ``type`` and its arguments.
        scale: Scale of the data; None: any.
        name: What the section is called in the option file.

    Raises:
        UserError: The network refuses its arguments, or enlarges by another factor than ``scale`` says.
    """
    try:
        net = build_network(section)
    except REFUSALS as error:
        raise UserError(f'{name}: {error}') from error
    if message := wrong_scale(net, scale, name):
        raise UserError(f'{name}: {message}')
    return net


def warn_without_weights(opt: Mapping[str, Any], checkpoint: str | None) -> None:
    """Warn of a test of random weights, which is most often a mistake.

    Args:
        opt: The options; ``weights_follow`` is put there where somebody else loads weights, as MMEngine does.
        checkpoint: What is loaded now.
    """
    if not opt['is_train'] and not checkpoint and not opt.get('weights_follow'):
        get_root_logger().warning('path:pretrain_network_g names no checkpoint, so random weights are tested.')
