"""Pixel features of one frame as bytes and back: half precision behind a header; any part of the frame can be read.

A feature belongs to a cell of ``CELL`` x ``CELL`` pixels of the low-resolution frame. Cells at the lower and the right
edge of a frame reach over it where its sides are not multiples of that.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

from .run_lengths import Box
from .semantic_priors import CELL

_HEADER = struct.Struct('<4sIIII')  # magic, width of a feature, rows and columns of cells, CRC-32 of the values
_MAGIC = b'FEA1'
_LARGEST = float(np.finfo(np.float16).max)


def cells(side: int) -> int:
    """Cells along a side of so many pixels."""
    return -(-side // CELL)


def encode_features(features: np.ndarray) -> bytes:
    """Write the features of one frame.

    Args:
        features: (Cp, hp, wp) floating point, one vector for each cell.

    Returns:
        A header of 20 bytes, then the values in little-endian half precision.

    Raises:
        ValueError: The shape or type does not fit, or a value is not finite in half precision.
    """
    if features.ndim != 3 or not np.issubdtype(features.dtype, np.floating) or not features.size:
        raise ValueError(f'Pixel features must be (Cp, hp, wp) floating point, not {features.dtype} {features.shape}.')
    if not (np.abs(features) <= _LARGEST).all():  # also false for NaN
        raise ValueError(f'Pixel features must be finite and at most {_LARGEST:.0f}, which half precision holds.')
    values = features.astype('<f2').tobytes()
    return _HEADER.pack(_MAGIC, *features.shape, zlib.crc32(values)) + values


def decode_features(
    records: Sequence[bytes], dim: int, box: Box | None = None, frame_size: tuple[int, int] | None = None
) -> np.ndarray:
    """Read the features of the frames of a clip.

    Args:
        records: what ``encode_features`` returned, one a frame, at least one.
        dim: width Cp that every record must have.
        box: (top, left, height, width) in pixels to read; None reads the whole frame. It begins at multiples of
            ``CELL`` and ends at such, or at the end of the frame.
        frame_size: (h, w) of the frames in pixels; None expects as many cells as the first record has.

    Returns:
        (t, Cp, hp, wp) float32, C-contiguous.

    Raises:
        ValueError: A record is damaged or of other frames, or the box divides cells or reaches over the edge.
    """
    views = [_values(record, dim) for record in records]
    grid = views[0].shape[1:] if frame_size is None else (cells(frame_size[0]), cells(frame_size[1]))
    for view in views:
        if view.shape[1:] != grid:
            found, wanted = (f'{columns}x{rows}' for rows, columns in (view.shape[1:], grid))
            raise ValueError(f'the record holds {found} cells of {CELL}x{CELL} pixels where the frame has {wanted}')
    if box is None:
        rows, columns = slice(None), slice(None)
    else:
        rows, columns = _part(box[0], box[2], grid[0], box), _part(box[1], box[3], grid[1], box)
    return np.stack([view[:, rows, columns] for view in views]).astype(np.float32)


def _part(start: int, length: int, number: int, box: Box) -> slice:
    """Cells from ``start`` pixels on, of ``number`` along the side."""
    first, last = start // CELL, cells(start + length)
    divided = start % CELL or ((start + length) % CELL and last != number)
    if start < 0 or length < 1 or last > number or divided:
        raise ValueError(
            f'the box {tuple(box)} (top, left, height, width) does not fall between cells of {CELL}x{CELL} pixels'
        )
    return slice(first, last)


def _values(record: bytes, dim: int) -> np.ndarray:
    """The values of a record (Cp, hp, wp), as they are stored."""
    if len(record) < _HEADER.size:
        raise ValueError(f'the record is damaged: it has {len(record)} bytes, fewer than its header')
    magic, width, rows, columns, checksum = _HEADER.unpack_from(record)
    if magic != _MAGIC:
        raise ValueError(f'the record is damaged: it begins with {magic!r} instead of {_MAGIC!r}')
    if width != dim:
        raise ValueError(f'the record holds features of width {width}, but the metadata of the store say {dim}')
    expected = _HEADER.size + 2 * width * rows * columns
    if not rows or not columns:
        raise ValueError(f'the record is damaged: it holds {columns}x{rows} cells')
    if len(record) != expected:
        raise ValueError(f'the record is damaged: it has {len(record)} bytes where {expected} are expected')
    values = memoryview(record)[_HEADER.size :]
    if zlib.crc32(values) != checksum:
        raise ValueError('the record is damaged: its checksum does not fit its content')
    return np.frombuffer(values, '<f2').reshape(width, rows, columns)
