"""Reading weights that were made by others: checked, and never able to run code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import Tensor

from ..utils.errors import UserError
from ..utils.files import file_sha256
from ..utils.torch_files import load_plain


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
            f'The file is damaged or a different one: download it again.'
        )
    return found


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict with ``weights_only=True``, on the CPU.

    Raises:
        UserError: The file is not a PyTorch checkpoint, or does not hold tensors alone.
    """
    return _flat(load_plain(path), path)


def read_network_file(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Read weights with the sizes of their network, as our training writes them, or weights alone.

    Args:
        path: a state dict, or {'params': state dict, 'network': constructor arguments, ...}; a network trained with an
            average of its weights has it as 'params_ema', which is preferred.

    Returns:
        The state dict and the constructor arguments, None where the file has none.

    Raises:
        UserError: As of :func:`read_state_dict`.
    """
    content = load_plain(path)
    if not isinstance(content, dict) or not ('params' in content or 'params_ema' in content):
        return _flat(content, path), None
    network = content.get('network')
    weights = content.get('params_ema', content.get('params'))
    return _flat(weights, path), network if isinstance(network, dict) else None


def _flat(state: Any, path: str | os.PathLike[str]) -> dict[str, Tensor]:
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f'The checkpoint {path} does not hold a flat dictionary of tensors.')
    if not all(isinstance(key, str) for key in state):
        raise UserError(f'The checkpoint {path} holds tensors under names that are not text.')
    return state
