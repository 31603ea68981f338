"""Sampling with a network that knows the answer."""

from __future__ import annotations

import pytest
import torch

from basicsr_semantic.diffusion import BlurringResShift, draw_noise, sample


@pytest.mark.parametrize('posterior', ['markov', 'resshift', 'ddim'])
@pytest.mark.parametrize('steps', [1, 4, 15])
def test_an_oracle_gets_its_image_back(posterior, steps):
    image, base = torch.rand(2, 2, 3, 16, 16) * 2 - 1
    seen = []

    def oracle(x, t):
        seen.append(t)
        return image

    result = sample(BlurringResShift(steps=steps, posterior=posterior), oracle, base)
    assert torch.equal(result, image) and seen == list(range(steps, 0, -1))


def test_the_network_sees_states_of_the_process():
    """With the true image at every step, x_t has the moments of its marginal: here its mean over many images."""
    torch.manual_seed(0)
    diffusion = BlurringResShift()
    image, base = (torch.rand(2, 1, 3, 4, 4) * 2 - 1).expand(2, 4000, 3, 4, 4)
    states = {}

    def oracle(x, t):
        states[t] = x
        return image

    sample(diffusion, oracle, base)
    for t in (1, 5, 10):
        mean, std = diffusion.marginal(image[:1], base[:1], t)
        expected = diffusion.scale_input(mean, t)
        assert (states[t].mean(0) - expected[0]).abs().max() < 6 * std.item() / 4000**0.5
        ratio = states[t].std(0).mean() / diffusion.scale_input(std, t)
        assert ratio.item() == pytest.approx(1, abs=0.02)


def test_the_same_seed_gives_the_same_image():
    base = torch.rand(2, 3, 8, 8)

    def run(seed):
        return sample(BlurringResShift(), lambda x, t: (x * 0.5).tanh(), base, torch.Generator().manual_seed(seed))

    assert torch.equal(run(1), run(1)) and not torch.equal(run(1), run(2))


def test_predictions_are_clamped_and_shown():
    shown = []

    def show(t, x0):
        shown.append((t, x0))

    result = sample(BlurringResShift(steps=3), lambda x, t: x * 100, torch.zeros(1, 3, 8, 8), on_step=show)
    assert result.abs().max() <= 1 and [t for t, _ in shown] == [3, 2, 1]
    assert torch.equal(shown[-1][1], result)


def test_frames_may_share_their_noise():
    noise = draw_noise((3, 3, 4, 4), torch.Generator().manual_seed(0), torch.device('cpu'), repeat=True)
    assert torch.equal(noise[0], noise[2])
    assert not torch.equal(*draw_noise((2, 3, 4, 4), None, torch.device('cpu')))


@pytest.mark.parametrize(
    ('steps', 'visited'), [(15, tuple(range(16))), (5, (0, 3, 6, 9, 12, 15)), (4, (0, 3, 7, 11, 15)), (1, (0, 15))]
)
def test_fewer_steps_visit_states_that_the_network_knows(steps, visited):
    whole, seen = BlurringResShift(), []
    fewer = whole.with_steps(steps)
    assert fewer.steps == steps and fewer.visited == visited
    assert torch.equal(fewer.etas, whole.etas[list(visited)]) and torch.equal(fewer.keep, whole.keep[list(visited)])
    assert whole.steps == 15 and len(whole.etas) == 16

    def oracle(x, t):
        seen.append(t)
        return torch.full_like(x, 0.25)

    assert torch.equal(sample(fewer, oracle, torch.zeros(1, 3, 8, 8)), torch.full((1, 3, 8, 8), 0.25))
    assert seen == list(visited[:0:-1])


@pytest.mark.parametrize('posterior', ['markov', 'resshift'])
def test_fewer_steps_keep_the_marginals(posterior):
    torch.manual_seed(0)
    fewer = BlurringResShift(posterior=posterior).with_steps(4)
    image, base = (torch.rand(2, 1, 3, 4, 4) * 2 - 1).expand(2, 6000, 3, 4, 4)
    x = fewer.prior_sample(base, torch.randn(base.shape))
    for t in (4, 3, 2):
        x = fewer.step(x, image, base, t, torch.randn(base.shape))
        mean, std = fewer.marginal(image[:1], base[:1], t - 1)
        assert (x.mean(0) - mean[0]).abs().max() < 6 * std.item() / 6000**0.5 + 0.02
        assert (x.std(0).mean() / std).item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize('steps', [0, 16])
def test_more_steps_than_there_are_cannot_be_made(steps):
    with pytest.raises(ValueError, match=f'in 1 to 15, not {steps}'):
        BlurringResShift().with_steps(steps)
