"""What is wrong with the options of SeeClear, found before anything is made."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

from ..archs.seeclear_arch import SeeClear
from ..config.section import subsection
from ..diffusion import BlurringResShift
from ..utils.errors import full_stop
from ..utils.nearest import nearest
from .part_checks import Said


def problems(opt: Mapping[str, Any], is_train: bool) -> Said:
    """Every contradiction between sections of one file; values of a wrong type are skipped."""
    given = subsection(opt, 'network_g')
    if given.get('type', 'SeeClear') != 'SeeClear':
        yield ('network_g', 'type'), f'It is {given["type"]}; SeeClearModel trains and tests type: SeeClear.'
        return
    network = {key: one.default for key, one in inspect.signature(SeeClear).parameters.items()} | given
    yield from _diffusion(opt, network)
    yield from _base(opt.get('base_upsampler', 'bicubic'), subsection(opt, 'path'))
    if is_train:
        yield from _stage(opt, network)
    for name, dataset in subsection(opt, 'datasets').items() if network['category'] else ():
        for key in [key for key in ('max_frames', 'num_frame') if isinstance(dataset, Mapping) and dataset.get(key)]:
            if not name.startswith('train'):
                message = 'It cuts videos, but the memory of SeeClear runs through the whole video. Remove it'
                yield ('datasets', name, key), f'{message} (first_frames samples the beginning of each video only).'


def _diffusion(opt: Mapping[str, Any], network: Mapping[str, Any]) -> Said:
    try:
        with warnings.catch_warnings(record=True):  # the model logs them
            diffusion = BlurringResShift(**subsection(opt, 'diffusion'))
    except (TypeError, ValueError, ZeroDivisionError) as error:
        yield ('diffusion',), full_stop(error)
        return
    smallest = SeeClear.size_requirements.multiple_of * (network['upscale'] if network['upscale'] in (2, 4) else 4)
    if smallest % diffusion.patch:
        message = f'It is {diffusion.patch}, but frames are padded to multiples of {smallest}'
        yield ('diffusion', 'patch'), f'{message}: take 1, 2, 4, 8, 16 or 32.'
    steps, most = subsection(opt, 'val').get('sample_steps'), diffusion.steps
    if isinstance(steps, int) and not 1 <= steps <= most:
        message = f'It is {steps}; a diffusion of {most} steps can be sampled in 1 to {most}.'
        yield ('val', 'sample_steps'), message


def _base(base: Any, path: Mapping[str, Any]) -> Said:
    weights = path.get('pretrain_base_upsampler')
    if isinstance(base, Mapping):
        if not weights and not nearest('pretrain_base_upsampler', path, 0.9):  # a misspelling is reported already
            message = f'A {base.get("type")} without weights makes frames that mean nothing. Give them:'
            yield ('base_upsampler',), f'{message} path:pretrain_base_upsampler: FILE.'
    elif base != 'bicubic':
        yield ('base_upsampler',), f'It is {base!r}. Say bicubic, or name an arch: {{type: BasicVSR, ...}}.'
    elif weights:
        yield ('path', 'pretrain_base_upsampler'), 'It has no effect, since base_upsampler is bicubic. Remove it.'


def _stage(opt: Mapping[str, Any], network: Mapping[str, Any]) -> Said:
    stage, length = subsection(opt, 'train').get('stage', 'condenser'), network['clip_length']
    later = stage in ('memory', 'joint')
    if later and not network['category']:
        yield ('train', 'stage'), f'It is {stage}, but network_g:category: false leaves no memory to train.'
    if later and not subsection(opt, 'path').get('pretrain_network_g'):
        message = f'It is {stage}, which goes on from a trained condenser. Give the checkpoint of the stage before:'
        yield ('train', 'stage'), f'{message} path:pretrain_network_g: FILE.'
    frames = subsection(subsection(opt, 'datasets'), 'train').get('num_frame')
    if not isinstance(frames, int) or not isinstance(length, int):
        return
    if stage == 'condenser' and frames != length:
        message = f'It is {frames}; stage condenser takes clips of {length} frames (network_g:clip_length).'
        yield ('datasets', 'train', 'num_frame'), message
    if later and frames <= length:
        message = f'It is {frames}, one clip, but what the memory has learnt has an effect only in the next clip.'
        yield ('datasets', 'train', 'num_frame'), f'{message} Set it to {2 * length} or {3 * length}.'
