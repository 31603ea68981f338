"""What only shows when it is built: networks, losses and data sets, and whether they go together.

Networks are built on the meta device, without memory for their weights; where that fails, on the CPU. Nothing is read
or downloaded for a network: a part that loads weights when it is built is judged by its signature alone.
"""

from __future__ import annotations

import contextlib
import io
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any
from unittest import mock

import torch

from ..utils.errors import UserError, full_stop
from .check import Checked
from .option_file import KeyPath, OptionFile
from .problems import Problem

REFUSALS = (ValueError, RuntimeError, ZeroDivisionError, AssertionError)
"""How constructors of networks, ours and PyTorch's, say that arguments are out of range."""


class _LoadsWeightsError(Exception):
    """A constructor asked for a file or for the network."""


def check_building(file: OptionFile, checked: Checked) -> list[Problem]:
    """Build what an option file without errors configures, and say what refuses.

    Args:
        file: The option file, for places.
        checked: The outcome of `check_options`.

    Returns:
        Further problems. Data sets are built only where no file of theirs is missing.
    """
    found: list[Problem] = []

    def add(path: KeyPath, message: str, *, warning: bool = False) -> None:
        found.append(Problem(*file.place(path), ':'.join(path), file.value(path), message, warning=warning))

    opt, built = deepcopy(checked.values), {}
    absent = {tuple(one.key.split(':'))[:2] for one in checked.problems if one.missing_file}
    for path, target in checked.classes.items():
        section = _at(opt, path)
        arguments = {key: value for key, value in section.items() if key != 'type'}
        try:
            if path[0] != 'datasets':
                built[path] = without_files(target, arguments)
            elif path not in absent:
                built[path] = target(deepcopy(section))
        except UserError as error:
            add(path, full_stop(error))
        except Exception as error:  # code of others: whatever it raises would end the run
            add(path, f'{target.__name__} cannot be built: {reason(error)}')
    net = built.get(('network_g',))
    if net is not None:
        for path, sentence in _contradictions(opt, net):
            add(path, sentence)
    from .components import find

    model = find('model', opt.get('model_type'))
    hook = getattr(model.target, 'check_parts', None) if model is not None else None
    if hook is not None and net is not None and not found:
        for path, sentence in hook(opt, net, {path[1]: one for path, one in built.items() if path[0] == 'datasets'}):
            add(path, sentence)
    return found


def without_files(target: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Build a network or a loss without its weights; None where it cannot be built without a file.

    Raises:
        Exception: Whatever its constructor raises.
    """
    files = {name: None for name, value in arguments.items() if name.endswith('_path') and value is not None}
    with _no_files():
        try:
            with torch.device('meta'):
                return target(**deepcopy(dict(arguments)) | files)
        except _LoadsWeightsError:
            return None
        except Exception:  # it works with values while it is built, which meta tensors do not have
            try:
                return target(**deepcopy(dict(arguments)) | files)
            except _LoadsWeightsError:
                return None


@contextlib.contextmanager
def _no_files() -> Iterator[None]:
    """Refuse files and connections, and keep quiet what constructors print of them."""

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


def reason(error: BaseException) -> str:
    """An exception of somebody else's code as part of a sentence: its kind, words and line."""
    frame, text = error.__traceback__, full_stop(error) if str(error) else ''
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f' ({frame.tb_frame.f_code.co_filename}:{frame.tb_lineno})' if frame is not None else ''
    said = {KeyError: f'it needs the key {error}', AttributeError: text}.get(type(error), text)
    return f'{type(error).__name__}: {said.rstrip(".")}{place}.'


def _contradictions(opt: Mapping[str, Any], net: Any) -> Iterator[tuple[KeyPath, str]]:
    """What the network and the data say against each other."""
    from ..archs.layers.size_requirements import size_requirements_of

    scale, name = opt.get('scale'), type(net).__name__
    if (said := wrong_scale(net, scale)) is not None:
        yield ('network_g',), said
    train = (opt.get('datasets') or {}).get('train') or {}
    size, needs = train.get('gt_size'), size_requirements_of(net)
    if isinstance(size, int) and isinstance(scale, int) and 'train' in opt:
        patch, multiple = size // scale, needs.multiple_of
        least = -(-needs.minimum // multiple) * multiple
        if patch < least or patch % multiple:
            also = f' in multiples of {multiple}' if multiple > 1 else ''
            yield (
                ('datasets', 'train', 'gt_size'),
                f'It is {size}, LR patches of {patch} pixels; {name} needs at least {least}{also}, so gt_size must be '
                f'at least {least * scale}' + (f' and a multiple of {multiple * scale}.' if multiple > 1 else '.'),
            )
    takes = getattr(net, 'num_masks', None)
    for key, dataset in (opt.get('datasets') or {}).items():
        gives = dataset.get('num_masks', 64) if dataset.get('dataroot_priors') else dataset.get('num_masks')
        if isinstance(takes, int) and isinstance(gives, int) and takes != gives:
            yield (
                ('datasets', str(key), 'num_masks'),
                f'It is {gives}, but {name} takes {takes} masks (network_g:num_masks). Make them equal.',
            )


def wrong_scale(net: Any, scale: Any) -> str | None:
    """A sentence, if a network enlarges by another factor than that of the data; either may say nothing."""
    own = getattr(net, 'scale', None)
    if isinstance(own, int) and isinstance(scale, int) and own != scale:
        return f'{type(net).__name__} enlarges {own} times, but scale is {scale}.'
    return None


def _at(opt: Any, path: KeyPath) -> Any:
    for key in path:
        opt = opt[key] if key in opt else opt[int(key)]
    return opt
