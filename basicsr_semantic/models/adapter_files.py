#!/usr/bin/env python3
"""Merges a baseline checkpoint and an adapter of SEEM into one file that loads strictly.

`python tools/merge_adapter.py BasicVSR_REDS4.pth net_g_seem_latest.pth net_g_merged.pth`
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from basicsr_semantic.archs.adapters import merge_adapter
from basicsr_semantic.archs.seem_configuration import read_configuration
from basicsr_semantic.engine.checkpoint import load_file, read_weights, save_atomic
from basicsr_semantic.utils.errors import UserError

_WEIGHTS = ('params', 'params_ema')


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, merge, and say what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('baseline', help="BasicVSR's or EDVR's checkpoint, {'params': state dict}")
    parser.add_argument('adapter', help='net_g_seem_*.pth, as training with train:trainable writes it')
    parser.add_argument('out', help='file to write')
    parser.add_argument('--force', action='store_true', help='replace an existing file')
    options = parser.parse_args(arguments)
    try:
        network = merge(options.baseline, options.adapter, options.out, options.force)
    except (UserError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    described = ', '.join(f'{key}: {_yaml(value)}' for key, value in network.items())
    print(f'{options.out} is written; it loads strictly into network_g: {{{described}}}')
    return 0


def merge(baseline: str | Path, adapter: str | Path, out: str | Path, force: bool = False) -> dict[str, Any]:
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
    if Path(out).exists() and not force:
        raise UserError(f'{out} exists already. Give another name, or --force to replace it.')
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


def _check_loads(network: dict[str, Any], state: dict[str, torch.Tensor]) -> None:
    """Build the network and load the weights strictly; what does not fit is a ValueError."""
    from basicsr.archs import build_network  # importable only once basicsr_semantic has repaired BasicSR

    try:
        build_network(network).load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f'Their weights do not make up a {network["type"]}: {error}') from error


def _yaml(value: Any) -> str:
    """A constructor argument as YAML writes it."""
    if isinstance(value, list):
        return f'[{", ".join(value)}]'
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == '__main__':
    sys.exit(main())
