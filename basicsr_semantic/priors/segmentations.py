"""Segmentations as COCO tools write them: compressed RLE, uncompressed RLE, or polygons."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..utils.errors import shown
from .run_lengths import draw_runs, pad_runs, parse_runs

LEAST_MARGIN = 1000
"""Pixels by which polygons may reach over the edges of small frames; over those of large ones by their longer side."""
LONGEST_OUTLINE = 2**21
"""Pixels. The COCO API needs 100 bytes for each."""


def decode_segmentation(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Decode one segmentation.

    Args:
        segmentation: ``{'size', 'counts'}`` with ``counts`` a string (compressed) or a list of run lengths, a list of
            polygons ``[[x0, y0, x1, y1, ...], ...]`` in pixels, or None for an object that is not in the frame.
        height: rows of the frame.
        width: columns of the frame.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: The segmentation is malformed or of another size; the message says how.
    """
    if segmentation is None or segmentation == []:
        return np.zeros((height, width), bool)
    if isinstance(segmentation, dict):
        return draw_runs(*_runs(segmentation, height, width), height, width, (0, 0, height, width))[0].astype(bool)
    if isinstance(segmentation, list):
        return _fill_polygons(segmentation, height, width)
    raise ValueError(f'it is neither RLE, nor polygons, nor null, but {type(segmentation).__name__}')


def compress_runs(segmentation: Any, height: int, width: int) -> Any:
    """A list of run lengths in compressed form, which needs a tenth of the memory; everything else as it is.

    Args:
        segmentation: As for ``decode_segmentation``. Malformed ones are left for it to refuse.
        height: rows of the frame.
        width: columns of the frame.
    """
    if not isinstance(segmentation, dict) or not isinstance(segmentation.get('counts'), list):
        return segmentation
    try:
        runs, _ = _runs(segmentation, height, width)
    except ValueError:
        return segmentation
    if runs.sum() != height * width:
        return segmentation
    import pycocotools.mask as coco

    listed: Any = segmentation
    code: Any = coco.frPyObjects(listed, height, width)
    return {'size': [height, width], 'counts': code['counts'].decode('ascii')}


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """A mask (height, width) bool as compressed run lengths: ``{'size': [height, width], 'counts': str}``."""
    import pycocotools.mask as coco

    code: Any = coco.encode(np.asfortranarray(mask, np.uint8))
    return {'size': list(map(int, mask.shape)), 'counts': code['counts'].decode('ascii')}


def as_json(value: Any) -> str:
    """A value as a message about a JSON file shows it, short."""
    return 'null' if value is None else shown(value)


def _runs(segmentation: dict[str, Any], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    size, counts = segmentation.get('size'), segmentation.get('counts')
    if not isinstance(size, list) or size != [height, width]:
        raise ValueError(f'its size is {as_json(size)}, but the frame is [{height}, {width}] (rows, columns)')
    if isinstance(counts, str):
        return parse_runs([counts])
    if not isinstance(counts, list) or not counts:
        raise ValueError('its counts are neither a string nor a list of numbers of pixels')
    wrong = [run for run in counts if type(run) is not int or not 0 <= run <= height * width]
    if wrong:
        raise ValueError(
            'its counts are neither a string nor a list of numbers of pixels: '
            f'{as_json(wrong[0])} is not a whole number from 0 to {height * width}'
        )
    return pad_runs(np.array(counts), np.array([len(counts)]))


def _fill_polygons(polygons: list[Any], height: int, width: int) -> np.ndarray:
    import pycocotools.mask as coco

    margin = max(height, width, LEAST_MARGIN)
    length = 0
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError('a polygon needs at least three points, as [x0, y0, x1, y1, x2, y2, ...]')
        if not all(type(value) in (int, float) for value in polygon):
            raise ValueError('a polygon must be made of numbers')
        for values, side, name in ((polygon[::2], width, 'x'), (polygon[1::2], height, 'y')):
            # the COCO API would walk to points far away, in memory, or crash; nan is in no range
            wrong = [value for value in values if not -margin <= value <= side + margin]
            if wrong:
                raise ValueError(
                    f'a polygon must be made of finite numbers in pixels, {name} from {-margin} to {side + margin}, '
                    f'not {as_json(wrong[0])}'
                )
        points = np.array(polygon, float).reshape(-1, 2)
        length += int(np.abs(points - np.roll(points, 1, axis=0)).max(1).sum()) + len(points)
        if length > LONGEST_OUTLINE:
            raise ValueError(
                f'its polygons are longer than {LONGEST_OUTLINE:,} pixels in all, which no outline in a frame of '
                f'{width}x{height} is'
            )
    parts: Any = coco.frPyObjects(polygons, height, width)
    return coco.decode(coco.merge(parts)).astype(bool)
