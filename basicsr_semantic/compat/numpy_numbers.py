"""Files of numpy's numbers that data sets of other projects read with a plain ``torch.load``.

PyTorch 2.6 and later refuse them. numpy's own functions are not let in, as a crafted file can point them anywhere in
memory: their replacements read a type's name and as many bytes as it has.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..utils.plain_values import STAND_INS


def with_numpy_numbers(build_dataset: Callable) -> Callable:
    """Wrap ``basicsr.data.build_dataset``: files that a data set loads while it is built may hold numpy's numbers.

    GFPGAN's facial landmarks are such a file, and its data set computes with what numpy's numbers alone can do.
    """

    @functools.wraps(build_dataset)
    def wrapped(dataset_opt: dict[str, Any]) -> Any:
        with torch.serialization.safe_globals(_as_numpy()):
            return build_dataset(dataset_opt)

    return wrapped


def _as_numpy() -> list[Callable | tuple[Callable, str]]:
    """The replacements with which our own files are read, but with numpy's numbers instead of Python's."""
    return [
        (_kept(entry[0]), entry[1]) if isinstance(entry, tuple) and entry[1].endswith('.scalar') else entry
        for entry in STAND_INS
    ]


def _kept(scalar: Callable) -> Callable:
    def keep(kind: Any, content: bytes) -> Any:
        value = scalar(kind, content)
        return value if isinstance(value, str) else np.dtype(kind.name).type(value)

    return keep
