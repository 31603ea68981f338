"""The constructor arguments of a SEEM network, read off its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch


def read_configuration(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Find out which network a state dict belongs to.

    What leaves no trace in the weights is not in the result: ``propagate_enhanced``, ``align_levels``,
    ``center_frame_idx``, and which branches share a pair of SEEMs (both, by default).

    Args:
        state: State dict of :class:`BasicVSRSEEM` or :class:`EDVRSEEM`.

    Returns:
        Section ``network_g`` of an option file: ``type`` and the arguments.

    Raises:
        ValueError: The state dict is that of neither, or lacks tensors that show the arguments.
    """
    try:
        if 'pcd_align.cas_offset_conv1.weight' in state:
            return {'type': 'EDVRSEEM', **_edvr(state), **_seem(state)}
        if 'backward_trunk.main.0.weight' in state:
            return {'type': 'BasicVSRSEEM', **_basicvsr(state), **_seem(state)}
    except KeyError as error:
        raise ValueError(f'The weights of a SEEM network lack {error.args[0]}; the file is incomplete.') from error
    raise ValueError('These are not the weights of BasicVSR or EDVR, with or without SEEM.')


def _basicvsr(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    found: dict[str, Any] = {
        'num_feat': state['upconv1.weight'].shape[1],
        'num_block': _count(state, r'forward_trunk\.main\.2\.(\d+)\.conv1\.weight'),
    }
    if 'seem_shared_pre.conv1.weight' in state:
        return {**found, 'branches': ['backward', 'forward'], 'share_branches': True}
    branches = [name for name in ('backward', 'forward') if f'seem_{name}_pre.conv1.weight' in state]
    return {**found, 'branches': branches, 'share_branches': False}


def _edvr(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    num_feat = state['upconv1.weight'].shape[1]
    with_tsa = 'fusion.feat_fusion.weight' in state
    fusion = state['fusion.feat_fusion.weight' if with_tsa else 'fusion.weight']
    return {
        'num_in_ch': state['conv_first.weight'].shape[1],
        'num_feat': num_feat,
        'num_frame': fusion.shape[1] // num_feat,
        'deformable_groups': state['pcd_align.cas_dcnpack.conv_offset.weight'].shape[0] // 27,
        'num_extract_block': _count(state, r'feature_extraction\.(\d+)\.conv1\.weight'),
        'num_reconstruct_block': _count(state, r'reconstruction\.(\d+)\.conv1\.weight'),
        'with_tsa': with_tsa,
        'positions': [name for name in ('align', 'aggr', 'recon') if f'seem_{name}.conv1.weight' in state],
    }


def _seem(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Arguments that both networks share; none for a plain baseline."""
    up = next((value for key, value in state.items() if re.fullmatch(r'seem_\w+\.fc_up\.weight', key)), None)
    if up is None:
        return {}
    frame_channels = state['conv_first.weight'].shape[1] if 'conv_first.weight' in state else 3
    return {
        'num_masks': state['sam_embed.conv1.weight'].shape[1] - frame_channels,
        'reduction': up.shape[0] // up.shape[1],
    }


def _count(state: Mapping[str, torch.Tensor], pattern: str) -> int:
    """How many keys match."""
    return sum(1 for key in state if re.fullmatch(pattern, key))
