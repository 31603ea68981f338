"""Constructor arguments read off weights, for every configuration that leaves a trace there."""

from __future__ import annotations

import itertools

import pytest
import torch
from basicsr.archs import build_network

from basicsr_semantic.archs import EDVRSEEM, BasicVSRSEEM
from basicsr_semantic.archs.seem_configuration import read_configuration

BASICVSR = [
    {'num_feat': 8, 'num_block': 2, 'num_masks': 5, 'reduction': 2, 'branches': branches, 'share_branches': share}
    for branches, share in itertools.product((['backward'], ['forward'], ['backward', 'forward']), (False, True))
]
EDVR = [
    {
        'num_in_ch': 3,
        'num_feat': 8,
        'num_frame': num_frame,
        'deformable_groups': 2,
        'num_extract_block': 1,
        'num_reconstruct_block': 2,
        'with_tsa': with_tsa,
        'positions': positions,
        'num_masks': 5,
        'reduction': 4,
    }
    for num_frame, with_tsa, positions in itertools.product((3, 5), (False, True), (['align', 'recon'], ['aggr']))
]


@pytest.mark.parametrize(
    ('network', 'options'), [*((BasicVSRSEEM, o) for o in BASICVSR), *((EDVRSEEM, o) for o in EDVR)]
)
def test_configurations_come_back(network, options):
    state = network(**options).state_dict()
    found = read_configuration(state)
    assert found['type'] == network.__name__
    if not options.get('share_branches'):  # a shared pair does not tell who shares it
        assert found == {'type': network.__name__, **options}
    build_network(found).load_state_dict(state, strict=True)


@pytest.mark.parametrize(('network', 'options'), [(BasicVSRSEEM, {'branches': []}), (EDVRSEEM, {'positions': []})])
def test_plain_baselines_are_networks_without_seem(network, options):
    state = network(num_feat=16, **options).state_dict()
    found = read_configuration(state)
    assert 'num_masks' not in found
    build_network(found).load_state_dict(state, strict=True)


def test_other_weights_are_refused():
    with pytest.raises(ValueError, match='not the weights of BasicVSR or EDVR'):
        read_configuration({'conv.weight': torch.zeros(1)})
    state = BasicVSRSEEM(**BASICVSR[0]).state_dict()
    with pytest.raises(ValueError, match=r'lack upconv1\.weight'):
        read_configuration({key: value for key, value in state.items() if key != 'upconv1.weight'})
