"""Arrays of one shape on disk, one a frame, written in order or out of order and read one by one."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..utils.errors import UserError


class FrameFile:
    """A file of arrays of one shape and type. It is read and written, not mapped: mapped pages count as memory in use.

    Args:
        path: The file; made if it is not there.
        shape: Of one array.
        dtype: Of its values.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: Any) -> None:
        self.path, self.shape, self.dtype = path, tuple(shape), np.dtype(dtype)
        self.bytes = math.prod(self.shape) * self.dtype.itemsize
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def __len__(self) -> int:
        return os.fstat(self._file).st_size // self.bytes

    def __setitem__(self, index: int, array: np.ndarray) -> None:
        if array.shape != self.shape:
            raise ValueError(f'{self.path} holds arrays of {self.shape}, not {array.shape}.')
        content = memoryview(np.ascontiguousarray(array, self.dtype).tobytes())
        try:
            place = index * self.bytes
            while content:  # a nearly full disk takes a part
                count = os.pwrite(self._file, content, place)
                content, place = content[count:], place + count
        except OSError as error:
            raise UserError(f'{self.path} could not be written: {error.strerror}.') from error

    def __getitem__(self, index: int) -> np.ndarray:
        content = os.pread(self._file, self.bytes, index * self.bytes)
        if len(content) != self.bytes:
            raise IndexError(f'{self.path} has {len(self)} arrays, none at {index}.')
        return np.frombuffer(bytearray(content), self.dtype).reshape(self.shape)

    def close(self) -> None:
        """Close the file; it stays where it is."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> FrameFile:
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def eight_bits(image: np.ndarray) -> np.ndarray:
    """An image of uint8 or uint16 as uint8."""
    return image if image.dtype == np.uint8 else (image // 257).astype(np.uint8)


def sixteen_bits(image: np.ndarray) -> np.ndarray:
    """An image of uint8 or uint16 as uint16, over the whole range."""
    return image if image.dtype == np.uint16 else image.astype(np.uint16) * np.uint16(257)
