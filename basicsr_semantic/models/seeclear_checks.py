"""What is wrong with the options of SeeClear, found before anything is made."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from ..archs.seeclear_arch import SeeClear
from ..diffusion import BlurringResShift
from ..utils.errors import full_stop
from ..utils.nearest import nearest

Problem = tuple[tuple[str, ...], str]
"""Keys of the option, and a sentence."""


def problems(opt: Mapping[str, Any], is_train: bool) -> Iterator[Problem]:
    """Everything that sections of one file say against each other; values of a wrong type are passed over.

    Args:
        opt: The options.
        is_train: Whether they are for training.
    """
    network = _section(opt, 'network_g')
    datasets = {name: dataset for name, dataset in _section(opt, 'datasets').items() if isinstance(dataset, Mapping)}
    if network.get('type', 'SeeClear') != 'SeeClear':
        yield ('network_g', 'type'), f'It is {network["type"]}; SeeClearModel trains and tests type: SeeClear.'
        return
    yield from _diffusion(opt)
    yield from _base(opt)
    if is_train:
        yield from _stage(opt, network)
        yield from _clips(_section(opt, 'train').get('stage', 'condenser'), network, datasets.get('train', {}))
    if _given(network, 'category'):
        for name, dataset in datasets.items():
            key = next((key for key in ('max_frames', 'num_frame') if dataset.get(key)), None)
            if not name.startswith('train') and key:
                yield (
                    ('datasets', name, key),
                    'It cuts videos, but the memory of SeeClear runs through the whole video. Remove it (first_frames '
                    'samples the beginning of each video only).',
                )


def _diffusion(opt: Mapping[str, Any]) -> Iterator[Problem]:
    section = _section(opt, 'diffusion')
    try:
        with warnings.catch_warnings(record=True):  # the model says them in the log
            diffusion = BlurringResShift(**section)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        yield ('diffusion',), full_stop(error)
        return
    smallest = _multiple(_section(opt, 'network_g'))
    if smallest % diffusion.patch:
        yield (
            ('diffusion', 'patch'),
            f'It is {diffusion.patch}, but frames are padded to multiples of {smallest}: take 1, 2, 4, 8, 16 or 32.',
        )
    steps = _section(opt, 'val').get('sample_steps')
    if isinstance(steps, int) and not 1 <= steps <= diffusion.steps:
        yield (
            ('val', 'sample_steps'),
            f'It is {steps}; a diffusion of {diffusion.steps} steps can be sampled in 1 to {diffusion.steps}.',
        )


def _base(opt: Mapping[str, Any]) -> Iterator[Problem]:
    base = opt.get('base_upsampler', 'bicubic')
    path = _section(opt, 'path')
    weights = path.get('pretrain_base_upsampler')
    if isinstance(base, Mapping):
        misspelt = nearest('pretrain_base_upsampler', path, 0.9)  # which is said once already
        if not weights and not misspelt:
            yield (
                ('base_upsampler',),
                f'A {base.get("type")} without weights makes frames that mean nothing. Give them: '
                'path:pretrain_base_upsampler: FILE.',
            )
    elif base != 'bicubic':
        yield ('base_upsampler',), f'It is {base!r}. Say bicubic, or name an arch: {{type: BasicVSR, ...}}.'
    elif weights:
        yield ('path', 'pretrain_base_upsampler'), 'It serves nothing, since base_upsampler is bicubic. Remove it.'


def _stage(opt: Mapping[str, Any], network: Mapping[str, Any]) -> Iterator[Problem]:
    stage = _section(opt, 'train').get('stage', 'condenser')
    if stage not in ('memory', 'joint'):
        return
    if not _given(network, 'category'):
        yield ('train', 'stage'), f'It is {stage}, but network_g:category: false leaves no memory to train.'
    if not _section(opt, 'path').get('pretrain_network_g'):
        yield (
            ('train', 'stage'),
            f'It is {stage}, which goes on from a trained condenser. Give the checkpoint of the stage before: '
            'path:pretrain_network_g: FILE.',
        )


def _clips(stage: Any, network: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Problem]:
    length, frames, size = _given(network, 'clip_length'), data.get('num_frame'), data.get('gt_size')
    if isinstance(frames, int) and isinstance(length, int):
        if stage == 'condenser' and frames != length:
            yield (
                ('datasets', 'train', 'num_frame'),
                f'It is {frames}; stage condenser takes clips of {length} frames (network_g:clip_length).',
            )
        if stage in ('memory', 'joint') and frames <= length:
            yield (
                ('datasets', 'train', 'num_frame'),
                f'It is {frames}, one clip; what the memory has learnt shows in the next one. Set it to {2 * length} '
                f'or {3 * length}.',
            )
    multiple = _multiple(network)
    if isinstance(size, int) and size % multiple:
        yield (
            ('datasets', 'train', 'gt_size'),
            f'It is {size}; SeeClear halves the LR frame three times, so it must be a multiple of {multiple}: '
            f'{max(size // multiple, 1) * multiple} or {(size // multiple + 1) * multiple}.',
        )


def _multiple(network: Mapping[str, Any]) -> int:
    """What the sides of GT frames are multiples of."""
    scale = _given(network, 'upscale')
    return SeeClear.size_requirements.multiple_of * (scale if scale in (2, 4) else 4)


def _section(opt: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = opt.get(name)
    return section if isinstance(section, Mapping) else {}


def _given(network: Mapping[str, Any], name: str) -> Any:
    """An argument of the network, or its default."""
    return network.get(name, inspect.signature(SeeClear).parameters[name].default)
