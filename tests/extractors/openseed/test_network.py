"""OpenSeeD's vision network: sizes and names as released, any image, and tokens that depend on the words."""

from __future__ import annotations

import pytest
import torch
from helpers.openseed import SWIN_T, TINY, needed_shapes, random_state
from torch.nn import functional as F

from basicsr_semantic.extractors.openseed import OpenSeeD, QuerySemantics
from basicsr_semantic.utils.errors import UserError


@pytest.fixture
def tiny() -> OpenSeeD:
    net = OpenSeeD(**TINY)
    net.load_state_dict(random_state(needed_shapes(TINY)))
    return net.eval()


def words(count: int = 5, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(count, 20, generator=torch.Generator().manual_seed(seed)), dim=-1)


def picture(n: int, h: int, w: int) -> torch.Tensor:
    return torch.rand(n, 3, h, w, generator=torch.Generator().manual_seed(1))


def test_names_shapes_and_count_are_the_released_ones():
    with torch.device('meta'):
        net = OpenSeeD()
    assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == needed_shapes(SWIN_T)
    assert net.config == {k: list(v) if isinstance(v, tuple) else v for k, v in SWIN_T.items()}
    assert (net.num_tokens, net.token_dim, net.mask_dim) == (300, 256, 256)
    assert sum(each.numel() for each in net.parameters()) / 1e6 == pytest.approx(52.65, abs=0.01)


@torch.no_grad()
@pytest.mark.parametrize('size', [(1, 1), (32, 64), (33, 50), (7, 130), (96, 96)])
def test_any_image_size(tiny, size):
    found = tiny(picture(2, *size), words(), masks=True)
    h, w = (8 * -(-side // 32) for side in size)
    assert tuple(found.tokens.shape) == (2, 6, 16) and tuple(found.class_scores.shape) == (2, 6, 5)
    assert tuple(found.mask_features.shape) == (2, 12, h, w) and tuple(found.mask_logits.shape) == (2, 6, h, w)
    assert all(value.isfinite().all() for value in vars(found).values())
    assert torch.equal(found.scores, found.class_scores.max(-1).values)


@torch.no_grad()
def test_fewer_positions_than_queries():
    """An image of 32x32 has 22 positions; all tokens beyond them start alike, so they stay alike."""
    size = {**TINY, 'num_queries': 40}
    net = OpenSeeD(**size)
    net.load_state_dict(random_state(needed_shapes(size)))
    tokens = net.eval()(picture(1, 32, 32), words()).tokens[0]
    assert tuple(tokens.shape) == (40, 16) and tokens.isfinite().all()
    assert torch.allclose(tokens[22:], tokens[22:23].expand(18, -1), atol=1e-5)


@torch.no_grad()
def test_padding_is_the_mean_colour_at_the_right_and_the_bottom(tiny):
    image = picture(1, 40, 50)
    padded = (torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1) / 255).repeat(1, 1, 64, 64)
    padded[..., :40, :50] = image
    ours, whole = tiny(image, words()), tiny(padded, words())
    assert torch.allclose(ours.tokens, whole.tokens, atol=1e-4)
    assert torch.allclose(ours.mask_features, whole.mask_features, atol=1e-4)


@torch.no_grad()
def test_images_of_a_batch_do_not_meet(tiny):
    images = picture(3, 64, 96)
    found, alone = tiny(images, words(), masks=True), tiny(images[1:2], words(), masks=True)
    for name, value in vars(found).items():
        assert torch.allclose(value[1:2], getattr(alone, name), atol=1e-4), name


@torch.no_grad()
def test_other_words_choose_other_tokens_but_pixels_stay(tiny):
    image = picture(1, 96, 96)
    one, other = tiny(image, words(seed=0)), tiny(image, words(seed=3))
    assert torch.equal(one.mask_features, other.mask_features)
    assert not torch.allclose(one.tokens, other.tokens, atol=1e-2)
    assert not torch.equal(one.top_tokens(6), other.top_tokens(6))
    again = tiny(image, words(seed=0).flip(0))
    assert torch.allclose(again.tokens, one.tokens, atol=1e-5), 'the order of the names must not matter'


@torch.no_grad()
def test_scores_are_scaled_cosines_and_masks_products_with_pixels(tiny):
    found = tiny(picture(1, 64, 64), words(), masks=True)
    head = tiny.sem_seg_head.predictor
    cosine = F.cosine_similarity(found.tokens[0, 2] @ head.class_embed, words()[3], dim=0)
    assert found.class_scores[0, 2, 3].item() == pytest.approx((tiny.logit_scale.exp() * cosine).item(), rel=1e-4)
    mask = (head.mask_embed(found.tokens)[0, 4, :, None, None] * found.mask_features[0]).sum(0)
    assert torch.allclose(found.mask_logits[0, 4], mask, atol=1e-4)
    assert tiny(picture(1, 64, 64), words()).mask_logits is None


def test_top_tokens_are_ordered_by_score_and_equals_keep_their_order():
    scores = torch.tensor([[[0.0, 1.0], [3.0, 2.0], [1.0, 0.0]], [[2.0, 0.0], [0.0, 0.0], [0.0, 5.0]]])
    tokens = torch.arange(6.0).view(2, 3, 1).expand(-1, -1, 2)
    found = QuerySemantics(tokens, scores, torch.zeros(2, 1, 1, 1), None)
    assert found.top_order(3).tolist() == [[1, 0, 2], [2, 0, 1]]
    assert found.top_tokens(2)[..., 0].tolist() == [[1, 0], [5, 3]]
    for k in (0, 4):
        with pytest.raises(UserError, match=f'gives 3 tokens a frame; the best {k} of them do not exist'):
            found.top_tokens(k)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'hidden_dim': 18}, 'hidden_dim of OpenSeeD is 18; it must be a multiple of 4'),
        ({'nheads': 3}, 'of nheads \\(3\\)'),
        ({'norm_groups': 5}, 'norm_groups \\(5\\)'),
        ({'depths': (1, 1, 1)}, 'depths of OpenSeeD is \\[1, 1, 1\\]; it must be four numbers'),
        ({'num_heads': (3, 2, 2, 2)}, 'they must divide the widths of the stages, \\[8, 16, 32, 64\\]'),
        ({'num_queries': 0}, 'num_queries of OpenSeeD is 0; it must be at least 1'),
    ],
)
def test_sizes_that_do_not_fit(change, message):
    with pytest.raises(UserError, match=message):
        OpenSeeD(**{**TINY, **change})


def test_other_mistakes(tiny):
    for images in (torch.rand(3, 32, 32), torch.rand(1, 4, 32, 32), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(UserError, match='OpenSeeD takes images \\(n, 3, H, W\\)'):
            tiny(images, words())
    for texts in (torch.rand(20), torch.rand(2, 19), torch.rand(0, 20)):
        with pytest.raises(UserError, match='OpenSeeD takes text embeddings \\(names, 20\\)'):
            tiny(torch.rand(1, 3, 32, 32), texts)
