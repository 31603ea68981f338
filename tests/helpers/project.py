"""The project around the tests: its root, real clips, tiny option files, the command line in its own process."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
import yaml
from helpers.children import ROOT, Children, Setting, Start

# Frames that may not lie in the repository: `davis320` (made by tools/experiments/make_davis320.py) and `vid4_calendar`
# (that clip of Vid4: gt, lr_bi of MATLAB, lr_bd).
REAL_CLIPS = Path(os.environ.get('REAL_CLIPS', '')).resolve()


def needs_clips(name: str) -> pytest.MarkDecorator:
    """Skip where the environment variable REAL_CLIPS names no folder that has these clips."""
    return pytest.mark.skipif(not (REAL_CLIPS / name).is_dir(), reason=f'REAL_CLIPS names no folder with {name}')


def training_options(clips: Path, **sections) -> dict:
    """The options of a tiny training run on clips like those of `clips`; sections given replace keys of the defaults.

    Args:
        clips: Folder with ``gt`` and ``lq``.
        sections: Sections of the file; keys whose value is ``...`` are left out.
    """
    opt = {
        'name': 'tiny',
        'model_type': 'SemanticVSRModel',
        'scale': 4,
        'num_gpu': 0,
        'manual_seed': 3,
        'datasets': {
            'train': {
                'name': 'tiny',
                'type': 'SemanticClipDataset',
                'dataroot_gt': str(clips / 'gt'),
                'dataroot_lq': str(clips / 'lq'),
                'io_backend': {'type': 'disk'},
                'num_frame': 3,
                'gt_size': 64,
                'interval_list': [1, 2],
                'random_reverse': True,
                'use_hflip': True,
                'use_rot': True,
                'num_worker_per_gpu': 0,
                'batch_size_per_gpu': 2,
                'dataset_enlarge_ratio': 1,
            },
        },
        'network_g': {'type': 'TinyVSR'},
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'train': {
            'total_iter': 6,
            'optim_g': {'type': 'Adam', 'lr': 0.001, 'betas': [0.9, 0.99]},
            'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [6], 'restart_weights': [1]},
            'pixel_opt': {'type': 'CharbonnierLoss', 'loss_weight': 1.0, 'reduction': 'mean'},
            'ema_decay': 0.9,
        },
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
    }
    for section, content in sections.items():
        if isinstance(content, dict) and isinstance(opt.get(section), dict):
            opt[section] = {k: v for k, v in (opt[section] | content).items() if v is not ...}
        else:
            opt[section] = content
    return opt


def write_options(opt: dict, path: Path) -> Path:
    """Write an option file."""
    path.write_text(yaml.safe_dump(opt, sort_keys=False))
    return path


def python(*args: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess:
    """Run Python in a process of its own, with our package, the tests and ``path`` importable."""
    command, env = [sys.executable, *map(str, args)], environment(path)
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def basicsr(*args: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command ``basicsr`` in a process of its own, a fork of one in which everything is imported already.

    That takes seconds less than to start Python. What depends on a start runs ``-m basicsr_semantic`` by `python`.
    """
    return _forked('everything', 0, args, cwd, Setting())


def script(file: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in a process that has imported libraries, but neither BasicSR nor this package."""
    return _forked('libraries', 0, (file,), cwd, Setting())


def basicsr_until(line: str, number: int, *args: str | Path, cwd: Path) -> str:
    """Run ``basicsr`` and send a signal as soon as stderr shows a line; what it has written to stderr in all."""
    return _forked('everything', 0, args, cwd, Setting(signal_at=line, signal=number)).stderr


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def group_of_two() -> list[dict[str, str]]:
    """What torchrun puts into the environments of two processes of one group."""
    place = {'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(free_port())}
    return [{**place, 'RANK': str(rank), 'LOCAL_RANK': str(rank)} for rank in range(2)]


def basicsr_in_two(*args: str | Path, cwd: Path) -> list[subprocess.CompletedProcess[str]]:
    """The same in two processes of one group, with ``--launcher pytorch`` and what torchrun would tell them."""
    return script_in_two(*args, '--launcher', 'pytorch', cwd=cwd)


def script_in_two(*args: str | Path, cwd: Path) -> list[subprocess.CompletedProcess[str]]:
    """Arguments of ``basicsr``, or a script, in two processes with what torchrun would tell them."""
    with ThreadPoolExecutor(2) as pool:
        settings = [Setting(environment=rank) for rank in group_of_two()]
        runs = [pool.submit(_forked, 'everything', i, args, cwd, one) for i, one in enumerate(settings)]
        return [run.result() for run in runs]


def _forked(
    start: Start, server: int, args: tuple[str | Path, ...], cwd: Path, setting: Setting
) -> subprocess.CompletedProcess[str]:
    done = _children(start, server).run([*map(str, args)], cwd, seconds=600, setting=setting)
    return subprocess.CompletedProcess(['basicsr', *map(str, args)], done.code, done.stdout, done.stderr)


@cache
def _children(start: Start, server: int) -> Children:
    children = Children(start)
    atexit.register(children.close)
    return children


def environment(path: Path | None = None) -> dict[str, str]:
    """The environment of such processes."""
    places = [path, ROOT, ROOT / 'tests', ROOT / 'tests' / 'toys', os.environ.get('PYTHONPATH')]
    joined = os.pathsep.join(str(place) for place in places if place)
    return os.environ | {'PYTHONPATH': joined, 'OMP_NUM_THREADS': '1'}
