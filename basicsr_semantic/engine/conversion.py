"""A checkpoint in the names of another toolbox: BasicSR's into MMagic's, and back, by the map of `key_names`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..utils.errors import UserError, shown
from ..utils.nearest import nearest
from .checkpoint import (
    COMPANIONS,
    check_checkpoint_place,
    check_tensors,
    holders,
    is_state_dict,
    load_file,
    save_atomic,
    without_wrappers,
)
from .key_names import GENERATORS, NETWORKS, TITLES, Likeness, Side, likenesses, only_one_has

State = dict[str, torch.Tensor]
_PARTS: tuple[str, str] = ('params', 'params_ema')
"""BasicSR's keys of the weights and of their moving average, which MMagic tells apart by `GENERATORS`."""


@dataclass
class Converted:
    """What was written."""

    network: str
    """The network, in the names of the toolbox that the file is for."""
    parts: dict[str, int]
    """Key or beginning of the names -> how many tensors."""
    left: list[str]
    """What the other file holds and this one does not, in words."""


def convert_file(
    source: str | Path, out: str | Path, to: Side, network: str | None = None, force: bool = False
) -> Converted:
    """Write the weights of a checkpoint in the names, and in the kind of file, of another toolbox.

    Tensors stay as they are, bit by bit and in their order; back again gives the names of before.

    Args:
        source: Checkpoint of one of `NETWORKS`: BasicSR's, MMagic's or a bare state dict.
        out: File to write: ``{'params': ..., 'params_ema': ...}`` of BasicSR, or ``{'state_dict': ..., 'meta': {}}`` of
            MMagic, whose names begin with ``generator.`` and ``generator_ema.`` (SPyNet's do not).
        to: Whose names to write.
        network: Which of `NETWORKS` it is; None: the one that the names show.
        force: Replace an existing file.

    Returns:
        What was written, and what was left out because it is no part of the network.

    Raises:
        UserError: A file that is missing, unreadable, of no known network, or not whole; one that has these names
            already; or one that would be overwritten.
    """
    if network is not None and network not in NETWORKS:
        near = nearest(network, NETWORKS)
        hint = f' Did you mean {near}?' if near else ''
        raise UserError(f'{shown(network)} is no network that can be converted ({", ".join(NETWORKS)}).{hint}')
    check_checkpoint_place(out, force, source)
    held = _read(source)
    fits = [_recognise(state, source, network) for state in held.states.values()]
    fit, key_map = fits[0], fits[0].map
    if any(other.names != fit.names for other in fits[1:]):
        kinds = ' and '.join(
            f'{one.map.network} of {len(one.names)} tensors in the names of {_whose(one.side)}' for one in fits
        )
        raise UserError(f'{source} holds weights of two networks: {kinds}. Only weights and their average go together.')
    if to == fit.side or (fit.side is None and to == held.form):
        raise UserError(f'{source} is {key_map.network} in the names of {TITLES[to]} already, and stays as it is.')
    states = {
        part: {fit.names[name]: value for name, value in state.items() if name in fit.names}
        for part, state in held.states.items()
    }
    for part, state in held.states.items():
        _check_constants(state, key_map.constants, source)
        held.leave(part, [name for name in state if name in key_map.constants])
    if to == 'basicsr':
        content: dict[str, Any] = states
        parts = {part: len(state) for part, state in states.items()}
    else:
        begins = dict(zip(_PARTS, key_map.begins, strict=False))
        if extra := [part for part in states if part not in begins]:
            raise UserError(f"{source} holds {extra[0]}; MMagic's {key_map.mmagic} has no moving average in its files.")
        whole = {begins[part] + name: value for part, state in states.items() for name, value in state.items()}
        content = {'state_dict': whole, 'meta': {}}
        parts = {begins[part]: len(state) for part, state in states.items()}
    save_atomic(content, out)
    return Converted(key_map.network if to == 'basicsr' else key_map.mmagic, parts, held.left)


@dataclass
class _Held:
    """What a file holds: weights without what comes before their names, and the rest."""

    states: dict[str, State] = field(default_factory=dict)
    """One or both of `_PARTS` -> its weights."""
    form: Side | None = None
    """Whose kind of file it is; None: one that tells nothing."""
    left: list[str] = field(default_factory=list)
    """What is no part of a network, in words."""

    def leave(self, where: str, names: list[str]) -> None:
        """Note names that are left out."""
        if names:
            counts = Counter(name.partition('.')[0] for name in names)
            words = [f'{name} ({number} tensors)' if number > 1 else name for name, number in counts.items()]
            self.left.append(f'{", ".join(words)} of {where}')


