"""Weights and training states: written beside and renamed, read without running code from the file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import nn

from ..utils.errors import UserError
from .plain_values import stand_ins


def save_atomic(content: Any, path: str | Path) -> None:
    """``torch.save`` to a file that is either whole or not there.

    Args:
        content: What to save; plain containers and tensors, so that ``weights_only`` loading takes it back.
        path: Destination; an existing file is replaced only once the new one is whole and on disk.

    Raises:
        UserError: The file could not be written (full disk, read-only folder). An older file of that name stays.
    """
    path = Path(path)
    beside = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with beside.open('wb') as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except (OSError, RuntimeError) as error:  # torch wraps a failed write in a RuntimeError
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        raise UserError(f'{path} could not be written: {cause}. Earlier files are untouched.') from error
    finally:
        beside.unlink(missing_ok=True)


def remove_leftovers(folder: str | Path) -> None:
    """Delete the unfinished files that killed processes left beside checkpoints."""
    for leftover in Path(folder).glob('.*.tmp'):
        leftover.unlink(missing_ok=True)


def load_file(path: str | Path) -> Any:
    """Read a checkpoint on the CPU with ``weights_only=True``.

    numpy's scalars, which BasicSR's own files may hold, come as Python's.

    Raises:
        UserError: The file is missing, cut short, or holds more than tensors and plain containers.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f'The checkpoint {path} is a folder. Give a file in it.')
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob('*.pth'))[:8] if path.parent.is_dir() else []
        hint = f' The folder has {", ".join(near)}.' if near else ''
        raise UserError(f'The checkpoint {path} does not exist.{hint}')
    try:
        with stand_ins():
            return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises half a dozen types here
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f'{path} could not be read as a PyTorch checkpoint of tensors and plain containers ({first}). '
            'It may be cut short, of another format, or made to run code; it was not loaded.'
        ) from error


def read_weights(path: str | Path, param_key: str | None = 'params', role: str | None = 'g') -> dict[str, torch.Tensor]:
    """Return the state dict in a checkpoint, without DataParallel's ``module.`` prefix.

    Args:
        path: A file as BasicSR writes it, ``{'params': state dict, 'params_ema': ...}``, or a bare state dict.
        param_key: Which of them; a key that is not there falls back to ``params`` with a log line. None: the
            file itself.
        role: Ending of the options in section ``path`` that are about this file, as of ``param_key_g``; None where
            there are none.

    Raises:
        UserError: Unreadable file, or no state dict under that key.
    """
    content = load_file(path)
    if param_key is not None and isinstance(content, dict):
        if param_key not in content and 'params' in content:
            get_root_logger().info(f'{path} has no {param_key}; its params are used.')
            param_key = 'params'
        if param_key not in content and content and all(torch.is_tensor(v) for v in content.values()):
            get_root_logger().info(f'{path} is a bare state dict and is loaded as it is.')
        elif param_key not in content:
            advice = f' Set path:param_key_{role}.' if role else ''
            raise UserError(f'{path} has no {param_key!r}; its keys are {list(content)[:8]}.{advice}')
        else:
            content = content[param_key]
    if not isinstance(content, dict) or not all(torch.is_tensor(v) for v in content.values()):
        raise UserError(f'{path} does not hold a state dict (a mapping of names to tensors) under {param_key!r}.')
    return {k.removeprefix('module.'): v for k, v in content.items()}


