"""What a checkpoint says of its network, so that it can be built again without an option file.

Under `KEY` a checkpoint holds ``network``, the section of the option file with the defaults of the constructor written
out; ``model_type``; ``scale``, or None where the option file has none; and ``version``, that of this package. The kind
of priors is there under ``prior_kind`` where priors were used.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY

import basicsr_semantic

from ..utils.plain_values import to_plain

KEY = 'arch'


def network_record(opt: Mapping[str, Any], label: str) -> dict[str, Any] | None:
    """The record of a network that a run saves.

    Args:
        opt: The options of the run.
        label: As BasicSR's ``save_network`` has it: ``net_g`` is built from section ``network_g``; a longer label, such
            as ``net_g_seem``, is of the same network.

    Returns:
        The record, of plain values; None where no section has that name, or where a project has put objects into it,
        with which the checkpoint could not be loaded safely.
    """
    name = next((name for name in opt if _is_section(name, label) and isinstance(opt[name], Mapping)), None)
    if name is None or 'type' not in opt[name] or not _is_plain(to_plain(opt[name])):
        return None
    return {
        'network': with_defaults(opt[name]),
        'model_type': opt.get('model_type'),
        'scale': opt.get('scale'),
        'version': basicsr_semantic.__version__,
    }


def with_defaults(section: Mapping[str, Any]) -> dict[str, Any]:
    """A section ``network_*`` with every argument of its constructor, so that later changes of defaults do not matter.

    Files that a constructor starts its weights from (``spynet_path``, ``edvr_path``) become None: the checkpoint has
    what they held, and they may be missing where it is loaded.
    """
    written = dict(to_plain(dict(section)))
    cls = ARCH_REGISTRY.get(written['type']) if written['type'] in ARCH_REGISTRY else None
    for parameter in inspect.signature(cls).parameters.values() if cls is not None else ():
        if parameter.default is not parameter.empty and _is_plain(parameter.default):
            written.setdefault(parameter.name, to_plain(parameter.default))
    return {name: None if name.endswith('_path') else value for name, value in written.items()}


def _is_section(name: str, label: str) -> bool:
    network = f'net_{name.removeprefix("network_")}'
    return name.startswith('network_') and (label == network or label.startswith(f'{network}_'))


def _is_plain(value: Any) -> bool:
    """Whether a default can be written into a checkpoint; objects and functions cannot."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(_is_plain(one) for pair in value.items() for one in pair)
    return value is None or isinstance(value, bool | int | float | str)
