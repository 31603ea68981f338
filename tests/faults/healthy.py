"""A folder in which every command works: clips, LMDBs, priors, annotations, option files, a training to resume."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from helpers.children import Children
from helpers.ytvis import make_ytvis

CLIPS, FRAMES, SIDE = ('000', '001'), 5, 64
LQ = SIDE // 4

_EDVR = {'num_feat': 8, 'num_frame': 3, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}
_TRAIN: dict[str, Any] = {
    'name': 'tiny',
    'model_type': 'SemanticVSRModel',
    'scale': 4,
    'num_gpu': 0,
    'manual_seed': 3,
    'datasets': {
        'train': {
            'name': 'clips',
            'type': 'SemanticClipDataset',
            'dataroot_gt': 'gt.lmdb',
            'dataroot_lq': 'lq.lmdb',
            'dataroot_priors': 'priors.lmdb',
            'num_masks': 4,
            'io_backend': {'type': 'lmdb'},
            'num_frame': 3,
            'gt_size': 64,
            'interval_list': [1],
            'num_worker_per_gpu': 0,
            'batch_size_per_gpu': 1,
            'dataset_enlarge_ratio': 1,
        },
        'val': {
            'name': 'held_out',
            'type': 'SemanticClipTestDataset',
            'dataroot_gt': 'gt.lmdb',
            'dataroot_lq': 'lq.lmdb',
            'dataroot_priors': 'priors.lmdb',
            'num_masks': 4,
            'io_backend': {'type': 'lmdb'},
            'first_frames': 2,
            'num_frame': 3,
            'padding': 'reflection',
        },
    },
    'network_g': {'type': 'EDVRSEEM', 'num_masks': 4, 'reduction': 4, **_EDVR},
    'path': {'pretrain_network_g': 'weights.pth', 'strict_load_g': True, 'resume_state': None},
    'train': {
        'total_iter': 4,
        'warmup_iter': -1,
        'ema_decay': 0.9,
        'optim_g': {'type': 'Adam', 'lr': 0.001, 'betas': [0.9, 0.99]},
        'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [4], 'restart_weights': [1], 'eta_min': 1e-7},
        'pixel_opt': {'type': 'CharbonnierLoss', 'loss_weight': 1.0, 'reduction': 'mean'},
    },
    'val': {
        'val_freq': 4,
        'save_img': True,
        'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0, 'test_y_channel': False}},
    },
    'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
}


def options(kind: str = 'train') -> dict[str, Any]:
    """The options of ``train.yml`` (LMDBs and priors), ``disk.yml`` (folders, a list), or the two ``test_`` ones."""
    result = copy.deepcopy(_TRAIN)
    if 'disk' in kind:
        for part in result['datasets'].values():
            del part['dataroot_priors'], part['num_masks']
            part |= {'dataroot_gt': 'frames/gt', 'dataroot_lq': 'frames/lq', 'io_backend': {'type': 'disk'}}
            part['meta_info_file'] = 'list.txt'
        result['network_g'] = {'type': 'EDVR', **_EDVR}
        result['path']['pretrain_network_g'] = None
        result['name'] = 'disk'
    if 'test' in kind:
        val = result['datasets'].pop('val')
        result['datasets'] = {'test': val | {'name': 'held_out'}}
        del result['train'], result['logger'], result['path']['resume_state'], result['val']['val_freq']
    return result


def write(name: str, opt: dict[str, Any]) -> None:
    """Write an option file into the current folder."""
    Path(name).write_text(yaml.safe_dump(opt, sort_keys=False))


def make(folder: Path) -> None:
    """Make the folder.

    Raises:
        RuntimeError: One of the commands that make it does not work.
    """
    generator = np.random.default_rng(0)
    for clip in CLIPS:
        texture = cv2.GaussianBlur(generator.random((SIDE * 2, SIDE * 2, 3)).astype(np.float32), (0, 0), 2)
        texture = (texture - texture.min()) / (texture.max() - texture.min())
        for i in range(FRAMES):
            frame = (texture[i : i + SIDE, 2 * i : 2 * i + SIDE] * 255).round().astype(np.uint8)
            for side, image in (('gt', frame), ('lq', cv2.resize(frame, (LQ, LQ), interpolation=cv2.INTER_AREA))):
                path = folder / 'frames' / side / clip / f'{i:08d}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), image)
    (folder / 'list.txt').write_text(''.join(f'{clip} {FRAMES} ({SIDE},{SIDE},3)\n' for clip in CLIPS))
    make_ytvis(folder / 'ytvis', videos=('ant', 'cow'))
    for kind in ('train', 'disk', 'test', 'test_disk'):
        (folder / f'{kind}.yml').write_text(yaml.safe_dump(options(kind), sort_keys=False))
    first = json.dumps({'pretrain_network_g': None})
    with Children() as children:
        for command in (
            ['prepare', 'clips', 'frames/gt', '.'],
            ['extract', '--extractor', 'regions', '--frames', 'lq.lmdb', '--out', 'priors.lmdb', '--max-masks', '4'],
            ['train', '-opt', 'train.yml', '--force_yml', f'path={first}'],
        ):
            outcome = children.run(command, folder)
            if outcome.code:
                raise RuntimeError(f'basicsr {" ".join(command)} does not work: {outcome.output}')
    (folder / 'experiments/tiny/models/net_g_4.pth').replace(folder / 'weights.pth')
    (folder / 'experiments/tiny/training_states/4.state').unlink()
    for left in [*folder.glob('experiments/tiny/models/*latest*'), *folder.glob('experiments/tiny/*.log')]:
        left.unlink()
