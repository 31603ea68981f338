"""The instance encoder and decoder over time: windows, padding, shapes, gradients, sizes."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs import build_network

from basicsr_semantic.archs.layers.instance_transformer import InstanceTransformer, instance_config
from basicsr_semantic.archs.layers.window_in_time import window_spans

TINY = {
    'hidden_dim': 16, 'num_heads': 2, 'feedforward_dim': 24, 'encoder_layers': 3, 'decoder_layers': 2, 'window': 4,
    'num_queries': 6, 'num_frame_queries': 5, 'num_classes': 3, 'mask_dim': 8, 'feature_dim': 12,
}  # fmt: skip


def tiny(**changes) -> InstanceTransformer:
    torch.manual_seed(0)
    return InstanceTransformer(**(TINY | changes))


def tokens(*lead: int) -> torch.Tensor:
    return torch.randn(*lead, 5, 16, generator=torch.Generator().manual_seed(1))


def attend_in_windows(layer, x: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """The same layer with PyTorch's own attention over all frames and a mask (T, T) of the frames that may meet."""
    count = x.size(2)
    own = torch.nn.MultiheadAttention(x.size(-1), layer.self_attn.num_heads, batch_first=True)
    own.load_state_dict(layer.self_attn.state_dict())
    blocked = ~allowed.repeat_interleave(count, 0).repeat_interleave(count, 1)
    flat = x.flatten(1, 2)
    return layer.norm(flat + own(flat, flat, flat, attn_mask=blocked)[0]).view_as(x)


def test_parameter_counts_are_those_of_the_published_network_and_of_width_512():
    assert (
        sum(p.numel() for p in InstanceTransformer(hidden_dim=256, mask_dim=256, feature_dim=256).parameters())
        == 13_175_081
    )
    assert sum(p.numel() for p in InstanceTransformer().parameters()) == 33_540_649


@pytest.mark.parametrize('shape', [(2, 1), (2, 5), (3, 2, 5), (1, 1, 9)])
def test_shapes_with_and_without_layers(shape):
    found = tiny()(tokens(*shape))
    lead = shape[:-1]
    assert found.tokens.shape == (*lead, 6, 16)
    assert found.class_logits.shape == (2, *lead, 6, 4)
    assert found.mask_embeds.shape == (2, *lead, 6, 8)
    assert found.clip_embeds.shape == (*lead, 6, 16)
    assert found.frame_embeds.shape == (*shape, 5, 16)


def test_layers_of_the_frame_decoder_are_clips_of_their_own():
    net, x = tiny(), tokens(3, 2, 5)
    together = net(x)
    for i in range(3):
        alone = net(x[i])
        torch.testing.assert_close(together.class_logits[:, i], alone.class_logits)
        torch.testing.assert_close(together.frame_embeds[i], alone.frame_embeds)


def test_windows_cover_every_frame_once_in_order():
    for frames in range(1, 20):
        for shifted in (False, True):
            covered = [(s, n, c) for s, n, c in window_spans(frames, 6, shifted)]
            starts = [s + i * n for s, n, c in covered for i in range(c)]
            ends = [s + (i + 1) * n for s, n, c in covered for i in range(c)]
            assert starts == [0, *ends[:-1]] and ends[-1] == frames
            assert set(starts[1:]) == set(range(3 if shifted else 6, frames, 6))


@pytest.mark.parametrize('frames', [1, 3, 4, 7, 8, 11])
@pytest.mark.parametrize('shifted', [False, True])
def test_window_attention_is_plain_attention_with_a_mask(frames, shifted):
    layer, x = tiny().enc_self_attn[0], tokens(2, frames)
    number = (torch.arange(frames) + (2 if shifted else 0)) // 4
    expected = attend_in_windows(layer, x, number[:, None] == number)
    torch.testing.assert_close(layer(x, window_spans(frames, 4, shifted)), expected)


@pytest.mark.parametrize(('shift', 'frames', 'agree'), [
    ('eval', 4, True), ('eval', 5, False), ('always', 4, True), ('always', 5, True), ('never', 5, True),
    ('vita', 4, False), ('vita', 5, False),
])  # fmt: skip
def test_training_and_evaluation_agree_where_the_rule_says_so(shift, frames, agree):
    net, x = tiny(shift=shift), tokens(1, frames)
    equal = torch.allclose(net.train()(x).tokens, net.eval()(x).tokens, atol=1e-6)
    assert equal == agree


