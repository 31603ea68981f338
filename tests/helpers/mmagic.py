"""Checkpoints of networks that BasicSR and MMagic both have, in the names of either."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import torch
from basicsr.archs.basicvsr_arch import BasicVSR, IconVSR
from basicsr.archs.basicvsrpp_arch import BasicVSRPlusPlus
from basicsr.archs.edvr_arch import EDVR
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.spynet_arch import SpyNet
from torch import nn

from basicsr_semantic.engine.key_names import likenesses

State = dict[str, torch.Tensor]
SMALL_EDVR = {'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 2, 'num_reconstruct_block': 3}
SMALL: dict[str, Callable[[], nn.Module]] = {
    'EDVR': lambda: EDVR(**SMALL_EDVR),
    'EDVR without TSA': lambda: EDVR(**SMALL_EDVR, with_tsa=False),
    'BasicVSR': lambda: BasicVSR(num_feat=8, num_block=12),
    'BasicVSRPlusPlus': lambda: BasicVSRPlusPlus(mid_channels=16, num_blocks=1),
    'BasicVSRPlusPlus of the same size': lambda: BasicVSRPlusPlus(16, num_blocks=2, is_low_res_input=False),
    'IconVSR': lambda: IconVSR(num_feat=8, num_block=1),
    'SpyNet': SpyNet,
    'RRDBNet': lambda: RRDBNet(3, 3, scale=2, num_feat=8, num_block=2, num_grow_ch=4),
}
"""Small networks by BasicSR's class, with what is different about them."""


def small_state(name: str, seed: int = 0) -> State:
    """Random weights of one of `SMALL`, as its files have them: SPyNet's without the constants of its constructor."""
    torch.manual_seed(seed)
    state = SMALL[name]().state_dict()
    return {key: torch.randn_like(value) for key, value in state.items() if key not in ('mean', 'std')}


def mmagic_names(state: Mapping[str, torch.Tensor]) -> State:
    """The weights of a network of BasicSR with MMagic's names."""
    found = likenesses(state.keys())[0]
    assert not found.differences
    return {found.names[key]: value for key, value in state.items()}


def mmagic_file(state: Mapping[str, torch.Tensor], average: Mapping[str, torch.Tensor] | None = None) -> dict:
    """A checkpoint of MMagic, as a training writes it."""
    whole = {f'generator.{key}': value for key, value in mmagic_names(state).items()}
    whole |= {f'generator_ema.{key}': value for key, value in mmagic_names(average or {}).items()} if average else {}
    others = {'step_counter': torch.tensor(3), 'discriminator.conv0.weight': torch.ones(2)}
    return {'meta': {'iter': 3}, 'state_dict': others | whole, 'optimizer': {'state': {}, 'param_groups': []}}


def outline(state: Mapping[str, torch.Tensor]) -> tuple[int, str]:
    """How many tensors there are, and a digest of their names and shapes."""
    lines = sorted(f'{key} {tuple(value.shape)}' for key, value in state.items())
    return len(lines), hashlib.sha256('\n'.join(lines).encode()).hexdigest()


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Whether two state dicts have the same names in the same order, types and bits."""
    return list(one) == list(other) and all(
        one[key].dtype == other[key].dtype and torch.equal(one[key], other[key]) for key in one
    )
