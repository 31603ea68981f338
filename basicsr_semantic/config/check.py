"""An option file against the constructors it configures, without running any of them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..utils.errors import full_stop
from . import sections
from .component_keys import (
    dataset_keys,
    diffusion_keys,
    frame_decoder_keys,
    metric_keys,
    model_keys,
    optimizer_keys,
    optimizer_types,
    path_keys,
    schedule_keys,
    scheduler_types,
    source_keys,
    stock_keys,
)
from .components import components
from .files import check_dataset_files, check_metric_files, check_source_files, check_weight_files
from .keys import KeySet, keys_of_callable, keys_of_dataclass, module_of
from .problems import Problem, nearest, raise_problems, shown
from .report import Report

__all__ = ['REFUSALS', 'Problem', 'check_options', 'raise_problems', 'wrong_scale']

SOURCE = 'network_s'
"""The frozen extractor of priors; every other ``network_*`` is an arch."""

REFUSALS = (ValueError, RuntimeError, ZeroDivisionError, AssertionError)
"""How constructors of networks, ours and PyTorch's, say that arguments are out of range."""


def check_options(opt: Mapping[str, Any], path: str | Path, is_train: bool) -> list[Problem]:
    """Find everything that is wrong with the options of a file.

    Plugins must have been loaded. Call it before `prepare_options`.

    Args:
        opt: What `load_yaml` returned, with overrides applied; a plain dict does too, without line numbers.
        path: The file, for messages.
        is_train: Whether the options are for training (else for a test).

    Returns:
        The problems, in the order of the lines; empty if all is well.
    """
    report = Report(opt, str(path))
    model = report.component('model', (), opt, 'model_type')
    owner = model.target if model else None
    keysets = {name: model_keys(owner, name, is_train) for name in ('top', 'train', 'path', 'val')}
    for name in ('train', 'val', 'path'):
        report.homes |= dict.fromkeys(keysets[name].keys, f'section {name}')
    report.homes |= dict.fromkeys(keys_of_dataclass(sections.LoggerOptions).keys, 'section logger')
    report.homes |= dict.fromkeys(keys_of_dataclass(sections.TopOptions).keys, 'the top level')
    _check_top(report, keysets['top'], owner, is_train)
    for key, value in opt.items():
        if isinstance(key, str) and key.startswith('network_') and key != SOURCE and report.section((key,), value):
            _check_network(report, key, value)
    if opt.get(SOURCE) is not None and report.section((SOURCE,), opt[SOURCE]):
        _check_source(report, opt[SOURCE])
    for key, check in _OF_MODELS.items():
        if key in keysets['top'].keys and isinstance(opt.get(key), Mapping):
            check(report, key, opt[key])
    _check_datasets(report, opt.get('datasets'), is_train)
    for keys, sentence in getattr(owner, 'problems', lambda *_: ())(opt, is_train):
        report.add(keys, sentence)
    networks = [key[8:] for key in opt if isinstance(key, str) and key.startswith('network_') and key != SOURCE]
    if opt.get('path') is not None and report.section(('path',), opt['path']):
        keys = keysets['path'].merged(*(path_keys(network) for network in networks))
        report.keys(('path',), opt['path'], keys, allowed=sections.PREPARED['path'], given=sections.PREPARED['path'])
        check_weight_files(report, ('path',), opt['path'])
    if is_train and opt.get('train') is not None and report.section(('train',), opt['train']):
        _check_train(report, opt['train'], keysets['train'], owner)
    if opt.get('val') is not None and report.section(('val',), opt['val']):
        allowed = stock_keys(owner, keysets['val'], opt['val'], 'model', 'val')
        report.keys(('val',), opt['val'], keysets['val'], ranges='val', allowed=allowed)
        _check_metrics(report, opt['val'].get('metrics'))
    _check_logger(report, opt.get('logger'), is_train)
    if opt.get('dist_params') is not None and report.section(('dist_params',), opt['dist_params']):
        report.keys(('dist_params',), opt['dist_params'], keys_of_dataclass(sections.DistOptions, 'dist_params'))
    return sorted(report.problems, key=lambda p: (p.line is None, p.line or 0))


# ------------------------------------------------------------------------------------------------------- sections


def _check_top(report: Report, keys: KeySet, owner: type | None, is_train: bool) -> None:
    opt = report.opt
    allowed = set(sections.PREPARED['top'])
    if owner is None or module_of(owner) == 'basicsr':
        allowed |= sections.NO_EFFECT['top'] | stock_keys(owner, keys, opt, 'model', 'top')
    if owner is None:
        allowed |= set(opt)
    if is_train:
        for name in ('train', 'logger'):
            keys.keys[name] = dataclasses.replace(keys.keys[name], required=True)
    else:
        # a test file may carry what its training file had; nothing reads it
        allowed |= {'train', 'logger'}
    keys.owner = keys.owner if owner is not None else 'The option file'
    report.keys((), opt, keys, ranges='top', allowed=allowed, given={'model_type'})
    if isinstance(opt.get('name'), str) and (not opt['name'] or set('/\\') & set(opt['name'])):
        report.add(('name',), f'It is {shown(opt["name"])}, which cannot be the name of a folder.')


