"""The instance network from the file that stage 1 writes."""

from __future__ import annotations

import pytest
import torch

from basicsr_semantic.archs.layers.instance_transformer import InstanceTransformer
from basicsr_semantic.extractors.xdecoder import load_instance_transformer
from basicsr_semantic.utils.errors import UserError

TINY = {
    'hidden_dim': 16,
    'num_heads': 4,
    'feedforward_dim': 24,
    'encoder_layers': 2,
    'decoder_layers': 1,
    'window': 4,
    'num_queries': 7,
    'num_frame_queries': 5,
    'num_classes': 3,
    'mask_dim': 12,
    'feature_dim': 10,
}


def test_round_trip(tmp_path):
    torch.manual_seed(0)
    net = InstanceTransformer(**TINY).eval()
    torch.save(
        {'params': net.state_dict(), 'network': {'type': 'InstanceTransformer', **net.config}}, tmp_path / 'a.pth'
    )
    again = load_instance_transformer(tmp_path / 'a.pth')
    assert again.config == net.config and not again.training
    tokens = torch.randn(1, 6, 5, 16)
    with torch.no_grad():
        assert torch.equal(again(tokens).tokens, net(tokens).tokens)


def test_weights_alone_have_the_default_heads_and_windows(tmp_path):
    net = InstanceTransformer(**{**TINY, 'num_heads': 8, 'window': 6})
    torch.save(net.state_dict(), tmp_path / 'a.pth')
    assert load_instance_transformer(tmp_path / 'a.pth').config == net.config


def test_other_files_are_refused_in_one_sentence(tmp_path):
    path, net = tmp_path / 'a.pth', InstanceTransformer(**TINY)
    narrow = {**net.state_dict(), 'fq_pos.weight': torch.ones(5, 12)}
    cut = {name: value for name, value in net.state_dict().items() if name != 'decoder_norm.bias'}
    for content, message in [
        ({'conv_first.weight': torch.ones(1)}, 'is not an instance checkpoint'),
        ({'params': net.state_dict(), 'network': {**net.config, 'hidden_dim': 32}}, 'its weights say 16'),
        ({'params': net.state_dict(), 'network': {**net.config, 'num_heads': 5}}, 'make no InstanceTransformer'),
        ({'params': net.state_dict(), 'network': {'colour': 1}}, 'make no InstanceTransformer'),
        ({'params': narrow, 'network': {'num_heads': 4}}, 'fq_pos.weight is \\(5, 12\\)'),
        ({'params': cut, 'network': {'num_heads': 4}}, 'decoder_norm.bias missing'),
        ([1], 'does not hold a flat dictionary'),
    ]:
        torch.save(content, path)
        with pytest.raises(UserError, match=message):
            load_instance_transformer(path)
    with pytest.raises(UserError, match=r'does not exist\. Stage 1'):
        load_instance_transformer(tmp_path / 'absent.pth')
