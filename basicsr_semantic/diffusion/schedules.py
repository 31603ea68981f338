"""How far a step shifts towards the base and how much it blurs; all in float64, step 0 being the clean image."""

from __future__ import annotations

import math

import torch

BLUR_SCHEDULES = ('log', 'sine')


def shift_schedule(steps: int, kappa: float, min_noise: float, power: float, etas_end: float) -> torch.Tensor:
    """The shifting sequence eta of ResShift (Yue et al., NeurIPS 2023, Eq. 10): its square root grows geometrically.

    The first value keeps the noise of step 1 below ``min_noise``: sqrt(eta_1) = min(min_noise / kappa, min_noise).

    Args:
        steps: Number of steps T, at least 1; with one step eta_1 is the last value.
        kappa: Strength of the noise; its standard deviation at step t is kappa sqrt(eta_t).
        min_noise: Bound of kappa sqrt(eta_1) and of sqrt(eta_1).
        power: Exponent that warps the steps; below 1 the first steps grow fastest.
        etas_end: sqrt(eta_T), in (0, 1).

    Returns:
        (steps + 1,) float64; eta_0 = 0, then increasing.

    Raises:
        ValueError: A value is out of range.
    """
    if steps < 1:
        raise ValueError(f'steps is {steps}; at least 1 is needed.')
    if not all(0 < value < math.inf for value in (kappa, min_noise, power)):
        raise ValueError(f'kappa {kappa}, min_noise {min_noise} and power {power} must be above 0, and finite.')
    first = min(min_noise / kappa, min_noise)
    if not first < etas_end < 1:
        raise ValueError(f'etas_end is {etas_end}; it must be between sqrt(eta_1) = {first} and 1.')
    if steps == 1:
        return torch.tensor([0.0, etas_end**2], dtype=torch.float64)
    place = (torch.arange(steps, dtype=torch.float64) / (steps - 1)) ** power
    roots = first * (etas_end / first) ** place
    return torch.cat([torch.zeros(1, dtype=torch.float64), roots**2])


def blur_schedule(steps: int, sigma_min: float, sigma_max: float, kind: str = 'log') -> torch.Tensor:
    """The dissipation time tau of the heat equation: a Gaussian blur of sigma pixels takes tau = sigma^2 / 2.

    The paper blurs for tau = t (Eq. 22), 5.5 pixels at t = 15, after which nothing above the patch's mean is left; its
    Table 4 asks for a largest variance of 2 or 3 and its text for the schedule of IHDM (Rissanen et al., ICLR 2023).
    So sigma is spaced as in IHDM, and the variance of Table 4 is that of the last step: sigma_max = sqrt(2).

    Args:
        steps: Number of steps T.
        sigma_min: Blur of step 1 in pixels (``log`` only).
        sigma_max: Blur of step T in pixels; 0 switches the blur off.
        kind: ``log``, equal ratios, or ``sine``, sigma_max sin^2(pi t / 2T) (Blurring Diffusion, Hoogeboom & Salimans).

    Returns:
        (steps + 1,) float64; tau_0 = 0, then increasing.

    Raises:
        ValueError: A value is out of range.
    """
    if kind not in BLUR_SCHEDULES:
        raise ValueError(f"The blur schedule is '{kind}'. Choose one of {', '.join(BLUR_SCHEDULES)}.")
    if sigma_max == 0:
        return torch.zeros(steps + 1, dtype=torch.float64)
    if kind == 'sine':
        if sigma_max < 0:
            raise ValueError(f'sigma_max is {sigma_max}; 0 or more is needed.')
        sigmas = sigma_max * torch.sin(torch.arange(1, steps + 1, dtype=torch.float64) * math.pi / (2 * steps)) ** 2
    else:
        if not 0 < sigma_min <= sigma_max:
            raise ValueError(f'sigma_min is {sigma_min}; it must be above 0 and at most sigma_max, {sigma_max}.')
        ends = (math.log(sigma_min if steps > 1 else sigma_max), math.log(sigma_max))
        sigmas = torch.linspace(*ends, steps, dtype=torch.float64).exp()
    return torch.cat([torch.zeros(1, dtype=torch.float64), sigmas**2 / 2])
