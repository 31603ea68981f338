"""Reading weights that were made by others: checked, and never able to run code."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UserError


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as hex digits, read in pieces.

    Raises:
        UserError: The file does not exist or cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open('rb') as file:
            while piece := file.read(1 << 22):
                digest.update(piece)
    except OSError as error:
        raise UserError(f'The file {path} cannot be read: {error.strerror}.') from error
    return digest.hexdigest()


def verified_sha256(path: Path, expected: str | None, why: str) -> str:
    """SHA-256 of a file, compared with the expected one when there is one.

    Args:
        path: the file.
        expected: 64 hex digits in any case, or None.
        why: where the expected digits come from, for the message.

    Raises:
        UserError: The file cannot be read, or the digits differ.
    """
    found = file_sha256(path)
    if expected is not None and found != expected.strip().lower():
        raise UserError(
            f'The checkpoint {path} has the SHA-256 {found}, but {why} is {expected.strip().lower()}. '
            f'The file is damaged or another one: download it again.'
        )
    return found


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict with ``weights_only=True``, on the CPU.

    Raises:
        UserError: The file is no PyTorch checkpoint, or is not made of tensors alone.
    """
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f'The checkpoint {path} cannot be read as PyTorch weights: {first.rstrip(".")}.') from error
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f'The checkpoint {path} holds something else than a flat dictionary of tensors.')
    return state