def test_by_default_five_frames_are_the_same_in_training_and_evaluation():
    torch.manual_seed(0)
    net = InstanceTransformer(
        hidden_dim=16, num_heads=2, feedforward_dim=24, num_queries=6, num_frame_queries=5, mask_dim=8, feature_dim=12
    )
    x = tokens(1, 5)
    torch.testing.assert_close(net.train()(x).tokens, net.eval()(x).tokens, rtol=0, atol=0)


@pytest.mark.parametrize('mode', [True, False])
def test_padded_frames_have_no_effect_whatever_they_hold_and_however_they_are_ordered(mode):
    net, x = tiny().train(mode), tokens(2, 9)
    valid = torch.zeros(2, 9, dtype=torch.bool)
    valid[:, :6] = True
    expected = net(x[:, :6])
    permuted = x[:, [0, 1, 2, 3, 4, 5, 8, 6, 7]]
    other = torch.cat([x[:, :6], 1e3 * torch.ones(2, 3, 5, 16)], dim=1)
    for padded in (x, permuted, other):
        found = net(padded, valid)
        torch.testing.assert_close(found.tokens, expected.tokens)
        torch.testing.assert_close(found.mask_embeds, expected.mask_embeds)
        torch.testing.assert_close(found.frame_embeds[:, :6], expected.frame_embeds)
    assert not torch.allclose(net(x).tokens, expected.tokens, atol=1e-3)  # without ``valid`` they count


def test_clips_of_differing_length_share_a_batch():
    net, x = tiny().eval(), tokens(2, 7)
    valid = torch.ones(2, 7, dtype=torch.bool)
    valid[1, 2:] = False
    found = net(x[None].expand(2, -1, -1, -1, -1), valid)
    torch.testing.assert_close(found.tokens[0, 0], net(x[:1]).tokens[0])
    torch.testing.assert_close(found.tokens[1, 1], net(x[1:, :2]).tokens[0])


def test_the_order_of_frames_inside_a_window_does_not_matter():
    net, x = tiny(), tokens(1, 4)
    torch.testing.assert_close(net(x[:, [2, 0, 3, 1]]).tokens, net(x).tokens)


@pytest.mark.parametrize('frames', [1, 5])
@pytest.mark.parametrize('similarity', [True, False])
def test_every_parameter_has_a_gradient_when_all_outputs_are_used(frames, similarity):
    net = tiny(similarity=similarity)
    found = net(tokens(2, frames))
    masks = torch.einsum('dbnc,tchw->dbnthw', found.mask_embeds, net.project_features(torch.randn(frames, 12, 4, 4)))
    used = [found.tokens, found.class_logits, masks, found.clip_embeds, found.frame_embeds]
    sum((x * torch.randn_like(x)).sum() for x in used if x is not None).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_sizes_are_read_off_the_weights():
    for changes in ({}, {'similarity': False, 'encoder_layers': 0, 'mask_dim': 7}):
        net = tiny(**changes)
        read = instance_config(net.state_dict())
        assert read == {k: v for k, v in net.config.items() if k not in ('num_heads', 'window', 'shift')}
        twin = InstanceTransformer(**(net.config | read))
        twin.load_state_dict(net.state_dict())
        torch.testing.assert_close(twin(tokens(1, 6)).tokens, net(tokens(1, 6)).tokens)
    with pytest.raises(ValueError, match=r'no .*query_feat|no .*vita_mask_features'):
        instance_config({'conv_first.weight': torch.zeros(1)})


def test_option_files_build_it():
    assert isinstance(build_network({'type': 'InstanceTransformer', **TINY}), InstanceTransformer)


@pytest.mark.parametrize(('changes', 'said'), [
    ({'shift': 'sometimes'}, 'shift is'), ({'window': 1}, 'window 1'), ({'decoder_layers': 0}, 'decoder_layers is 0'),
    ({'num_heads': 3}, 'divided among 3 heads'),
])  # fmt: skip
def test_impossible_arguments_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        tiny(**changes)


def test_tokens_of_another_network_are_refused():
    with pytest.raises(ValueError, match=r'takes tokens of shape \(batch, frames, 5, 16\)'):
        tiny()(torch.zeros(1, 2, 7, 16))
    with pytest.raises(ValueError, match='valid frame in every clip'):
        tiny()(tokens(1, 2), torch.zeros(1, 2, dtype=torch.bool))
