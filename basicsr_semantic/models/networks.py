"""Building the network of an option file, with its mistakes as sentences."""

from __future__ import annotations

from typing import Any

from basicsr.archs import build_network
from torch import nn

from ..errors import UserError


def make_network(opt: dict[str, Any], section: str = 'network_g') -> nn.Module:
    """Build the network of a section.

    Args:
        opt: The options.
        section: Name of the section.

    Raises:
        UserError: The network refuses its arguments, or enlarges by another factor than ``scale`` says.
    """
    try:
        net = build_network(opt[section])
    except (ValueError, RuntimeError, ZeroDivisionError, AssertionError) as error:
        raise UserError(f'{section}: {error}') from error
    own, wanted = getattr(net, 'scale', None), opt.get('scale')
    if isinstance(own, int) and wanted is not None and own != wanted:
        raise UserError(f'{section}: {type(net).__name__} enlarges {own} times, but scale is {wanted}.')
    return net


def warn_without_weights(opt: dict[str, Any], logger) -> None:
    """A test of random weights is a mistake more often than not; say so."""
    if not opt['is_train'] and not opt['path'].get('pretrain_network_g'):
        logger.warning('path:pretrain_network_g names no checkpoint: what is tested are random weights.')
