"""Trainings in two processes, run by engine/test_ranks.py: each once in both, one after the other in one group.

Every scenario returns what its process saw; the test compares and judges. Components that fail in process 1 alone are
registered here.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml

import basicsr_semantic  # noqa: F401  (before BasicSR, which it repairs)

# isort: split
from basicsr.utils.registry import DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY

from basicsr_semantic.data import SemanticClipDataset
from basicsr_semantic.engine.pipeline import add_run_arguments, test, train
from basicsr_semantic.utils.errors import UserError

RANK = int(os.environ.get('RANK', '0'))
BASICVSR = {'type': 'BasicVSR', 'num_feat': 4, 'num_block': 1}
EDVR = {'num_feat': 8, 'num_frame': 3, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}
EDVRSEEM = {'type': 'EDVRSEEM', **EDVR, 'num_masks': 4, 'reduction': 2, 'missing_priors': 'neutral'}
STAGED = {
    'ours, fix_flow': ('SemanticVSRModel', BASICVSR, {'fix_flow': 3}),
    'ours, tsa_iter': ('SemanticVSRModel', EDVRSEEM, {'tsa_iter': 3}),
    "BasicSR's, fix_flow": ('VideoRecurrentModel', BASICVSR, {'fix_flow': 3}),
    "BasicSR's, tsa_iter": ('EDVRModel', {'type': 'EDVR', **EDVR}, {'tsa_iter': 3}),
}
"""Model, network, and what freezes a part of it before iteration 3 of 4."""


class _Fails(torch.nn.Module):
    """A mean absolute error that calls ``fail`` in process 1 at its second call."""

    reduction = 'mean'

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        loss = (pred - target).abs().mean()
        return self.fail(loss) if RANK == 1 and self.calls == 2 else loss

    def fail(self, loss: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


@LOSS_REGISTRY.register()
class NaNInProcess1(_Fails):
    """Is not a number."""

    def fail(self, loss: torch.Tensor) -> torch.Tensor:
        return loss * float('nan')


@LOSS_REGISTRY.register()
class SignalInProcess1(_Fails):
    """Somebody asks the process to end."""

    def fail(self, loss: torch.Tensor) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGTERM)
        return loss


@DATASET_REGISTRY.register()
class BrokenInProcess1(SemanticClipDataset):
    """Its second sample of process 1 cannot be read."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.read = getattr(self, 'read', 0) + 1
        if RANK == 1 and self.read == 2:
            raise UserError('Frame 00000003 of clip 001 cannot be read.')
        return super().__getitem__(index)


@METRIC_REGISTRY.register()
def calculate_fails_in_process_1(img, img2, **kwargs) -> float:
    """Cannot measure what process 1 has restored."""
    if RANK == 1:
        raise UserError('This metric failed.')
    return 1.0


def options(name: str, model: str = 'SemanticVSRModel', network: dict | None = None, **train_keys: Any) -> dict:
    """A small training of four iterations, one sample a process and iteration."""
    network = network or BASICVSR
    one_frame = {'center_frame_only': True} if network['type'].startswith('EDVR') else {}
    data = {'name': 'tiny', 'dataroot_gt': 'gt', 'degradation': 'BI', 'io_backend': {'type': 'disk'}, 'num_frame': 3}
    flips = {'use_hflip': True, 'use_rot': True, 'batch_size_per_gpu': 1, 'dataset_enlarge_ratio': 20}
    return {
        'name': name,
        'model_type': model,
        'scale': 4,
        'num_gpu': 0,
        'manual_seed': 3,
        'datasets': {'train': {**data, 'type': 'SemanticClipDataset', 'gt_size': 144, **flips, **one_frame}},
        'network_g': dict(network),
        'path': {'pretrain_network_g': None},
        'train': {
            'total_iter': 4,
            'ema_decay': 0.9,
            'optim_g': {'type': 'Adam', 'lr': 0.001, 'betas': [0.9, 0.99]},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [2], 'gamma': 0.5},
            'pixel_opt': {'type': 'CharbonnierLoss', 'loss_weight': 1.0, 'reduction': 'mean'},
        }
        | train_keys,
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 1, 'use_tb_logger': False},
    }


