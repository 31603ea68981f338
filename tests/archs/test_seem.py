"""SEEM and f_r alone."""

from __future__ import annotations

import pytest
import torch
from helpers.seem import f_r, f_seem, parameters, random_input, randomise

from basicsr_semantic.archs import seem_arch
from basicsr_semantic.archs.seem_arch import SEEM, SAMEmbedding


@pytest.mark.parametrize(('num_feat', 'embedding', 'seem'), [(64, 149_440, 111_300), (128, 520_064, 444_808)])
def test_parameter_counts_are_those_of_the_design(num_feat, embedding, seem):
    assert parameters(SAMEmbedding(num_feat)) == embedding
    assert parameters(SEEM(num_feat)) == seem


def test_docstring_says_which_seem_this_is():
    for documented in (seem_arch, SEEM):
        assert "not Microsoft's" in documented.__doc__.splitlines()[0]


def test_representation_is_equation_1():
    net = randomise(SAMEmbedding(8, 5), std=0.2)
    frames, masks = random_input(2, 1, 5, 9, 12)
    with torch.no_grad():
        torch.testing.assert_close(
            net(frames[:, 0], masks[:, 0]),
            f_r({f'sam_embed.{k}': v for k, v in net.state_dict().items()}, frames[:, 0], masks[:, 0]),
            atol=1e-5,
            rtol=1e-5,
        )


def test_no_masks_are_empty_masks():
    net = SAMEmbedding(8, 5)
    frames, masks = random_input(2, 1, 5, 9, 12)
    assert torch.equal(net(frames[:, 0], None), net(frames[:, 0], torch.zeros_like(masks[:, 0])))
    assert not torch.equal(net(frames[:, 0], None), net(frames[:, 0], masks[:, 0]))


def test_seem_is_equations_2_and_3():
    net = randomise(SEEM(16, 4), std=0.3)
    feat, representation = torch.randn(2, 2, 16, 7, 10)
    with torch.no_grad():
        expected = f_seem({f'seem.{k}': v for k, v in net.state_dict().items()}, 'seem', feat, representation)
        torch.testing.assert_close(net(feat, representation), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(net.refine(feat, representation), feat + expected, atol=1e-5, rtol=1e-5)


def test_zero_init_changes_nothing_and_its_absence_does():
    feat, representation = torch.randn(2, 2, 16, 7, 10)
    before = feat.clone()
    assert torch.equal(SEEM(16).refine(feat, representation), before)
    assert not torch.equal(SEEM(16, zero_init=False).refine(feat, representation), before)
    assert torch.equal(feat, before), 'the feature of the host was written to'


def test_all_gradients_are_right():
    net = randomise(SEEM(4, 2), std=0.3).double()
    inputs = [torch.randn(1, 4, 3, 3, dtype=torch.double, requires_grad=True) for _ in range(2)]
    torch.autograd.gradcheck(lambda *x: net.refine(*x), inputs)


@pytest.mark.parametrize('reduction', [0, 3, 32])
def test_reduction_must_divide(reduction):
    with pytest.raises(ValueError, match='must divide num_feat'):
        SEEM(16, reduction)


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match='must be positive'):
        SAMEmbedding(8, 0)
