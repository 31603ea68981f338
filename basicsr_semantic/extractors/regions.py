"""Regions of similar colour as masks: Felzenszwalb's graph segmentation at several scales. Needs no weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..utils.errors import UserError, shown
from .base import EXTRACTOR_REGISTRY, MAX_MASKS, Extractor, check_frame, check_max_masks, check_number
from .ordering import order_and_keep, stack_masks

LARGEST = 10**9
LARGEST_SIGMA = 1000  # the filter is eight times as long, whatever the size of the frame


@EXTRACTOR_REGISTRY.register()
class RegionsExtractor(Extractor):
    """Segments a frame at several scales and keeps the largest regions of all of them.

    Coarse regions contain finer ones, so masks overlap as those of Segment Anything do. The segmentation is that of
    Felzenszwalb and Huttenlocher, "Efficient graph-based image segmentation" (IJCV 2004), as in scikit-image.

    Args:
        scales: how coarse each segmentation is, one or more numbers; a larger one gives larger regions.
        sigma: standard deviation of the Gaussian smoothing before the segmentation, in pixels.
        min_size: smallest region in pixels; smaller ones are merged into a neighbour.
        max_masks: most masks a frame, the largest are kept.

    Raises:
        UserError: A value is out of range, or scikit-image is missing.
    """

    kind = 'regions'
    order = 'area'

    def __init__(
        self,
        scales: Sequence[float] = (50.0, 150.0, 500.0),
        sigma: float = 0.5,
        min_size: int = 20,
        max_masks: int = MAX_MASKS,
    ) -> None:
        if isinstance(scales, str) or not isinstance(scales, Sequence) or not scales or not all(map(_is_scale, scales)):
            raise UserError(f'scales must be one or more positive numbers, at most {LARGEST:,}, not {shown(scales)}.')
        check_number('sigma', sigma, 0, LARGEST_SIGMA)
        check_number('min_size', min_size, 1, LARGEST, whole=True)
        self.scales = sorted(float(scale) for scale in scales)
        self.sigma = float(sigma)
        self.min_size = min_size
        self.max_masks = check_max_masks(max_masks)
        self._felzenszwalb = _import_felzenszwalb()

    @property
    def parameters(self) -> dict[str, Any]:
        """What decides the masks, for the metadata of a store."""
        return {'scales': self.scales, 'sigma': self.sigma, 'min_size': self.min_size}

    def __call__(self, frame: np.ndarray, key: str) -> tuple[np.ndarray, None]:
        """Segment one frame.

        Args:
            frame: (h, w, 3) uint8 RGB.
            key: not used.

        Returns:
            Masks (n, h, w) bool, the largest first, and None: regions have no score.
        """
        from scipy.ndimage import find_objects

        check_frame(frame)
        masks: list[np.ndarray] = []
        seen: set[bytes] = set()
        corners: list[tuple[float, float]] = []
        for scale in self.scales:
            labels = self._felzenszwalb(frame, scale=scale, sigma=self.sigma, min_size=self.min_size)
            for label, (rows, columns) in enumerate(find_objects(labels + 1)):
                mask = labels == label
                bits = np.packbits(mask).tobytes()
                if bits not in seen:  # many regions are the same at two scales
                    seen.add(bits)
                    masks.append(mask)
                    corners.append((rows.start, columns.start))
        areas = [int(mask.sum()) for mask in masks]
        none = [0.0] * len(masks)
        kept = order_and_keep(areas, corners, none, corners, 'area', 'area', self.max_masks)
        return stack_masks([masks[i] for i in kept], *frame.shape[:2]), None


def _is_scale(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= LARGEST


def _import_felzenszwalb() -> Any:
    try:
        from skimage.segmentation import felzenszwalb
    except ImportError as error:
        raise UserError(
            'The extractor "regions" needs scikit-image. Install it with: pip install scikit-image'
        ) from error
    return felzenszwalb
