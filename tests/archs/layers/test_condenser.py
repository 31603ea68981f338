"""Building blocks of SeeClear's U-Net."""

from __future__ import annotations

import pytest
import torch

from basicsr_semantic.archs.layers.condenser import AttentionStage, ChannelAttention
from basicsr_semantic.archs.layers.time_blocks import StepEmbedding, TimeResBlock
from basicsr_semantic.archs.layers.wavelet_blocks import HAAR, POLYPHASE, FramePyramid, WaveletUp
from basicsr_semantic.archs.layers.wavelets import haar


def test_steps_are_told_apart():
    embedded = StepEmbedding(24, 48)(torch.arange(1, 16))
    assert embedded.shape == (15, 48)
    assert torch.pdist(embedded).min() > 1e-3


def test_residual_blocks_start_as_their_shortcut_and_follow_the_step():
    torch.manual_seed(0)
    x, step = torch.randn(2, 24, 4, 4), torch.randn(2, 8)
    same, wider = TimeResBlock(24, 24, 8), TimeResBlock(24, 48, 8)
    assert torch.equal(same(x, step), x)
    torch.testing.assert_close(wider(x, step), wider.shortcut(x))
    torch.nn.init.normal_(same.conv2.weight)
    assert (same(x, step) - same(x, -step)).abs().max() > 1e-3


def test_channel_attention_is_written_out():
    torch.manual_seed(0)
    net, x = ChannelAttention(8, 2), torch.randn(1, 8, 5, 3)
    torch.nn.init.normal_(net.temperature)
    q, k, v = net.depthwise(net.qkv(net.norm(x.movedim(1, -1)).movedim(-1, 1)))[0].flatten(1).chunk(3)
    rows = []
    for head, part in enumerate((slice(0, 4), slice(4, 8))):
        q_unit, k_unit = (z[part] / z[part].norm(dim=1, keepdim=True) for z in (q, k))
        rows.append((q_unit @ k_unit.T * net.temperature[head]).softmax(1) @ v[part])
    expected = x + net.proj(torch.cat(rows).view(1, 8, 5, 3))
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize('bands', [HAAR, POLYPHASE])
def test_both_transforms_come_back(bands):
    x = torch.randn(2, 3, 8, 12)
    assert bands.split(x).shape == (2, 12, 4, 6)
    torch.testing.assert_close(bands.join(bands.split(x)), x)


def test_polyphase_takes_pixels_apart():
    x = torch.randn(1, 2, 4, 4)
    assert torch.equal(POLYPHASE.split(x)[:, 2:4], x[..., 0::2, 1::2])


def test_going_up_inverts_the_transform_where_it_can():
    """With the low band halved by the layer, and the high bands as they are, down and up is the identity."""
    x = torch.randn(1, 4, 8, 8)
    low, high = haar(x).split([4, 12], dim=1)
    up = WaveletUp(4, 4, 4, HAAR)
    with torch.no_grad():
        for layer in (up.low, up.high):
            layer.weight.zero_()
            layer.bias.zero_()
        up.low.weight[:, :, 0, 0] = torch.eye(4) / 2
        up.high.weight[range(12), [*range(4)] * 3, 1, 1] = 1
    torch.testing.assert_close(up(low, high), x)


def test_the_pyramid_halves_level_by_level():
    levels = FramePyramid(6, 3, HAAR)(torch.rand(2, 3, 16, 24))
    assert [tuple(level.shape) for level in levels] == [(2, 6, 8, 12), (2, 6, 4, 6), (2, 6, 2, 3)]


@pytest.mark.parametrize(('frames', 'meet'), [(1, False), (3, True)])
def test_frames_meet_in_windows_over_time_only(frames, meet):
    torch.manual_seed(0)
    stage = AttentionStage(24, 24, 8, 2, (frames, 4, 4), 2.0, True, True, True)
    x, step = torch.randn(3, 24, 6, 5, requires_grad=True), torch.randn(3, 8)
    stage(x, step)[0].sum().backward()
    assert x.grad is not None and (x.grad[1:].abs().max() > 0) == meet
    assert x.grad[0].abs().max() > 0
