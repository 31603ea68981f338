"""The pixel decoder: positions, the transformer layer, and the pyramid."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from basicsr_semantic.extractors.layers.sine_positions import sine_positions
from basicsr_semantic.extractors.xdecoder.pixel_decoder import EncoderLayer, PixelDecoder


def test_sine_positions():
    positions = sine_positions((3, 5), 8).view(3, 5, 8)
    for row, column in [(0, 0), (1, 3), (2, 4)]:
        y, x = 2 * math.pi * (row + 1) / 3, 2 * math.pi * (column + 1) / 5
        expected = [f(a / scale) for a in (y, x) for scale in (1, 100) for f in (math.sin, math.cos)]
        assert positions[row, column].tolist() == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_encoder_layer_is_that_of_pytorch_with_positions_on_queries_and_keys():
    torch.manual_seed(0)
    ours, attention = EncoderLayer(16, 4, 24), nn.MultiheadAttention(16, 4, batch_first=True)
    attention.load_state_dict(ours.self_attn.state_dict())
    x, position = torch.randn(2, 6, 16), torch.randn(6, 16)
    y = ours.norm1(x + attention(x + position, x + position, x, need_weights=False)[0])
    y = ours.norm2(y + ours.linear2(F.relu(ours.linear1(y))))
    assert torch.allclose(ours(x, position), y, atol=1e-5)


@torch.no_grad()
def test_three_levels_and_mask_features_from_coarse_to_fine():
    torch.manual_seed(0)
    decoder = PixelDecoder((4, 8, 12, 20), 16, 10, 4, 24, layers=1, norm_groups=4)
    features = [torch.randn(2, width, 24 // 2**i, 16 // 2**i) for i, width in enumerate((4, 8, 12, 20))]
    levels, masks = decoder(features)
    assert [tuple(level.shape) for level in levels] == [(2, 16, 3, 2), (2, 16, 6, 4), (2, 16, 12, 8)]
    assert tuple(masks.shape) == (2, 10, 24, 16)
    side = decoder.get_submodule('adapter_3')(features[2])
    expected = F.relu(
        decoder.get_submodule('layer_3')(side + levels[0].repeat_interleave(2, 2).repeat_interleave(2, 3))
    )
    assert torch.allclose(levels[1], expected, atol=1e-5)
    features[0] = features[0] + 1e3 * torch.randn_like(features[0])
    again, other = decoder(features)
    assert all(torch.equal(a, b) for a, b in zip(levels, again, strict=True)), (
        'fine features must not reach coarse ones'
    )
    assert not torch.allclose(masks, other)
