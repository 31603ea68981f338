"""From checked options to a run: what BasicSR's classes expect in the dict, and typed sections for the loop.

This replaces ``basicsr.utils.options.parse_options``, which loads YAML unsafely, runs ``--force_yml`` through ``exec``
and sets up processes on the way.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import sections
from ..config.check import Checked
from ..config.components import better_of, find
from ..config.section import AnySection
from ..utils.errors import UserError
from ..utils.folder_lock import FolderLock
from .distributed import gather_lists

_logger = logging.getLogger('basicsr_semantic')


@dataclass
class Run:
    """Everything that determines a run. The loop reads the typed sections; BasicSR's classes read ``opt``."""

    opt: dict[str, Any]
    """The dict, with the keys of BasicSR's ``parse_options`` and ``train_pipeline``."""
    train: sections.TrainOptions
    """Section ``train``; of a test, an empty one."""
    val: sections.ValOptions | None
    """Section ``val``, None where the file has none."""
    logger: sections.LoggerOptions
    """Section ``logger``."""
    loaders: dict[str, sections.LoaderOptions]
    """What the loops read of each data set, by the name of its section."""
    seed_is_given: bool
    """Whether the file has a ``manual_seed``."""
    warnings: list[str]
    """What the check found that does not stop a run."""


def prepare_run(
    checked: Checked | Mapping[str, Any],
    root_path: str | Path,
    is_train: bool,
    *,
    auto_resume: bool = False,
    debug: bool = False,
    dist: bool = False,
    rank: int = 0,
    world_size: int = 1,
    manual_seed: int | None = None,
) -> Run:
    """Add what BasicSR derives from the options of a file: phases, paths, seed, number of GPUs, debug settings.

    Nothing outside is touched: no folder is made, no random state is seeded, no process group is joined.

    Args:
        checked: Checked options without errors; left as they are.
        root_path: Folder in which ``experiments``, ``results`` and ``tb_logger`` are made.
        is_train: Whether to train (else test).
        auto_resume: Continue from the newest state of the experiment.
        debug: Prefix the name with ``debug_``; a name with ``debug`` in it validates and saves every 8 iterations.
        dist: Whether this is one of several processes of a launcher.
        rank: Number of this process, from 0.
        world_size: Number of processes.
        manual_seed: Seed where the file has none, the same one in all processes.

    Raises:
        UserError: Several processes and no seed that they share.
    """
    opt = deepcopy(checked.values if isinstance(checked, Checked) else dict(checked))
    opt['path'] = opt.get('path') or {}
    if not is_train and opt.get('val') is None:  # BasicSR's image models read it in every test
        opt['val'] = sections.ValOptions().model_dump()
    opt.update(root_path=str(root_path), dist=dist, rank=rank, world_size=world_size)
    opt.update(is_train=is_train, auto_resume=auto_resume, num_gpu=_num_gpu(opt.get('num_gpu', 'auto'), dist, rank))
    seed_is_given = opt.get('manual_seed') is not None
    if not seed_is_given:
        if manual_seed is None and world_size > 1:
            raise UserError('Several processes need one seed between them: add manual_seed to the option file.')
        opt['manual_seed'] = random.SystemRandom().randint(1, 10000) if manual_seed is None else manual_seed
    if debug and not opt['name'].startswith('debug'):
        opt['name'] = f'debug_{opt["name"]}'
    for metric in ((opt.get('val') or {}).get('metrics') or {}).values():
        component = find('metric', metric.get('type'))
        if component is not None and better_of(component) == 'lower':
            metric.setdefault('better', 'lower')  # BasicSR takes the highest value for the best one
    for dataset in opt['datasets'].values():
        for key, value in dataset.items():
            if isinstance(value, str) and key.startswith(('dataroot', 'meta_info', 'annotation_file')):
                dataset[key] = os.path.expanduser(value)  # noqa: PTH111  (a URL-like root must keep its slashes)
    _prepare_paths(opt, Path(root_path))
    opt['logger'] = opt.get('logger') or {}
    if is_train and 'debug' in opt['name']:
        opt['logger'].update(print_freq=1, save_checkpoint_freq=8)
        if opt.get('val'):
            opt['val']['val_freq'] = 8
    return Run(
        opt,
        _typed(sections.TrainOptions, opt.get('train') if is_train else None, total_iter=1),
        _typed(sections.ValOptions, opt['val']) if opt.get('val') is not None else None,
        _typed(sections.LoggerOptions, opt['logger'], print_freq=1, save_checkpoint_freq=1),
        {name: _typed(sections.LoaderOptions, one, name=name, type='') for name, one in opt['datasets'].items()},
        seed_is_given,
        [str(one) for one in checked.problems if one.warning] if isinstance(checked, Checked) else [],
    )


def move_paths(opt: dict[str, Any], folder: str) -> None:
    """Put everything that a run writes below another folder."""
    for key in ('experiments_root', 'results_root'):
        opt['path'].pop(key, None)
    opt['root_path'] = folder
    _prepare_paths(opt, Path(folder))


@contextlib.contextmanager
def hold_folder(opt: dict[str, Any]) -> Iterator[None]:
    """Lock the experiment's folder of a training run. Rank 0 does it, and all ranks get the result.

    Args:
        opt: Prepared options.

    Raises:
        UserError: Another process runs there; the same sentence in every process of this run.
    """
    lock, refusals = None, []
    if opt['rank'] == 0:
        lock = FolderLock(opt['path']['experiments_root'])
        try:
            lock.acquire()
        except UserError as error:
            refusals = [str(error)]
    try:
        for refusal in gather_lists(refusals):
            raise UserError(refusal)
        yield
    finally:
        if lock is not None:
            lock.release()


def _typed(cls: type[AnySection], section: Mapping[str, Any] | None, **otherwise: Any) -> AnySection:
    """The part of a section that the loop reads."""
    return cls.model_validate(otherwise | {k: v for k, v in (section or {}).items() if k in cls.model_fields})


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


def _prepare_paths(opt: dict[str, Any], root: Path) -> None:
    paths = opt['path']
    for key, value in paths.items():
        if isinstance(value, str) and ('resume_state' in key or 'pretrain' in key or key.endswith('_root')):
            paths[key] = os.path.expanduser(value)  # noqa: PTH111  (as above)
    kind = 'experiments' if opt['is_train'] else 'results'
    home = Path(paths.get(f'{kind}_root') or root / kind) / opt['name']
    paths[f'{kind}_root'] = str(home)
    if opt['is_train']:
        paths['models'] = str(home / 'models')
        paths['training_states'] = str(home / 'training_states')
    paths['log'] = str(home)
    paths['visualization'] = str(home / 'visualization')
