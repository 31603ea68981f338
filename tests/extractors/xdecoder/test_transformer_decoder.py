"""The transformer decoder: who sees whom, what the global slot is, and where a query may look."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from basicsr_semantic.extractors.layers.sine_positions import sine_positions
from basicsr_semantic.extractors.xdecoder.transformer_decoder import (
    ObjectSelfAttention,
    Predictor,
    attended_region,
    recompute_global,
)


@torch.no_grad()
def test_objects_and_the_global_query_do_not_see_each_other():
    torch.manual_seed(0)
    layer, position = ObjectSelfAttention(16, 4), torch.randn(5, 16)
    x = torch.randn(2, 5, 16)
    other_global, other_object = x.clone(), x.clone()
    other_global[:, -1] += 1
    other_object[:, 1] += 1
    before = layer(x, position)
    assert torch.equal(layer(other_global, position)[:, :-1], before[:, :-1])
    after = layer(other_object, position)
    assert torch.equal(after[:, -1], before[:, -1])
    assert (after[:, 0] - before[:, 0]).abs().max() > 1e-3, 'objects must see each other'
    attention = nn.MultiheadAttention(16, 4, batch_first=True)
    attention.load_state_dict(layer.self_attn.state_dict())
    blocked = torch.zeros(5, 5, dtype=torch.bool)
    blocked[-1, :-1] = blocked[:-1, -1] = True
    placed = x + position
    expected = layer.norm(x + attention(placed, placed, x, attn_mask=blocked, need_weights=False)[0])
    assert torch.allclose(before, expected, atol=1e-5)


def test_the_global_slot_is_a_sum_of_object_tokens_weighted_by_their_cosine_to_it():
    torch.manual_seed(0)
    tokens = 3 * torch.randn(2, 5, 8)
    result = recompute_global(tokens)
    assert torch.equal(result[:, :-1], tokens[:, :-1])
    for before, after in zip(tokens, result, strict=True):
        cosines = torch.stack([F.cosine_similarity(before[-1], each, dim=0) for each in before[:-1]])
        weights = cosines.exp() / cosines.exp().sum()
        assert torch.allclose(after[-1], (weights[:, None] * before[:-1]).sum(0), atol=1e-5)


def test_a_query_looks_inside_its_own_mask():
    masks = torch.full((1, 3, 8, 8), -5.0)
    masks[0, 0, :4] = 5
    masks[0, 1, :, 4:] = 5
    allowed = attended_region(masks, (2, 2))
    assert allowed.shape == (1, 1, 3, 4) and allowed.dtype == torch.bool
    assert allowed[0, 0].tolist() == [[True, True, False, False], [False, True, False, True], [True] * 4]


def test_masks_are_resized_bicubically_with_antialiasing_and_without_gradient():
    torch.manual_seed(0)
    masks = torch.randn(2, 4, 16, 24, requires_grad=True)
    resized = F.interpolate(masks, (4, 6), mode='bicubic', antialias=True).sigmoid() >= 0.5
    allowed = attended_region(masks, (4, 6))
    assert torch.equal(allowed[:, 0], resized.flatten(2)) and not allowed.requires_grad


@pytest.fixture
def decoder() -> Predictor:
    torch.manual_seed(0)
    return Predictor(16, 20, 12, num_queries=5, num_heads=4, feedforward_dim=24, layers=4)


def inputs() -> tuple[list[torch.Tensor], torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, 16, 2 * 2**i, 3 * 2**i) for i in range(3)], torch.randn(2, 12, 16, 24)


def test_rows_with_nothing_allowed_look_everywhere_and_stay_finite(decoder):
    levels, features = inputs()
    with torch.no_grad():  # masks are the last bias times the features: negative everywhere
        decoder.mask_embed.layers[-1].weight.zero_()
        decoder.mask_embed.layers[-1].bias.fill_(-1)
    predictions = decoder(levels, features.abs() + 0.1)
    assert all((each.masks < 0).all() for each in predictions)
    sum(each.tokens.sum() + each.class_embeds.square().sum() for each in predictions).backward()
    for each in predictions:
        assert each.tokens.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in decoder.parameters())
    assert decoder.transformer_cross_attention_layers[0].multihead_attn.in_proj_weight.grad.abs().sum() > 0
    with torch.no_grad():
        decoder.mask_embed.layers[-1].bias.fill_(1)
        everywhere = decoder(levels, features.abs() + 0.1)
    assert torch.equal(everywhere[-1].tokens, predictions[-1].tokens), 'nothing allowed must be as everything allowed'


@torch.no_grad()
def test_the_global_query_obeys_its_mask_too(decoder):
    levels, features = inputs()
    before = decoder(levels, features)
    allowed = attended_region(before[0].masks, levels[0].shape[-2:])[:, 0, -1]
    assert 0 < allowed.sum() < allowed.numel(), 'the case is only telling with a mask in between'
    seen = []
    decoder.transformer_cross_attention_layers[0].register_forward_hook(
        lambda _, args, kwargs, out: seen.append(out), with_kwargs=True
    )
    decoder(levels, features)
    changed = [levels[0] + 9 * ~allowed.view(2, 1, 2, 3), *levels[1:]]
    decoder(changed, features)
    assert torch.allclose(seen[0][:, -1], seen[1][:, -1], atol=1e-5), 'what the mask hides must not be seen'
    assert not torch.allclose(seen[0][:, :-1], seen[1][:, :-1], atol=1e-3)


@torch.no_grad()
def test_a_prediction_before_any_layer_and_after_each(decoder):
    levels, features = inputs()
    predictions = decoder(levels, features)
    assert len(predictions) == 5
    learned = recompute_global(decoder.decoder_norm(decoder.query_feat.weight)[None])
    assert torch.allclose(predictions[0].tokens, learned.expand(2, -1, -1), atol=1e-5)
    for each in predictions:
        assert torch.allclose(each.class_embeds, each.tokens @ decoder.class_embed, atol=1e-5)
        embeds = decoder.mask_embed(each.tokens)
        assert torch.allclose(each.masks[1, 3], (embeds[1, 3, :, None, None] * features[1]).sum(0), atol=1e-4)


@torch.no_grad()
def test_levels_are_read_in_turn_from_coarse_to_fine(decoder):
    levels, features = inputs()
    before = decoder(levels, features)
    for level, first_changed in [(0, 1), (1, 2), (2, 3)]:
        changed = [each + 1 if i == level else each for i, each in enumerate(levels)]
        after = decoder(changed, features)
        differs = [not torch.equal(a.tokens, b.tokens) for a, b in zip(after, before, strict=True)]
        assert differs == [i >= first_changed for i in range(5)]


def pytorch_attention(layer) -> nn.MultiheadAttention:
    attention = nn.MultiheadAttention(16, 4, batch_first=True)
    attention.load_state_dict(layer.state_dict())
    return attention


@torch.no_grad()
def test_the_decoder_is_mask2formers_written_out_with_pytorchs_attention(decoder):
    levels, features = inputs()
    position, x = decoder.query_embed.weight, decoder.query_feat.weight.expand(2, -1, -1)
    masks = [decoder(levels, features)[0].masks]
    hidden = torch.zeros(5, 5, dtype=torch.bool)
    hidden[-1, :-1] = hidden[:-1, -1] = True
    for i in range(4):
        level = levels[i % 3]
        memory = level.flatten(2).transpose(1, 2) + decoder.level_embed.weight[i % 3]
        key = memory + sine_positions(level.shape[-2:], 16)
        blocked = ~attended_region(masks[-1], level.shape[-2:]).expand(-1, 4, -1, -1).flatten(0, 1)
        layer = decoder.transformer_cross_attention_layers[i]
        y = pytorch_attention(layer.multihead_attn)(x + position, key, memory, attn_mask=blocked)[0]
        x = layer.norm(x + y)
        layer = decoder.transformer_self_attention_layers[i]
        y = pytorch_attention(layer.self_attn)(x + position, x + position, x, attn_mask=hidden)[0]
        x = layer.norm(x + y)
        layer = decoder.transformer_ffn_layers[i]
        x = layer.norm(x + layer.linear2(F.relu(layer.linear1(x))))
        embeds = decoder.mask_embed(recompute_global(decoder.decoder_norm(x)))
        masks.append(torch.einsum('nqc,nchw->nqhw', embeds, features))
    for ours, expected in zip(decoder(levels, features), masks, strict=True):
        assert torch.allclose(ours.masks, expected, atol=1e-4)
