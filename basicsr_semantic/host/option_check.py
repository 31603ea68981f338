"""An option file against the constructors it configures, without running any of them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import option_sections as sections
from .components import Component, components
from .option_files import check_dataset_files, check_weight_files
from .option_keys import Key, KeySet, keys_of_callable, keys_of_dataclass, module_of, parse_source
from .option_problems import Problem, nearest, raise_problems, shown
from .option_reads import keys_read
from .option_report import Report, combined

__all__ = ['Problem', 'check_options', 'component_keys', 'dataset_keys', 'model_keys', 'raise_problems']

_TRAIN_ENTRIES = ('__init__', 'init_training_settings', 'setup_optimizers', 'setup_schedulers')
_DATASET_ENTRIES = ('__init__', '__getitem__')
_METRIC_DATA = ('img', 'img2')
"""Arguments of a metric function that the validation gives."""
_ALWAYS_GIVEN = {'path', 'num_gpu', 'manual_seed', *sections.PREPARED['top'], *sections.PREPARED['path']}


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
        if isinstance(key, str) and key.startswith('network_') and report.section((key,), value):
            _check_network(report, key, value)
    _check_datasets(report, opt.get('datasets'), is_train)
    networks = [key.removeprefix('network_') for key in opt if isinstance(key, str) and key.startswith('network_')]
    if opt.get('path') is not None and report.section(('path',), opt['path']):
        keys = keysets['path'].merged(*(_path_keys(network) for network in networks))
        report.keys(('path',), opt['path'], keys, allowed=sections.PREPARED['path'], given=sections.PREPARED['path'])
        check_weight_files(report, ('path',), opt['path'])
    if is_train and opt.get('train') is not None and report.section(('train',), opt['train']):
        _check_train(report, opt['train'], keysets['train'], owner)
    if opt.get('val') is not None and report.section(('val',), opt['val']):
        allowed = _stock_keys(owner, keysets['val'], opt['val'], 'model', 'val')
        report.keys(('val',), opt['val'], keysets['val'], ranges='val', allowed=allowed)
        _check_metrics(report, opt['val'].get('metrics'))
    _check_logger(report, opt.get('logger'), is_train)
    if opt.get('dist_params') is not None and report.section(('dist_params',), opt['dist_params']):
        report.keys(('dist_params',), opt['dist_params'], keys_of_dataclass(sections.DistOptions, 'dist_params'))
    return sorted(report.problems, key=lambda p: (p.line is None, p.line or 0))


# --------------------------------------------------------------------------------------------- keys of a section


def model_keys(model: type | None, section: str, is_train: bool = True) -> KeySet:
    """The keys of a section of the option file, those of the loops and those of the model.

    Args:
        model: The model class; None accepts any key.
        section: ``top``, ``train``, ``path`` or ``val``.
        is_train: Whether what training reads may be required.
    """
    host_class = {
        'top': sections.TopOptions,
        'train': sections.TrainOptions,
        'path': sections.PathOptions,
        'val': sections.ValOptions,
    }[section]
    host = keys_of_dataclass(host_class)
    if model is None:
        return dataclasses.replace(host, rest='taken')
    published = getattr(model, f'{section.capitalize()}Options', None)
    if dataclasses.is_dataclass(published) and isinstance(published, type):
        return keys_of_dataclass(published, model.__name__).merged(host)
    entries = _TRAIN_ENTRIES if is_train else ('__init__',)
    own_keys = keys_read(model, () if section == 'top' else (section,), entries)
    for name in _ALWAYS_GIVEN & own_keys.keys.keys():
        own_keys.keys[name] = dataclasses.replace(own_keys.keys[name], required=False)
    return combined(host, own_keys, model.__name__)


def dataset_keys(dataset: type) -> KeySet:
    """The keys of a data set section: those of the loader and those of the class."""
    host = keys_of_dataclass(sections.LoaderOptions)
    published = getattr(dataset, 'Options', None)
    if dataclasses.is_dataclass(published) and isinstance(published, type):
        own = keys_of_dataclass(published, dataset.__name__)
        # a class that lists BasicSR's keys too lists everything, and its constructor takes nothing else
        return own if {'name', 'type'} <= own.keys.keys() else own.merged(host)
    return combined(host, keys_read(dataset, (), _DATASET_ENTRIES), dataset.__name__)


def metric_keys(metric: Component) -> KeySet:
    """The keys of a metric section."""
    own = keys_of_callable(metric.target).without(_METRIC_DATA)
    return own.merged(keys_of_dataclass(sections.MetricOptions))


def component_keys(component: Component) -> dict[str, KeySet]:
    """The option keys that a component brings, by section of the option file ('' is the component's own section).

    Args:
        component: Anything registered.
    """
    if component.kind == 'dataset':
        return {'': dataset_keys(component.target)}
    if component.kind == 'metric':
        return {'': metric_keys(component)}
    if component.kind == 'model':
        common = keys_of_dataclass(sections.TopOptions).keys
        top = model_keys(component.target, 'top').without({*common, *sections.PREPARED['top']})
        parts = {name: model_keys(component.target, name) for name in ('train', 'path', 'val')}
        parts['path'] = parts['path'].without(sections.PREPARED['path'])
        return {'top level': top, **parts}
    return {'': keys_of_callable(component.target, component.name)}


def _stock_keys(component: type | None, keys: KeySet, section: Mapping[str, Any], kind: str, place: str) -> set[str]:
    """What BasicSR's own classes of a kind read in a section, where a class of BasicSR meets a key it does not read.

    BasicSR's option files are copied from one another and carry such keys along, without effect.
    """
    if component is None or module_of(component) != 'basicsr' or not section.keys() - keys.keys.keys():
        return set()
    stock = [c.target for c in components(kind).values() if module_of(c.target) == 'basicsr']
    if kind == 'dataset':
        return {key for cls in stock for key in dataset_keys(cls).keys}
    return {key for cls in stock for key in model_keys(cls, place).keys}


def _path_keys(network: str) -> KeySet:
    """What section ``path`` may say about a network, for example ``g``."""
    return KeySet(
        'path',
        {
            f'pretrain_network_{network}': Key(f'pretrain_network_{network}', str | None),
            f'strict_load_{network}': Key(f'strict_load_{network}', bool),
            f'param_key_{network}': Key(f'param_key_{network}', str | None),
        },
    )


def optimizer_types(model: type | None) -> dict[str, type]:
    """The optimisers that a model can build: those its ``get_optimizer`` compares names with, else all of torch's."""
    import torch

    every = {
        name: cls
        for name, cls in vars(torch.optim).items()
        if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
    }
    compared = _compared_names(getattr(model, 'get_optimizer', None)) & every.keys()
    return {name: every[name] for name in sorted(compared)} if compared else every


def scheduler_types(model: type | None) -> dict[str, type] | None:
    """The learning-rate schedules that a model can build; None where it has a way of its own that tells no names."""
    from basicsr.models import lr_scheduler
    from torch.optim.lr_scheduler import LRScheduler

    known = {
        name: cls
        for name, cls in vars(lr_scheduler).items()
        if inspect.isclass(cls) and issubclass(cls, LRScheduler) and cls.__module__ == lr_scheduler.__name__
    }
    known['MultiStepLR'] = lr_scheduler.MultiStepRestartLR
    if model is None:
        return known
    compared = _compared_names(getattr(model, 'setup_schedulers', None))
    return {name: cls for name, cls in known.items() if name in compared} if compared & known.keys() else None


def _compared_names(function: Any) -> set[str]:
    """All text constants that a function compares something with."""
    tree = parse_source(function) if function is not None else None
    if tree is None:
        return set()
    sides = [
        side for node in ast.walk(tree) if isinstance(node, ast.Compare) for side in (node.left, *node.comparators)
    ]
    constants = [node for side in sides for node in ast.walk(side) if isinstance(node, ast.Constant)]
    return {node.value for node in constants if isinstance(node.value, str)}


# ------------------------------------------------------------------------------------------------------- sections


def _check_top(report: Report, keys: KeySet, owner: type | None, is_train: bool) -> None:
    opt = report.opt
    allowed = set(sections.PREPARED['top'])
    if owner is None or module_of(owner) == 'basicsr':
        allowed |= sections.NO_EFFECT['top'] | _stock_keys(owner, keys, opt, 'model', 'top')
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
        report.keys((key,), network, keys_of_callable(arch.target, arch.name), allowed={'type'})
    check_weight_files(report, (key,), network)


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
            allowed = _stock_keys(found.target, keys, dataset, 'dataset', '')
            report.keys(path, dataset, keys, ranges='dataset', given=given, allowed=allowed)
        _check_backend(report, (*path, 'io_backend'), dataset.get('io_backend'))
        check_dataset_files(report, path, dataset)


def _check_backend(report: Report, path: tuple[str, ...], backend: Any) -> None:
    from basicsr.utils.file_client import FileClient

    if backend is None or not isinstance(backend, Mapping):
        return
    types = FileClient._backends
    name = backend.get('type')
    if name not in types:
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
    report.keys(('train',), train, keys, ranges='train', allowed=_stock_keys(owner, keys, train, 'model', 'train'))
    for name, value in train.items():
        path = ('train', str(name))
        if value is None or not isinstance(value, Mapping):
            continue
        if str(name).startswith('optim_'):
            _check_by_type(report, path, value, optimizer_types(owner), 'optimiser', {'params'}, 'optim')
        elif name == 'scheduler':
            types = scheduler_types(owner)
            if types is not None:
                _check_by_type(report, path, value, types, 'learning-rate schedule', {'optimizer', 'last_epoch'})
        elif str(name).endswith('_opt') and ('type' in value or module_of(owner).startswith('basicsr')):
            loss = report.component('loss', path, value)
            if loss is not None:
                report.keys(path, value, keys_of_callable(loss.target, loss.name), allowed={'type'})


def _check_by_type(
    report: Report,
    path: tuple[str, ...],
    section: Mapping[str, Any],
    types: Mapping[str, type],
    what: str,
    given: set[str],
    ranges: str = '',
) -> None:
    """Check a section against the class it names, then what the class itself says about the values."""
    name = section.get('type')
    if name not in types:
        if name is None:
            report.add((*path, 'type'), f"The key 'type', the {what}, is missing.", f'There are: {", ".join(types)}.')
            return
        near = nearest(name, types)
        advice = f'Did you mean {near}?' if near else f'There are: {", ".join(types)}.'
        report.add((*path, 'type'), f'{shown(name)} is no {what} that this model can build.', advice)
        return
    before = len(report.problems)
    keys = keys_of_callable(types[name], name).without(given)
    if ranges == 'optim':
        # BasicSR's get_optimizer takes the learning rate as an argument of its own
        keys.keys['lr'] = Key('lr', float, required=True, doc='Learning rate.')
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
        report.add(path, f'{cls.__name__} refuses these values: {error}.'.replace('..', '.'))


def _check_metrics(report: Report, metrics: Any) -> None:
    if metrics is None or not isinstance(metrics, Mapping):
        return
    for name, metric in metrics.items():
        path = ('val', 'metrics', str(name))
        if not report.section(path, metric):
            continue
        found = report.component('metric', path, metric)
        if found is not None:
            report.keys(path, metric, metric_keys(found))


def _check_logger(report: Report, logger: Any, is_train: bool) -> None:
    if logger is None or not is_train or not report.section(('logger',), logger):
        return
    report.keys(('logger',), logger, keys_of_dataclass(sections.LoggerOptions, 'logger'), ranges='logger')
    wandb = logger.get('wandb')
    if isinstance(wandb, Mapping):
        report.keys(('logger', 'wandb'), wandb, keys_of_dataclass(sections.WandbOptions, 'wandb'))
