"""Checkpoints, ours and others': checked for damage, and read without running code from them."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from .errors import UserError, full_stop, short_of_memory
from .files import why_no_file
from .plain_values import stand_ins
from .safetensors_files import SUFFIX, read_safetensors


def load_plain(path: str | os.PathLike[str]) -> Any:
    """Read tensors and plain containers on the CPU with ``weights_only=True``, or from safetensors.

    numpy's scalars, which BasicSR's own files may hold, come as Python's.

    Raises:
        UserError: The file is missing, cut short, damaged, or holds more than that.
    """
    path = Path(path)
    if path.suffix == SUFFIX:
        return read_safetensors(path)
    if (wrong := why_no_file(path)) is not None:
        raise UserError(f'The checkpoint {path} cannot be used: {wrong}.')
    _check_readable(path)
    try:
        with stand_ins():
            return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises half a dozen types here
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if short_of_memory(error):
            raise UserError(f'{path} could not be read ({first}).') from error
        raise UserError(
            f'{path} could not be read as a PyTorch checkpoint of tensors and plain containers ({first}). '
            'It may be cut short, of another format, or made to run code; it was not loaded.'
        ) from error


def _check_readable(path: Path) -> None:
    """Compare the check sums in a file of torch.save, which torch.load does not: a flipped bit is a wrong weight.

    Raises:
        UserError: They differ.
    """
    try:
        if not zipfile.is_zipfile(path):
            return  # of an old format, or no checkpoint at all
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if short_of_memory(error):
            raise UserError(f'{path} could not be read ({error}).') from error
        raise UserError(f'{path} is damaged: {full_stop(error)} It was not loaded.') from None
    if damaged is not None:
        raise UserError(f'{path} is damaged: the check sum of {damaged} is wrong. It was not loaded.')
