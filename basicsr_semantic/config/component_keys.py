"""Which option keys each registered component brings, section by section."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from . import sections
from .components import Component, better_of, components
from .keys import Key, KeySet, keys_of_callable, keys_of_dataclass, module_of, parse_source
from .reads import keys_read
from .report import combined

_TRAIN_ENTRIES = ('__init__', 'init_training_settings', 'setup_optimizers', 'setup_schedulers')
_DATASET_ENTRIES = ('__init__', '__getitem__')
_METRIC_DATA = ('img', 'img2', 'previous', 'previous2')
"""Arguments of a metric function that the validation gives."""
_ALWAYS_GIVEN = {'path', 'num_gpu', 'manual_seed', *sections.PREPARED['top'], *sections.PREPARED['path']}


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
    both = own.merged(keys_of_dataclass(sections.MetricOptions))
    both.keys['better'] = dataclasses.replace(both.keys['better'], default=better_of(metric))
    return both


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


def stock_keys(component: type | None, keys: KeySet, section: Mapping[str, Any], kind: str, place: str) -> set[str]:
    """What BasicSR's own classes of a kind read in a section, where a class of BasicSR meets a key it does not read.

    BasicSR's option files are copied from one another and carry such keys along, without effect.
    """
    if component is None or module_of(component) != 'basicsr' or not section.keys() - keys.keys.keys():
        return set()
    stock = [c.target for c in components(kind).values() if module_of(c.target) == 'basicsr']
    if kind == 'dataset':
        return {key for cls in stock for key in dataset_keys(cls).keys}
    return {key for cls in stock for key in model_keys(cls, place).keys}


def source_keys(extractor: type) -> KeySet:
    """The keys of section ``network_s``: where the run finds the device itself, and not every mode needs all files."""
    own = keys_of_callable(extractor).without({'device'})
    own.keys = {name: dataclasses.replace(key, required=False) for name, key in own.keys.items()}
    return dataclasses.replace(keys_of_dataclass(sections.SourceOptions).merged(own), owner='network_s')


def frame_decoder_keys() -> KeySet:
    """The keys of section ``frame_decoder``."""
    from ..extractors.xdecoder import XDecoder

    own = keys_of_dataclass(sections.FrameDecoderOptions, 'frame_decoder')
    return own.merged(keys_of_callable(XDecoder))


def diffusion_keys() -> KeySet:
    """The keys of section ``diffusion``."""
    from ..diffusion import BlurringResShift

    return keys_of_callable(BlurringResShift, 'diffusion')


def optimizer_keys(optimizer: type) -> KeySet:
    """The keys of an optimiser's section."""
    keys = keys_of_callable(optimizer).without({'params'})
    # BasicSR's get_optimizer takes the learning rate as an argument of its own
    keys.keys['lr'] = Key('lr', float, required=True, doc='Learning rate.')
    return keys


def schedule_keys(schedule: type) -> KeySet:
    """The keys of section ``scheduler``."""
    return keys_of_callable(schedule).without({'optimizer', 'last_epoch'})


def path_keys(network: str) -> KeySet:
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
