"""What a checkpoint may hold: tensors and plain Python values, on the way out and on the way in.

BasicSR's metrics return numpy's floats, and ``weights_only`` loading refuses those. Our files are written without them
(:func:`to_plain`); those that BasicSR wrote are read by putting :data:`STAND_INS` in numpy's place.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

_PLAIN_TYPES: tuple[type, ...] = (int, float, complex, str, bytes)  # bool has no subclasses


def to_plain(value: Any) -> Any:
    """Turn a nested container into what ``weights_only`` loading takes on every version of torch and numpy.

    Subclasses of dict, list, tuple, set and of Python's scalars become the plain type, numpy's scalars Python's, and
    numpy's arrays tensors, or lists where torch has no such type.

    Args:
        value: Any value; tensors, and objects that are none of the above, are handed back as they are.

    Returns:
        New containers; tensors share their memory with those of ``value``, arrays do not.
    """
    if value is None or isinstance(value, bool | torch.Tensor):
        return value
    if isinstance(value, dict):
        return {to_plain(k): to_plain(v) for k, v in value.items()}
    for container in (list, tuple):
        if isinstance(value, container):
            return container(to_plain(v) for v in value)
    if isinstance(value, set | frozenset):
        return {to_plain(v) for v in value}
    if isinstance(value, np.ndarray):
        return _plain_array(value)
    if isinstance(value, np.generic):
        item = value.item()
        if isinstance(item, np.generic):  # that of a long double is itself
            return complex(item) if item.dtype.kind == 'c' else float(item)
        return to_plain(item)
    for kind in _PLAIN_TYPES:
        if isinstance(value, kind) and type(value) is not kind:
            # by the type's own conversion: a subclass may print itself otherwise, as an Enum of strings does
            return str.__str__(value) if kind is str else kind.__new__(kind, value)
    return value


def _plain_array(array: np.ndarray) -> Any:
    if array.dtype.kind in 'biufc':
        with contextlib.suppress(TypeError):  # torch has no such type
            return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder('='), order='C'))
    return to_plain(array.tolist())


class _NumpyType:
    """In place of ``numpy.dtype``: the name and byte order of a scalar's type, and nothing else of what a file says.

    numpy's own class would take fields, flags and offsets from the file, and with those a scalar can point anywhere in
    memory.
    """

    def __init__(self, name: str, *flags: Any) -> None:
        self.name, self.order = str(name), '<'

    def __setstate__(self, state: tuple) -> None:
        self.order = '>' if state[1] == '>' else '<'


_NUMBERS = {'b1', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'f2', 'f4', 'f8', 'c8', 'c16'}


def _scalar(kind: _NumpyType, content: bytes) -> Any:
    """In place of numpy's ``scalar``: a number or a text as Python has it."""
    if not (isinstance(kind, _NumpyType) and isinstance(content, bytes)):
        raise TypeError('a numpy scalar is a type and its bytes')
    if kind.name[:1] == 'U':
        return content.decode('utf-32-be' if kind.order == '>' else 'utf-32-le').rstrip('\0')
    if kind.name not in _NUMBERS:
        raise TypeError(f'a numpy scalar of type {kind.name!r}')
    dtype = np.dtype(kind.order + kind.name)
    if len(content) != dtype.itemsize:
        raise ValueError(f'{len(content)} bytes for a numpy scalar of type {kind.name!r}')
    return np.frombuffer(content, dtype)[0].item()


def _default_dict(*factory: Any) -> dict:
    """In place of ``collections.defaultdict``: the entries follow, the default does not matter to a file."""
    return {}


def _factory(*arguments: Any) -> None:
    """In place of the builtin that a ``defaultdict`` names as its default; files of BasicSR never call it."""


STAND_INS: list[Callable | tuple[Callable, str]] = [
    (_scalar, 'numpy.core.multiarray.scalar'),  # numpy 1
    (_scalar, 'numpy._core.multiarray.scalar'),  # numpy 2
    (_NumpyType, 'numpy.dtype'),
    (_default_dict, 'collections.defaultdict'),
    *((_factory, f'builtins.{name}') for name in ('dict', 'float', 'int', 'list', 'str')),
]
"""(function, the name in a file that it is called for), in addition to what torch itself allows: Counter, OrderedDict.

numpy's classes of single types, as ``numpy.dtypes.Float64DType``, are in no file: torch asks for them only where
``numpy.dtype`` itself is allowed.
"""

_loading = threading.Lock()


@contextlib.contextmanager
def stand_ins() -> Iterator[None]:
    """Let ``torch.load(weights_only=True)`` read numpy's scalars as Python's; torch keeps its list for all threads."""
    with _loading, torch.serialization.safe_globals(STAND_INS):
        yield
