"""What one step back multiplies the state, the predicted image, the base and the noise with."""

from __future__ import annotations

from typing import NamedTuple

import torch

POSTERIORS = ('markov', 'resshift', 'ddim', 'paper')


class StepBack(NamedTuple):
    """x_{t-1} = state x_t + image x_0 + base x_l + noise eps, for every step and frequency: (steps + 1, p, p) float64.

    Index 0 is not a step and holds zeros.
    """

    state: torch.Tensor
    image: torch.Tensor
    base: torch.Tensor
    noise: torch.Tensor


def step_back(etas: torch.Tensor, exponents: torch.Tensor, kappa: float, member: str) -> StepBack:
    """Coefficients of q(x_{t-1} | x_t, x_0, x_l).

    With D_t = exp(exponents_t) and m_t = (1 - eta_t) D_t x_0 + eta_t x_l, the forward process has the marginals
    N(m_t, kappa^2 eta_t) (SeeClear, Eq. 29). Every posterior

        N(m_{t-1} + c_t (x_t - m_t), kappa^2 (eta_{t-1} - c_t^2 eta_t)),  0 <= c_t <= sqrt(eta_{t-1} / eta_t),

    keeps all of them, by the argument of DDIM (Song et al., 2021, Lemma 1). No member divides by D_t, which is 1e-5
    for the finest frequencies. With lambda_t = (1 - eta_t) / (1 - eta_{t-1}) D_t / D_{t-1}:

    - ``markov``: c_t = lambda_t eta_{t-1} / eta_t, the chain with the mean of Eq. 31 and the marginals of Eq. 29.
    - ``resshift``: c_t = eta_{t-1} / eta_t; without blur it is ResShift's (Eq. 7 there).
    - ``ddim``: c_t = sqrt(eta_{t-1} / eta_t); deterministic.
    - ``paper``: Eq. 34 to 36 as printed, for comparison; it keeps neither the means nor the variances.

    Args:
        etas: (steps + 1,) float64 of ``shift_schedule``.
        exponents: (steps + 1, p, p) float64, log D_t; (steps + 1, 1, 1) without blur.
        kappa: Strength of the noise.
        member: One of ``POSTERIORS``.

    Raises:
        ValueError: There is no such member.
    """
    if member not in POSTERIORS:
        raise ValueError(f"The posterior is '{member}'. Choose one of {', '.join(POSTERIORS)}.")
    eta, before = etas[1:, None, None], etas[:-1, None, None]
    # the ratio of two blurs from the difference of their exponents: each alone may underflow
    decay = (1 - eta) / (1 - before) * (exponents[1:] - exponents[:-1]).exp()
    clean = (1 - before) * exponents[:-1].exp()
    if member == 'paper':
        parts = _as_printed(eta, before, decay, clean, kappa)
    else:
        # Eq. 31 prints the variance kappa^2 (eta_t - eta_{t-1}), with which the chain misses the marginals of Eq. 29,
        # since lambda_t is not 1. It must be kappa^2 (eta_t - lambda_t^2 eta_{t-1}), which 'markov' follows from.
        keep = {'markov': decay * before / eta, 'resshift': before / eta, 'ddim': (before / eta).sqrt()}[member]
        shrunk = {'markov': decay**2 * before / eta, 'resshift': before / eta, 'ddim': torch.ones_like(before)}[member]
        variance = kappa**2 * before * (1 - shrunk)  # shrunk = c_t^2 eta_t / eta_{t-1}, without the cancellation
        parts = (keep, clean * (1 - keep * decay), before - keep * eta, variance)
    state, image, base, variance = (
        torch.cat([torch.zeros_like(exponents[:1]), part.expand_as(decay)]) for part in parts
    )
    return StepBack(state, image, base, variance.sqrt())


def _as_printed(
    eta: torch.Tensor, before: torch.Tensor, decay: torch.Tensor, clean: torch.Tensor, kappa: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Eq. 34 to 36, with D_t / D_{t-1} for e^Lambda; the last term of the base should be added, and is subtracted."""
    alpha = eta - before
    whole = decay**2 * before + alpha
    base = decay**2 * before**2 - decay * before * eta - alpha * before
    return decay * before / whole, alpha * clean / whole, base / whole, kappa**2 * alpha * before / whole
