"""Masks of one frame as bytes and back: COCO compressed RLE in JSON, the form that other annotation tools read."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .run_lengths import Box, draw_runs, parse_runs


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


def decode_record(
    record: bytes,
    num_masks: int,
    box: Box | None = None,
    frame_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Read the masks of one frame.

    Args:
        record: what ``encode_record`` returned.
        num_masks: number of channels of the result; more masks are cut off, fewer are followed by zeros.
        box: (top, left, height, width) to read; None reads the whole frame.
        frame_size: (h, w) that the stored frame must have; None accepts any.

    Returns:
        (num_masks, height, width) uint8 with values 0 and 1, C-contiguous.

    Raises:
        ValueError: The record is damaged, the frame has another size, or the box reaches over its edge.
    """
    try:
        content = json.loads(record)
        height, width = content['size']
        counts = [entry['counts'] for entry in content['masks'][:num_masks]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'the record is damaged ({error.__class__.__name__}: {error})') from error
    if frame_size is not None and tuple(frame_size) != (height, width):
        raise ValueError(
            f'they belong to a frame of {width}x{height}, not {frame_size[1]}x{frame_size[0]} (width x height)'
        )
    top, left, rows, columns = box if box is not None else (0, 0, height, width)
    if top < 0 or left < 0 or rows < 1 or columns < 1 or top + rows > height or left + columns > width:
        raise ValueError(
            f'the box (top {top}, left {left}, height {rows}, width {columns}) does not fit the stored masks of '
            f'{height} rows and {width} columns'
        )
    masks = np.zeros((num_masks, rows, columns), np.uint8)
    if counts:
        try:
            masks[: len(counts)] = draw_runs(*parse_runs(counts), height, width, (top, left, rows, columns))
        except ValueError as error:
            raise ValueError(f'the record is damaged: {error}') from error
    return masks
