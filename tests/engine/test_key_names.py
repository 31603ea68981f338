"""Names of BasicSR and MMagic: complete for the networks both have, both ways, and read when weights are loaded."""

from __future__ import annotations

import logging

import pytest
import torch
from basicsr.archs.basicvsr_arch import BasicVSR, IconVSR
from basicsr.archs.basicvsrpp_arch import BasicVSRPlusPlus
from basicsr.archs.edvr_arch import EDVR
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.spynet_arch import SpyNet
from helpers.mmagic import SMALL, SMALL_EDVR, mmagic_file, mmagic_names, outline, same, small_state
from torch import nn

import basicsr_semantic
from basicsr_semantic.archs.basicvsr_seem_arch import BasicVSRSEEM
from basicsr_semantic.archs.edvr_seem_arch import EDVRSEEM
from basicsr_semantic.cli import main
from basicsr_semantic.engine.checkpoint import load_weights, read_weights
from basicsr_semantic.engine.key_names import MAPS, NETWORKS, in_basicsr_names, likenesses
from basicsr_semantic.utils.errors import UserError

LARGE_EDVR = {'num_feat': 128, 'num_extract_block': 5, 'num_reconstruct_block': 40}
REAL = {
    'EDVRNet': (
        lambda: EDVR(**LARGE_EDVR),
        264,
        '2dd84a54c12a321dd33018121b02b267deadaad3ad4b555fddfddced36c139b1',
    ),
    'EDVRNet, with_tsa=False': (
        lambda: EDVR(**LARGE_EDVR, with_tsa=False),
        240,
        '5d5e194d9421b8326c0d5a47439a60400af2a07e5f6323aa528b79306f008785',
    ),
    'BasicVSRNet': (
        lambda: BasicVSR(64, 30),
        316,
        '150eecd5a352a22ccc54aedc4fe1c34e7fbb7051bcc9c3a7d997c48e15078d7b',
    ),
    'BasicVSRPlusPlusNet': (
        lambda: BasicVSRPlusPlus(64, 7),
        274,
        'cfd585e9e2485a5bb02f9c1a4096ab5d5178163357974c3dd06862201bc288e4',
    ),
    'BasicVSRPlusPlusNet, is_low_res_input=False': (
        lambda: BasicVSRPlusPlus(128, 25, is_low_res_input=False),
        566,
        '370501a3b26be1f2df2e37877fd2b8b81468ef235b11addf11444013a0beb8de',
    ),
    'IconVSRNet': (
        lambda: IconVSR(64, 30),
        414,
        'c8c126ddeabf015334685ad3e503870a469e0884c5c9ebff2dc68de7cf3ad7a9',
    ),
    'SPyNet': (SpyNet, 60, '4821530df371146e21a1ac535bc2573f6b4af23319469ea111585f1d8500edc2'),
    'RRDBNet': (
        lambda: RRDBNet(3, 3),
        702,
        '4f3f0967b9899f501c49a0a4155e42faccc3b1b568341226f23be98bec6b700f',
    ),
}
"""MMagic's class -> BasicSR's network of the same size, and `outline` of MMagic's state dict, taken from MMagic at
commit 0a560bba: the digest is of all its names and shapes. Which is which of BasicSR's is in `KNOWN`."""
KNOWN = {
    'SpyNet': {
        'basic_module.5.basic_module.8.bias': 'basic_module.5.basic_module.4.conv.bias',
        'basic_module.0.basic_module.2.weight': 'basic_module.0.basic_module.1.conv.weight',
    },
    'BasicVSR': {
        'spynet.mean': 'spynet.mean',
        'spynet.basic_module.3.basic_module.6.weight': 'spynet.basic_module.3.basic_module.3.conv.weight',
        'backward_trunk.main.2.11.conv2.bias': 'backward_resblocks.main.2.11.conv2.bias',
        'backward_trunk.main.0.weight': 'backward_resblocks.main.0.weight',
        'forward_trunk.main.0.weight': 'forward_resblocks.main.0.weight',
        'forward_trunk.main.2.3.conv1.weight': 'forward_resblocks.main.2.3.conv1.weight',
        'fusion.weight': 'fusion.weight',
        'upconv1.bias': 'upsample1.upsample_conv.bias',
        'upconv2.bias': 'upsample2.upsample_conv.bias',
        'conv_last.weight': 'conv_last.weight',
    },
    'EDVR': {
        'conv_l2_1.weight': 'feat_l2_conv1.conv.weight',
        'conv_l2_2.weight': 'feat_l2_conv2.conv.weight',
        'conv_l3_1.weight': 'feat_l3_conv1.conv.weight',
        'conv_l3_2.weight': 'feat_l3_conv2.conv.weight',
        'pcd_align.offset_conv3.l1.bias': 'pcd_alignment.offset_conv3.l1.conv.bias',
        'pcd_align.dcn_pack.l2.conv_offset.weight': 'pcd_alignment.dcn_pack.l2.conv_offset.weight',
        'pcd_align.cas_dcnpack.bias': 'pcd_alignment.cas_dcnpack.bias',
        'fusion.temporal_attn1.weight': 'fusion.temporal_attn1.weight',
        'fusion.spatial_attn_add1.bias': 'fusion.spatial_attn_add1.conv.bias',
        'reconstruction.2.conv2.weight': 'reconstruction.2.conv2.weight',
    },
    'IconVSR': {
        'edvr.pcd_align.cas_offset_conv1.weight': 'edvr.pcd_alignment.cas_offset_conv1.conv.weight',
        'edvr.conv_l2_1.bias': 'edvr.feat_l2_conv1.conv.bias',
        'backward_fusion.weight': 'backward_fusion.weight',
    },
    'BasicVSRPlusPlus': {
        'deform_align.backward_1.conv_offset.6.weight': 'deform_align.backward_1.conv_offset.6.weight',
        'backbone.forward_2.main.2.0.conv1.weight': 'backbone.forward_2.main.2.0.conv1.weight',
        'upconv1.weight': 'upsample1.upsample_conv.weight',
    },
    'RRDBNet': {'body.1.rdb3.conv5.bias': 'body.1.rdb3.conv5.bias'},
}
"""Some names of BasicSR -> MMagic's, as the two toolboxes' sources have them."""


