"""Blurring ResShift: what the process claims of its marginals, and what each way back keeps of them."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from basicsr_semantic.diffusion import BlurringResShift
from basicsr_semantic.diffusion.patch_dct import dct_matrix, squared_frequencies, to_frequencies, to_images
from basicsr_semantic.diffusion.posterior import step_back
from basicsr_semantic.diffusion.schedules import blur_schedule, shift_schedule

REPAIRED = ('markov', 'resshift', 'ddim')


def process(**changes) -> BlurringResShift:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return BlurringResShift(**changes)


def images(count: int = 1, side: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x0, base = torch.rand(2, count, 3, side, side, generator=generator) * 2 - 1
    return x0, base


def chain(diffusion: BlurringResShift, samples: int = 40_000) -> list[tuple[float, float]]:
    """Walk back from the exact x_T with the true image; (error of the mean, ratio of the deviation) of every x_t.

    The error is the largest of all pixels, in standard errors of the mean of so many samples.
    """
    torch.manual_seed(0)
    x0, base = (z[:, :1, : diffusion.patch, : diffusion.patch] for z in images())
    many = [z.expand(samples, *z.shape[1:]) for z in (x0, base)]
    x = diffusion.q_sample(*many, diffusion.steps, torch.randn(many[0].shape))
    rows = []
    for t in range(diffusion.steps, 1, -1):
        x = diffusion.step(x, *many, t, torch.randn_like(x))
        mean, std = diffusion.marginal(x0, base, t - 1)
        error = (x.mean(0) - mean[0]).abs().max().item() / (std.item() / math.sqrt(samples))
        rows.append((error, (x.std(0) / std).mean().item()))
    return rows


@pytest.mark.parametrize('patch', [4, 8])
@pytest.mark.parametrize('posterior', REPAIRED)
def test_every_marginal_is_kept_by_the_way_back(posterior, patch):
    for error, ratio in chain(process(posterior=posterior, patch=patch), samples=320_000 // patch**2):
        assert error < 5.5
        assert ratio == pytest.approx(1, abs=0.01)


def test_the_printed_posterior_misses_the_marginals():
    rows = chain(process(posterior='paper'))
    assert max(error for error, _ in rows) > 50
    assert max(abs(ratio - 1) for _, ratio in rows) > 0.3


def test_the_printed_posterior_warns_whoever_asks_for_it():
    with pytest.warns(UserWarning, match='as printed') as warned:
        BlurringResShift(posterior='paper')
    assert warned[0].filename == __file__


def test_its_arguments_are_recorded_by_name():
    assert BlurringResShift(kappa=1.0, patch=8).config == {
        'steps': 15, 'kappa': 1.0, 'min_noise': 0.04, 'power': 0.3, 'etas_end': 0.99, 'sigma_min': 0.5,
        'sigma_max': 2**0.5, 'patch': 8, 'posterior': 'markov', 'blur_schedule': 'log',
    }  # fmt: skip


def test_the_transition_as_printed_loses_its_variance():
    """Eq. 31 iterated from a clean image, without blur: 0.4 of the deviation that Eq. 29 claims is left."""
    etas = process(sigma_max=0).etas.double()
    variance = 0.0
    for t in range(1, 16):
        decay = (1 - etas[t]) / (1 - etas[t - 1])
        variance = decay**2 * variance + etas[t] - etas[t - 1]
    assert math.sqrt(variance / etas[15]) == pytest.approx(0.40, abs=0.01)


def test_q_sample_has_the_stated_moments():
    torch.manual_seed(0)
    diffusion = process()
    x0, base = (z.expand(20_000, 3, 8, 8)[:, :1] for z in images())
    noise = torch.randn(x0.shape)
    for t in (1, 8, 15):
        mean, std = diffusion.marginal(x0[:1], base[:1], t)
        x = diffusion.q_sample(x0, base, t, noise)
        assert std.item() == pytest.approx(2 * diffusion.etas[t].sqrt().item())
        assert (x.mean(0) - mean[0]).abs().max() < 5.5 * std.item() / math.sqrt(len(x))
        assert (x.std(0) / std).mean().item() == pytest.approx(1, abs=0.01)


def test_without_blur_resshift_is_resshift():
    """Yue et al., Eq. 7: mean eta_{t-1}/eta_t x_t + alpha_t/eta_t x_0, variance kappa^2 eta_{t-1}/eta_t alpha_t."""
    diffusion = process(posterior='resshift', sigma_max=0)
    x0, base = images()
    x, noise = torch.randn(2, *x0.shape)
    for t in range(2, 16):
        before, eta = diffusion.etas[t - 1].double(), diffusion.etas[t].double()
        mean = before / eta * x + (eta - before) / eta * x0
        expected = mean + 2 * (before / eta * (eta - before)).sqrt() * noise
        torch.testing.assert_close(diffusion.step(x, x0, base, t, noise), expected.float(), rtol=1e-5, atol=1e-5)


def test_markov_is_the_product_of_transition_and_marginal():
    """Bayes' rule for the scalars of every frequency, in float64, written without the closed form."""

    etas = shift_schedule(15, 2.0, 0.04, 0.3, 0.99)
    exponents = -squared_frequencies(4) * blur_schedule(15, 0.5, 2**0.5)[:, None, None]
    back = step_back(etas, exponents, 2.0, 'markov')
    x, x0, base = 0.7, -0.4, 0.2
    for t in range(2, 16):
        before, eta = etas[t - 1], etas[t]
        decay = (1 - eta) / (1 - before) * (exponents[t] - exponents[t - 1]).exp()
        # x_t = decay (x_{t-1} - eta_{t-1} base) + eta_t base + noise, and x_{t-1} ~ N(prior, kappa^2 eta_{t-1})
        prior = (1 - before) * exponents[t - 1].exp() * x0 + before * base
        seen = x - eta * base + decay * before * base
        precision = decay**2 / (4 * (eta - decay**2 * before)) + 1 / (4 * before)
        mean = (decay * seen / (4 * (eta - decay**2 * before)) + prior / (4 * before)) / precision
        torch.testing.assert_close(back.state[t] * x + back.image[t] * x0 + back.base[t] * base, mean)
        torch.testing.assert_close(back.noise[t] ** 2, 1 / precision)


