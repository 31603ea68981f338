"""Networks whose optical flow starts at random: they train, but align nothing for a long time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..utils.errors import UserError
from ..utils.torch_files import load_plain
from .option_file import KeyPath
from .signatures import arguments_of


def random_flow(opt: Mapping[str, Any], name: str, net: nn.Module | None) -> tuple[KeyPath, str] | None:
    """What to report about a network with a SPyNet for which a training loads no weights.

    Weights come from the file that an argument of the network names (``spynet_path`` of BasicSR's networks and ours),
    or from ``path:pretrain_network_*``, with which runs are resumed, too. A network whose constructor has no such
    argument is not judged: what it loads by itself is not known.

    Args:
        opt: The options of a training.
        name: Section of the network: network_g, say.
        net: The network, not wrapped; it may have no memory for its weights.

    Returns:
        The key that would load weights, and a sentence; None where the flow does not start at random.
    """
    section, path = opt.get(name), opt.get('path') or {}
    first = None if net is None else _weight_of_spynet(net)
    if net is None or first is None or not isinstance(section, Mapping):
        return None
    taken = arguments_of(type(net)).model_fields
    keys = [key for key in taken if 'spynet' in key]
    if not keys or section.get('zero_flow') or any(section.get(key, taken[key].default) for key in keys):
        return None
    label = name.removeprefix('network_')
    if path.get('resume_state') and name not in (path.get('ignore_resume_networks') or ()):
        return None
    place = path.get(f'pretrain_network_{label}')
    if place and (path.get(f'strict_load_{label}', True) or _may_hold(Path(place).expanduser(), first)):
        return None
    other = f', or set {name}:zero_flow: true' if 'zero_flow' in taken else ''
    return (name, keys[0]), (
        f'The optical flow of {type(net).__name__} starts at random, as nothing loads weights of its SPyNet: name '
        f'their file, {name}:{keys[0]}{other}.'
    )


def _weight_of_spynet(net: nn.Module) -> str | None:
    """Name of the first parameter of any SPyNet within a network, BasicSR's or another; None without one."""
    for name, module in net.named_modules():
        if name and any(cls.__name__.lower() == 'spynet' for cls in type(module).__mro__):
            return next((f'{name}.{one}' for one, _ in module.named_parameters()), None)
    return None


def _may_hold(file: Path, weight: str) -> bool:
    """Whether a checkpoint has a tensor of that name; also if it cannot be read, which is reported elsewhere."""
    try:
        content = load_plain(file)
    except UserError:
        return True
    return any(name == weight or name.endswith(f'.{weight}') for name in _names(content))


def _names(content: Any) -> Iterator[str]:
    """Names of the tensors in a checkpoint, at any depth."""
    for name, value in content.items() if isinstance(content, Mapping) else ():
        if torch.is_tensor(value):
            yield str(name)
        else:
            yield from _names(value)
