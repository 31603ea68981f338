"""Taking adapters off networks and putting them onto baselines."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs.basicvsr_arch import BasicVSR
from basicsr.archs.edvr_arch import EDVR
from helpers.seem import randomise
from torch import nn

from basicsr_semantic.archs import EDVRSEEM, BasicVSRSEEM
from basicsr_semantic.archs.adapters import SEEM_PREFIXES, adapter_state, merge_adapter, split

EDVR_HOST = {'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}
PAIRS = {
    'BasicVSR': (lambda: BasicVSR(8, 1), lambda: BasicVSRSEEM(num_feat=8, num_block=1, num_masks=4, reduction=4)),
    'BasicVSR shared': (
        lambda: BasicVSR(8, 1),
        lambda: BasicVSRSEEM(num_feat=8, num_block=1, num_masks=4, reduction=4, share_branches=True),
    ),
    'EDVR': (lambda: EDVR(**EDVR_HOST), lambda: EDVRSEEM(**EDVR_HOST, num_masks=4, reduction=4)),
}


@pytest.mark.parametrize('name', PAIRS)
def test_an_adapter_moves_to_another_baseline(name):
    baseline, net = randomise(PAIRS[name][0](), 1), randomise(PAIRS[name][1](), 2)
    adapter = adapter_state(net)
    assert set(adapter) | set(baseline.state_dict()) == set(net.state_dict())
    assert not set(adapter) & set(baseline.state_dict())
    merged = merge_adapter(baseline.state_dict(), adapter)
    fresh = PAIRS[name][1]()
    fresh.load_state_dict(merged, strict=True)
    for key, value in fresh.state_dict().items():
        assert torch.equal(value, adapter[key] if key in adapter else baseline.state_dict()[key]), key


def test_an_adapter_on_the_baseline_is_replaced():
    net, other = randomise(PAIRS['EDVR'][1](), 1), randomise(PAIRS['EDVR'][1](), 2)
    merged = merge_adapter(net.state_dict(), adapter_state(other))
    assert torch.equal(merged['seem_align.conv1.weight'], other.seem_align.conv1.weight)
    assert torch.equal(merged['conv_first.weight'], net.conv_first.weight)


def test_split_parts_by_prefix():
    state = {
        'a.w': torch.zeros(1),
        'seem_x.w': torch.ones(1),
        'sam_embed.w': torch.ones(1),
        'sam_embedding.w': torch.zeros(1),
    }
    baseline, adapter = split(state)
    assert set(baseline) == {'a.w', 'sam_embedding.w'} and set(adapter) == {'seem_x.w', 'sam_embed.w'}
    assert split(state, ('a.',))[1].keys() == {'a.w'}
    assert split(state, ()) == (state, {})


def test_networks_agree_on_the_prefixes():
    assert BasicVSRSEEM.adapter_prefixes == EDVRSEEM.adapter_prefixes == SEEM_PREFIXES


def test_a_network_without_prefixes_has_no_adapter():
    assert adapter_state(nn.Conv2d(1, 1, 1)) == {}


def test_what_does_not_belong_together_is_refused():
    basicvsr, edvr = BasicVSR(8, 1).state_dict(), EDVR(**EDVR_HOST).state_dict()
    net = PAIRS['BasicVSR'][1]()
    adapter = adapter_state(net)
    for baseline, given, message in [
        (adapter, basicvsr, 'swapped'),
        (basicvsr, {}, 'it has nothing'),
        (basicvsr, net.state_dict(), 'a whole network'),
        (adapter, adapter, 'no network'),
        (edvr, adapter, 'trained on BasicVSR .* no backward_trunk'),
        (basicvsr, adapter_state(PAIRS['EDVR'][1]()), 'trained on EDVR'),
        (BasicVSR(16, 1).state_dict(), adapter, 'num_feat 16, the adapter 8'),
        ({k: v for k, v in basicvsr.items() if k != 'upconv1.weight'}, adapter, 'no upconv1.weight'),
        (basicvsr, {k: v for k, v in adapter.items() if not k.startswith('sam_')}, 'no sam_embed.conv2.weight'),
    ]:
        with pytest.raises(ValueError, match=message):
            merge_adapter(baseline, given)
