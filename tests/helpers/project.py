"""The project around the tests: its root, real clips, tiny option files, the command line in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
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


def basicsr(*args: str, cwd: Path) -> subprocess.CompletedProcess:
    """Run ``python -m basicsr_semantic`` in a process of its own."""
    return python('-m', 'basicsr_semantic', *args, cwd=cwd)


def environment(path: Path | None = None) -> dict[str, str]:
    """The environment of such processes."""
    places = [path, ROOT, ROOT / 'tests', ROOT / 'tests' / 'toys', os.environ.get('PYTHONPATH')]
    joined = os.pathsep.join(str(place) for place in places if place)
    return os.environ | {'PYTHONPATH': joined, 'OMP_NUM_THREADS': '1'}
