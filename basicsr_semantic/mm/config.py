"""Configurations in MMEngine's Python style, made from option files, which stay the only source of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..config import sections
from ..config.check import check_options
from ..config.option_file import OptionFile
from ..config.problems import raise_problems
from ..utils.errors import UserError

Config = dict[str, Any]

_SCOPE = 'basicsr_semantic'
_LOADER_KEYS = set(sections.LoaderOptions.model_fields) - {'name', 'type', 'phase', 'scale', 'io_backend'}
_LINE = 110


def config_of(path: str | Path) -> tuple[Config, list[str]]:
    """The configuration of an option file, as a dict, and what it leaves out, as sentences.

    Args:
        path: An option file of one of this package's models, for training or for a test.

    Raises:
        UserError: The file has mistakes, is of a model of BasicSR's own, or has what MMEngine does otherwise.
    """
    file = OptionFile.read(path)
    is_train = bool(file.values.get('train'))
    checked = check_options(file, is_train)
    raise_problems(checked.errors, file)
    opt = file.values
    if opt['model_type'] not in _MODELS:
        raise UserError(
            f'{path}: model_type is {opt["model_type"]}, but there are models of MMEngine for {", ".join(_MODELS)}. '
            "SemanticVSRModel trains and tests the networks of BasicSR's video models, too."
        )
    if is_train and (opt['train'].get('accumulate') or 1) > 1:
        raise UserError(
            f'{path}: train:accumulate divides a batch; MMEngine adds up several batches instead. Divide '
            'batch_size_per_gpu by it and set accumulative_counts in optim_wrapper.'
        )
    seed = int(opt.get('manual_seed') or 0)
    config: Config = {
        'custom_imports': {'imports': f'{_SCOPE}.mm'},
        'default_scope': 'mmengine',
        'experiment_name': opt['name'],
        'work_dir': f'work_dirs/{opt["name"]}',
        'randomness': {'seed': seed},
        'model': _MODELS[opt['model_type']](opt, seed),
    }
    config['model']['data_preprocessor'] = {'type': f'{_SCOPE}.ClipPreprocessor'}
    if opt.get('find_unused_parameters'):
        config['find_unused_parameters'] = True
    remarks: list[str] = []
    if is_train:
        config |= _training(opt, checked.values, seed)
    config |= _testing(opt, is_train, remarks)
    config |= _hooks(opt, is_train, seed)
    return config, remarks


# ------------------------------------------------------------------------------------------------------------- models


def _semantic(opt: Config, seed: int) -> Config:
    train = opt.get('train') or {}
    model = {'type': f'{_SCOPE}.SemanticRestorer', 'generator': opt['network_g'], 'scale': opt.get('scale')}
    model |= {'extractor': opt.get('network_s'), 'pixel_loss': train.get('pixel_opt')}
    model |= {'perceptual_loss': train.get('perceptual_opt')}
    kept = ('trainable', 'prior_dropout', 'fix_flow', 'tsa_iter', 'compile', 'stage')
    return _filled(model | _common(opt, kept, seed))


def _seeclear(opt: Config, seed: int) -> Config:
    model = _semantic(opt, seed) | {'type': f'{_SCOPE}.SeeClearRestorer'}
    return model | _filled({'diffusion': opt.get('diffusion'), 'base_upsampler': opt.get('base_upsampler')})


def _instances(opt: Config, seed: int) -> Config:
    train = opt.get('train')
    loss = None if train is None else train.get('instance_opt', {'type': 'VideoInstanceLoss'})
    model = {'type': f'{_SCOPE}.VideoInstanceSegmentor', 'generator': opt['network_g']}
    model |= {'frame_decoder': opt['frame_decoder'], 'instance_loss': loss}
    return _filled(model | _common(opt, ('trainable',), seed))


_MODELS = {'SemanticVSRModel': _semantic, 'SeeClearModel': _seeclear, 'VideoInstanceModel': _instances}
_FACTORS = {'flow_lr_mul': 'spynet', 'dcn_lr_mul': 'dcn', 'frame_decoder_lr_mul': 'frame_decoder'}


def _common(opt: Config, kept: tuple[str, ...], seed: int) -> Config:
    """What all models take: options of training and tests, weights, seed."""
    train, val, path = (dict(opt.get(name) or {}) for name in ('train', 'val', 'path'))
    loop = set(sections.ValOptions.model_fields)
    weights = {key: value for key, value in path.items() if key not in sections.PathOptions.model_fields}
    return {
        'train_cfg': {key: train[key] for key in kept if train.get(key) is not None} if train else None,
        'test_cfg': {key: value for key, value in val.items() if key not in loop},
        'weights': weights,
        'seed': seed,
    }


def _filled(section: Config) -> Config:
    return {key: value for key, value in section.items() if value is not None and value != {}}


# ------------------------------------------------------------------------------------------------------------ training


def _training(opt: Config, checked: Config, seed: int) -> Config:
    train, data, loader = opt['train'], opt['datasets']['train'], checked['datasets']['train']
    batch, workers = loader['batch_size_per_gpu'], loader['num_worker_per_gpu']
    dataset = _dataset(opt, 'train', data)
    sampler = {'type': f'{_SCOPE}.PlacedSampler', 'batch_size': batch, 'total_iter': train['total_iter']}
    sampler |= {'ratio': loader['dataset_enlarge_ratio']}
    optimizer = {key: value for key, value in train['optim_g'].items() if key != 'groups'}
    factors = {word: train[key] for key, word in _FACTORS.items() if train.get(key, 1) != 1}
    paramwise = _filled({'factors': factors, 'groups': train['optim_g'].get('groups')})
    clip = {'clip_grad': {'max_norm': train['grad_clip']}} if train.get('grad_clip') else {}
    kinds = {None: {'type': 'OptimWrapper'}, 'bf16': {'type': 'AmpOptimWrapper', 'dtype': 'bfloat16'}}
    kinds['fp16'] = {'type': 'AmpOptimWrapper', 'dtype': 'float16', 'loss_scale': 'dynamic'}
    frequency = (opt.get('val') or {}).get('val_freq') or train['total_iter']
    return {
        'train_dataloader': {
            'batch_size': batch,
            'num_workers': workers,
            'pin_memory': loader['pin_memory'],
            'sampler': sampler,
            'collate_fn': {'type': f'{_SCOPE}.collate_clips'},
            'worker_init_fn': {'type': f'{_SCOPE}.start_worker'},
            'dataset': {'type': f'{_SCOPE}.SeededClips', 'seed': seed, 'dataset': dataset},
        },
        'optim_wrapper': {
            **kinds[train.get('amp')],
            'constructor': f'{_SCOPE}.GroupedOptimizer',
            'optimizer': optimizer,
            **clip,
            **({'paramwise_cfg': paramwise} if paramwise else {}),
        },
        'param_scheduler': [_schedule(dict(train['scheduler']))],
        'train_cfg': {
            'type': f'{_SCOPE}.ResumableTrainLoop',
            'max_iters': train['total_iter'],
            'val_interval': frequency,
        },
    }


def _schedule(scheduler: Config) -> Config:
    """A schedule of MMEngine with the rates of one of BasicSR's.

    Raises:
        UserError: MMEngine has none like it.
    """
    kind = scheduler.pop('type')
    if kind == 'CosineAnnealingRestartLR':
        periods = scheduler['periods']
        return {
            'type': 'CosineRestartLR' if len(periods) == 1 else f'{_SCOPE}.LateCosineRestartLR',
            'by_epoch': False,
            'periods': periods,
            'restart_weights': scheduler.get('restart_weights') or [1] * len(periods),
            'eta_min': scheduler.get('eta_min', 0),
        }
    if kind in ('MultiStepLR', 'MultiStepRestartLR') and scheduler.get('restarts', [0]) in ([0], (0,)):
        steps = {'milestones': scheduler['milestones'], 'gamma': scheduler.get('gamma', 0.1)}
        return {'type': 'MultiStepLR', 'by_epoch': False, **steps}
    raise UserError(f'train:scheduler: {kind} with these arguments has no counterpart in MMEngine.')


# -------------------------------------------------------------------------------------------------------------- tests


def _testing(opt: Config, is_train: bool, remarks: list[str]) -> Config:
    """The loader, the metrics and the loop of validation or test; none where there is no data set for it."""
    phase = 'val' if is_train else 'test'
    found = {name: data for name, data in opt['datasets'].items() if name.split('_')[0] == phase}
    if not found or (is_train and opt.get('val') is None):
        return {}
    name, data = next(iter(found.items()))
    others = list(found)[1:]
    if others:
        remarks.append(f"MMEngine's loops take one data set: {', '.join(others)} left out, {name} taken.")
    metrics = (opt.get('val') or {}).get('metrics') or {}
    if opt['model_type'] == 'VideoInstanceModel':
        evaluator: list[Config] = [{'type': f'{_SCOPE}.VideoInstanceAP', 'prefix': data['name']}]
    else:
        evaluator = [
            {**one, 'type': f'{_SCOPE}.{one["type"]}', 'label': label, 'prefix': data['name']}
            for label, one in metrics.items()
        ]
    return {
        f'{phase}_dataloader': {
            'batch_size': 1,
            'num_workers': 0,
            'sampler': {'type': 'DefaultSampler', 'shuffle': False},
            'collate_fn': {'type': f'{_SCOPE}.collate_item'},
            'dataset': {'type': f'{_SCOPE}.TestedClips', 'dataset': _dataset(opt, phase, data)},
        },
        f'{phase}_evaluator': evaluator,
        f'{phase}_cfg': {'type': 'ValLoop' if is_train else 'TestLoop'},
    }


def _dataset(opt: Config, phase: str, section: Config) -> Config:
    kept = {key: value for key, value in section.items() if key not in {*_LOADER_KEYS, 'type'}}
    scale = {'scale': opt['scale']} if opt.get('scale') is not None else {}
    return {'type': f'{_SCOPE}.{section["type"]}', **kept, 'phase': phase, **scale}


# -------------------------------------------------------------------------------------------------------------- hooks


def _hooks(opt: Config, is_train: bool, seed: int) -> Config:
    folder = None if is_train or _has_gt(opt) else f'work_dirs/{opt["name"]}/restored'
    show = {'type': f'{_SCOPE}.ShowHook', **({'folder': folder} if folder else {})}
    shown = [] if opt['model_type'] == 'VideoInstanceModel' else [show]
    if not is_train:  # the kind of priors that the network was trained with comes out of the checkpoint
        return {'custom_hooks': [{'type': f'{_SCOPE}.PlainCheckpoint'}, *shown]}
    train, logger = opt['train'], opt['logger']
    custom: list[Config] = [
        {'type': f'{_SCOPE}.SeedHook', 'seed': seed},
        {'type': f'{_SCOPE}.PlainCheckpoint'},
    ]
    if (train.get('warmup_iter') or -1) > 0:
        custom.append({'type': f'{_SCOPE}.WarmUpHook', 'warmup_iter': train['warmup_iter']})
    if train.get('ema_decay'):
        average = {'ema_type': f'{_SCOPE}.AverageFromStart', 'momentum': 1 - train['ema_decay']}
        custom.append({'type': 'EMAHook', **average})
    custom += shown
    checkpoint = {'type': 'CheckpointHook', 'by_epoch': False, 'interval': logger['save_checkpoint_freq']}
    return {
        'default_hooks': {
            'logger': {'type': 'LoggerHook', 'interval': logger['print_freq']},
            'checkpoint': checkpoint,
        },
        'custom_hooks': custom,
        'log_processor': {'by_epoch': False},
    }


def _has_gt(opt: Config) -> bool:
    data = next((one for name, one in opt['datasets'].items() if name.split('_')[0] == 'test'), {})
    return bool(data.get('dataroot_gt'))


# --------------------------------------------------------------------------------------------------------------- text


def config_text(path: str | Path) -> str:
    """The configuration of an option file as Python, ready to be written.

    Raises:
        UserError: See :func:`config_of`.
    """
    config, remarks = config_of(path)
    head = [f'# Made by: basicsr mm-config {Path(path).as_posix()}', *(f'# {remark}' for remark in remarks)]
    parts = [f'{name} = {_python(value, 0, len(name) + 3)}' for name, value in config.items()]
    return '\n'.join([*head, '', *parts]) + '\n'


def _python(value: Any, depth: int, used: int) -> str:
    """A value as Python, on one line where it fits."""
    if isinstance(value, Mapping) or (isinstance(value, list | tuple) and value):
        plain = _flat(value)
        if used + 4 * depth + len(plain) <= _LINE:
            return plain
        inner, outer = '    ' * (depth + 1), '    ' * depth
        lines = ''.join(f'{inner}{line},\n' for line in _entries(value, depth + 1))
        return f'dict(\n{lines}{outer})' if isinstance(value, Mapping) else f'[\n{lines}{outer}]'
    return repr(value)


def _entries(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield f'{key}={_python(one, depth, len(key) + 1)}'
    else:
        for one in value:
            yield _python(one, depth, 0)


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return f'dict({", ".join(f"{key}={_flat(one)}" for key, one in value.items())})'
    if isinstance(value, list | tuple):
        return f'[{", ".join(map(_flat, value))}]'
    return repr(value)
