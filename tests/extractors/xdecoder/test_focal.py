"""The backbone: the equations of a block, written out again with loops and functions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from basicsr_semantic.extractors.xdecoder.focal import FocalBlock, FocalModulation, FocalNet, StochasticDepth


def by_hand(modulation: FocalModulation, x: torch.Tensor) -> torch.Tensor:
    """Focal modulation of one image (h, w, C), pixel by pixel where the equation is per pixel."""
    height, width, dim = x.shape
    projected = x @ modulation.f.weight.T + modulation.f.bias
    query, context, gates = projected[..., :dim], projected[..., dim : 2 * dim], projected[..., 2 * dim :]
    gathered = torch.zeros(height, width, dim)
    for level in range(modulation.levels):
        kernel = modulation.focal_layers[level][0].weight[:, 0]
        reach = kernel.size(-1) // 2
        padded = F.pad(context.permute(2, 0, 1), (reach,) * 4)
        new = torch.empty(height, width, dim)
        for i in range(height):
            for j in range(width):
                window = padded[:, i : i + 2 * reach + 1, j : j + 2 * reach + 1]
                new[i, j] = F.gelu((window * kernel).sum((1, 2)))
        context = new
        gathered += context * gates[..., level : level + 1]
    gathered += F.gelu(context.mean((0, 1))) * gates[..., -1:]
    modulator = gathered / (modulation.levels + 1) @ modulation.h.weight[:, :, 0, 0].T + modulation.h.bias
    return (query * modulator) @ modulation.proj.weight.T + modulation.proj.bias


@torch.no_grad()
def test_focal_modulation_is_its_equation():
    torch.manual_seed(0)
    modulation = FocalModulation(6, levels=2, window=3)
    x = torch.randn(2, 5, 4, 6)
    expected = torch.stack([by_hand(modulation, each) for each in x])
    assert torch.allclose(modulation(x), expected, atol=1e-5)


def block(depthwise: bool) -> FocalBlock:
    return FocalBlock(6, 2, 3, 4.0, depthwise, layer_scale=0.5, drop_path=0.0)


@torch.no_grad()
def test_norms_come_after_the_sum_with_depthwise_convolutions_and_after_the_branch_without():
    torch.manual_seed(0)
    x = torch.randn(1, 4, 4, 6)
    deep, plain = block(True), block(False)
    y = x + deep.dw1(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    y = F.layer_norm(y + 0.5 * deep.modulation(y), (6,))
    y = y + deep.dw2(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert torch.allclose(deep(x), F.layer_norm(y + 0.5 * deep.mlp(y), (6,)), atol=1e-5)
    y = x + 0.5 * F.layer_norm(plain.modulation(x), (6,))
    assert torch.allclose(plain(x), y + 0.5 * F.layer_norm(plain.mlp(y), (6,)), atol=1e-5)


@pytest.mark.parametrize('depthwise', [True, False])
def test_features_at_four_strides(depthwise):
    net = FocalNet(8, (1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3), 4.0, depthwise, 1e-4, 0.0)
    features = net(torch.randn(2, 3, 64, 96))
    assert [tuple(each.shape) for each in features] == [
        (2, 8, 16, 24),
        (2, 16, 8, 12),
        (2, 32, 4, 6),
        (2, 64, 2, 3),
    ]
    assert net.patch_embed.proj.padding == ((3, 3) if depthwise else (2, 2)), 'as released, each its own'


def test_stochastic_depth_leaves_whole_samples_out_in_training_alone():
    torch.manual_seed(0)
    layer = StochasticDepth(0.25)
    x = torch.ones(4000, 3)
    kept = layer(x)
    assert kept.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (kept == kept[:, :1]).all() and kept.mean() == pytest.approx(1, abs=0.05)
    assert layer.eval()(x) is x
    rates = [
        b.drop_path.rate
        for s in FocalNet(8, (1, 1, 2, 1), (1,) * 4, (3,) * 4, 4.0, True, 1, 0.4).layers
        for b in s.blocks
    ]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