def _check_network(report: Report, key: str, network: Mapping[str, Any]) -> None:
    arch = report.component('arch', (key,), network)
    if arch is not None:
        before = len(report.problems)
        report.keys((key,), network, keys_of_callable(arch.target, arch.name), allowed={'type'})
        if len(report.problems) == before and module_of(arch.target) == 'basicsr_semantic':
            _check_building(report, (key,), arch.target, {k: v for k, v in network.items() if k != 'type'})
    check_weight_files(report, (key,), network)


def _check_building(report: Report, path: tuple[str, ...], arch: Any, arguments: dict[str, Any]) -> None:
    """Build one of our networks without memory for its weights: what it refuses, it says."""
    import torch

    files = dict.fromkeys((name for name in arguments if name.endswith('_path')), None)
    try:
        with torch.device('meta'):
            net = arch(**arguments | files)
    except REFUSALS as error:
        report.add(path, full_stop(error))
        return
    if said := wrong_scale(net, report.opt.get('scale')):
        report.add(path, said)


def wrong_scale(net: Any, scale: Any) -> str | None:
    """A sentence, if a network enlarges by another factor than that of the data; either may say nothing."""
    own = getattr(net, 'scale', None)
    if isinstance(own, int) and isinstance(scale, int) and own != scale:
        return f'{type(net).__name__} enlarges {own} times, but scale is {scale}.'
    return None


def _check_source(report: Report, section: Mapping[str, Any]) -> None:
    """The frozen extractor: its keys, and the files that its mode cannot do without."""
    found = report.component('extractor', (SOURCE,), section)
    if found is None:
        return
    if not hasattr(found.target, 'describe'):
        others = [name for name, one in components('extractor').items() if hasattr(one.target, 'describe')]
        report.add((SOURCE, 'type'), f'{found.name} gives no tokens.', f'There are: {", ".join(others)}.')
        return
    report.keys((SOURCE,), section, source_keys(found.target), ranges=SOURCE)
    online = str(section.get('extract_mode', 'cached')).startswith('online')
    needed = {'checkpoint': 'weights', 'text_embeddings': 'text embeddings'}
    arguments = inspect.signature(found.target).parameters
    for key, what in needed.items():
        if online and key in arguments and section.get(key) is None:
            report.add((SOURCE, key), f'extract_mode: {section["extract_mode"]} needs the {what} of {found.name}.')
    check_source_files(report, (SOURCE,), section, online)


def _check_frame_decoder(report: Report, key: str, section: Mapping[str, Any]) -> None:
    report.keys((key,), section, frame_decoder_keys())
    check_weight_files(report, (key,), section)


def _check_diffusion(report: Report, key: str, section: Mapping[str, Any]) -> None:
    report.keys((key,), section, diffusion_keys())


_OF_MODELS = {
    'frame_decoder': _check_frame_decoder,
    'base_upsampler': _check_network,
    'diffusion': _check_diffusion,
}
"""Sections that some models have at the top level, and how each is checked."""


def _check_datasets(report: Report, datasets: Any, is_train: bool) -> None:
    if datasets is None or not report.section(('datasets',), datasets):
        return
    wanted = 'train' if is_train else 'test'
    if is_train and 'train' not in datasets:
        report.add(('datasets', 'train'), 'The data set to train on, datasets:train, is missing.')
    elif not datasets:
        report.add(('datasets',), 'There is no data set to test on.', 'Add a section datasets:test_1.')
    for phase, dataset in datasets.items():
        path = ('datasets', str(phase))
        if str(phase).split('_')[0] not in ('train', 'val', 'test'):
            near = nearest(phase, ('train', 'val', 'test')) or wanted
            report.add(
                path, 'Data sets are called train, val or test, the last two also val_1, test_2, ....', f'Say {near}.'
            )
        if not report.section(path, dataset):
            continue
        found = report.component('dataset', path, dataset)
        given = {'phase'} | ({'scale'} if report.opt.get('scale') is not None else set())
        if found is not None:
            keys = dataset_keys(found.target)
            allowed = stock_keys(found.target, keys, dataset, 'dataset', '')
            report.keys(path, dataset, keys, ranges='dataset', given=given, allowed=allowed)
        _check_backend(report, (*path, 'io_backend'), dataset.get('io_backend'))
        check_dataset_files(report, path, dataset)


def _check_backend(report: Report, path: tuple[str, ...], backend: Any) -> None:
    from basicsr.utils.file_client import FileClient

    if backend is None or not isinstance(backend, Mapping):
        return
    types = FileClient._backends
    name = backend.get('type')
    if not isinstance(name, str) or name not in types:
        near = nearest(name, types) if name else None
        advice = f'Did you mean {near}?' if near else ''
        message = (
            f'It is {shown(name)}, but must be one of {", ".join(types)}.' if name else "The key 'type' is missing."
        )
        report.add((*path, 'type'), message, advice)
        return
    taken = keys_of_callable(types[name], f'io_backend {name}')
    report.keys(path, backend, taken, allowed={'type'}, given={'db_paths', 'client_keys'})