def without_constants(net: nn.Module) -> dict:
    return {key: value for key, value in net.state_dict().items() if key not in ('mean', 'std')}


@pytest.mark.parametrize('name', REAL)
def test_at_real_sizes_all_names_and_shapes_are_those_of_mmagic(name):
    make, number, digest = REAL[name]
    with torch.device('meta'):
        state = without_constants(make())
    found = likenesses(state.keys())[0]
    assert found.map.mmagic == name.partition(',')[0] and not found.differences
    assert outline(mmagic_names(state)) == (number, digest)


def test_each_network_of_the_map_is_compared():
    assert {found.map.network for make, *_ in REAL.values() for found in [_likeness(make)]} == set(NETWORKS)
    assert len(REAL) == len(SMALL) == len(MAPS) and set(KNOWN) == set(NETWORKS)


def _likeness(make):
    with torch.device('meta'):
        return likenesses(without_constants(make()).keys())[0]


@pytest.mark.parametrize('network', KNOWN)
def test_names_are_those_of_the_sources(network):
    names = likenesses(small_state(network).keys())[0].names
    assert names.items() >= KNOWN[network].items()


@pytest.mark.parametrize('name', SMALL)
def test_there_and_back_is_where_it_began(name):
    state = small_state(name)
    theirs = mmagic_names(state)
    found = likenesses(theirs.keys())[0]
    assert found.map.network == name.split(' ')[0] and not found.differences
    assert found.side == (None if name == 'RRDBNet' else 'mmagic')
    assert same({found.names[key]: value for key, value in theirs.items()}, state)
    assert len(set(theirs)) == len(state)


@pytest.mark.parametrize(
    ('name', 'wrapper'), [*((name, '') for name in SMALL), ('BasicVSR', 'module.'), ('EDVR', '_orig_mod.')]
)
def test_a_file_of_mmagic_loads_strictly(tmp_path, name, wrapper):
    state, average = small_state(name), small_state(name, seed=1)
    file = mmagic_file(state, average)
    file['state_dict'] = {wrapper + key: value for key, value in file['state_dict'].items()}
    torch.save(file, tmp_path / 'a.pth')
    for param_key, expected in (('params', state), ('params_ema', average)):
        net = SMALL[name]()
        missing, unexpected = load_weights(net, tmp_path / 'a.pth', name != 'SpyNet', param_key)
        assert (missing, unexpected) == (['mean', 'std'] if name == 'SpyNet' else [], [])
        assert same(without_constants(net), expected)


