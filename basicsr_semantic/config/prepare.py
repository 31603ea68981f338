"""From an option file to the dict that BasicSR's data sets, models and loggers expect.

This replaces ``basicsr.utils.options.parse_options``, which loads YAML unsafely, runs ``--force_yml`` through ``exec``
and sets up processes on the way. Here each step is a function of its own: `load_yaml`, `apply_overrides`,
`check_options` (check.py), `prepare_options`.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from ..utils.errors import UserError
from .components import better_of, find
from .safe_yaml import YamlMapping, load_yaml, parse_value
from .sections import COUNTS

__all__ = ['META_INFO_FOLDER', 'apply_overrides', 'load_yaml', 'prepare_options', 'shipped_meta_info']

FLAG = '--force_yml'

META_INFO_FOLDER = Path(__file__).parents[1] / 'data' / 'meta_info'
"""Our copies of BasicSR's lists of clips."""

_logger = logging.getLogger('basicsr_semantic')


def apply_overrides(opt: dict[str, Any], overrides: Iterable[str] | None) -> dict[str, Any]:
    """Change options from the command line, as in ``--force_yml train:total_iter=100 datasets:train:gt_size=64``.

    Values are parsed as in an option file and never evaluated. Keys and sections that do not exist are made. A number
    in the path indexes a list (one past its end appends). An integer that replaces a float stays a float, and a
    ``name`` is always text.

    Args:
        opt: The options, changed in place.
        overrides: Entries ``section:key=value``; the value may hold further ``=``.

    Returns:
        ``opt`` itself.

    Raises:
        UserError: An entry without ``=``, a path through something that is no section, an index out of range.
    """
    for entry in overrides or ():
        path, equals, text = entry.partition('=')
        keys = [key.strip() for key in path.split(':')]
        if not equals or not all(keys):
            raise UserError(f"{FLAG} '{entry}' is not of the form section:key=value, as in train:optim_g:lr=1e-4.")
        source = f'{FLAG} {path.strip()}'
        parent: Any = opt
        for depth, key in enumerate(keys[:-1]):
            parent = _step_into(parent, key, source, ':'.join(keys[: depth + 1]))
        value = text.strip() if keys[-1] == 'name' and not _quoted(text) else parse_value(text, source)
        _assign(parent, keys[-1], value, source)
    return opt


def _quoted(text: str) -> bool:
    return text.strip()[:1] in ('"', "'")


def _step_into(parent: Any, key: str, source: str, path: str) -> Any:
    child_key = _existing_key(parent, key, source)
    if isinstance(parent, list) and child_key == len(parent):
        parent.append(None)
    child = parent[child_key] if isinstance(parent, list) else parent.get(child_key)
    if child is None:
        child = parent[child_key] = YamlMapping()
        _remember(parent, child_key)
    if not isinstance(child, dict | list):
        raise UserError(f'{source}: {path} is {child!r}, which has no keys of its own.')
    return child


def _assign(parent: Any, key: str, value: Any, source: str) -> None:
    child_key = _existing_key(parent, key, source)
    if isinstance(parent, list):
        if child_key == len(parent):
            parent.append(value)
        else:
            parent[child_key] = _keep_float(parent[child_key], value)
    else:
        parent[child_key] = _keep_float(parent.get(child_key), value)
        _remember(parent, child_key)


def _existing_key(parent: Any, key: str, source: str) -> Any:
    """The index for a list, else the key as the mapping has it (a YAML key may be a number)."""
    if isinstance(parent, list):
        if not key.isdecimal() or int(key) > len(parent):
            raise UserError(f"{source}: '{key}' is not an index into a list of {len(parent)} (0 to {len(parent)}).")
        return int(key)
    return next((known for known in parent if str(known) == key), key)


def _keep_float(old: Any, new: Any) -> Any:
    return float(new) if isinstance(old, float) and type(new) is int else new


def _remember(mapping: Any, key: Any) -> None:
    if isinstance(mapping, YamlMapping):
        mapping.places[key] = (FLAG, None)


