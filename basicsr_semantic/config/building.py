"""What only shows when it is built: networks, losses, optimisers, data sets, and whether they go together.

Networks are built on the meta device, without memory for their weights; where that fails, on the CPU. Nothing is read
or downloaded for a network: a part that loads weights when it is built is judged by its signature alone.
"""

from __future__ import annotations

import contextlib
import io
import math
import socket
import warnings
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any
from unittest import mock

import torch
from torch.optim.lr_scheduler import LRScheduler

from ..archs.semantic_arch import arch_of, wrong_scale
from ..utils.errors import UserError, reason, shown
from .check import Checked
from .components import find
from .lost_priors import lost_priors
from .metric_wants import pointless_test
from .option_file import KeyPath, OptionFile
from .problems import Problem, problem_of
from .random_flow import random_flow
from .signatures import arguments_of, package_of

_KNOWN = ('basicsr', 'basicsr_semantic', 'torch')
"""Packages whose parts can be built without a run."""


class _LoadsWeightsError(Exception):
    """A constructor asked for a file or for the network."""


def check_building(file: OptionFile, checked: Checked, before_run: bool = False) -> list[Problem]:
    """Build what an option file configures, and say what refuses; of one with errors, the parts without any.

    Args:
        file: The option file, for places.
        checked: The outcome of `check_options`.
        before_run: Leave out what the run will build itself with the same messages, data sets, and components of
            others: they may need what only the run has.

    Returns:
        Further problems. Data sets are built only where no file of theirs is missing.
    """
    opt, built, found = deepcopy(checked.values), {}, []
    absent = {tuple(one.key.split(':'))[:2] for one in checked.problems if one.missing_file}
    wrong = [tuple(one.key.split(':')) for one in checked.errors]
    for path, target in checked.classes.items():
        is_data = path[0] == 'datasets'
        if (path in absent and is_data) or (before_run and (is_data or package_of(target) not in _KNOWN)):
            continue
        if any(place[: len(path)] == path[: len(place)] for place in wrong):
            continue
        section: Any = opt
        for key in path:
            section = section[key]
        try:
            built[path] = _build(target, deepcopy(section), is_data)
        except Exception as error:  # code of others: whatever it raises would end the run
            message = error if isinstance(error, UserError) else f'{target.__name__} cannot be built: {reason(error)}'
            found.append(((*path, *(() if is_data else _at_fault(target, section))), message))
    if wrong:  # whether parts go together shows when all are in order
        return [problem_of(file, path, message) for path, message in found]
    net, model = built.get(('network_g',)), find('model', opt.get('model_type'))
    if net is not None:
        found += contradictions(opt, net)
    if net is not None and hasattr(model.target if model else None, 'check_parts') and not found:
        data = {path[1]: one for path, one in built.items() if path[0] == 'datasets'}
        found += model.target.check_parts(opt, net, data)  # pyright: ignore[reportOptionalMemberAccess]
    problems = [problem_of(file, path, message) for path, message in found]
    for path, dataset in built.items() if 'train' not in opt else ():
        if path[0] == 'datasets' and (message := pointless_test(opt.get('val'), dataset)) is not None:
            problems.append(problem_of(file, ('val', 'save_img'), message, warning=True))
    lost = None if net is None else lost_priors(model.target if model else None, opt, net)
    if lost is not None:
        problems.append(problem_of(file, ('model_type',), lost[0], warning=lost[1]))
    if 'train' in opt and not before_run:  # a run writes it to its log, once it knows whether it resumes another
        for path in [path for path in built if path[0].startswith('network_') and len(path) == 1]:
            if (found_flow := random_flow(opt, path[0], built[path])) is not None:
                problems.append(problem_of(file, *found_flow, warning=True, note=True))
    return problems


