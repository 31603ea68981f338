"""Scene cuts, found while frames are decoded: where one begins, a recurrent network must not look back."""

from __future__ import annotations

import cv2
import numpy as np

_SIDE = 64
"""Frames are compared at this size."""
_BINS = 32


class CutDetector:
    """Says of each frame whether a new scene begins with it.

    Two differences to the frame before are worked out at 64x64: of the pixels (mean absolute difference of all
    channels) and of the histograms (total variation of each channel's, 32 bins). A cut changes both at once. Motion
    changes pixels but hardly the histogram; a fade changes both, but a little at a time.

    Args:
        pixels: Least difference of pixels, of 1.
        histogram: Least difference of histograms, of 1.
        ratio: How many times as large as the recent differences of pixels it must be, so that fast motion is none.
    """

    def __init__(self, pixels: float = 0.08, histogram: float = 0.15, ratio: float = 2.5) -> None:
        self.pixels, self.histogram, self.ratio = pixels, histogram, ratio
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._recent = 0.0

    def __call__(self, frame: np.ndarray) -> bool:
        """Look at the next frame.

        Args:
            frame: (h, w, 3) uint8 or uint16.

        Returns:
            Whether it begins a new scene; False for the first one.
        """
        small = cv2.resize(frame, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        small /= np.iinfo(frame.dtype).max
        bins = np.minimum((small * _BINS).astype(int), _BINS - 1)
        histogram = np.stack([np.bincount(bins[..., k].ravel(), minlength=_BINS) for k in range(3)]) / _SIDE**2
        before, self._before = self._before, (small, histogram)
        if before is None:
            return False
        moved = float(np.abs(small - before[0]).mean())
        changed = float(np.abs(histogram - before[1]).sum(axis=1).mean() / 2)
        is_cut = moved > self.pixels and changed > self.histogram and moved > self.ratio * self._recent
        # what a scene is like is learnt from its own frames
        self._recent = 0.0 if is_cut else max(moved, 0.8 * self._recent)
        return is_cut
