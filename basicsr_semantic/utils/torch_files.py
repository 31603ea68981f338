"""Checkpoints, ours and others': checked for damage, and read without running code from them."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from .errors import UserError, full_stop, short_of_memory
from .files import left_by_a_download, why_no_file
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
        if short_of_memory(error):
            raise UserError(f'{path} could not be read ({_first_line(error)}).') from error
        why = left_by_a_download(path) or _why_not(error)
        raise UserError(
            f'{path} could not be read as a PyTorch checkpoint of tensors and plain containers: {why}. '
            'It was not loaded.'
        ) from error


def _why_not(error: Exception) -> str:
    """torch's reason as a clause, without its advice to load the file all the same."""
    text = str(error)
    if (kind := re.search(r'Unsupported (?:global|class)[^\n]*?GLOBAL (\S+)', text)) is not None:
        return (
            f'it holds an object of {kind[1]}, and to load objects is to run what the file says. Whoever made it and '
            'trusts it can save the state_dict of the network instead'
        )
    if 'TorchScript' in text:
        return 'it is a TorchScript archive'
    if 'weights_only' in text:
        return 'it is of another format, or damaged'
    detail = f' ({_first_line(error).split(". ")[0].rstrip(".")})' if isinstance(error, RuntimeError) else ''
    return f'it is cut short, damaged or of another format{detail}'


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


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
