"""What the equations of SeeClear's diffusion give as printed, and what they give repaired; see docs/seeclear.md.

A state is looked at in the DCT of one 4x4 patch, where every frequency is a number of its own. "Exact" figures follow
the mean and the variance of a state in float64; "sampled" ones draw many states and walk them through
`BlurringResShift`. The patch is one of a photograph, in [-1, 1], and its base the bicubic enlargement.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from basicsr_semantic.diffusion import BlurringResShift
from basicsr_semantic.diffusion.patch_dct import dct_matrix, squared_frequencies, to_frequencies, to_images
from basicsr_semantic.diffusion.posterior import POSTERIORS, StepBack, step_back
from basicsr_semantic.diffusion.schedules import blur_schedule, shift_schedule

STEPS, KAPPA, SIGMA = 15, 2.0, 2**0.5
#: Ways back: Eq. 34-36 as printed, with the sign of the base's last term repaired, line 41 of Algorithm 1 around the
#: mean of 'markov', and the members that hold.
WAYS = ('paper', 'paper_sign', 'line_41', 'markov', 'resshift', 'ddim')


def tables(patch: int = 4, sigma_max: float = SIGMA) -> tuple[Tensor, Tensor]:
    """eta (16,) and log D (16, p, p), float64."""
    etas = shift_schedule(STEPS, KAPPA, 0.04, 0.3, 0.99)
    return etas, -squared_frequencies(patch) * blur_schedule(STEPS, 0.5, sigma_max)[:, None, None]


def decays(etas: Tensor, exponents: Tensor) -> Tensor:
    """lambda_t of Eq. 36 for t = 1 to T, with D_t / D_{t-1} for e^Lambda: (15, p, p)."""
    return ((1 - etas[1:]) / (1 - etas[:-1]))[:, None, None] * (exponents[1:] - exponents[:-1]).exp()


def marginal(t: int, image: Tensor, base: Tensor, etas: Tensor, exponents: Tensor) -> tuple[Tensor, float]:
    """Mean (p, p) and deviation of Eq. 29 in frequencies."""
    mean = (1 - etas[t]) * exponents[t].exp() * image + etas[t] * base
    return mean, KAPPA * math.sqrt(etas[t])


def ends(values: Tensor) -> list[float]:
    """Smallest and largest."""
    return [values.min().item(), values.max().item()]


# ------------------------------------------------------------------------------------------------------------- forward


def transition(image: Tensor, base: Tensor, sigma_max: float, samples: int, seed: int = 0) -> dict[str, Any]:
    """Iterate Eq. 28 from the clean patch; what its states have of the mean and the deviation of Eq. 29.

    Args:
        image: Frequencies of a patch (p, p), float64.
        base: Those of its base.
        sigma_max: Blur of the last step; 0 for none.
        samples: States to draw.
        seed: Of the noise.

    Returns:
        For 'printed' and 'repaired': std_ratio of every step at the flat frequency, and [smallest, largest] of all
        frequencies at the last step, exact and sampled; mean_error at the last step, sampled, in standard errors.
    """
    etas, exponents = tables(image.size(-1), sigma_max)
    rate = decays(etas, exponents)
    added = {
        'printed': (etas[1:] - etas[:-1])[:, None, None].expand_as(rate),
        'repaired': etas[1:, None, None] - rate**2 * etas[:-1, None, None],
    }
    results = {}
    for name, part in added.items():
        generator = torch.Generator().manual_seed(seed)
        variance, state = torch.zeros_like(image), image.expand(samples, *image.shape)
        flat = []
        for t in range(1, STEPS + 1):
            variance = rate[t - 1] ** 2 * variance + part[t - 1]
            noise = torch.randn(state.shape, generator=generator, dtype=torch.float64)
            state = rate[t - 1] * (state - etas[t - 1] * base) + etas[t] * base + KAPPA * part[t - 1].sqrt() * noise
            flat.append((variance[0, 0] / etas[t]).sqrt().item())
        mean, std = marginal(STEPS, image, base, etas, exponents)
        ratio, seen = (variance / etas[-1]).sqrt(), state.std(0)
        results[name] = {
            'std_ratio_flat': flat,
            'std_ratio_last': ends(ratio),
            'std_ratio_last_sampled': ends(seen / std),
            'mean_error_last_sampled': ((state.mean(0) - mean).abs() / (seen / math.sqrt(samples))).max().item(),
        }
    return results


# ------------------------------------------------------------------------------------------------------------ backward


def one_step(samples: int, seed: int = 0) -> list[dict[str, float]]:
    """Bayes' rule by drawing: u_{t-1} of Eq. 32, u_t of Eq. 31, and what is left of u_{t-1} without the mean of Eq. 34.

    At the flat frequency (D = 1), with u_0 = u_l = 1. What is left has mean 0 and the deviation of Eq. 35 where the
    equations fit together.
    """
    etas, exponents = tables()
    back, rows = step_back(etas, exponents, KAPPA, 'paper'), []
    for t in (2, 8, 15):
        generator = torch.Generator().manual_seed(seed)
        draw, noise = torch.randn(2, samples, generator=generator, dtype=torch.float64)
        before, eta = etas[t - 1], etas[t]
        rate = (1 - eta) / (1 - before)
        earlier = (1 - before) + before + KAPPA * before.sqrt() * draw  # Eq. 32
        later = rate * (earlier - before) + eta + KAPPA * (eta - before).sqrt() * noise  # Eq. 31
        state, image, base, std = (factor[t, 0, 0] for factor in back)
        left = earlier - (state * later + image + base)
        shift = sign_error(etas, exponents)[t, 0, 0]
        rows.append(
            {
                't': t,
                'mean_error': -shift.item(),
                'mean_error_sampled': -left.mean().item(),
                'mean_error_sign_repaired_sampled': (shift - left.mean()).item(),
                'std_ratio_sampled': (left.std() / std).item(),
            }
        )
    return rows


def sign_error(etas: Tensor, exponents: Tensor) -> Tensor:
    """What Eq. 34 lacks in the factor of the base, for its last term has the wrong sign: (16, p, p)."""
    alpha, before = (etas[1:] - etas[:-1])[:, None, None], etas[:-1, None, None]
    lacking = 2 * alpha * before / (decays(etas, exponents) ** 2 * before + alpha)
    return torch.cat([torch.zeros_like(exponents[:1]), lacking])


def factors(way: str, etas: Tensor, exponents: Tensor) -> StepBack:
    """What a way back multiplies state, image, base and noise with."""
    member = {'paper_sign': 'paper', 'line_41': 'markov'}.get(way, way)
    state, image, base, noise = step_back(etas, exponents, KAPPA, member)
    if way == 'paper_sign':
        base = base + sign_error(etas, exponents)
    if way == 'line_41':  # alpha_t mu + eta_t eps
        alpha = torch.cat([etas[:1], etas[1:] - etas[:-1]])[:, None, None]
        state, image, base = (alpha * factor for factor in (state, image, base))
        noise = etas[:, None, None].expand_as(noise)
    return StepBack(state, image, base, noise)


def walk_back(way: str, image: Tensor, base: Tensor, samples: int, seed: int = 0) -> list[dict[str, Any]]:
    """From the exact x_T back with the true image: how far every state is from its marginal (Eq. 29).

    Args:
        way: One of `WAYS`.
        image: Frequencies of a patch (p, p), float64.
        base: Those of its base.
        samples: States to draw.
        seed: Of the noise.

    Returns:
        For the states t = T - 1 to 1: mean_error, the largest of all pixels, and std_ratio, [smallest, largest] of all
        frequencies; exact, and sampled with `BlurringResShift.step`.
    """
    etas, exponents = tables(image.size(-1))
    back, matrix = factors(way, etas, exponents), dct_matrix(image.size(-1))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of 'paper'
        process = BlurringResShift(posterior=way if way in POSTERIORS else 'markov')
    if way not in POSTERIORS:
        process.back = torch.stack(back, dim=1).float()
    generator = torch.Generator().manual_seed(seed)
    pictures = [to_images(part[None, None], matrix).float().expand(samples, 1, -1, -1) for part in (image, base)]

    def noise() -> Tensor:
        return torch.randn(pictures[0].shape, generator=generator)

    mean, std = marginal(STEPS, image, base, etas, exponents)
    variance, states = torch.full_like(image, std**2), process.q_sample(*pictures, STEPS, noise())
    rows = []
    for t in range(STEPS, 1, -1):
        mean = back.state[t] * mean + back.image[t] * image + back.base[t] * base
        variance = back.state[t] ** 2 * variance + back.noise[t] ** 2
        states = process.step(states, *pictures, t, noise())
        seen = to_frequencies(states.double(), matrix)[:, 0, 0, 0]
        wanted, std = marginal(t - 1, image, base, etas, exponents)
        rows.append(
            {
                't': t - 1,
                'mean_error': to_images((mean - wanted)[None, None], matrix).abs().max().item(),
                'mean_error_sampled': to_images((seen.mean(0) - wanted)[None, None], matrix).abs().max().item(),
                'std_ratio': ends(variance.sqrt() / std),
                'std_ratio_sampled': ends(seen.std(0) / std),
            }
        )
    return rows


def without_blur(t: int = 8) -> dict[str, dict[str, float]]:
    """Factors of a step without blur, and the deviation: of Eq. 34-36, of 'resshift', and of ResShift (Eq. 7 there)."""
    etas, exponents = tables(1, 0)
    found = {}
    for name in ('paper', 'resshift', 'markov'):
        found[name] = {key: float(part[t]) for key, part in step_back(etas, exponents, KAPPA, name)._asdict().items()}
    before, eta = etas[t - 1].item(), etas[t].item()
    image, std = (eta - before) / eta, KAPPA * math.sqrt(before / eta * (eta - before))
    found['published'] = {'state': before / eta, 'image': image, 'base': 0.0, 'noise': std}
    return found


# ---------------------------------------------------------------------------------------------------------------- blur


def division_by_blur() -> list[dict[str, Any]]:
    """How small D_t gets with the time as printed, tau = t, and with sigma up to sqrt(2); for patches of 4, 8 and 16.

    gain is the largest factor that Eq. 27 multiplies the noise of a state with, kappa sqrt(eta) / ((1 - eta) D).
    """
    rows = []
    for patch in (4, 8, 16):
        etas, ours = tables(patch)
        printed = -squared_frequencies(patch) * torch.arange(STEPS + 1, dtype=torch.float64)[:, None, None]
        row: dict[str, Any] = {'patch': patch}
        for name, exponents in (('printed', printed), ('ours', ours)):
            single = exponents[1:].float().exp()
            gain = KAPPA * etas[1:, None, None].sqrt().log() - (1 - etas[1:, None, None]).log() - exponents[1:]
            row[name] = {
                'sigma_last': SIGMA if name == 'ours' else math.sqrt(2 * STEPS),
                'smallest_first': exponents[1].min().exp().item(),
                'log10_smallest_last': exponents[-1].min().item() / math.log(10),
                'zero_in_float32': (single == 0).double().mean().item(),
                'log10_gain': gain.max().item() / math.log(10),
            }
        rows.append(row)
    return rows


def prior_noise() -> float:
    """The deviation 1 of line 2 of Algorithm 1 over that of x_T."""
    return 1 / (KAPPA * tables()[0][-1].sqrt().item())


def diffusion_figures(image: Tensor, base: Tensor, samples: int) -> Iterator[tuple[str, Any]]:
    """Name and figures of every experiment. ``image`` and ``base`` are (p, p) patches in [-1, 1]."""
    matrix = dct_matrix(image.size(-1))
    image, base = (to_frequencies(part.double()[None, None], matrix)[0, 0, 0, 0] for part in (image, base))
    for name, sigma in (('transition', SIGMA), ('transition_without_blur', 0.0)):
        yield name, transition(image, base, sigma, samples)
    yield 'one_step', one_step(samples)
    yield 'way_back', {way: walk_back(way, image, base, samples) for way in WAYS}
    yield 'without_blur', without_blur()
    yield 'division_by_blur', division_by_blur()
    yield 'prior_noise', prior_noise()