def prepare_options(
    opt: dict[str, Any],
    root_path: str | Path,
    is_train: bool,
    *,
    auto_resume: bool = False,
    debug: bool = False,
    dist: bool = False,
    rank: int = 0,
    world_size: int = 1,
    manual_seed: int | None = None,
) -> dict[str, Any]:
    """Add what BasicSR derives from the options of a file: phases, paths, seed, number of GPUs, debug settings.

    Nothing outside the returned dict is touched: no folder is made, no random state is seeded, no process group is
    joined. The keys are those of BasicSR's ``parse_options`` and ``train_pipeline``, so that its models run.

    Args:
        opt: Checked options; left as they are.
        root_path: Folder in which ``experiments``, ``results`` and ``tb_logger`` are made.
        is_train: Whether to train (else test).
        auto_resume: Continue from the newest state of the experiment.
        debug: Prefix the name with ``debug_``; a name with ``debug`` in it validates and saves every 8 iterations.
        dist: Whether this is one of several processes of a launcher.
        rank: Number of this process, from 0.
        world_size: Number of processes.
        manual_seed: Seed where the file has none, the same one in all processes.

    Returns:
        A new dict.

    Raises:
        UserError: Several processes and no seed that they share, or a name or section is missing.
    """
    opt = deepcopy(opt)
    for key in ('name', 'datasets'):
        if not opt.get(key):
            raise UserError(f"The options have no '{key}'.")
    opt['path'] = opt.get('path') or YamlMapping()
    opt['root_path'] = str(root_path)
    opt['dist'], opt['rank'], opt['world_size'] = dist, rank, world_size
    opt['is_train'], opt['auto_resume'] = is_train, auto_resume
    opt['manual_seed'] = _seed(opt.get('manual_seed'), manual_seed, world_size)
    opt['num_gpu'] = _num_gpu(opt.get('num_gpu', 'auto'), dist, rank)
    if debug and not opt['name'].startswith('debug'):
        opt['name'] = 'debug_' + opt['name']
    _fill_in(opt)
    _prepare_datasets(opt)
    _prepare_paths(opt, Path(root_path))
    if is_train and 'debug' in opt['name']:
        if opt.get('val'):
            opt['val']['val_freq'] = 8
        opt['logger'] = opt.get('logger') or YamlMapping()
        opt['logger'].update(print_freq=1, save_checkpoint_freq=8)
    return opt


def _seed(from_file: int | None, from_caller: int | None, world_size: int) -> int:
    if from_file is not None:
        return from_file
    if from_caller is not None:
        return from_caller
    if world_size > 1:
        raise UserError('Several processes need one seed between them: add manual_seed to the option file.')
    return random.SystemRandom().randint(1, 10000)


def _num_gpu(wanted: int | str, dist: bool, rank: int) -> int:
    import torch

    present = torch.cuda.device_count()
    if wanted == 'auto':
        return present
    wanted = int(wanted)
    # The GPUs of a distributed run may sit in several machines: only "none here at all" changes anything.
    if wanted <= present or (dist and present):
        return wanted
    where = 'the CPU' if present == 0 else 'them'
    if rank == 0:
        _logger.warning('num_gpu is %d, but %d GPUs are present; running on %s.', wanted, present, where)
    return present


def _fill_in(opt: dict[str, Any]) -> None:
    """Keys that BasicSR reads without asking whether they are there, and iterations written as 5e3."""
    if opt.get('val') is not None:
        for key, value in (('save_img', False), ('suffix', None), ('metrics', None)):
            opt['val'].setdefault(key, value)
        for metric in (opt['val']['metrics'] or {}).values():
            component = find('metric', metric.get('type'))
            if component is not None and better_of(component) == 'lower':
                metric.setdefault('better', 'lower')  # BasicSR takes the highest value for the best one
    if opt.get('logger') is not None:
        opt['logger'].setdefault('use_tb_logger', False)
    for section in ('train', 'val', 'logger'):
        values = opt.get(section) or {}
        for key in COUNTS & values.keys():
            if isinstance(values[key], float) and values[key].is_integer():
                values[key] = int(values[key])


def _prepare_datasets(opt: dict[str, Any]) -> None:
    for name, dataset in opt['datasets'].items():
        dataset['phase'] = name.split('_')[0]
        if 'scale' in opt:
            dataset['scale'] = opt['scale']
        for key, value in dataset.items():
            if isinstance(value, str) and key.startswith(('dataroot', 'meta_info', 'annotation_file')):
                dataset[key] = str(shipped_meta_info(value) or os.path.expanduser(value))  # noqa: PTH111


def _prepare_paths(opt: dict[str, Any], root: Path) -> None:
    paths = opt['path']
    for key, value in paths.items():
        if isinstance(value, str) and ('resume_state' in key or 'pretrain' in key or key.endswith('_root')):
            paths[key] = os.path.expanduser(value)  # noqa: PTH111
    if opt['is_train']:
        home = Path(paths.get('experiments_root') or root / 'experiments') / opt['name']
        paths['experiments_root'] = str(home)
        paths['models'] = str(home / 'models')
        paths['training_states'] = str(home / 'training_states')
    else:
        home = Path(paths.get('results_root') or root / 'results') / opt['name']
        paths['results_root'] = str(home)
    paths['log'] = str(home)
    paths['visualization'] = str(home / 'visualization')


def shipped_meta_info(path: str) -> Path | None:
    """Our copy of a file ``basicsr/data/meta_info/X.txt`` that is not there.

    BasicSR's option files name its own lists of clips, which its package on PyPI does not have.

    Args:
        path: Value of ``meta_info_file``.

    Returns:
        Our file of that name, or None where the path exists, points elsewhere, or names a list we do not have.
    """
    asked = Path(path)
    if asked.exists() or asked.parts[-4:-1] != ('basicsr', 'data', 'meta_info'):
        return None
    ours = META_INFO_FOLDER / asked.name
    return ours if ours.is_file() else None
