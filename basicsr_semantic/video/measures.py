"""What a report says of every frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .frame_file import eight_bits


def _warping_error(image: np.ndarray, before: np.ndarray | None) -> float | None:
    from ..metrics.warping_error import calculate_warping_error

    if before is None:
        return None
    error = calculate_warping_error(_bgr(image), previous=_bgr(before))
    return None if np.isnan(error) else float(error)


def _niqe(image: np.ndarray, before: np.ndarray | None) -> float | None:
    from basicsr.metrics import calculate_niqe

    return float(calculate_niqe(_bgr(image), crop_border=0))


def _bgr(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(eight_bits(image)[..., ::-1])


MEASURES: dict[str, Callable[[np.ndarray, np.ndarray | None], float | None]] = {
    'warping error': _warping_error,
    'NIQE': _niqe,
}
"""Name -> function of a restored frame and the one before it, (H, W, 3) uint8 or uint16 RGB."""
