"""InCAM: what the instances of a frame and of the clip do to pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from basicsr_semantic.archs.layers.incam import InstanceAlignment

DIM, TOKEN_DIM, FEATURE_DIM = 8, 6, 5


def inputs(frames: int = 3, size: tuple[int, int] = (6, 4)):
    torch.manual_seed(0)
    return (
        torch.randn(2 * frames, DIM, *size),
        torch.randn(2 * frames, FEATURE_DIM, 3, 2),
        torch.randn(2 * frames, 4, TOKEN_DIM),
        torch.randn(2, 3, TOKEN_DIM),
    )


def module(clip: bool = True, moved: bool = False, reading: str = 'scale') -> InstanceAlignment:
    torch.manual_seed(1)
    net = InstanceAlignment(DIM, 2, TOKEN_DIM, FEATURE_DIM, clip, reading)
    if moved:
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return net


@pytest.mark.parametrize('reading', ['scale', 'embed'])
def test_it_starts_as_the_identity(reading):
    x, features, tokens, clip = inputs()
    net = module(reading=reading)
    assert torch.equal(net(x, net.guide(features, tokens, clip, (6, 4), (6, 4))), x)


def test_it_is_eq_10_to_15():
    """Written out pixel by pixel, for one pixel of the second clip."""
    x, features, tokens, clip = inputs()
    net = module(moved=True)
    found = net(x, net.guide(features, tokens, clip, (6, 4), (6, 4)))[4, :, 2, 1]
    resized = F.interpolate(features[4:5], (6, 4), mode='bilinear')
    gamma, beta = (net.conv2(F.relu(net.conv1(resized)))[0, :, 2, 1] / math.sqrt(9 * DIM)).chunk(2)
    f = x[4, :, 2, 1]
    modulated = f * gamma + beta + f
    query = net.query(net.norm(modulated))
    parts = []
    for head in (slice(0, 4), slice(4, 8)):
        scores = net.key(tokens[4])[:, head] @ query[head] / math.sqrt(4)
        parts.append(scores.softmax(0) @ net.value(tokens[4])[:, head])
    embedded = modulated + net.proj(torch.cat(parts))
    activation = (net.clip_token(clip[1]) @ net.clip_pixel(embedded) / math.sqrt(DIM)).sigmoid().max()
    torch.testing.assert_close(found, embedded * (1 + net.gain * activation))


def test_embedding_gives_a_pixel_the_tokens_that_it_activates():
    """x + W_out(sum over n of sigmoid(s_n) W_v O_n / sqrt(N)), for one pixel of the second clip."""
    x, features, tokens, clip = inputs()
    net = module(moved=True, reading='embed')
    guide = net.guide(features, tokens, clip, (6, 4), (6, 4))
    found = net(x, guide)[4, :, 2, 1]
    guide.clip = None
    pixel = net(x, guide)[4, :, 2, 1]
    active = (net.clip_token(clip[1]) @ net.clip_pixel(net.clip_norm(pixel)) / math.sqrt(DIM)).sigmoid()
    expected = pixel + net.clip_out((active[:, None] * net.clip_value(clip[1])).sum(0) / math.sqrt(3))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_the_attention_behind_it_sees_an_embedding_where_it_divides_a_scale_out():
    """The LayerNorm in front of the attention of the stage: what of a change of InCAM's result comes through."""
    x, features, tokens, clip = inputs()
    changes = {}
    for reading in ('scale', 'embed'):
        net = module(reading=reading)
        before = net(x, net.guide(features, tokens, clip, (6, 4), (6, 4)))
        torch.nn.init.constant_(net.gain if reading == 'scale' else net.clip_out.bias, 0.5)
        torch.nn.init.normal_(net.clip_out.weight) if reading == 'embed' else None
        after = net(x, net.guide(features, tokens, clip, (6, 4), (6, 4)))
        assert not torch.allclose(before, after, rtol=0.05)
        normed = (F.layer_norm(y.detach().permute(0, 2, 3, 1), (DIM,)) for y in (before, after))
        changes[reading] = float((next(normed) - next(normed)).abs().max())
    assert changes['scale'] < 1e-3 < 0.1 < changes['embed']


def test_readings_are_two():
    with pytest.raises(ValueError, match='embed, scale, not add'):
        module(reading='add')


def test_without_tokens_of_the_clip_nothing_is_highlighted():
    x, features, tokens, clip = inputs()
    net = module(clip=False, moved=True)
    guide = net.guide(features, tokens, clip, (6, 4), (6, 4))
    assert guide.clip is None and {name.split('.')[0] for name, _ in net.named_parameters()}.isdisjoint(
        {'gain', 'clip_token', 'clip_pixel'}
    )
    assert net(x, guide).shape == x.shape


@pytest.mark.parametrize('padded', [(6, 4), (8, 8)])
def test_frames_that_were_padded_see_the_same_semantics(padded):
    _, features, tokens, clip = inputs(size=padded)
    net = module(moved=True)
    whole = net.guide(features, tokens, clip, (6, 4), padded)
    bare = net.guide(features, tokens, clip, (6, 4), (6, 4))
    assert whole.scale.shape[2:] == padded
    torch.testing.assert_close(whole.scale[..., :4, :2], bare.scale[..., :4, :2])  # two pixels off the border


@pytest.mark.parametrize('dim', [8, 64, 256])
def test_one_step_of_adam_scales_little_at_any_width(dim):
    """Stages multiply one after the other, so their first steps must be small ones."""
    torch.manual_seed(0)
    net = InstanceAlignment(dim, 2, TOKEN_DIM, FEATURE_DIM, clip=False)
    _, features, tokens, _ = inputs()
    x = torch.randn(features.size(0), dim, 6, 4)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, betas=(0.5, 0.999))
    net(x, net.guide(features, tokens, None, (6, 4), (6, 4))).square().mean().backward()
    optimizer.step()
    assert 0 < net.guide(features, tokens, None, (6, 4), (6, 4)).scale.abs().max() < 0.05
