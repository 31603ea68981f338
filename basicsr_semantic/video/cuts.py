"""Scene cuts, found while frames are decoded: where one begins, a recurrent network must not look back."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ..utils.errors import UserError
from .frame_file import eight_bits

IsCut = Callable[[np.ndarray], bool]
"""Is shown one frame after another, (h, w, 3) uint8 or uint16, and says of each whether a scene begins with it."""
CUTS = ('cuts', 'pyscenedetect', 'none')
"""What finds cuts: `CutDetector`, PySceneDetect, or nothing does."""

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


def cut_detector(name: str) -> IsCut:
    """What finds cuts, by its name in `CUTS`.

    Raises:
        UserError: PySceneDetect is asked for and not installed, or the name is another one.
    """
    if name == 'cuts':
        return CutDetector()
    if name == 'none':
        return lambda frame: False
    if name == 'pyscenedetect':
        return _pyscenedetect()
    raise UserError(f'scenes must be one of {", ".join(CUTS)}, not {name!r}.')


def _pyscenedetect() -> IsCut:
    try:
        from scenedetect import ContentDetector, FrameTimecode
        from scenedetect.detector import FlashFilter
    except ImportError:
        raise UserError('scenes=pyscenedetect needs PySceneDetect: pip install "scenedetect>=0.7".') from None
    # by default it takes no cut within 15 frames of another, and a network would look over that cut
    detector = ContentDetector(min_scene_len=1, filter_mode=FlashFilter.Mode.SUPPRESS)
    number = 0

    def is_cut(frame: np.ndarray) -> bool:
        nonlocal number
        bgr = np.ascontiguousarray(eight_bits(frame)[..., ::-1])
        found = detector.process_frame(FrameTimecode(number, 25.0), bgr)  # it counts frames; the rate is not used
        number += 1
        return bool(found)

    return is_cut
