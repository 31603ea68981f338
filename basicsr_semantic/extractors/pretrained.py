"""Released weights of a segmentation network: sizes are read off the tensors, and what is not needed is named."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from ..utils.devices import put_on
from ..utils.errors import UserError
from .checkpoints import read_network_file, verified_sha256

PREDICTOR = 'sem_seg_head.predictor.'
PIXELS = 'sem_seg_head.pixel_decoder.'
LOGIT_SCALE_KEY = f'{PREDICTOR}lang_encoder.logit_scale'
_log = logging.getLogger(__name__)

State = Mapping[str, torch.Tensor]
File = str | os.PathLike[str]


@dataclass
class CheckpointReport:
    """Where the weights of a network came from."""

    network: str
    """Name of the network."""
    file: str
    """Name of the file."""
    sha256: str
    """SHA-256 of the file, as hex digits."""
    unused: dict[str, int] = field(default_factory=dict)
    """What the file holds in addition to the vision network -> number of its tensors."""
    has_logit_scale: bool = True
    """Whether the file has the scale of the similarity to texts; if not, it is that of a fresh network."""

    def __str__(self) -> str:
        """One sentence for a log."""
        unused = ', '.join(f'{name} ({count})' for name, count in self.unused.items())
        scale = (
            '' if self.has_logit_scale else ' It has no logit_scale: class scores have the scale of a fresh network.'
        )
        return (
            f'{self.network} was read from {self.file} (SHA-256 {self.sha256}); '
            f'not needed: {unused or "nothing"}.{scale}'
        )


Network = TypeVar('Network', bound=nn.Module)


@dataclass(frozen=True)
class Released:
    """What is known about the released files of a network.

    Args:
        name: Name of the network, for messages.
        form: Name with what the files must have, for messages about others.
        download: Where the files are.
        files: Official file -> its SHA-256, None where its makers publish none.
        unused: Beginning of a name -> what it is for; none of it has an effect on the result.
        others: Beginning of a name -> the network that has such names instead.
        parts: Beginning of a name that must be there -> the part that it belongs to.
        config: Constructor arguments from a state dict, those stored with it, and the file for messages.
        first_name: The one name that our network has for a tensor which files may hold under several.
        follows: End of a name of the backbone -> what it follows from; not needed.
    """

    name: str
    form: str
    download: str
    files: Mapping[str, str | None]
    unused: Mapping[str, str]
    others: Mapping[str, str]
    parts: Mapping[str, str]
    config: Callable[[State, Mapping[str, Any] | None, File], dict[str, Any]]
    first_name: Callable[[str], str] = lambda key: key
    follows: Mapping[str, str] = field(default_factory=dict)


def load_released(
    released: Released,
    build: Callable[..., Network],
    path: File,
    checksum: str | None = None,
    device: str | torch.device = 'cpu',
) -> Network:
    """Build a network from a released file or from one of ours, in evaluation mode.

    What the file holds in addition to the network is logged in one line and kept as its ``report``.

    Args:
        released: What is known about the files.
        build: Makes the network of its constructor arguments.
        path: State dict with the released names, or {'params': state dict, 'network': constructor arguments}.
        checksum: SHA-256 that the file must have; None: not checked, but recorded.
        device: Where the network goes.

    Raises:
        UserError: The file is missing, damaged or of another network, or the device cannot be used.
    """
    path, name = Path(path), released.name
    if path.is_dir():
        raise UserError(f'The checkpoint {path} is a folder. Give the file in it.')
    if not path.is_file():
        raise UserError(f'The checkpoint {path} does not exist. What is released is at {released.download}')
    expected, why = released.files.get(path.name), 'that of the official file of this name'
    if checksum is not None:
        expected, why = checksum, 'the checksum that was asked for'
    digest = verified_sha256(path, expected, why)
    state, network = read_network_file(path)
    needed, unused = split_state(released, state, path)
    config = released.config(needed, network, path)
    try:
        net = build(**config)
    except (TypeError, UserError) as error:
        raise UserError(f'The checkpoint {path} names sizes that make no {name}: {error}') from error
    if wrong := misfit(net.state_dict(), needed, (LOGIT_SCALE_KEY,)):
        raise UserError(f'The checkpoint {path} does not fit {released.form}: {wrong}.')
    net.load_state_dict(needed, strict=False)
    report = CheckpointReport(name, path.name, digest, unused, LOGIT_SCALE_KEY in needed)
    net.report = report  # pyright: ignore[reportArgumentType]
    _log.info('%s', report)
    return put_on(device, net, name).eval()


def split_state(released: Released, state: State, path: File) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    """Divide a state dict into what the network needs and a count of the rest by purpose.

    Args:
        released: What is known about the files.
        state: The state dict.
        path: Its file, for the message.

    Raises:
        UserError: It is that of another network, a part is missing, or two names of one tensor have different values.
    """
    _check_expected(released, state, path)
    needed, unused, unknown = {}, Counter[str](), []
    for key, value in state.items():
        purpose = next((what for beginning, what in released.unused.items() if key.startswith(beginning)), None)
        if key.startswith('backbone.'):
            purpose = purpose or next((what for end, what in released.follows.items() if key.endswith(end)), None)
        if purpose is not None and key != LOGIT_SCALE_KEY:
            unused[purpose] += 1
        elif (first := released.first_name(key)) != key:
            if first not in state or not torch.equal(state[first], value):
                raise UserError(
                    f'The checkpoint {path} is not that of {released.name} as released: {key} is another tensor than '
                    f'{first}.'
                )
            unused['second names of tensors'] += 1
        elif key.startswith(('backbone.', PIXELS, PREDICTOR)):
            needed[key] = value
        else:
            unknown.append(key)
    if unknown:
        raise UserError(
            f'The checkpoint {path} holds tensors that no {released.name} has: {_some(unknown)}. It is of another '
            'network.'
        )
    return needed, dict(unused)


def _check_expected(released: Released, state: State, path: File) -> None:
    name = released.name
    for beginning, other in released.others.items():
        if any(key.startswith(beginning) for key in state):
            raise UserError(f'The checkpoint {path} is that of {other}; {released.form} is needed: {released.download}')
    if any('lang_encoder.' in key for key in state) and not any(key.startswith(('backbone.', PIXELS)) for key in state):
        raise UserError(
            f'The checkpoint {path} holds a text encoder alone; the whole {name} is needed: {released.download}'
        )
    for beginning, part in released.parts.items():
        if not any(key.startswith(beginning) for key in state):
            raise UserError(
                f'The checkpoint {path} is not that of {name}: it has no {part} ({beginning}*). See {released.download}'
            )


class Sizes:
    """Reads sizes off weights.

    Args:
        state: The weights.
        name: Name of their network, for messages.
        path: Their file, for messages.
    """

    def __init__(self, state: State, name: str, path: File) -> None:
        self.state, self.name, self.path = state, name, path

    def count(self, beginning: str) -> int:
        """How many parts follow the beginning of a name."""
        return len({key[len(beginning) :].split('.')[0] for key in self.state if key.startswith(beginning)})

    def size(self, key: str, axis: int) -> int:
        """The size of a tensor along an axis.

        Raises:
            UserError: It is missing or has another form.
        """
        if key not in self.state or self.state[key].dim() <= axis:
            raise UserError(
                f'The checkpoint {self.path} is not that of {self.name}: {key} is missing or has another form.'
            )
        return self.state[key].shape[axis]


def merge_config(read: Mapping[str, Any], network: Mapping[str, Any] | None, path: File) -> dict[str, Any]:
    """Constructor arguments read off weights, completed by those stored with them.

    Args:
        read: What the weights show.
        network: What is stored; ``type`` is left out.
        path: File, for the message.

    Raises:
        UserError: The two contradict each other.
    """
    stored = {name: value for name, value in (network or {}).items() if name != 'type'}
    for name in sorted(read.keys() & stored.keys()):
        value = list(stored[name]) if isinstance(stored[name], tuple) else stored[name]
        if value is not None and value != read[name]:
            raise UserError(
                f'The checkpoint {path} contradicts itself: it says {name}: {value}, its weights say {read[name]}.'
            )
    return {**stored, **read}


def misfit(own: State, state: State, optional: tuple[str, ...] = ()) -> str:
    """Why weights do not fit a network, in words; empty if they do.

    Args:
        own: State dict of the network.
        state: The weights.
        optional: Names that the weights may lack.
    """
    faults = []
    if missing := own.keys() - state.keys() - set(optional):
        faults.append(f'{_some(missing)} missing')
    if unknown := state.keys() - own.keys():
        faults.append(f'{_some(unknown)} unknown to it')
    for key in sorted(own.keys() & state.keys()):
        if own[key].shape != state[key].shape:
            shapes = f'{tuple(state[key].shape)}, but its other tensors ask for {tuple(own[key].shape)}'
            faults.append(f'{key} is {shapes}')
            break
    if broken := [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]:
        faults.append(f'{_some(broken)} not made of finite numbers')
    return '; '.join(faults)


def _some(keys: Iterable[str]) -> str:
    """The first names of many."""
    ordered = sorted(keys)
    return ', '.join(ordered[:3]) + (f' and {len(ordered) - 3} more' if len(ordered) > 3 else '')
