"""Tokens of one frame as bytes and back: half precision behind a header with the shape and a checksum."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

_HEADER = struct.Struct('<4sIIII')  # magic, frame tokens, their width, width of the global token, CRC-32 of the values
_MAGIC = b'TOK1'
_LARGEST = float(np.finfo(np.float16).max)


def encode_tokens(frame_tokens: np.ndarray, global_token: np.ndarray) -> bytes:
    """Write the tokens of one frame.

    Args:
        frame_tokens: (K, Ct) floating point, K vectors of the frame.
        global_token: (Cg,) floating point, the vector of the whole frame; Cg is 0 where there is none.

    Returns:
        A header of 20 bytes, then K * Ct and Cg values in little-endian half precision.

    Raises:
        ValueError: The shapes or types do not fit, or a value is not finite in half precision.
    """
    for array, axes in ((frame_tokens, 'K, Ct'), (global_token, 'Cg')):
        if array.ndim != axes.count(',') + 1 or not np.issubdtype(array.dtype, np.floating):
            raise ValueError(f'Tokens must be ({axes}) floating point, not {array.dtype} {array.shape}.')
        if not array.size and axes != 'Cg':
            raise ValueError(f'A frame has at least one token, not {array.shape}.')
        if not (np.abs(array) <= _LARGEST).all():  # also false for NaN
            raise ValueError(f'Tokens must be finite and at most {_LARGEST:.0f}, which half precision holds.')
    values = frame_tokens.astype('<f2').tobytes() + global_token.astype('<f2').tobytes()
    return _HEADER.pack(_MAGIC, *frame_tokens.shape, *global_token.shape, zlib.crc32(values)) + values


def decode_tokens(records: Sequence[bytes], shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Read the tokens of the frames of a clip.

    Args:
        records: what ``encode_tokens`` returned, one a frame, at least one.
        shape: (K, Ct, Cg) that every record must have.

    Returns:
        Frame tokens (t, K, Ct) and global tokens (t, Cg), float32.

    Raises:
        ValueError: A record is damaged or has another shape.
    """
    count, dim, _ = shape
    rows = np.stack([_values(record, shape) for record in records]).astype(np.float32)
    frame_tokens, global_tokens = np.split(rows, [count * dim], axis=1)
    return frame_tokens.reshape(len(records), count, dim), np.ascontiguousarray(global_tokens)


def _values(record: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """The values of a record in a row, as they are stored."""
    if len(record) < _HEADER.size:
        raise ValueError(f'the record is damaged: it has {len(record)} bytes, fewer than its header')
    magic, *found, checksum = _HEADER.unpack_from(record)
    if magic != _MAGIC:
        raise ValueError(f'the record is damaged: it begins with {magic!r} instead of {_MAGIC!r}')
    if tuple(found) != shape:
        raise ValueError(f'the record holds {_shown(found)}, but the metadata of the store say {_shown(shape)}')
    count, dim, global_dim = shape
    expected = _HEADER.size + 2 * (count * dim + global_dim)
    if len(record) != expected:
        raise ValueError(f'the record is damaged: it has {len(record)} bytes where {expected} are expected')
    if zlib.crc32(record[_HEADER.size :]) != checksum:
        raise ValueError('the record is damaged: its checksum does not fit its content')
    return np.frombuffer(record, '<f2', offset=_HEADER.size)


def _shown(shape: Sequence[int]) -> str:
    return f'{shape[0]} tokens of width {shape[1]} and a global token of width {shape[2]}'
