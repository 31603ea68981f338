"""Weights of the networks that metrics look through: a local file, or the official one. Never random ones."""

from __future__ import annotations

import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from ..engine.checkpoint import load_file
from ..utils.errors import UserError


@dataclass(frozen=True)
class Official:
    """A file of weights as its makers released it."""

    file: str
    """Its name, also in the cache."""
    url: str
    """Where it is downloaded from."""
    sha256: str | None
    """Beginning of its SHA-256, None where its makers give none."""
    option: str
    """The option of the metric that takes a local copy."""


def read_weights(path: str | None, official: Official, metric: str) -> dict[str, Tensor]:
    """Read a state dict from a local file, or download the official one into PyTorch's cache.

    Args:
        path: Local file: a state dict, or a TorchScript archive of the network. None: the official one, in
            ``torch.hub.get_dir()/checkpoints``, downloaded the first time.
        official: The official file.
        metric: Name for messages.

    Raises:
        UserError: The file is missing, unreadable, or cannot be downloaded.
    """
    if path is not None:
        file = Path(path).expanduser()
        if not file.is_file():
            raise UserError(
                f"{metric}: {official.option}: the file '{path}' does not exist. The official one is "
                f'{official.file}, from {official.url}.'
            )
    else:
        file = _download(official, metric)
    state = _script_state(file) if _is_torch_script(file) else load_file(file)
    if not isinstance(state, dict) or not state or not all(torch.is_tensor(value) for value in state.values()):
        raise UserError(f'{metric}: {file} holds something else than a state dict, as {official.file} does.')
    return state


def does_not_fit(file: str | None, official: Official, metric: str, error: Exception) -> UserError:
    """The sentence for weights of another network."""
    reason = f'it has no {error.args[0]}' if isinstance(error, KeyError) else ' '.join(str(error).split())[:200]
    return UserError(
        f'{metric}: {official.option}: {file or official.file} holds other weights than {official.file}: {reason}.'
    )


def _download(official: Official, metric: str) -> Path:
    file = Path(torch.hub.get_dir()) / 'checkpoints' / official.file
    if file.is_file():
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # torch.hub writes a file next to it and renames that: processes that download at the same time do not collide
        torch.hub.download_url_to_file(official.url, str(file), official.sha256, progress=False)
    except (OSError, URLError, RuntimeError) as error:
        reason = getattr(error, 'reason', None) or error
        raise UserError(
            f'{metric} needs {official.file}, which could not be downloaded from {official.url} ({reason}). '
            f'Download it on another machine and name it in the option {official.option}, or put it into {file.parent}.'
        ) from error
    return file


def _is_torch_script(file: Path) -> bool:
    """Whether a file is a compiled network (as CLIP's are) and no checkpoint; both are zip archives."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith('/constants.pkl') for name in archive.namelist())


def _script_state(file: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # newer versions of PyTorch call the format deprecated
            return dict(torch.jit.load(str(file), map_location='cpu').state_dict())
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f'{file} could not be read as a TorchScript archive ({first}).') from error