def test_the_log_says_whose_names_were_read(tmp_path, caplog):
    torch.save(mmagic_file(small_state('BasicVSR')), tmp_path / 'a.pth')
    with caplog.at_level(logging.INFO, logger='basicsr'):
        load_weights(SMALL['BasicVSR'](), tmp_path / 'a.pth')
    assert f"{tmp_path / 'a.pth'} has MMagic's names of BasicVSRNet; they are read as BasicSR's." in caplog.messages
    caplog.clear()
    torch.save({'params': small_state('BasicVSR')}, tmp_path / 'a.pth')
    with caplog.at_level(logging.INFO, logger='basicsr'):
        load_weights(SMALL['BasicVSR'](), tmp_path / 'a.pth')
    assert not any('MMagic' in message for message in caplog.messages)


SEEM = {
    'BasicVSR': lambda: BasicVSRSEEM(num_feat=8, num_block=12, num_masks=4, reduction=2),
    'EDVR': lambda: EDVRSEEM(**SMALL_EDVR, num_masks=4, reduction=2),
}


@pytest.mark.parametrize('base', SEEM)
def test_a_network_on_top_of_a_base_takes_the_base_of_mmagic(tmp_path, base):
    state = small_state(base)
    torch.save(mmagic_file(state), tmp_path / 'a.pth')
    net = SEEM[base]()
    missing, unexpected = load_weights(net, tmp_path / 'a.pth', strict=False)
    assert not unexpected and missing and not set(missing) & state.keys()
    assert same({key: net.state_dict()[key] for key in state}, state)


def test_without_a_network_the_names_of_a_whole_one_are_read_too(tmp_path):
    state = small_state('EDVR')
    torch.save(mmagic_file(state), tmp_path / 'a.pth')
    assert same(read_weights(tmp_path / 'a.pth'), state)
    with pytest.raises(UserError, match=r"network=\{'type': 'BasicVSR', 'num_feat': 8, 'num_block': 12"):
        torch.save(mmagic_file(small_state('BasicVSR')), tmp_path / 'a.pth')
        basicsr_semantic.load(tmp_path / 'a.pth')


def test_a_name_that_is_missing_or_strange_is_said_in_the_words_of_the_network(tmp_path):
    state = mmagic_names(small_state('BasicVSR'))
    del state['upsample1.upsample_conv.bias']
    state['head.weight'] = torch.ones(1)
    torch.save({'state_dict': {f'generator.{key}': value for key, value in state.items()}}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=r'lacks values for 1 tensors \(upconv1 1\); the file has unused .*head 1'):
        load_weights(SMALL['BasicVSR'](), tmp_path / 'a.pth')


def test_a_network_with_names_like_mmagic_keeps_them():
    names = mmagic_names(small_state('BasicVSR')).keys()
    assert in_basicsr_names(names, names) is None
    assert in_basicsr_names(['generator.conv_hr.weight'], ['conv_hr.weight']) is None
    assert in_basicsr_names([], ['conv_hr.weight']) is None


def test_two_tensors_for_one_name_are_not_taken_for_one(tmp_path):
    state = small_state('BasicVSR')
    torch.save({'state_dict': mmagic_names(state) | {'upconv1.bias': torch.ones(32)}}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=r'the file has unused 1 tensors \(upsample1 1\)'):
        load_weights(SMALL['BasicVSR'](), tmp_path / 'a.pth')


def test_the_average_of_mmengine_is_under_the_other_key(tmp_path, capsys):
    weights, average = small_state('RRDBNet'), small_state('RRDBNet', seed=1)
    held = {'module.' + key: value for key, value in weights.items()} | {'steps': torch.tensor(4)}
    torch.save({'meta': {'iter': 4}, 'state_dict': average, 'ema_state_dict': held}, tmp_path / 'a.pth')
    for param_key, expected in (('params', weights), ('params_ema', average)):
        net = SMALL['RRDBNet']()
        load_weights(net, tmp_path / 'a.pth', True, param_key)
        assert same(net.state_dict(), expected)
    assert main(['convert', str(tmp_path / 'a.pth'), str(tmp_path / 'b.pth'), '--to', 'basicsr']) == 0
    assert 'Left out, since it is no part of the network: meta; steps of ema_state_dict.' in capsys.readouterr().out
    content = torch.load(tmp_path / 'b.pth', weights_only=True)
    assert same(content['params'], weights) and same(content['params_ema'], average)