def _check_train(report: Report, train: Mapping[str, Any], keys: KeySet, owner: type | None) -> None:
    report.keys(('train',), train, keys, ranges='train', allowed=stock_keys(owner, keys, train, 'model', 'train'))
    ours_or_stock = owner is not None and module_of(owner).startswith('basicsr')
    for name, value in train.items():
        path, name = ('train', str(name)), str(name)
        is_loss = name.endswith('_opt') and (ours_or_stock or (isinstance(value, Mapping) and 'type' in value))
        if value is None or not (name.startswith('optim_') or name == 'scheduler' or is_loss):
            continue
        if not report.section(path, value):
            continue
        if name.startswith('optim_'):
            _check_by_type(report, path, value, optimizer_types(owner), 'optimiser', 'optim')
        elif name == 'scheduler':
            types = scheduler_types(owner)
            if types is not None:
                _check_by_type(report, path, value, types, 'learning-rate schedule')
            _check_periods(report, train, value)
        else:
            loss = report.component('loss', path, value)
            if loss is not None:
                report.keys(path, value, keys_of_callable(loss.target, loss.name), allowed={'type'})


def _check_periods(report: Report, train: Mapping[str, Any], schedule: Mapping[str, Any]) -> None:
    """BasicSR's cosine schedule has no learning rate beyond its periods and ends the run with an exception."""
    periods, length = schedule.get('periods'), train.get('total_iter')
    if schedule.get('type') != 'CosineAnnealingRestartLR' or not isinstance(periods, list):
        return
    if all(isinstance(n, int | float) for n in (*periods, length)) and sum(periods) < length:  # type: ignore[operator]
        report.add(
            ('train', 'scheduler', 'periods'),
            f'They add up to {sum(periods):g}, but train:total_iter is {length:g}; there is no learning rate beyond.',
            'Make them as long.',
        )


def _check_by_type(
    report: Report,
    path: tuple[str, ...],
    section: Mapping[str, Any],
    types: Mapping[str, type],
    what: str,
    ranges: str = '',
) -> None:
    """Check a section against the class it names, then what the class itself says about the values."""
    name = section.get('type')
    if not isinstance(name, str) or name not in types:
        if name is None:
            report.add((*path, 'type'), f"The key 'type', the {what}, is missing.", f'There are: {", ".join(types)}.')
            return
        near = nearest(name, types)
        advice = f'Did you mean {near}?' if near else f'There are: {", ".join(types)}.'
        report.add((*path, 'type'), f'{shown(name)} is no {what} that this model can build.', advice)
        return
    before = len(report.problems)
    keys = optimizer_keys(types[name]) if ranges == 'optim' else schedule_keys(types[name])
    report.keys(path, section, keys, ranges=ranges, allowed={'type'})
    if len(report.problems) == before:
        _check_construction(report, path, types[name], {k: v for k, v in section.items() if k != 'type'})


def _check_construction(report: Report, path: tuple[str, ...], cls: type, arguments: dict[str, Any]) -> None:
    """Build an optimiser or schedule for one dummy parameter: what it refuses, it says."""
    import torch

    parameter = torch.nn.Parameter(torch.zeros(1))
    is_optimizer = issubclass(cls, torch.optim.Optimizer)
    first = [parameter] if is_optimizer else torch.optim.SGD([parameter], lr=1.0)
    if {'fused', 'capturable', 'foreach'} & arguments.keys():
        return  # whether these work depends on the device of the run
    try:
        cls(first, **arguments)
    except (ValueError, TypeError, AssertionError) as error:
        report.add(path, f'{cls.__name__} refuses these values: {full_stop(error)}')


def _check_metrics(report: Report, metrics: Any) -> None:
    if metrics is None or not isinstance(metrics, Mapping):
        return
    for name, metric in metrics.items():
        path = ('val', 'metrics', str(name))
        if not report.section(path, metric):
            continue
        found = report.component('metric', path, metric)
        if found is None:
            continue
        report.keys(path, metric, metric_keys(found))
        check_metric_files(report, path, metric)
        if isinstance(metric.get('flow'), Mapping):
            _check_flow(report, (*path, 'flow'), metric['flow'])


def _check_flow(report: Report, path: tuple[str, ...], section: Mapping[str, Any]) -> None:
    """The network of a metric that follows the motion: an arch, and the file with its weights."""
    arch = report.component('arch', path, section)
    if arch is not None:
        report.keys(path, section, keys_of_callable(arch.target, arch.name), allowed={'type', 'load_path'})
    check_weight_files(report, path, section)


def _check_logger(report: Report, logger: Any, is_train: bool) -> None:
    if logger is None or not is_train or not report.section(('logger',), logger):
        return
    report.keys(('logger',), logger, keys_of_dataclass(sections.LoggerOptions, 'logger'), ranges='logger')
    wandb = logger.get('wandb')
    if isinstance(wandb, Mapping):
        report.keys(('logger', 'wandb'), wandb, keys_of_dataclass(sections.WandbOptions, 'wandb'))
