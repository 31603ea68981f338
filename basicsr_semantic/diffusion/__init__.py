"""Blurring ResShift, the diffusion of SeeClear: schedules, forward process, posterior, sampler; no network in it."""

from .blurring_resshift import BlurringResShift
from .posterior import POSTERIORS
from .sampler import draw_noise, sample
from .schedules import BLUR_SCHEDULES

__all__ = ['BLUR_SCHEDULES', 'POSTERIORS', 'BlurringResShift', 'draw_noise', 'sample']
