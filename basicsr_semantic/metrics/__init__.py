"""Measures that BasicSR does not have; importing the package registers them in BasicSR's METRIC_REGISTRY.

A metric says by its signature what it needs, and the validation loop gives it that: ``img`` the restored frame,
``img2`` the GT (with a default: only where there is some), ``previous`` and ``previous2`` the restored frame and the GT
of one frame earlier. All are uint8, (height, width, 3), BGR. The default of ``better`` says which value is the better
one.
"""

from __future__ import annotations

from .clip_iqa import calculate_clip_iqa
from .perceptual import calculate_dists, calculate_lpips
from .video_instance_ap import VideoMatch, compare_video, summarise
from .warping_error import calculate_warping_error

__all__ = [
    'VideoMatch',
    'calculate_clip_iqa',
    'calculate_dists',
    'calculate_lpips',
    'calculate_warping_error',
    'compare_video',
    'summarise',
]
