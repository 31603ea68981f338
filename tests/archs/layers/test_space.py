"""SPACE: the equations written down a second time, the identity at the start, and the sizes of the design."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from basicsr_semantic.archs.layers.space import (
    GlobalPerspectiveShifter,
    InstanceEmbeddingEncoder,
    SpaceBlock,
    TokenCompression,
)


def randomised(module):
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def inputs(frames=3, tokens=5):
    torch.manual_seed(1)
    return torch.randn(2, frames, 6, 7, 12), torch.randn(2, frames, 12), torch.randn(2, tokens, 12)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_are_those_of_the_design():
    assert count(GlobalPerspectiveShifter(120)) == 389_160
    assert count(InstanceEmbeddingEncoder(120)) == 58_320
    assert count(SpaceBlock(120)) == 447_480
    assert count(SpaceBlock(120, gps=False)) == 58_320 and count(SpaceBlock(120, isee=False)) == 389_160
    assert count(TokenCompression(512, 120)) == 61_560 + 240


def test_gps_is_equations_6_to_8():
    gps = randomised(GlobalPerspectiveShifter(12))
    x, tokens, _ = inputs()
    for b in range(2):
        for t in range(3):
            feature = x[b, t].permute(2, 0, 1)[None]
            extended = tokens[b, t][None, :, None, None] * feature
            scale, shift = gps.conv2(F.relu(gps.conv1(extended))).chunk(2, dim=1)
            expected = feature * scale + shift + feature
            torch.testing.assert_close(gps(x, tokens)[b, t].permute(2, 0, 1)[None], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('residual', [True, False])
def test_isee_is_equations_9_to_11(residual):
    isee = randomised(InstanceEmbeddingEncoder(12, num_heads=2, residual=residual))
    x, _, tokens = inputs()
    pixels = isee.norm(x).flatten(1, 3)
    heads = [layer.unflatten(2, (2, 6)) for layer in (isee.query(pixels), isee.key(tokens), isee.value(tokens))]
    attention = torch.einsum('bphd,bnhd->bhpn', *heads[:2]).div(math.sqrt(6)).softmax(-1)
    expected = isee.proj(torch.einsum('bhpn,bnhd->bphd', attention, heads[2]).flatten(2)).view(x.shape)
    torch.testing.assert_close(isee(x, tokens), expected + x if residual else expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('parts', [{}, {'gps': False}, {'isee': False}, {'nothing': True}])
def test_starts_as_the_identity_to_the_bit(parts):
    x, scenes, instances = inputs()
    assert torch.equal(SpaceBlock(12, num_heads=2, **parts)(x, scenes, instances), x)


def test_without_residual_isee_does_not_start_at_zero():
    x, _, tokens = inputs()
    assert InstanceEmbeddingEncoder(12, 2, residual=False)(x, tokens).std() > 1e-3


def test_a_frame_sees_its_own_global_token():
    block = randomised(SpaceBlock(12, num_heads=2))
    x, scenes, instances = inputs()
    before = block(x, scenes, instances)
    changed = scenes.clone()
    changed[:, 1] += 1
    after = block(x, changed, instances)
    assert torch.equal(after[:, [0, 2]], before[:, [0, 2]]) and not torch.allclose(after[:, 1], before[:, 1])


def test_the_order_of_instances_says_nothing():
    block = randomised(SpaceBlock(12, num_heads=2))
    x, scenes, instances = inputs()
    torch.testing.assert_close(block(x, scenes, instances.flip(1)), block(x, scenes, instances), atol=1e-5, rtol=1e-5)


def test_compression_does_not_depend_on_the_scale_of_the_tokens():
    torch.manual_seed(0)
    compression = TokenCompression(20, 6)
    nn.init.zeros_(compression.linear.bias)
    tokens = torch.randn(2, 3, 20)
    assert compression(tokens).shape == (2, 3, 6)
    torch.testing.assert_close(compression(tokens * 7), compression(tokens), atol=1e-3, rtol=1e-3)


def test_a_zero_token_stays_zero_behind_the_compression():
    compression = randomised(TokenCompression(20, 6))
    tokens = torch.randn(2, 3, 20)
    whole = compression(tokens)
    tokens[:, 1] = 0
    assert torch.equal(compression(tokens)[:, 1], torch.zeros(2, 6))
    assert torch.equal(compression(tokens)[:, [0, 2]], whole[:, [0, 2]])


def test_zero_tokens_embed_nothing():
    isee = randomised(InstanceEmbeddingEncoder(12, num_heads=2))
    x, _, tokens = inputs()
    assert torch.equal(isee(x, torch.zeros_like(tokens)), x + isee.proj.bias)


def test_nothing_is_a_token_of_zeros():
    isee = randomised(InstanceEmbeddingEncoder(12, num_heads=2, nothing=True))
    x, _, tokens = inputs()
    padded = F.pad(tokens, (0, 0, 0, 1))
    isee.nothing = False
    expected = isee(x, padded)
    isee.nothing = True
    assert torch.equal(isee(x, tokens), expected)
    isee.nothing = False
    assert not torch.allclose(isee(x, tokens), expected)