@pytest.mark.parametrize('posterior', [*REPAIRED, 'paper'])
def test_the_first_step_gives_the_prediction(posterior):
    x0, base = images()
    x, noise = torch.randn(2, *x0.shape)
    assert torch.equal(process(posterior=posterior).step(x, x0, base, 1, noise), x0)


@pytest.mark.parametrize('patch', [4, 8, 16])
@pytest.mark.parametrize('posterior', REPAIRED)
@pytest.mark.parametrize('sigma_max', [2**0.5, 3**0.5, 5.5])
def test_float32_agrees_with_float64(posterior, patch, sigma_max):
    """The blur of the finest frequencies is 1e-5 to 1e-130 here; nothing divides by it."""
    single = process(posterior=posterior, patch=patch, sigma_max=sigma_max)
    torch.manual_seed(0)
    x0, base = images(side=32)
    x = single.q_sample(x0, base, 15, torch.randn_like(x0))

    exponents = -squared_frequencies(patch) * blur_schedule(15, 0.5, sigma_max)[:, None, None]
    back, matrix = step_back(shift_schedule(15, 2.0, 0.04, 0.3, 0.99), exponents, 2.0, posterior), dct_matrix(patch)
    double = x.double()
    for t in range(15, 1, -1):
        noise = torch.randn_like(x)
        x = single.step(x, x0, base, t, noise)
        parts = [
            to_frequencies(z.double(), matrix) * f[t] for z, f in zip((double, x0, base, noise), back, strict=True)
        ]
        double = to_images(torch.stack(parts).sum(0), matrix)
        assert x.isfinite().all()
    torch.testing.assert_close(x, double.float(), rtol=1e-4, atol=1e-5)


def test_steps_may_differ_within_a_batch():
    diffusion = process()
    x0, base = images(3)
    x, noise = torch.randn(2, *x0.shape)
    t = torch.tensor([1, 7, 15])
    mean, std = diffusion.marginal(x0, base, t)
    together = diffusion.step(x, x0, base, t, noise)
    scaled = diffusion.scale_input(x, t)
    for i, one in enumerate(t.tolist()):
        each = [z[i : i + 1] for z in (x, x0, base, noise)]
        alone = diffusion.marginal(each[1], each[2], one)
        torch.testing.assert_close(mean[i : i + 1], alone[0])
        torch.testing.assert_close(std[i : i + 1], alone[1])
        torch.testing.assert_close(together[i : i + 1], diffusion.step(*each[:3], one, each[3]))
        torch.testing.assert_close(scaled[i : i + 1], diffusion.scale_input(each[0], one))


def test_mixed_precision_does_not_reach_the_posterior():
    diffusion = process()
    x0, base = images()
    x, noise = torch.randn(2, *x0.shape)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(diffusion.step(x, x0, base, 9, noise), process().step(x, x0, base, 9, noise))
        assert diffusion.step(x.bfloat16(), x0, base, 9, noise).dtype == torch.float32


def test_the_input_has_about_one_scale():
    diffusion = process()
    x0, base = images(8, 32)
    for t in (1, 8, 15):
        x = diffusion.q_sample(x0, base, t, torch.randn_like(x0))
        assert 0.3 < diffusion.scale_input(x, t).std().item() < 1.1


@pytest.mark.parametrize(
    ('changes', 'says'),
    {
        'steps': ({'steps': 0}, 'at least 1'),
        'kappa': ({'kappa': 0}, 'above 0'),
        'end': ({'etas_end': 1.0}, 'between sqrt'),
        'sigmas': ({'sigma_min': 2.0}, 'at most sigma_max'),
        'member': ({'posterior': 'marko'}, 'Choose one of markov, resshift, ddim, paper'),
        'blur': ({'blur_schedule': 'cosine'}, 'Choose one of log, sine'),
        'patch': ({'patch': 0}, 'at least 1'),
    }.values(),
)
def test_values_out_of_range_are_named(changes, says):
    with pytest.raises(ValueError, match=says):
        BlurringResShift(**changes)


def test_wrong_steps_and_sizes_are_named():
    diffusion = process()
    x0, base = images()
    for t in (0, 16):
        with pytest.raises(ValueError, match='Steps go from 1 to 15'):
            diffusion.marginal(x0, base, t)
    with pytest.raises(ValueError, match='2 steps were given for 1 images'):
        diffusion.marginal(x0, base, torch.tensor([1, 2]))
    with pytest.raises(ValueError, match='8x6 do not divide into patches of 4x4'):
        diffusion.marginal(x0[..., :6], base[..., :6], 3)
    process(sigma_max=0).marginal(x0[..., :6], base[..., :6], 3)  # without blur any size will do
