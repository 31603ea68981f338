"""The pictures of Semantic Lens: what they show is what the network computes, on a tiny network and made-up priors."""

from __future__ import annotations

from typing import Any

import figures_semantic_lens as figures
import numpy as np
import pytest
import semantic_lens_pictures as draw
import torch
from demo_picture import FRAME

from basicsr_semantic.archs.layers.image_alignment import ImageAlignment, instance_labels, masked_local_attention
from basicsr_semantic.archs.semantic_lens_arch import SemanticLens
from basicsr_semantic.priors import SemanticPriors
from basicsr_semantic.priors.drawing import palette

SIZES = {'mid_channels': 8, 'embed_dim': 8, 'depths': [1], 'num_heads': [2], 'window_size': [3, 4, 4]}
SIZES |= {'image_window': 5, 'token_dim': 6, 'global_dim': 6}


@pytest.fixture
def seen() -> figures.Seen:
    """A clip of three 16x20 frames through a tiny network; instance 1 is absent in the first frame."""
    torch.manual_seed(0)
    net: Any = SemanticLens(**SIZES).eval()
    masks = torch.zeros(1, 3, 2, 16, 20, dtype=torch.uint8)
    masks[:, :, 0, 2:12, 3:9] = 1
    masks[:, 1:, 1, 4:14, 12:18] = 1
    priors = SemanticPriors(masks, torch.randn(1, 3, 6), instance_tokens=torch.randn(1, 4, 6))
    isee, image = [], []
    net.space[figures.BRANCH][-1].isee.register_forward_hook(lambda _m, inputs, _out: isee.append(inputs))
    net.image[figures.BRANCH].register_forward_hook(lambda _m, inputs, _out: image.append(inputs))
    lq = torch.rand(1, 3, 3, 16, 20)
    with torch.no_grad():
        net(lq, priors)
    frames = (lq[0].permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    return figures.Seen(frames, masks[0].numpy(), isee, image[:1] + image[1::2], net)


def test_attention_over_tokens_is_that_of_isee(seen):
    attention = figures.isee_attention(seen, 1)
    assert attention.shape == (16 * 20, 4)
    assert torch.allclose(attention.sum(1), torch.ones(320), atol=1e-6)
    isee = seen.net.space[figures.BRANCH][-1].isee
    features, tokens = seen.isee[1]
    with torch.no_grad():
        # one head and a value of 1 for one token: the result is the attention to it
        q = isee.query(isee.norm(features[0, 1].flatten(0, 1))).unflatten(-1, (2, -1))
        k = isee.key(tokens[0]).unflatten(-1, (2, -1))
        value = torch.eye(4)[None].expand(2, 4, 4)
        result = torch.nn.functional.scaled_dot_product_attention(q.transpose(0, 1), k.transpose(0, 1), value)
    assert torch.allclose(attention, result.mean(0), atol=1e-6)


@pytest.mark.parametrize('pixel', [(0, 0), (6, 8), (10, 15), (15, 19)])
def test_attention_in_the_window_is_that_of_image(seen, pixel):
    """With keys of one place marked in the value, IMAGE itself gives the attention to that place."""
    allowed, weights = figures.image_attention(seen, 2, pixel)
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    assert not weights[~allowed].any()
    image: ImageAlignment = seen.net.image[figures.BRANCH]
    current, support, labels, support_labels = seen.image[1]
    with torch.no_grad():
        q, k = image.query(current), image.key(support)
        for place in [(int(y), int(x)) for y, x in zip(*np.nonzero(allowed), strict=True)][::3]:
            value = torch.zeros_like(k)
            value[0, place[0], place[1]] = 1
            out = masked_local_attention(q, k, value, labels, support_labels, image.window, image.num_heads)
            assert weights[place] == pytest.approx(float(out[0, pixel[0], pixel[1]].mean()), abs=1e-6)


def test_a_pixel_of_an_instance_may_not_look_at_the_background(seen):
    allowed, _ = figures.image_attention(seen, 2, (6, 8))  # the last column of the first instance
    assert allowed[6, 8] and not allowed[6, 9]
    assert not allowed[:4].any(), 'beyond the window'


def test_a_pixel_that_may_look_nowhere_looks_at_its_own_place(seen):
    labels = seen.image[0][2].clone()
    labels[..., 8, 14] = int(instance_labels(torch.ones(1, 3, 1, 1))[0, 0, 0, 0]) << 8
    seen.image[0] = (*seen.image[0][:2], labels, seen.image[0][3])
    allowed, weights = figures.image_attention(seen, 1, (8, 14))
    assert allowed.sum() == 1 and allowed[8, 14] and weights[8, 14] == pytest.approx(1)


def test_the_pixel_is_at_the_edge_of_the_largest_instance(seen):
    y, x = figures.pixel_at_an_edge(seen.masks[2])
    mask = seen.masks[2][int(seen.masks[2].sum((1, 2)).argmax())]
    assert mask[y, x] and not mask[y, x - 2 : x + 3].all()
    assert figures.pixel_at_an_edge(np.zeros((0, 8, 10), np.uint8)) == (4, 5)
    assert figures.pixel_at_an_edge(np.zeros((2, 8, 10), np.uint8)) == (4, 5)


def test_an_instance_keeps_its_colour_while_another_is_absent(seen):
    grey = [np.full((16, 20, 3), 100, np.uint8)] * 3
    picture = draw.instances(grey, list(seen.masks), ['a', 'b', 'c'])
    left = [draw.GAP + k * (20 + draw.GAP) for k in range(3)]
    first, second = palette(2).astype(float)
    assert [tuple(picture[draw.CAPTION + 8, x + 5]) for x in left] == [tuple(np.round((100 + first) / 2))] * 3
    assert tuple(picture[draw.CAPTION + 8, left[0] + 15]) == (100, 100, 100)
    assert [tuple(picture[draw.CAPTION + 8, x + 15]) for x in left[1:]] == [tuple(np.round((100 + second) / 2))] * 2


def test_three_pictures_are_written(seen, tmp_path, capsys):
    figures.write(seen, None, 3, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f'semantic_lens_{name}.png' for name in ('attention', 'instances', 'window')]
    assert len(capsys.readouterr().out.splitlines()) == 3
    with pytest.raises(figures.UserError, match='the clip allows 1 to 2'):
        figures.write(seen, 3, 3, tmp_path)


def test_the_window_shows_what_is_blocked():
    frame = np.full((30, 30, 3), 100, np.uint8)
    allowed, weights = np.zeros((30, 30), bool), np.zeros((30, 30))
    allowed[13:18, 13:16] = True
    weights[15, 15] = 1
    picture = draw.image_window(frame, frame, (15, 15), 2, allowed, weights, around=5, side=110)
    middle = draw.GAP + 110 + draw.GAP

    def colour(panel: int, y: int, x: int) -> tuple[int, ...]:
        """A pixel of the frame in a panel; panels begin at row 10 and column 10 of the frame and enlarge by 10."""
        return tuple(picture[draw.CAPTION + (y - 10) * 10 + 2, panel + (x - 10) * 10 + 2])

    assert colour(middle, 16, 14) == (100, 100, 100)
    assert colour(middle, 16, 16) == tuple((0.35 * 100 + 0.65 * draw.BLOCKED).astype(int))
    assert colour(middle, 18, 14) == (100, 100, 100), 'beyond the window'
    assert tuple(FRAME) in {tuple(p) for p in picture[draw.CAPTION + 30, middle : middle + 110]}


def test_bars_mark_the_largest_weight():
    picture = draw.bars(np.array([0.1, 0.6, 0.3]), 100, 140)
    columns = (picture == np.array((214, 80, 20))).all(2).sum(0)
    assert columns[50:90].max() == 100 - 22 - 24 + 1
    assert not columns[:48].any() and not columns[95:].any()
    with pytest.raises(ValueError, match='one height'):
        draw.row([np.zeros((3, 3, 3), np.uint8), np.zeros((4, 3, 3), np.uint8)])
