"""Annotated instances as an extractor: masks drawn by people, an upper bound on what a segmenter could give."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.errors import UserError
from .annotation_files import open_annotations
from .base import EXTRACTOR_REGISTRY, MAX_MASKS, Extractor, check_frame, check_max_masks
from .ordering import stack_masks


@EXTRACTOR_REGISTRY.register()
class AnnotationsExtractor(Extractor):
    """Reads masks from annotations instead of looking at the frame.

    Channel k is the k-th instance of the video in every frame, so identity is stable over time; an instance that is not
    in the frame has an empty mask. Annotations of HR frames are brought to the size of the LR frame: a pixel belongs to
    an instance when at least half of its scale x scale block does.

    Args:
        annotations: a YouTube-VIS JSON file, or a DAVIS folder whose subfolders hold indexed PNG files.
        max_masks: most masks a frame; instances after the first ``max_masks`` of a video are left out.

    Raises:
        UserError: There are no such annotations.
    """

    kind = 'annotations'
    order = 'id'

    def __init__(self, annotations: str, max_masks: int = MAX_MASKS) -> None:
        self._instances = open_annotations(Path(annotations))
        self.max_masks = check_max_masks(max_masks)

    @property
    def parameters(self) -> dict[str, Any]:
        """What decides the masks, for the metadata of a store."""
        return {**self._instances.parameters, 'shrink': 'block mean at least 0.5'}

    def __call__(self, frame: np.ndarray, key: str) -> tuple[np.ndarray, None]:
        """Look up one frame.

        Args:
            frame: (h, w, 3) uint8 RGB; only its size is used.
            key: path of the frame below its root without extension, as the annotations name it.

        Returns:
            Masks (n, h, w) bool, one an instance of the video, and None: annotations have no score.

        Raises:
            UserError: The annotations lack the frame, or their size is not a multiple of the frame's.
        """
        check_frame(frame)
        height, width = frame.shape[:2]
        size, masks = self._instances.masks(key)
        try:
            scale_between(*size, height, width)  # checked before masks are drawn, which may be of any size
        except ValueError as error:
            raise UserError(f'The annotations of the frame {key!r} do not fit it: {error}.') from error
        planes = [shrink_masks(mask[None], height, width)[0] for mask in islice(masks, self.max_masks)]
        return stack_masks(planes, height, width), None


def shrink_masks(masks: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bring masks of HR frames to the size of the LR frames.

    Args:
        masks: (n, H, W) bool, H and W the same whole multiple of height and width; as with frames, up to scale - 1 rows
            and columns at the bottom and right may be left over.
        height: rows of the LR frame.
        width: columns of the LR frame.

    Returns:
        (n, height, width) bool: at least half of the block is set.

    Raises:
        ValueError: The sizes do not fit.
    """
    count, rows, columns = masks.shape
    scale = scale_between(rows, columns, height, width)
    if scale == 1:
        return masks
    blocks = masks[:, : height * scale, : width * scale].reshape(count, height, scale, width, scale)
    return 2 * blocks.sum((2, 4), dtype=np.int32) >= scale * scale


def scale_between(rows: int, columns: int, height: int, width: int) -> int:
    """By how much HR frames of rows and columns are larger than LR frames of height and width; see ``shrink_masks``.

    Raises:
        ValueError: The sizes do not fit.
    """
    scale = max(1, round(rows / height))
    if rows // scale != height or columns // scale != width:
        raise ValueError(f'they are {columns}x{rows}, not a whole multiple of {width}x{height} (width x height)')
    return scale
