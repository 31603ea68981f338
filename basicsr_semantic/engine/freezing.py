"""Which parameters train: stated once, and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from basicsr.utils import get_root_logger
from torch import nn

from ..utils.errors import UserError
from ..utils.nearest import nearest


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
        if not any(name.startswith(prefix) for name in names):
            first_names = sorted({name.split('.')[0] for name in names})
            near = nearest(prefix, first_names)
            hint = f' Did you mean {near}?' if near else ''
            raise UserError(
                f'train:trainable names {prefix!r}, but no parameter of {type(net).__name__} starts so.{hint} '
                f'Its parts are {", ".join(first_names)}.'
            )
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(prefixes)))


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
    net: nn.Module, lr: float, multipliers: dict[str, float], no_decay: tuple[type[nn.Module], ...] = ()
) -> list[dict]:
    """Parameter groups of what trains; a multiplier other than 1 puts the names that contain its word in their own.

    Args:
        net: The network, after freezing.
        lr: Base learning rate.
        multipliers: word in the parameter name -> factor, e.g. ``{'spynet': 0.125}``.
        no_decay: Modules whose parameters get groups without weight decay.

    Raises:
        UserError: Nothing trains.
    """
    words = {word: factor for word, factor in multipliers.items() if factor != 1}
    spared = {id(p) for module in net.modules() if isinstance(module, no_decay) for p in module.parameters(False)}
    groups: dict[tuple[str, bool], dict] = {}
    for word, factor in {'': 1.0, **words}.items():
        groups[word, False] = {'params': [], 'lr': lr * factor}
        groups[word, True] = {'params': [], 'lr': lr * factor, 'weight_decay': 0.0}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            word = next((word for word in words if word in name), '')
            groups[word, id(parameter) in spared]['params'].append(parameter)
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
