"""Adapters: what tuning a part of a network writes, and how it is put back onto its base.

An adapter holds what ``train.trainable`` named, and what the base does not have. A checkpoint of such a training, of
the adapter or of the whole network, has a record under `TUNED`: which keys these are, which of them overwrite keys of
the base, and the SHA-256 of the base's file. An adapter fits no other base.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.utils import get_root_logger
from torch import nn

from ..archs.adapters import merge_adapter, split
from ..archs.seem_configuration import read_configuration
from ..archs.semantic_arch import arch_of
from ..engine.checkpoint import check_checkpoint_place, is_state_dict, load_file, read_weights, save_atomic
from ..engine.network_record import KEY as NETWORK
from ..utils.errors import UserError
from ..utils.files import file_sha256
from .networks import REFUSALS

TUNED = 'tuned'
_WEIGHTS = ('params', 'params_ema')


@dataclass
class Tuning:
    """What a training of a part of a network changes, as its checkpoints record it."""

    keys: list[str]
    """Keys of the adapter."""
    overwrites: list[str]
    """Those of them that the base has, too."""
    base_file: str | None = None
    """Name of the base's file; None where the training began without, or before this was written down."""
    base_sha256: str | None = None
    """Its SHA-256."""
    base_key: str | None = None
    """Which weights of it: ``params`` or ``params_ema``."""

    @classmethod
    def of(
        cls, net: nn.Module, trainable: Sequence[str], missing: Collection[str], base: str | None, key: str | None
    ) -> Tuning:
        """What a training that begins will change.

        Args:
            net: The bare network.
            trainable: Beginnings of the names that train.
            missing: Keys that the base does not have.
            base: Its file, if there is one.
            key: Which weights of the file.
        """
        names = list(net.state_dict())
        added = set(missing) if base else {name for name in names if name.startswith(arch_of(net).adapter_prefixes)}
        keys = [name for name in names if name.startswith(tuple(trainable)) or (base and name in added)]
        overwrites = [name for name in keys if name not in added]
        if base is None:
            return cls(keys, overwrites)
        return cls(keys, overwrites, Path(base).name, file_sha256(Path(base).expanduser()), key)

    @classmethod
    def read(cls, content: Any) -> Tuning | None:
        """What a checkpoint records; None where it records nothing of this kind."""
        record = content.get(TUNED) if isinstance(content, Mapping) else None
        if not isinstance(record, Mapping) or record.keys() != cls.__dataclass_fields__.keys():
            return None
        tuning = cls(**record)
        lists, texts = (tuning.keys, tuning.overwrites), (tuning.base_file, tuning.base_sha256, tuning.base_key)
        right = all(isinstance(one, list) and all(isinstance(name, str) for name in one) for one in lists)
        return tuning if right and all(isinstance(one, str | None) for one in texts) else None

    def metadata(self) -> dict[str, Any]:
        """What a checkpoint records."""
        return {TUNED: asdict(self)}

    def makes_an_adapter(self) -> bool:
        """Whether what trains can be used without the rest: the base is known, or nothing of a base is overwritten."""
        return self.base_file is not None or not self.overwrites

    def check_base(self, base: str | Path | None, adapter: str | Path) -> None:
        """Refuse another base than that of the training.

        Args:
            base: The file that the adapter is to go onto.
            adapter: The file of the adapter, for the message.

        Raises:
            UserError: It is another one, or there is none.
        """
        if self.base_sha256 is None:
            return
        wanted = f'{self.base_file}, SHA-256 {self.base_sha256}'
        if base is None:
            raise UserError(f'{adapter} was trained on a base network and cannot be used without it: {wanted}.')
        found = file_sha256(Path(base).expanduser())
        if found != self.base_sha256:
            raise UserError(
                f'{adapter} was trained on {wanted}; {base} has {found} and is another one. On another base its '
                f'weights mean something else. Give the base of its training, or train it on this one.'
            )


def adapter_alone(content: Any) -> dict[str, torch.Tensor] | None:
    """The adapter, its moving average where there is one, in a checkpoint that holds nothing else; else None."""
    if (tuning := Tuning.read(content)) is None:
        return None
    state = content.get('params_ema', content.get('params'))
    return dict(state) if is_state_dict(state) and state.keys() <= set(tuning.keys) else None


class PartOf(nn.Module):
    """Some of the weights of a network, as something with a state dict.

    Args:
        net: The network.
        keys: Keys of its state dict.
    """

    def __init__(self, net: nn.Module, keys: Collection[str]) -> None:
        super().__init__()
        self._net = [net]  # in a list, so that it is not a sub-module
        self._keys = set(keys)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        return {key: value for key, value in self._net[0].state_dict().items() if key in self._keys}