def run(opt: dict, folder: Path, launcher: str = 'pytorch', *flags: str, verb: Callable = train) -> str:
    """Train or test; how it ended."""
    file = folder / f'{opt["name"]}.{RANK}.yml'
    file.write_text(yaml.safe_dump(deepcopy(opt)))
    parser = argparse.ArgumentParser()
    add_run_arguments(parser)
    try:
        verb(parser.parse_args(['-opt', str(file), '--launcher', launcher, *flags]), folder)
    except (UserError, KeyboardInterrupt) as error:
        return f'{type(error).__name__}: {error}'
    return 'done'


def staged(folder: Path) -> dict[str, Any]:
    """All of `STAGED`, uninterrupted, and gone on with from before and from behind the switch."""
    ends = {}
    for what, (model, network, keys) in STAGED.items():
        opt = options(what, model, network, **keys)
        models, states = (folder / 'experiments' / what / part for part in ('models', 'training_states'))
        ends[what] = [run(opt, folder)]
        kept = {path: path.read_bytes() for path in models.iterdir()} if RANK == 0 else {}
        for saved in (1, 3):
            if RANK == 0:
                for path in [*models.iterdir(), *states.iterdir()]:
                    if path.stem == 'net_g_latest' or int(path.stem.rpartition('_')[2]) > saved:
                        path.unlink()
            ends[what].append(run(opt, folder, 'pytorch', '--auto_resume'))
            if RANK == 0:
                whole = torch.load(io.BytesIO(kept[models / 'net_g_4.pth']), weights_only=True)
                again = torch.load(models / 'net_g_4.pth', weights_only=True)
                same = all(
                    torch.equal(v, again[key][k])
                    for key in ('params', 'params_ema')
                    if key in whole
                    for k, v in whole[key].items()
                )
                ends[what].append(f'identical from {saved}' if same else f'another result from {saved}')
    return ends


def nan_loss(folder: Path) -> dict[str, Any]:
    """A loss that is NaN in process 1 alone, in our model and in BasicSR's."""
    loss = {'type': 'NaNInProcess1'}
    return {
        model: run(options(f'nan {model}', model, pixel_opt=loss), folder)
        for model in ('SemanticVSRModel', 'VideoRecurrentModel')
    }


def stop(folder: Path) -> dict[str, Any]:
    """SIGTERM for process 1 alone."""
    return {'end': run(options('stop', pixel_opt={'type': 'SignalInProcess1'}), folder)}


def broken_frame(folder: Path) -> dict[str, Any]:
    """A sample that process 1 cannot read."""
    opt = options('broken')
    opt['datasets']['train']['type'] = 'BrokenInProcess1'
    return {'end': run(opt, folder)}


def failing_validation(folder: Path) -> dict[str, Any]:
    """A metric that fails in process 1, in the middle of a training and in a test."""
    data = {'name': 'held_out', 'type': 'SemanticClipTestDataset', 'dataroot_gt': 'gt', 'degradation': 'BI'}
    data |= {'io_backend': {'type': 'disk'}, 'first_frames': 1}
    metrics = {'bad': {'type': 'calculate_fails_in_process_1'}}
    opt = options('validation')
    opt['datasets']['val'] = data
    opt['val'] = {'val_freq': 2, 'metrics': metrics}
    opt['logger']['save_checkpoint_freq'] = 100
    tested = {key: value for key, value in opt.items() if key not in ('train', 'logger')} | {'name': 'tested'}
    tested['datasets'] = {'test_1': data}
    return {'training': run(opt, folder), 'test': run(tested, folder, verb=test)}


SCENARIOS = (staged, nan_loss, stop, broken_frame, failing_validation)

if __name__ == '__main__':
    torch.set_num_threads(1)
    here = Path(sys.argv[1])
    os.chdir(here)
    seen = {scenario.__name__: scenario(here) for scenario in SCENARIOS}
    (here / f'seen.{RANK}.json').write_text(json.dumps(seen))
    torch.distributed.destroy_process_group()