def _read(source: str | Path) -> _Held:
    """The weights in a file, and their average, without beginnings and companions."""
    content = load_file(source)
    held = _Held()
    if is_state_dict(content):
        keys = {'params': None}
        stored: Mapping[Any, State] = {None: content}
    else:
        stored = {k: v for k, v in content.items() if is_state_dict(v)} if isinstance(content, dict) else {}
        kinds = holders(content) if stored else {}
        found = {part: next((one for one in keys if one in stored), None) for part, keys in kinds.items()}
        keys = {part: key for part, key in found.items() if key is not None}
        if not keys:
            has = f'its keys are {list(content)[:8]}' if isinstance(content, dict) else 'it is something else'
            raise UserError(
                f"{source} is no checkpoint with weights under 'params', 'params_ema' or 'state_dict': {has}."
            )
        held.left += [str(key) for key, value in content.items() if key not in keys.values() and not _empty(value)]
        held.form = 'basicsr' if set(keys.values()) <= set(_PARTS) else None
    for part, key in keys.items():
        state = stored[key]
        check_tensors(state, source)
        state = {without_wrappers(name): value for name, value in state.items()}
        if len(state) != len(stored[key]):
            raise UserError(f'{source} holds tensors twice, with and without what a wrapper puts into names.')
        begins = [one for one in GENERATORS if any(name.startswith(one) for name in state)]
        for begin in begins or ('',):
            own = _PARTS[GENERATORS.index(begin)] if begin and part == 'params' else part
            if own in held.states:
                raise UserError(f'{source} holds two moving averages of one network, and one can be written.')
            held.states[own] = {name.removeprefix(begin): v for name, v in state.items() if name.startswith(begin)}
        others = [name for name in state if begins and not name.startswith(tuple(begins))]
        if not begins:
            own_state = held.states[part]
            others = [name for name in own_state if name.split('.')[0] in COMPANIONS]
            held.states[part] = {name: value for name, value in own_state.items() if name not in others}
        elif strange := [name for name in others if name.split('.')[0] not in COMPANIONS]:
            raise UserError(f'{source} holds tensors that belong to no known part of a model: {_some(strange)}.')
        held.leave(key or 'the file', others)
        held.form = 'mmagic' if begins else held.form
    return held


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping | list | tuple) and not value)


def _recognise(state: State, source: str | Path, network: str | None) -> Likeness:
    """The network whose names these are, all of them."""
    found = likenesses(state.keys(), network)
    best = found[0]
    if not best.differences:
        return best
    known = ', '.join(NETWORKS)
    if network is None:
        what = only_one_has(state)
        if what is not None:
            raise UserError(f'{source} holds weights of {what}. There is nothing to convert them to.')
        if not best.plausible:
            raise UserError(
                f'{source} holds no network that can be converted ({known}): its first names are {_some(list(state))}.'
            )
        level = {one.map.network for one in found if one.differences == best.differences}
        if len(level) > 1:
            raise UserError(
                f'{source} may hold {" or ".join(sorted(level))}, and not all of either. See what is missing by --arch.'
            )
    problems = [f'lacks {_some(best.missing)}'] * bool(best.missing)
    problems += [f'also has {_some(best.foreign)}'] * bool(best.foreign)
    raise UserError(
        f'{source} is not a whole {best.map.network} in the names of {_whose(best.side)}: it {" and ".join(problems)}. '
        'Only what both toolboxes have can be converted, and all of it; nothing was written.'
    )


def _check_constants(state: State, names: Iterable[str], source: str | Path) -> None:
    """Refuse to leave out what a constructor would not make again."""
    usual = {'mean': [0.485, 0.456, 0.406], 'std': [0.229, 0.224, 0.225]}
    for name in names:
        if name in state and not torch.equal(state[name].flatten().float(), torch.tensor(usual[name])):
            raise UserError(f"{source} has another '{name}' than SPyNet's, which would be lost.")


def _whose(side: Side | None) -> str:
    return 'both toolboxes' if side is None else TITLES[side]


def _some(names: list[str]) -> str:
    """The first names, and how many there are: 'conv_last.bias', 'a.weight, b.weight, c.weight and 9 more'."""
    return ', '.join(names[:3]) + (f' and {len(names) - 3} more' if len(names) > 3 else '')
