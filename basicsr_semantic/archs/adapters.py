"""Adapters: the weights that a method adds to a baseline network, apart from the baseline's own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import nn

from .semantic_arch import arch_of

SEEM_PREFIXES: tuple[str, ...] = ('sam_embed.', 'seem_')

# Which baseline an adapter of SEEM belongs to: beginning of its keys -> (name, a key that only this baseline has).
_SEEM_HOSTS = {
    'seem_backward_': ('BasicVSR', 'backward_trunk.main.0.weight'),
    'seem_forward_': ('BasicVSR', 'backward_trunk.main.0.weight'),
    'seem_shared_': ('BasicVSR', 'backward_trunk.main.0.weight'),
    'seem_align.': ('EDVR', 'pcd_align.cas_offset_conv1.weight'),
    'seem_aggr.': ('EDVR', 'pcd_align.cas_offset_conv1.weight'),
    'seem_recon.': ('EDVR', 'pcd_align.cas_offset_conv1.weight'),
}


def split(
    state: Mapping[str, torch.Tensor], prefixes: Sequence[str] = SEEM_PREFIXES, keys: Collection[str] | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Split a state dict into baseline and adapter.

    Args:
        state: State dict of a network, whole or in part.
        prefixes: How the adapter's keys begin.
        keys: The adapter's keys instead, where they are known.

    Returns:
        The state dicts of the baseline and of the adapter; tensors are shared with ``state``.
    """
    chosen, listed = tuple(prefixes), None if keys is None else set(keys)
    adapter = {
        key: value for key, value in state.items() if (key.startswith(chosen) if listed is None else key in listed)
    }
    return {key: value for key, value in state.items() if key not in adapter}, adapter


def adapter_state(net: nn.Module) -> dict[str, torch.Tensor]:
    """Return the part of a network's state dict that its ``adapter_prefixes`` name; empty where it names none."""
    return split(net.state_dict(), arch_of(net).adapter_prefixes)[1]


def merge_adapter(
    baseline_state: Mapping[str, torch.Tensor], adapter_state: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Put an adapter of SEEM onto a baseline.

    Args:
        baseline_state: State dict of BasicVSR or EDVR. An adapter that it already has is replaced.
        adapter_state: State dict of ``sam_embed.*`` and ``seem_*`` alone.

    Returns:
        State dict of the whole network; tensors are shared.

    Raises:
        ValueError: Either is not what it should be (swapped files, say), or they do not belong together: another
            baseline or another width.
    """
    foreign, adapter = split(adapter_state)
    if not adapter:
        raise ValueError(
            f'The adapter has no tensor whose name begins with {" or ".join(SEEM_PREFIXES)}; it has '
            f'{_names(adapter_state)}. Are baseline and adapter swapped?'
        )
    if foreign:
        raise ValueError(
            f'The adapter holds {_names(foreign)} as well as its own tensors. It is a whole network, which needs no '
            'merging, or the checkpoint of another one.'
        )
    baseline, _ = split(baseline_state)
    if not baseline:
        raise ValueError(
            f'The baseline holds {_names(baseline_state)} and no network. Give a checkpoint of BasicVSR or EDVR.'
        )
    _check_host(baseline, adapter)
    _check_width(baseline, adapter)
    return {**baseline, **adapter}


def _check_host(baseline: Mapping[str, torch.Tensor], adapter: Mapping[str, torch.Tensor]) -> None:
    for key in adapter:
        for beginning, (host, mark) in _SEEM_HOSTS.items():
            if key.startswith(beginning) and mark not in baseline:
                raise ValueError(
                    f'The adapter was trained on {host} (it has {key}), but the baseline is another network: it has '
                    f'no {mark}. It holds {_names(baseline)}.'
                )


def _check_width(baseline: Mapping[str, torch.Tensor], adapter: Mapping[str, torch.Tensor]) -> None:
    """Compare the channels: upconv1 of both baselines maps D to 4 D, conv2 of f_r maps D to D."""
    upconv, embed = baseline.get('upconv1.weight'), adapter.get('sam_embed.conv2.weight')
    if upconv is None or embed is None:
        missing = 'baseline has no upconv1.weight' if upconv is None else 'adapter has no sam_embed.conv2.weight'
        raise ValueError(f'The {missing}, so it is incomplete or of another network.')
    if upconv.shape[1] != embed.shape[0]:
        raise ValueError(
            f'The baseline has num_feat {upconv.shape[1]}, the adapter {embed.shape[0]}; they do not belong together.'
        )


def _names(state: Mapping[str, torch.Tensor]) -> str:
    """A few keys, to show what a state dict is about."""
    parts = sorted({key.split('.')[0] for key in state})
    return f'{", ".join(parts[:6])}{" and more" if len(parts) > 6 else ""}' if parts else 'nothing'
