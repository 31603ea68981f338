"""Which parameters train: stated once, and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from basicsr.utils import get_root_logger
from torch import nn

from ..utils.errors import UserError
from ..utils.nearest import nearest

RateGroups = Sequence[tuple[Sequence[str], float]]
"""Groups of an optimiser: beginnings of parameter names, and the factor on the learning rate of what begins so."""


def begins_with(name: str, prefixes: Sequence[str]) -> bool:
    """Whether an option names a parameter: ``train.trainable`` and ``train.optim_g.groups`` hold beginnings of names.

    Args:
        name: The whole name of the parameter, as ``middle.0.align.query.weight``.
        prefixes: Beginnings such as ``middle.`` or ``middle.0.align``; nothing in them has a meaning of its own.
    """
    return name.startswith(tuple(prefixes))


def train_only(net: nn.Module, prefixes: Sequence[str] | None) -> None:
    """Freeze every parameter whose name starts with none of the prefixes (``train.trainable``).

    Args:
        net: The bare network, before the EMA copy and the DDP wrap.
        prefixes: Beginnings of parameter names; None leaves the network as it is.

    Raises:
        UserError: A prefix that no parameter has, or no prefix at all.
    """
    if prefixes is None:
        return
    names = [name for name, _ in net.named_parameters()]
    if not prefixes:
        raise UserError('train:trainable is an empty list, so nothing would train. Leave it out to train everything.')
    for prefix in prefixes:
        if not any(begins_with(name, [prefix]) for name in names):
            raise UserError(
                f'train:trainable names {prefix!r}, but no parameter of {type(net).__name__} starts so.'
                f'{_what_starts(prefix, names)} Its parts are {_parts_of(names)}.'
            )
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(begins_with(name, prefixes))


def _what_starts(prefix: str, names: Sequence[str]) -> str:
    """For messages: the beginning of a name that is nearest to a prefix and has as many parts."""
    written = prefix.rstrip('.')
    depth = written.count('.') + 1
    near = nearest(written, sorted({'.'.join(name.split('.')[:depth]) for name in names}))
    return f' Did you mean {near}?' if near else ''


def _parts_of(names: Sequence[str]) -> str:
    return ', '.join(sorted({name.split('.')[0] for name in names}))


def group_of_each(net: nn.Module, groups: RateGroups) -> dict[str, int]:
    """Which of the groups (``train.optim_g.groups``) a parameter is in.

    Args:
        net: The bare network, after freezing.
        groups: The groups.

    Returns:
        Name of a parameter that trains -> index of its group; without those that are in none.

    Raises:
        UserError: A prefix with which the name of no parameter that trains begins, or a parameter in two groups.
    """
    trains = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    for prefix in [prefix for prefixes, _ in groups for prefix in prefixes]:
        if not any(begins_with(name, [prefix]) for name in trains):
            frozen = any(begins_with(name, [prefix]) for name, _ in net.named_parameters())
            owner = type(net).__name__
            said = f'what starts so in {owner} is frozen.' if frozen else f'no parameter of {owner} starts so.'
            said += '' if frozen else _what_starts(prefix, trains)
            raise UserError(
                f'train:optim_g:groups names {prefix!r}, but {said} Its parts that train are {_parts_of(trains)}.'
            )
    found: dict[str, int] = {}
    for name in trains:
        mine = [number for number, (prefixes, _) in enumerate(groups) if begins_with(name, prefixes)]
        if len(mine) > 1:
            one, two = (next(p for p in groups[number][0] if begins_with(name, [p])) for number in mine[:2])
            raise UserError(
                f'train:optim_g:groups has {name} in two groups, by {one!r} of group {mine[0] + 1} and {two!r} of '
                f'group {mine[1] + 1}. Give each parameter one learning rate.'
            )
        found |= {name: mine[0]} if mine else {}
    return found


class Stages:
    """Warm-up stages of BasicSR (``fix_flow``, ``tsa_iter``): some parameters are frozen until an iteration.

    BasicSR freezes at iteration 1 and un-freezes everything later, so a resumed run never freezes, and what the user
    froze is un-frozen. Here the state is a function of the iteration, and only what trains at all is ever touched.

    Args:
        net: The network, after :func:`train_only`.
    """

    def __init__(self, net: nn.Module) -> None:
        self._trainable = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
        self._frozen: list[tuple[int, Callable[[str], bool]]] = []

    def freeze_until(self, iteration: int | None, is_frozen: Callable[[str], bool]) -> None:
        """Freeze parameters for whose names ``is_frozen`` is true before ``iteration`` (None or 0: never)."""
        if iteration:
            self._frozen.append((iteration, is_frozen))

    def apply(self, current_iter: int) -> None:
        """Set ``requires_grad`` for this iteration."""
        if not self._frozen:
            return
        for name, parameter in self._trainable:
            frozen = any(current_iter < until and is_frozen(name) for until, is_frozen in self._frozen)
            parameter.requires_grad_(not frozen)


def is_flow(name: str) -> bool:
    """Parameters that ``fix_flow`` freezes (basicsr/models/video_recurrent_model.py, optimize_parameters)."""
    return 'spynet' in name or 'edvr' in name


def is_not_fusion(name: str) -> bool:
    """Parameters that ``tsa_iter`` freezes (basicsr/models/edvr_model.py, optimize_parameters)."""
    return 'fusion' not in name


def optimizer_groups(
    net: nn.Module,
    lr: float,
    multipliers: dict[str, float],
    no_decay: tuple[type[nn.Module], ...] = (),
    rates: RateGroups = (),
) -> list[dict]:
    """Parameter groups of what trains; a multiplier other than 1 puts the names that contain its word in their own.

    What a multiplier and one of ``rates`` both name has the product of the two factors. Parameters with the base rate
    come first, then those of multipliers alone, then the groups of ``rates`` in their order, each with what its
    multipliers name last. A group of ``rates`` keeps its prefixes under ``prefixes``, so that a training state
    tells whose moments it has.

    Args:
        net: The network, after freezing; the bare one where there are ``rates``.
        lr: Base learning rate.
        multipliers: word in the parameter name -> factor, e.g. ``{'spynet': 0.125}``.
        no_decay: Modules whose parameters get groups without weight decay.
        rates: Beginnings of parameter names, and the factor of what begins so (``train.optim_g.groups``).

    Raises:
        UserError: Nothing trains, or see :func:`group_of_each`.
    """
    words = {word: factor for word, factor in multipliers.items() if factor != 1}
    spared = {id(p) for module in net.modules() if isinstance(module, no_decay) for p in module.parameters(False)}
    mine = group_of_each(net, rates) if rates else {}
    groups: dict[tuple[int, str, bool], dict] = {}
    for number, (prefixes, scale) in enumerate([((), 1.0), *rates], -1):
        marked = {'prefixes': sorted(prefixes)} if prefixes else {}
        for word, factor in {'': 1.0, **words}.items():
            group = {'lr': lr * factor * scale, **marked}
            groups[number, word, False] = {'params': [], **group}
            groups[number, word, True] = {'params': [], **group, 'weight_decay': 0.0}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            word = next((word for word in words if word in name), '')
            groups[mine.get(name, -1), word, id(parameter) in spared]['params'].append(parameter)
    filled = [group for group in groups.values() if group['params']]
    if not filled:
        raise UserError(f'No parameter of {type(net).__name__} trains: everything is frozen.')
    return filled


def log_parameter_counts(net: nn.Module) -> None:
    """Log how many parameters train, of how many."""
    total = sum(p.numel() for p in net.parameters())
    trainable = sum(p.numel() for p in net.parameters() if p.requires_grad)
    get_root_logger().info(
        f'{type(net).__name__}: {trainable:,d} of {total:,d} parameters train ({trainable / max(total, 1):.1%}).'
    )