def key_of_base(adapter: str | Path | None, param_key: str | None) -> str | None:
    """Which weights of the base's file an adapter goes onto: those that it was trained on, or what an option says.

    Args:
        adapter: The adapter's file, if there is one.
        param_key: What the option says of both files.
    """
    tuning = None if adapter is None else Tuning.read(load_file(adapter))
    if tuning is None or tuning.base_key is None or tuning.base_key == param_key:
        return param_key
    get_root_logger().info(f'{adapter} was trained on the {tuning.base_key} of its base, which are used.')
    return tuning.base_key


def load_adapter(net: nn.Module, path: str, param_key: str | None, base: str | None) -> None:
    """Load an adapter into a network that has the weights of its base.

    Args:
        net: The bare network.
        path: The adapter's file.
        param_key: Which weights of it.
        base: The file that the network's weights are from; None: from none.

    Raises:
        UserError: It is no adapter of this network, or of another base.
    """
    adapter = read_weights(path, param_key)
    current = net.state_dict()
    foreign = [key for key, value in adapter.items() if key not in current or current[key].shape != value.shape]
    if foreign or not adapter:
        raise UserError(
            f'{path} is not an adapter for this {type(net).__name__}: {", ".join(foreign[:3]) or "it is empty"}. Is '
            'network_g that of its training?'
        )
    if (tuning := Tuning.read(load_file(path))) is not None:
        tuning.check_base(base, path)
    net.load_state_dict(adapter, strict=False)


def merge_files(baseline: str | Path, adapter: str | Path, out: str | Path, force: bool = False) -> dict[str, Any]:
    """Merge two checkpoints into a third.

    Args:
        baseline: Checkpoint of the base network, that of the adapter's training where the adapter names it. An older
            adapter, of SEEM, goes onto any BasicVSR or EDVR of its width; the base's ``params_ema``, where there are
            some, go with the adapter's.
        adapter: Checkpoint of the adapter alone; what it holds in addition to weights (the kind of priors) is kept.
        out: Checkpoint to write, with the keys ``params`` and ``params_ema`` that the adapter has.
        force: Replace an existing file.

    Returns:
        The ``network_g`` section that the file loads into, as read off the weights.

    Raises:
        UserError: A file that is missing, unreadable or of another network, or one that would be overwritten.
    """
    check_checkpoint_place(out, force, baseline, adapter)
    content = load_file(adapter)
    if not isinstance(content, dict) or not any(key in content for key in _WEIGHTS):
        raise UserError(f"{adapter} is not an adapter: it has no 'params', as net_g_seem_*.pth has.")
    tuning, described = Tuning.read(content), content.get(NETWORK)
    if tuning is not None:
        tuning.check_base(baseline, adapter)
    network: dict[str, Any] = dict(described.get('network') or {}) if isinstance(described, Mapping) else {}
    for key in (key for key in _WEIGHTS if key in content):
        try:
            if tuning is not None and tuning.base_sha256 is not None:
                # the average of what was frozen is what was frozen, whatever average the base's file has
                merged = {**read_weights(baseline, tuning.base_key), **read_weights(adapter, key)}
            else:
                merged = merge_adapter(read_weights(baseline, key), read_weights(adapter, key))
            network = network or read_configuration(merged)
            _check_loads(network, merged)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f'{baseline} and {adapter} were not merged. {error}') from error
        content[key] = merged
    save_atomic(content, out)
    return network


def split_file(checkpoint: str | Path, out: str | Path, force: bool = False) -> int:
    """Take the adapter out of the checkpoint of a whole network.

    Args:
        checkpoint: Checkpoint of a network of which a part was tuned, or an older one of a network with SEEM; what it
            holds in addition to weights is kept.
        out: Checkpoint to write, with the keys ``params`` and ``params_ema`` that the other has.
        force: Replace an existing file.

    Returns:
        How many values the adapter has.

    Raises:
        UserError: A file that is missing or unreadable, one without an adapter, or one that would be overwritten.
    """
    check_checkpoint_place(out, force, checkpoint)
    content = load_file(checkpoint)
    if not isinstance(content, dict) or not any(key in content for key in _WEIGHTS):
        content: Any = {'params': None}
    values, tuning = 0, Tuning.read(content)
    for key in (key for key in _WEIGHTS if key in content):
        state = read_weights(checkpoint, key)
        base, adapter = split(state) if tuning is None else split(state, keys=tuning.keys)
        if not adapter or not base:
            what = 'no adapter' if not adapter else 'an adapter alone'
            raise UserError(f'{checkpoint} holds {what} under {key}; there is nothing to take out.')
        content[key] = adapter
        values = sum(value.numel() for value in adapter.values())
    save_atomic(content, out)
    return values


def _check_loads(network: dict[str, Any], state: dict[str, torch.Tensor]) -> None:
    """Build the network and load the weights strictly; what does not fit is a ValueError."""
    try:
        build_network(network).load_state_dict(state, strict=True)
    except (*REFUSALS, TypeError, KeyError) as error:
        raise ValueError(f'Their weights do not make up a {network.get("type")}: {error}') from error