def load_weights(
    net: nn.Module, path: str | Path, strict: bool = True, param_key: str | None = 'params', role: str | None = 'g'
) -> tuple[list[str], list[str]]:
    """Load a checkpoint into a network and say what did not match.

    A network that knows what a checkpoint may hold in vain says so by its ``filter_checkpoint(state)``, which returns
    the rest of the state dict and the keys left out; those are logged and count as known.

    Args:
        net: The bare network (not wrapped).
        path: See :func:`read_weights`.
        strict: Every key must match, in name and size. False: what matches is loaded, the rest is logged.
        param_key: See :func:`read_weights`.
        role: See :func:`read_weights`.

    Returns:
        (missing, unexpected): keys of the network that kept their values, keys of the file that were not used.

    Raises:
        UserError: Strict and something does not match, or not strict and nothing does: the wrong checkpoint.
    """
    loaded = read_weights(path, param_key, role)
    if (filter_checkpoint := getattr(net, 'filter_checkpoint', None)) is not None:
        loaded, left_out = filter_checkpoint(loaded)
        if left_out:
            get_root_logger().info(f'{type(net).__name__} works without {_summary(left_out)} of {path}.')
    current = net.state_dict()
    wrong_size = sorted(k for k in loaded.keys() & current.keys() if loaded[k].shape != current[k].shape)
    missing = sorted(k for k in current if k not in loaded) + wrong_size
    unexpected = sorted(k for k in loaded if k not in current) + wrong_size
    if missing or unexpected:
        sizes = ''.join(
            f' {k} is {tuple(loaded[k].shape)} in the file and {tuple(current[k].shape)} in the network.'
            for k in wrong_size[:3]
        )
        said = (
            f'{path} and {type(net).__name__} differ: the network lacks values for {_summary(missing)}; '
            f'the file has unused {_summary(unexpected)}.{sizes}'
        )
        if strict:
            advice = ''
            if wrong_size:
                advice = ' A network needs the arguments that its weights were trained with.'
            elif role == 'g':
                advice = ' Set path:strict_load_g: false if this is meant (new modules on a baseline).'
            raise UserError(f'{said}{advice}')
        if len(missing) == len(current):
            raise UserError(f'{said} Not one tensor fits: this is the checkpoint of another network.')
        get_root_logger().warning(said)
    net.load_state_dict({k: v for k, v in loaded.items() if k not in unexpected}, strict=False)
    get_root_logger().info(f'Loaded {type(net).__name__} from {path} [{param_key}].')
    return missing, unexpected


def _summary(keys: list[str]) -> str:
    """'nothing', or counts by first name: '36 tensors (sam_embed 12, seem_forward_pre 24)'."""
    if not keys:
        return 'nothing'
    parts = Counter(k.split('.')[0] for k in keys)
    return f'{len(keys)} tensors ({", ".join(f"{name} {n}" for name, n in parts.items())})'


def find_resume_state(
    folder: str | Path, weights_folder: str | Path, networks: Iterable[str] = ()
) -> tuple[Path, dict] | None:
    """Return the newest whole training state whose weight files are there.

    A state names the weight files it belongs to and is written after them, so what it names is whole; an unreadable
    state (a disk's fault, not ours) is passed over with a warning.

    Args:
        folder: Where the ``*.state`` files are.
        weights_folder: Where the files of weights are.
        networks: See :func:`name_weights`.

    Returns:
        (its path, its content), or None where the folder has no state at all or is not there.

    Raises:
        UserError: There are states and none will do. To begin again would move their run aside, which nobody asked for.
    """
    found = [p for p in Path(folder).glob('*.state') if not p.name.startswith('.')] if Path(folder).is_dir() else []
    troubles = []
    for path in sorted(found, key=_iteration_of, reverse=True):
        try:
            state = load_file(path)
            name_weights(state, path, networks)
            absent = [name for name in state['weights'].values() if not (Path(weights_folder) / name).is_file()]
            if absent:
                raise UserError(f'{path} belongs to {", ".join(absent)}, which is gone from {weights_folder}.')
        except UserError as error:
            troubles.append(error)
            continue
        for trouble in troubles:
            get_root_logger().warning(f'{trouble} An older state is taken.')
        return path, state
    if troubles:
        raise UserError(
            f'{folder} has {len(found)} training state{"s" if len(found) > 1 else ""} and none to go on from. '
            f'{troubles[0]} Put the file back, or start without --auto_resume, which moves this run aside.'
        ) from troubles[0]
    return None


def _iteration_of(path: Path) -> tuple[int, str]:
    """For sorting: copies of other names come before all that are called by their iteration."""
    return (int(path.stem) if path.stem.isdecimal() else -1), path.name


def name_weights(state: Any, path: str | Path, networks: Iterable[str]) -> None:
    """Add the names of the weight files to a state that does not have them, as BasicSR's own do not.

    Args:
        state: Content of a training state; changed in place.
        path: Its file, for the message.
        networks: Sections of the option file whose weights BasicSR saves, as ``network_g``.

    Raises:
        UserError: This is no training state.
    """
    if not isinstance(state, dict) or type(state.get('iter')) is not int:
        what = f'it has only {sorted(map(str, state))[:6]}' if isinstance(state, dict) else 'it is no dict'
        raise UserError(f'{path} is not a training state: {what}.')
    if 'weights' not in state:
        labels = [f'net_{network.removeprefix("network_")}' for network in networks]
        state['weights'] = {label: f'{label}_{state["iter"]}.pth' for label in labels}
    weights = state['weights']
    if not (isinstance(weights, dict) and all(isinstance(text, str) for item in weights.items() for text in item)):
        raise UserError(f'{path} is not a training state: what it names as weights are no names of files.')