def _build(target: Any, section: dict[str, Any], is_dataset: bool) -> Any:
    """Build one part; None where it cannot be built without a file or the device of the run.

    Raises:
        Exception: Whatever its constructor raises.
    """
    if is_dataset:
        return target(section)
    section.pop('type', None)
    if isinstance(target, type) and issubclass(target, torch.optim.Optimizer | LRScheduler):
        first = [torch.nn.Parameter(torch.zeros(1))]
        taken = arguments_of(target).model_fields  # the model reads the other keys
        section = {key: value for key, value in section.items() if key in taken}
        if issubclass(target, LRScheduler):
            return _first_step(target(torch.optim.SGD(first, lr=1.0), **section))
        return None if {'fused', 'capturable', 'foreach'} & section.keys() else target(first, **section)
    section |= {name: None for name, value in section.items() if name.endswith('_path') and value is not None}
    with _no_files(), contextlib.suppress(_LoadsWeightsError):
        try:
            with torch.device('meta'):
                return _with_weights(target(**deepcopy(section)))
        except _LoadsWeightsError:
            raise
        except Exception:  # it works with values while it is built, which meta tensors do not have
            return _with_weights(target(**section))
    return None


def _first_step(schedule: Any) -> Any:
    schedule.optimizer.step()
    schedule.step()
    if not all(math.isfinite(rate) for rate in schedule.get_last_lr()):
        raise UserError('Its learning rate at the first iteration is not finite')
    return schedule


def _with_weights(part: Any) -> Any:
    """Refuse a network with empty weights, as those of 0 channels are."""
    for name, weight in part.named_parameters() if isinstance(part, torch.nn.Module) else ():
        if not weight.numel():
            size = 'x'.join(map(str, weight.shape))
            raise UserError(f'{type(part).__name__} cannot be built: its {name} would have {size} values')
    return part


def _at_fault(target: Any, section: Mapping[str, Any]) -> KeyPath:
    """The key without which the part can be built; none where there is no such key."""
    for key in [key for key in section if key != 'type']:
        with contextlib.suppress(Exception):
            _build(target, deepcopy({name: value for name, value in section.items() if name != key}), False)
            return (str(key),)
    return ()


@contextlib.contextmanager
def _no_files() -> Iterator[None]:
    """Refuse files and connections, and suppress what constructors print about them."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise _LoadsWeightsError

    with contextlib.ExitStack() as stack:
        for owner, name in ((torch, 'load'), (socket, 'getaddrinfo'), (socket.socket, 'connect')):
            stack.enter_context(mock.patch.object(owner, name, refuse))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter('ignore')
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        yield


def contradictions(opt: Mapping[str, Any], net: Any) -> Iterator[tuple[KeyPath, str]]:
    """Contradictions between the network and the data."""
    scale, name, datasets = opt.get('scale'), type(net).__name__, opt['datasets']
    arch = arch_of(net)
    if (message := wrong_scale(net, scale)) is not None:
        yield ('network_g',), message
    size, needs = datasets.get('train', {}).get('gt_size'), arch.size_requirements
    if isinstance(size, int) and isinstance(scale, int) and 'train' in opt:
        patch, step = size // scale, needs.multiple_of
        least = -(-needs.minimum // step) * step
        if patch < least or patch % step:
            message = f'It is {size}, LR patches of {patch} pixels'
            if patch < least:
                message += f', too few for {name}: it must be at least {least * scale}'
                message += f', a multiple of {step * scale}.' if step > 1 else '.'
            else:
                below = patch // step * step
                fit = f'{below * scale} or {(below + step) * scale}'
                message += f'; {name} takes multiples of {step}: it must be {fit}.'
            yield ('datasets', 'train', 'gt_size'), message
    takes, window = arch.num_masks, arch.num_frame
    for key, dataset in datasets.items():
        frames, is_clip = dataset.get('num_frame'), str(dataset.get('type')).startswith('SemanticClip')
        if window is not None and frames != window and (isinstance(frames, int) or (frames is None and is_clip)):
            message = f'It is {shown(frames)}, but {name} restores windows of {window} frames'
            yield ('datasets', str(key), 'num_frame'), f'{message} (network_g:num_frame). Make them equal.'
        gives = dataset.get('num_masks', 64 if dataset.get('dataroot_priors') else None)
        if isinstance(takes, int) and isinstance(gives, int) and takes != gives:
            message = f'It is {gives}, but {name} takes {takes} masks (network_g:num_masks). Make them equal.'
            yield ('datasets', str(key), 'num_masks'), message
