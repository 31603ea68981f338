"""X-Decoder's vision network: sizes and names as released, any image, and gradients everywhere."""

from __future__ import annotations

import pytest
import torch
from helpers.xdecoder_files import FOCAL_L, FOCAL_T, TINY, TINY_XDECODER, needed_shapes
from torch import nn

from basicsr_semantic.extractors.xdecoder import PRESETS, XDecoder, build_xdecoder
from basicsr_semantic.utils.errors import UserError


@pytest.fixture
def tiny() -> XDecoder:
    torch.manual_seed(0)
    return XDecoder(**TINY_XDECODER)


def millions(module: nn.Module) -> float:
    return sum(each.numel() for each in module.parameters()) / 1e6


@pytest.mark.parametrize(('preset', 'size'), [('focal_t', FOCAL_T), ('focal_l', FOCAL_L)])
def test_names_and_shapes_are_the_released_ones(preset, size):
    with torch.device('meta'):
        net = build_xdecoder(preset)
    assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == needed_shapes(size)
    assert (net.num_tokens, net.token_dim, net.mask_dim) == (size['queries'] - 1, 512, 512)


def test_parameters_of_focal_t():
    with torch.device('meta'):
        net = build_xdecoder()
    assert millions(net.backbone) == pytest.approx(29.92, abs=0.01)
    assert millions(net.sem_seg_head.pixel_decoder) == pytest.approx(31.46, abs=0.01)
    captions = (512 * 512 + 77 * 512) / 1e6  # the released decoder has 39.3 M with them
    assert millions(net.sem_seg_head.predictor) + captions == pytest.approx(39.29, abs=0.01)


