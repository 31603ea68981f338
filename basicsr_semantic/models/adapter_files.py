"""Checkpoints of adapters: merged with that of their base network, or taken out of a whole one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..archs.adapters import merge_adapter, split
from ..archs.seem_configuration import read_configuration
from ..engine.checkpoint import load_file, read_weights, save_atomic
from ..utils.errors import UserError

_WEIGHTS = ('params', 'params_ema')


def merge_files(baseline: str | Path, adapter: str | Path, out: str | Path, force: bool = False) -> dict[str, Any]:
    """Merge two checkpoints into a third.

    Args:
        baseline: Checkpoint of BasicVSR or EDVR. Its ``params_ema``, where there are some, go with the adapter's.
        adapter: Checkpoint of the adapter alone; what it holds besides weights (the kind of priors) is kept.
        out: Checkpoint to write, with the keys ``params`` and ``params_ema`` that the adapter has.
        force: Replace an existing file.

    Returns:
        The ``network_g`` section that the file loads into, as read off the weights.

    Raises:
        UserError: A file that is missing, unreadable or of another network, or one that would be overwritten.
    """
    _check_free(out, force)
    content = load_file(adapter)
    if not isinstance(content, dict) or not any(key in content for key in _WEIGHTS):
        raise UserError(f"{adapter} is not an adapter: it has no 'params', as net_g_seem_*.pth has.")
    network: dict[str, Any] = {}
    for key in (key for key in _WEIGHTS if key in content):
        try:
            merged = merge_adapter(read_weights(baseline, key), read_weights(adapter, key))
            network = read_configuration(merged)
            _check_loads(network, merged)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f'{baseline} and {adapter} were not merged. {error}') from error
        content[key] = merged
    save_atomic(content, out)
    return network


def split_file(checkpoint: str | Path, out: str | Path, force: bool = False) -> int:
    """Take the adapter out of the checkpoint of a whole network.

    Args:
        checkpoint: Checkpoint of a network with SEEM; what it holds besides weights is kept.
        out: Checkpoint to write, with the keys ``params`` and ``params_ema`` that the other has.
        force: Replace an existing file.

    Returns:
        How many values the adapter has.

    Raises:
        UserError: A file that is missing or unreadable, one without an adapter, or one that would be overwritten.
    """
    _check_free(out, force)
    content = load_file(checkpoint)
    if not isinstance(content, dict) or not any(key in content for key in _WEIGHTS):
        content: Any = {'params': None}
    values = 0
    for key in (key for key in _WEIGHTS if key in content):
        base, adapter = split(read_weights(checkpoint, key))
        if not adapter or not base:
            what = 'no adapter of SEEM' if not adapter else 'an adapter alone'
            raise UserError(f'{checkpoint} holds {what} under {key}; there is nothing to take out.')
        content[key] = adapter
        values = sum(value.numel() for value in adapter.values())
    save_atomic(content, out)
    return values


def _check_free(out: str | Path, force: bool) -> None:
    if Path(out).exists() and not force:
        raise UserError(f'{out} exists already. Give another name, or --force to replace it.')


def _check_loads(network: dict[str, Any], state: dict[str, torch.Tensor]) -> None:
    """Build the network and load the weights strictly; what does not fit is a ValueError."""
    from basicsr.archs import build_network

    try:
        build_network(network).load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f'Their weights do not make up a {network["type"]}: {error}') from error
