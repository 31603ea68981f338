"""Masks of one frame as bytes and back: COCO compressed RLE in JSON, the form that other annotation tools read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..utils.errors import shown
from .run_lengths import LARGEST_FRAME, Box, draw_runs, is_side, parse_runs


def encode_record(masks: np.ndarray, scores: np.ndarray | None = None) -> bytes:
    """Write the masks of one frame.

    Args:
        masks: (n, h, w) bool or uint8 with values 0 and 1; n may be 0.
        scores: (n,) confidence of each mask, or None.

    Returns:
        JSON bytes ``{'size': [h, w], 'masks': [{'counts', 'area', 'score'?}, ...]}``.

    Raises:
        ValueError: The shapes or types do not fit.
    """
    import pycocotools.mask as coco

    if masks.ndim != 3 or masks.dtype not in (np.bool_, np.uint8):
        raise ValueError(f'Masks must be (n, h, w) bool or uint8, not {masks.dtype} {masks.shape}.')
    if masks.size and masks.dtype == np.uint8 and masks.max() > 1:
        raise ValueError(f'Masks must hold 0 and 1 only, but the largest value is {masks.max()}.')
    if scores is not None and np.shape(scores) != masks.shape[:1]:
        raise ValueError(f'{len(masks)} masks came with scores of shape {np.shape(scores)}.')
    # pycocotools wants (h, w, n) with h running fastest in memory
    runs: Any = (
        coco.encode(np.asfortranarray(masks.astype(np.uint8, copy=False).transpose(1, 2, 0))) if len(masks) else []
    )
    entries: list[dict[str, Any]] = [
        {'counts': run['counts'].decode('ascii'), 'area': int(coco.area(run))} for run in runs
    ]
    if scores is not None:
        for entry, score in zip(entries, scores, strict=True):
            entry['score'] = round(float(score), 6)
    height, width = masks.shape[1:]
    return json.dumps({'size': [height, width], 'masks': entries}, separators=(',', ':')).encode('ascii')


def decode_records(
    records: Sequence[bytes],
    num_masks: int,
    box: Box | None = None,
    frame_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Read the masks of the frames of a clip.

    Args:
        records: what ``encode_record`` returned, one a frame, at least one.
        num_masks: number of channels of the result; more masks are cut off, fewer are followed by zeros.
        box: (top, left, height, width) to read; None reads the whole frame.
        frame_size: (h, w) that the stored frames must have; None takes that of the first one.

    Returns:
        (t, num_masks, height, width) uint8 with values 0 and 1, C-contiguous.

    Raises:
        ValueError: A record is damaged, a frame has another size, or the box reaches over its edge.
    """
    counts: list[str] = []
    per_frame: list[int] = []
    for record in records:
        size, found = _parse(record)
        frame_size = frame_size or size
        if size != tuple(frame_size):
            raise ValueError(f'they belong to a frame of {_by(size)}, not {_by(frame_size)} (width x height)')
        counts += found[:num_masks]
        per_frame.append(min(len(found), num_masks))
    assert frame_size is not None, 'no records'
    height, width = frame_size
    top, left, rows, columns = box = box if box is not None else (0, 0, height, width)
    if top < 0 or left < 0 or rows < 1 or columns < 1 or top + rows > height or left + columns > width:
        raise ValueError(
            f'the box (top {top}, left {left}, height {rows}, width {columns}) does not fit the stored masks of '
            f'{height} rows and {width} columns'
        )
    shape = (len(records), num_masks, rows, columns)
    if not counts:
        return np.zeros(shape, np.uint8)
    try:
        planes = draw_runs(*parse_runs(counts), height, width, box)
    except ValueError as error:
        raise ValueError(f'the record is damaged: {error}') from error
    if min(per_frame) == num_masks:
        return planes.reshape(shape)
    masks = np.zeros(shape, np.uint8)
    for frame, stop, number in zip(masks, np.cumsum(per_frame), per_frame, strict=True):
        frame[:number] = planes[stop - number : stop]
    return masks


def _parse(record: bytes) -> tuple[tuple[int, int], list[str]]:
    """(h, w) of the frame and the run lengths of its masks."""
    try:
        content = json.loads(record)
        height, width = content['size']
        counts = [entry['counts'] for entry in content['masks']]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f'the record is damaged ({error.__class__.__name__}: {error})') from error
    if type(height) is not int or type(width) is not int or not is_side(height) or not is_side(width):
        raise ValueError(f'the record is damaged: its size is {shown(content["size"])}, not a height and width')
    if height * width > LARGEST_FRAME:
        raise ValueError(f'the record is damaged: it says that a frame has {_by((height, width))} pixels')
    wrong = [one for one in counts if not isinstance(one, str)]
    if wrong:
        raise ValueError(f'the record is damaged: the counts of a mask are {shown(wrong[0])}, not text')
    return (height, width), counts


def _by(size: tuple[int, int]) -> str:
    return f'{size[1]}x{size[0]}'
