"""Segmentations as COCO tools write them (compressed RLE, uncompressed RLE, polygons) to arrays, checked.

pycocotools trusts its input: runs that do not add up to the size of the picture leave memory uninitialised. Annotation
files come from anywhere, so the runs are added up first.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def decode_segmentation(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Decode one segmentation.

    Args:
        segmentation: ``{'size', 'counts'}`` with ``counts`` a string (compressed) or a list of run lengths, a list of
            polygons ``[[x0, y0, x1, y1, ...], ...]``, or None for an object that is not in the frame.
        height: rows of the frame.
        width: columns of the frame.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: The segmentation is malformed or of another size; the message says how.
    """
    import pycocotools.mask as coco

    if segmentation is None:
        return np.zeros((height, width), bool)
    if isinstance(segmentation, dict):
        runs = _checked_runs(segmentation, height, width)
    elif isinstance(segmentation, list):
        _check_polygons(segmentation)
        runs = coco.merge(coco.frPyObjects(segmentation, height, width)) if segmentation else None
    else:
        raise ValueError(f'it is neither RLE, nor polygons, nor null, but {type(segmentation).__name__}')
    return coco.decode(runs).astype(bool) if runs is not None else np.zeros((height, width), bool)


def expand_counts(counts: str) -> np.ndarray:
    """Run lengths of a compressed RLE string.

    The format is that of the COCO API: numbers in groups of five bits, the sixth bit says that more follow, the last
    group carries the sign, and from the fourth number on the difference to the last but one is stored.

    Returns:
        (n,) int64, runs of zeros and ones in turn.

    Raises:
        ValueError: The string is not of this form.
    """
    groups = np.frombuffer(counts.encode('utf-8'), np.uint8).astype(np.int64) - 48
    if groups.size == 0 or groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        raise ValueError('its counts are no compressed RLE')
    ends = np.flatnonzero(groups & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:
        raise ValueError('its counts are no compressed RLE')
    shifts = 5 * (np.arange(groups.size) - np.repeat(starts, lengths))
    runs = np.add.reduceat((groups & 31) << shifts, starts)
    runs -= np.where(groups[ends] & 16, np.int64(1) << (5 * lengths), 0)
    for first in (1, 2):
        runs[first::2] = np.cumsum(runs[first::2])
    return runs


def _checked_runs(segmentation: Any, height: int, width: int) -> Any:
    import pycocotools.mask as coco

    size, counts = segmentation.get('size'), segmentation.get('counts')
    if size is None or list(size) != [height, width]:
        raise ValueError(f'its size is {size}, but the frame is [{height}, {width}] (rows, columns)')
    if isinstance(counts, str):
        runs = expand_counts(counts)
    elif isinstance(counts, list) and all(isinstance(run, int) for run in counts):
        runs = np.array(counts, np.int64)
    else:
        raise ValueError('its counts are neither a string nor a list of whole numbers')
    if (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f'its runs do not add up to the {height * width} pixels of the frame')
    if isinstance(counts, list):
        return coco.frPyObjects(segmentation, height, width)
    return segmentation


def _check_polygons(polygons: list[Any]) -> None:
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError('a polygon needs at least three points, as [x0, y0, x1, y1, x2, y2, ...]')
        if not all(isinstance(value, (int, float)) for value in polygon):
            raise ValueError('a polygon must be made of numbers')
