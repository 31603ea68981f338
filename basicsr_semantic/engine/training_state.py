"""Training states: found, checked, and loaded into a model whose options may have changed since.

A state holds the position of the run: moments of the optimisers, the iteration, random numbers. The option file decides
about the rest of the run: learning rates, schedules and factors come from the file, never from the state.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import get_root_logger

from ..utils.errors import UserError, reason, short_of_memory, shown
from .checkpoint import load_file

_POSITION = ('last_epoch', '_step_count', '_last_lr', '_get_lr_called_within_step', '_is_initial', 'base_lrs')
"""What a schedule knows of the position of a run; the rest is what an option file says."""


def find_resume_state(
    folder: str | Path, weights_folder: str | Path, networks: Iterable[str] = ()
) -> tuple[Path, dict] | None:
    """Return the newest training state that is whole and whose weight files are whole, too.

    A state names the weight files it belongs to and is written after them, so what it names was whole; one that is
    damaged or has wrong content, itself or in its weights, is skipped with a warning.

    Args:
        folder: Where the ``*.state`` files are.
        weights_folder: Where the files of weights are.
        networks: See :func:`name_weights`.

    Returns:
        (its path, its content), or None where the folder has no state at all or is not there.

    Raises:
        UserError: There are states but none can be used; starting again would move their run aside, which was not asked
            for. Or memory is too short to read one.
    """
    found = [p for p in Path(folder).glob('*.state') if not p.name.startswith('.')] if Path(folder).is_dir() else []
    troubles = []
    for path in sorted(found, key=_iteration_of, reverse=True):
        try:
            state = load_file(path)
            name_weights(state, path, networks)
            check_content(state, path)
            absent = [name for name in state['weights'].values() if not (Path(weights_folder) / name).is_file()]
            if absent:
                raise UserError(f'{path} belongs to {", ".join(absent)}, which is gone from {weights_folder}.')
            for weights in state['weights'].values():
                content = load_file(Path(weights_folder) / weights)
                if not isinstance(content, dict) or not content:
                    raise UserError(f'{Path(weights_folder) / weights} holds no weights.')
        except UserError as error:
            if short_of_memory(error):  # no fault of the file
                raise
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
    """For sorting: copies with other names come before all that are named by their iteration."""
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
        what = f'it has only {sorted(map(str, state))[:6]}' if isinstance(state, dict) else 'it is not a dict'
        raise UserError(f'{path} is not a training state: {what}.')
    if 'weights' not in state:
        labels = [f'net_{network.removeprefix("network_")}' for network in networks]
        state['weights'] = {label: f'{label}_{state["iter"]}.pth' for label in labels}
    weights = state['weights']
    if not (isinstance(weights, dict) and all(isinstance(text, str) for item in weights.items() for text in item)):
        raise UserError(f'{path} is not a training state: what it names as weights are not names of files.')


def check_content(state: dict[str, Any], path: str | Path) -> None:
    """Look at the form of everything in a training state.

    Args:
        state: Its content, with the names of its weights.
        path: Its file, for the message.

    Raises:
        UserError: Something is missing, or of another type or range than a training writes.
    """
    optimizers, schedulers = state.get('optimizers'), state.get('schedulers')
    seed, best = state.get('manual_seed', 0), state.get('best_metric_results')
    whole = {
        'iter': _is_count(state['iter']),
        'optimizers': isinstance(optimizers, list) and all(map(_is_optimizer, optimizers)),
        'schedulers': isinstance(schedulers, list) and all(map(_is_schedule, schedulers)),
        'manual_seed': _is_count(seed) and seed < 2**32,
        'best_metric_results': best is None or _is_best(best),
        'scaler': isinstance(state.get('scaler', {}), dict),
        'extra_state': isinstance(state.get('extra_state') or {}, dict),
    }
    wrong = [key for key, right in whole.items() if not right]
    if wrong:
        held = type(state[wrong[0]]).__name__ if wrong[0] in state else 'nothing'
        raise UserError(f'{path} is not a whole training state: its {wrong[0]} ({held}) is not what a training writes.')


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_optimizer(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get('state'), dict):
        return False
    groups = value.get('param_groups')
    return (
        isinstance(groups, list)
        and all(isinstance(group, dict) and isinstance(group.get('params'), list) for group in groups)
        and all(isinstance(group.get('prefixes', []), list) for group in groups)
        and all(isinstance(one, str) for group in groups for one in group.get('prefixes', []))
        and all(isinstance(one, dict) and _is_step(one.get('step', 0)) for one in value['state'].values())
    )


def _is_step(value: Any) -> bool:
    """Steps that a parameter has had; in PyTorch a float, or a tensor of one."""
    plain = value.item() if torch.is_tensor(value) and value.numel() == 1 else value
    return isinstance(plain, int | float) and 0 <= plain < 2**53


def _is_schedule(value: Any) -> bool:
    return isinstance(value, dict) and _is_count(value.get('last_epoch'))


def _is_best(value: Any) -> bool:
    """Data set -> metric -> what BasicSR remembers of the best value."""
    if not isinstance(value, dict) or not all(isinstance(metrics, dict) for metrics in value.values()):
        return False
    kept = [one for metrics in value.values() for one in metrics.values()]
    return all(isinstance(one, dict) and isinstance(one.get('val'), int | float) and 'iter' in one for one in kept)


def take_up(model: Any, state: dict[str, Any]) -> None:
    """Give a model the optimisers, schedules, scale of losses and best results of a state.

    Learning rates, factors and schedules of the option file hold. Where they are those of the state, the schedule goes
    on with the very numbers of the state; otherwise it is stepped to the iteration of the state from its beginning.

    Raises:
        UserError: The state is of another training: other optimisers, groups or sizes of parameters; or the schedule of
            the option file has no learning rate at that iteration.
    """
    for mine, key in ((model.optimizers, 'optimizers'), (model.schedulers, 'schedulers')):
        if len(mine) != len(state[key]):
            raise UserError(
                f'The training state has {len(state[key])} {key}, but this training has {len(mine)}.{_ADVICE}'
            )
    changed = _differ(state.get('warmup_iter', _warm_up(model)), _warm_up(model))
    for optimizer, saved in zip(model.optimizers, state['optimizers'], strict=True):
        changed |= _take_up_optimizer(optimizer, saved)
    for scheduler, saved in zip(model.schedulers, state['schedulers'], strict=True):
        mine = scheduler.state_dict()
        changed |= any(_differ(mine.get(key), saved.get(key)) for key in (mine.keys() | saved.keys()) - {*_POSITION})
    if changed:
        _step_to(model, state['iter'])
    else:
        for scheduler, saved in zip(model.schedulers, state['schedulers'], strict=True):
            scheduler.load_state_dict(saved)
        for optimizer, saved in zip(model.optimizers, state['optimizers'], strict=True):
            for group, before in zip(optimizer.param_groups, saved['param_groups'], strict=True):
                group['lr'] = before['lr']
    if getattr(model, 'scaler', None) is not None and 'scaler' in state:
        try:
            model.scaler.load_state_dict(state['scaler'])
        except (KeyError, RuntimeError, TypeError) as error:
            raise UserError(f'The scale of the losses in the training state cannot be used: {reason(error)}') from error
    _take_up_best(model, state.get('best_metric_results') or {})


_ADVICE = ' To begin a new training with its weights give path:pretrain_network_g and another name.'


def _take_up_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> bool:
    """Load the moments; whether the file gives other base learning rates than the state."""
    mine, groups = optimizer.param_groups, saved['param_groups']
    before, now = (_prefixes(some) for some in (groups, mine))
    if before != now:
        raise UserError(
            f'The training state is of a run with {_said(before)}, but this one has {_said(now)}: the groups of an '
            f'optimiser stay those of its run, though their lr_scale may change.{_ADVICE}'
        )
    sizes = [[len(group['params']) for group in some] for some in (groups, mine)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f'The optimiser of the training state has groups of {sizes[0]} parameters, here of {sizes[1]} '
            f'(train:trainable, flow_lr_mul, dcn_lr_mul and the network decide).{_ADVICE}'
        )
    order = [number for group in groups for number in group['params']]
    parameters = [parameter for group in mine for parameter in group['params']]
    for number, parameter in zip(order, parameters, strict=True):
        for name, value in saved['state'].get(number, {}).items():
            if torch.is_tensor(value) and value.dim() and value.shape != parameter.shape:
                raise UserError(
                    f'{name} in the training state is of shape {tuple(value.shape)}, but its parameter of '
                    f'{tuple(parameter.shape)}.{_ADVICE}'
                )
    of_file = [{key: value for key, value in group.items() if key != 'params'} for group in mine]
    kind = saved.get('type', type(optimizer).__name__)
    if kind != type(optimizer).__name__:
        get_root_logger().warning(f'The optimiser was {kind} and is {type(optimizer).__name__}; it starts again.')
        return True
    try:
        optimizer.load_state_dict({key: saved[key] for key in ('state', 'param_groups')})
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f'The optimiser of the training state cannot be used: {reason(error)}{_ADVICE}') from error
    for group, known in zip(optimizer.param_groups, of_file, strict=True):  # it has made groups of its own
        group.update(known)
    rates = [[group.get('initial_lr') for group in some] for some in (of_file, groups)]
    return _differ(*rates)


def _prefixes(groups: list[dict[str, Any]]) -> list[Any]:
    """What the groups of ``train:optim_g:groups`` begin with, each once; see `freezing.optimizer_groups`."""
    named = [group['prefixes'] for group in groups if group.get('prefixes')]
    return [one for k, one in enumerate(named) if one not in named[:k]]


def _said(prefixes: list[Any]) -> str:
    return f'train:optim_g:groups of {shown(prefixes)}' if prefixes else 'no train:optim_g:groups'


def _differ(one: Any, two: Any) -> bool:
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        return list(one) != list(two)
    return bool(one != two)


def _warm_up(model: Any) -> int:
    return (model.opt.get('train') or {}).get('warmup_iter', -1)


def _step_to(model: Any, current_iter: int) -> None:
    """Let the schedules of the option file run to an iteration, warm-up included."""
    get_root_logger().info(f'The schedule has changed; it is evaluated at iteration {current_iter}.')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of steps without an optimiser's
            for k in range(1, current_iter + 1):
                model.update_learning_rate(k, warmup_iter=_warm_up(model))
    except (TypeError, IndexError, ZeroDivisionError, ValueError) as error:
        raise UserError(
            f'train:scheduler has no learning rate at iteration {current_iter}, from which the run goes on '
            f'({reason(error).rstrip(".")}). Make the schedule as long as train:total_iter.'
        ) from error


def _take_up_best(model: Any, best: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Keep the best values of metrics that are still measured; a value that is not a number is dropped."""
    wanted = ((model.opt.get('val') or {}).get('metrics') or {}).keys()
    kept = {
        dataset: {name: dict(one) for name, one in values.items() if name in wanted and math.isfinite(one['val'])}
        for dataset, values in best.items()
    }
    if any(kept.values()):
        model.best_metric_results = kept