@pytest.mark.parametrize('size', [(1, 1), (32, 64), (33, 50), (7, 130)])
def test_any_image_size(tiny, size):
    with torch.no_grad():
        found = tiny.eval()(torch.rand(2, 3, *size), all_layers=True)
    h, w = (8 * -(-side // 32) for side in size)
    assert tuple(found.tokens.shape) == (2, 5, 16) and tuple(found.global_token.shape) == (2, 16)
    assert tuple(found.layer_tokens.shape) == (3, 2, 5, 16) and torch.equal(found.layer_tokens[-1], found.tokens)
    assert tuple(found.layer_class_embeds.shape) == (5, 2, 6, 20)
    assert tuple(found.layer_mask_logits.shape) == (5, 2, 5, h, w)
    assert tuple(found.mask_features.shape) == (2, 12, h, w) and tuple(found.mask_logits.shape) == (2, 5, h, w)
    assert torch.equal(found.layer_mask_logits[-1], found.mask_logits)
    assert all(value.isfinite().all() for value in vars(found).values())


@torch.no_grad()
def test_padding_is_the_mean_colour_at_the_right_and_the_bottom(tiny):
    mean = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1) / 255
    image = torch.rand(1, 3, 40, 50)
    padded = mean.repeat(1, 1, 64, 64)
    padded[..., :40, :50] = image
    ours, whole = tiny.eval()(image), tiny(padded)
    assert torch.allclose(ours.tokens, whole.tokens, atol=1e-4)
    assert torch.allclose(ours.mask_features, whole.mask_features, atol=1e-4)


@torch.no_grad()
def test_images_of_a_batch_do_not_meet(tiny):
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(tiny.eval()(images).tokens[1:], tiny(images[1:]).tokens, atol=1e-5)


def test_layer_masks_are_given_on_request_and_few_layers_give_few_tokens():
    net = XDecoder(**{**TINY_XDECODER, 'dec_layers': 1})
    found = net(torch.rand(1, 3, 32, 32))
    assert found.layer_mask_logits is None and found.layer_tokens.shape[0] == 1
    assert found.layer_class_embeds.shape[0] == 2


@pytest.mark.parametrize('depthwise', [True, False])
def test_gradients_reach_every_parameter(depthwise):
    torch.manual_seed(0)
    net = XDecoder(**{**TINY_XDECODER, 'depthwise': depthwise, 'drop_path': 0.1}).train()
    found = net(torch.rand(2, 3, 64, 96), all_layers=True)
    weighted = [(value * torch.randn_like(value)).sum() for value in vars(found).values()]
    torch.stack(weighted).sum().backward()
    without = [name for name, each in net.named_parameters() if each.grad is None or not each.grad.abs().sum() > 0]
    assert not without


def test_a_small_network_learns_from_scratch():
    """Masks of two squares, by the first two queries: the loss falls far below that of the best constant answer."""
    torch.manual_seed(0)
    net = XDecoder(**{**TINY_XDECODER, 'layer_scale': 0.1})
    images = torch.zeros(4, 3, 64, 64)
    targets = torch.zeros(4, 2, 16, 16)
    for i, (y, x) in enumerate([(0, 0), (2, 6), (5, 1), (8, 8)]):
        images[i, 0, 4 * y : 4 * y + 24, 4 * x : 4 * x + 24] = 1
        targets[i, 0, y : y + 6, x : x + 6] = 1
        images[i, 1, 48:, 8 * i : 8 * i + 16] = 1
        targets[i, 1, 12:, 2 * i : 2 * i + 4] = 1
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    for _ in range(60):
        loss = nn.functional.binary_cross_entropy_with_logits(net(images).mask_logits[:, :2], targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    share = targets.mean()
    constant = -(share * share.log() + (1 - share) * (1 - share).log())
    assert loss < 0.4 * constant


@torch.no_grad()
def test_class_scores_are_scaled_cosines_and_texts_touch_nothing_else(tiny):
    images = torch.rand(1, 3, 32, 32)
    texts = nn.functional.normalize(torch.randn(7, 20), dim=-1)
    before = tiny.eval()(images)
    scores = tiny.class_scores(before.layer_class_embeds, texts)
    assert tuple(scores.shape) == (5, 1, 6, 7)
    cosine = nn.functional.cosine_similarity(before.layer_class_embeds[-1, 0, 2], texts[3], dim=0)
    assert scores[-1, 0, 2, 3].item() == pytest.approx(cosine.item() / 0.07, rel=1e-4)
    tiny.logit_scale.fill_(1.0)
    assert tiny.class_scores(before.layer_class_embeds, -texts).sum() != 0
    after = tiny(images)
    assert torch.equal(before.tokens, after.tokens) and torch.equal(before.mask_logits, after.mask_logits)
    assert 'sem_seg_head.predictor.lang_encoder.logit_scale' not in dict(tiny.named_parameters())


def test_config_rebuilds_the_network(tiny):
    again = XDecoder(**tiny.config)
    again.load_state_dict(tiny.state_dict())
    images = torch.rand(1, 3, 32, 40)
    assert torch.equal(again.eval()(images).tokens, tiny.eval()(images).tokens)
    assert build_xdecoder('focal_t', **TINY_XDECODER).config == tiny.config
    assert TINY['queries'] == tiny.num_tokens + 1


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'hidden_dim': 18}, 'hidden_dim of X-Decoder is 18; it must be a multiple of 4'),
        ({'nheads': 3}, 'of nheads \\(3\\)'),
        ({'norm_groups': 5}, 'norm_groups \\(5\\)'),
        ({'depths': (1, 1, 1)}, 'depths of X-Decoder is \\[1, 1, 1\\]; it must be four numbers'),
        ({'focal_levels': (1, 1, 1, 0)}, 'focal_levels'),
        ({'focal_windows': (3, 3, 4, 3)}, 'they must be odd'),
        ({'num_queries': 1}, 'at least 2 and 1'),
        ({'dec_layers': 0}, 'at least 2 and 1'),
    ],
)
def test_sizes_that_do_not_fit(change, message):
    with pytest.raises(UserError, match=message):
        XDecoder(**{**TINY_XDECODER, **change})


def test_other_mistakes(tiny):
    with pytest.raises(UserError, match=f"no preset 'focal_x' of X-Decoder. There are: {', '.join(PRESETS)}"):
        build_xdecoder('focal_x')
    for images in (torch.rand(3, 32, 32), torch.rand(1, 4, 32, 32), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(UserError, match='X-Decoder takes images \\(n, 3, H, W\\)'):
            tiny(images)
