"""Videos of coloured squares that move over grey, as data sets; and networks small enough to learn them on a CPU."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch.nn import functional as F

from basicsr_semantic.extractors.xdecoder import build_xdecoder
from basicsr_semantic.models import VideoInstanceModel
from basicsr_semantic.priors.segmentations import encode_mask

BOTH = ['frame_decoder', 'instance']
"""What stage 1 trains where nothing is frozen."""

COLOURS = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.1, 0.9], [0.1, 0.9, 0.1]])
"""Class 0 is red, class 1 blue, class 2 green."""

INSTANCES = {
    'type': 'InstanceTransformer', 'hidden_dim': 16, 'num_heads': 2, 'feedforward_dim': 32, 'encoder_layers': 2,
    'decoder_layers': 2, 'window': 4, 'num_queries': 6, 'num_frame_queries': 6, 'num_classes': 3, 'mask_dim': 8,
    'feature_dim': 16,
}  # fmt: skip
FRAMES = {
    'type': 'xdecoder', 'embed_dim': 8, 'depths': [1, 1, 1, 1], 'focal_levels': [1, 1, 1, 1], 'layer_scale': 1.0,
    'mlp_ratio': 2, 'hidden_dim': 16, 'mask_dim': 16, 'num_queries': 7, 'nheads': 2, 'dim_feedforward': 32,
    'enc_layers': 1, 'dec_layers': 2, 'norm_groups': 4,
}  # fmt: skip


def squares(index: int, frames: int = 3, size: tuple[int, int] = (64, 64), count: int | None = None):
    """A video: frames (t, 3, h, w), labels (n,), masks (n, t, h, w); the second square is absent from the first frame.

    Squares of one video lie in rows of their own.
    """
    generator = torch.Generator().manual_seed(index)
    height, width = size
    count = 1 + index % 2 if count is None else count
    labels = torch.randint(0, 3, (count,), generator=generator)
    video = torch.full((frames, 3, height, width), 0.5)
    masks = torch.zeros(count, frames, height, width, dtype=torch.bool)
    for i in range(count):
        left = int(torch.randint(0, width - 24, (), generator=generator))
        for t in range(frames):
            if i == 1 and t == 0:
                continue
            x = min(left + 3 * t, width - 16)
            masks[i, t, 6 + 30 * i : 24 + 30 * i, x : x + 18] = True
            video[t] = torch.where(masks[i, t], COLOURS[labels[i]][:, None, None], video[t])
    return video, labels, masks


@DATASET_REGISTRY.register()
class MovingSquares(torch.utils.data.Dataset):
    """Training: clips of 3 frames of 64x64, every fourth without instances."""

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Any]:
        video, labels, masks = squares(index, count=0 if index % 4 == 3 else None)
        ids = torch.arange(len(labels)) + 40
        return {'frames': video, 'instances': {'labels': labels, 'masks': masks, 'ids': ids}, 'key': f'{index:03d}'}

    @staticmethod
    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        """Pad to multiples of 32."""
        sizes = torch.tensor([item['frames'].shape[-2:] for item in items])
        height, width = (-(-int(side) // 32) * 32 for side in sizes.amax(0))
        frames = [
            F.pad(item['frames'], (0, width - item['frames'].size(-1), 0, height - item['frames'].size(-2)))
            for item in items
        ]
        rest = {name: [item[name] for item in items] for name in ('instances', 'key')}
        return {'frames': torch.stack(frames), 'sizes': sizes, **rest}


@DATASET_REGISTRY.register()
class MovingSquaresTest(torch.utils.data.Dataset):
    """Validation: videos of 5 frames of 48x80, annotated at twice that size; ``annotated: false`` hides it."""

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.annotated = opt.get('annotated', True)
        self.categories = [{'id': 10 * i, 'name': name} for i, name in enumerate(('red', 'blue', 'green'))]

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict[str, Any]:
        video, _, _ = squares(100 + index, 5, (48, 80), 1)
        return {
            'frames': video, 'clip': f'v{index}', 'video_id': 7 + index, 'frame_names': [f'{i:05d}' for i in range(5)],
            'num_listed': 6, 'positions': [0, 1, 2, 3, 5], 'size': (96, 160),
        }  # fmt: skip

    def annotations(self, index: int) -> dict[str, Any]:
        _, labels, masks = squares(100 + index, 5, (48, 80), 1)
        large = masks.repeat_interleave(2, 2).repeat_interleave(2, 3).numpy()
        runs = [[encode_mask(mask) if mask.any() else None for mask in one] for one in large]
        crowd = torch.zeros(len(labels), dtype=torch.bool)
        return {
            'labels': labels,
            'ids': torch.arange(len(labels)),
            'masks': runs,
            'crowd': crowd,
            'size': (96, 160),
        }

    @staticmethod
    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        return items[0]


def frozen_weights(tmp_path: Path) -> str:
    """A frame decoder to stay frozen, and a text embedding for each class."""
    torch.manual_seed(5)
    net = build_xdecoder(**{k: v for k, v in FRAMES.items() if k != 'type'})
    torch.save({'params': net.state_dict(), 'network': net.config}, tmp_path / 'frames.pth')
    torch.save(torch.randn(3, 16), tmp_path / 'names.pth')
    return str(tmp_path / 'frames.pth')


def make_options(tmp_path: Path, trainable: list[str], total_iter: int = 4, points: int | None = None, **train) -> dict:
    frozen = 'frame_decoder' not in trainable
    return {
        'name': 'stage1',
        'model_type': 'VideoInstanceModel',
        'num_gpu': 0,
        'manual_seed': 3,
        'datasets': {
            'train': {'name': 'squares', 'type': 'MovingSquares', 'batch_size_per_gpu': 2},
            'val': {'name': 'held_out', 'type': 'MovingSquaresTest'},
        },
        'network_g': dict(INSTANCES),
        'frame_decoder': FRAMES | ({'text_embeddings': str(tmp_path / 'names.pth')} if frozen else {}),
        'path': {'pretrain_frame_decoder': frozen_weights(tmp_path)} if frozen else {},
        'train': {
            'total_iter': total_iter,
            'optim_g': {'type': 'AdamW', 'lr': 0.001, 'weight_decay': 0.05},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [10000], 'gamma': 0.1},
            'instance_opt': {'type': 'VideoInstanceLoss', 'num_points': points},
            'trainable': trainable,
            **train,
        },
        'val': {'val_freq': 1000},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2},
    }


def make_model(opt: dict, tmp_path, is_train: bool = True) -> VideoInstanceModel:
    """The model of these options, with folders for what it writes."""
    opt = copy.deepcopy(opt)
    for name in ('models', 'training_states', 'log'):
        (tmp_path / name).mkdir(exist_ok=True)
        opt['path'][name] = str(tmp_path / name)
    torch.manual_seed(0)
    return VideoInstanceModel(opt | {'is_train': is_train, 'dist': False, 'rank': 0, 'world_size': 1})


def batch(*indices: int) -> dict:
    """Clips of `MovingSquares` as a loader gives them."""
    dataset = MovingSquares({})
    return dataset.collate([dataset[i] for i in indices])


def step(model: VideoInstanceModel, first: int = 1, count: int = 1, indices=(0, 1)) -> dict[str, float]:
    """Train for some iterations on one batch, and give what the last one logs."""
    for i in range(first, first + count):
        torch.manual_seed(i)
        model.update_learning_rate(i)
        model.feed_data(batch(*indices))
        model.optimize_parameters(i)
    return {k: float(v) for k, v in model.log_dict.items()}


def small_video_instance_model(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Instances on top of a frozen frame decoder."""
    return make_options(folder, ['instance'], ema_decay=0.9)
