"""Clips whose pixels say where they come from, as folders and as LMDBs, with masks that say the same."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch.utils.data import Dataset

from basicsr_semantic.data.semantic_clip_dataset import SemanticClipDataset
from basicsr_semantic.data.semantic_clip_test_dataset import SemanticClipTestDataset
from basicsr_semantic.priors.store import PriorStoreWriter
from basicsr_semantic.priors.store_meta import store_metadata

SCALE = 4
NUM_MASKS = 16  # 6 bits of the row, 6 of the column, 4 of the frame number


def coded_frame(height: int, width: int, number: int, step: int) -> np.ndarray:
    """(height, width, 3) BGR: red is step * row, green step * column, blue the frame's number."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([np.full_like(rows, number), step * columns, step * rows], -1).astype(np.uint8)


def coded_masks(height: int, width: int, number: int) -> np.ndarray:
    """(NUM_MASKS, height, width) bool: bits of row, column and frame number."""
    rows, columns = np.mgrid[:height, :width]
    bits = [rows >> k & 1 for k in range(6)] + [columns >> k & 1 for k in range(6)]
    return np.stack([*bits, *(np.full_like(rows, number >> k & 1) for k in range(4))]).astype(bool)


def write_png(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def make_coded_clips(
    root: Path, clips: dict[str, int], height: int = 24, width: int = 40, name: str = '{:08d}'
) -> Path:
    """Write ``root/gt``, ``root/lq`` and the store ``root/priors``; ``height`` and ``width`` are those of LQ."""
    with PriorStoreWriter(root / 'priors', store_metadata('regions', order='area')) as store:
        for clip, count in clips.items():
            for number in range(count):
                frame = name.format(number)
                write_png(root / 'lq' / clip / f'{frame}.png', coded_frame(height, width, number, SCALE))
                write_png(root / 'gt' / clip / f'{frame}.png', coded_frame(height * SCALE, width * SCALE, number, 1))
                store.put(f'{clip}/{frame}', coded_masks(height, width, number))
    return root


def to_lmdb(folder: Path, target: Path) -> Path:
    """Copy a folder of clips into an LMDB with BasicSR's own tool."""
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*.png'))
    make_lmdb_from_imgs(str(folder), str(target), files, [file[: -len('.png')] for file in files], map_size=1 << 26)
    return target


def places(item_lq) -> np.ndarray:
    """(t, 3, h, w) int: row, column and frame number of every LR pixel of an item, as its colours say."""
    values = (item_lq.numpy() * 255).round().astype(int)
    return np.stack([values[:, 0] // SCALE, values[:, 1] // SCALE, values[:, 2]], 1)


def places_of_masks(masks) -> np.ndarray:
    """The same from an item's masks (t, NUM_MASKS, h, w)."""
    bits = masks.numpy().astype(int)
    weights = 1 << np.arange(6)
    rows = np.tensordot(bits[:, :6], weights, (1, 0))
    columns = np.tensordot(bits[:, 6:12], weights, (1, 0))
    return np.stack([rows, columns, np.tensordot(bits[:, 12:], weights[:4], (1, 0))], 1)


def seeded(dataset, index, seed):
    """An item drawn with a seed."""
    random.seed(seed)
    return dataset[index]


class Seeded(Dataset):
    """Seeds each sample, as the training loop does; here, so that spawned workers import our package first."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return seeded(self.dataset, index, index)


def training(root: Path, priors: str, **changes) -> SemanticClipDataset:
    """Crops of three frames of the clips of :func:`make_coded_clips`, with the priors of a store."""
    opt = {
        'name': 'coded',
        'type': 'SemanticClipDataset',
        'dataroot_gt': str(root / 'gt'),
        'dataroot_lq': str(root / 'lq'),
        'dataroot_priors': str(root / priors),
        'num_masks': NUM_MASKS,
        'num_frame': 3,
        'gt_size': 64,
        'use_hflip': True,
        'use_rot': True,
    }
    return SemanticClipDataset(opt | changes)


def whole_clips(root: Path, priors: str, **changes) -> SemanticClipTestDataset:
    """The same clips, whole."""
    opt = {
        'name': 'coded',
        'type': 'SemanticClipTestDataset',
        'phase': 'val',
        'dataroot_gt': str(root / 'gt'),
        'dataroot_lq': str(root / 'lq'),
        'dataroot_priors': str(root / priors),
    }
    return SemanticClipTestDataset(opt | changes)


def data_sets(folder: Path, height: int = 38, width: int = 42, gt_size: int = 144) -> dict[str, dict[str, Any]]:
    """Sections ``datasets`` of a training: batches of two crops, and whole clips of one and of four frames to judge.

    Each frame has the masks of :func:`make_coded_clips`.

    Args:
        folder: Where the clips are written.
        height: Of LQ frames; no multiple of what networks like.
        width: The same.
        gt_size: Side of the crops of GT.
    """
    sections: dict[str, dict[str, Any]] = {}
    for phase, clips in (('train', {'a': 6, 'b': 6}), ('val', {'c': 1, 'd': 4})):
        root = make_coded_clips(folder / phase, clips, height, width)
        places = {
            'dataroot_gt': str(root / 'gt'),
            'dataroot_lq': str(root / 'lq'),
            'dataroot_priors': str(root / 'priors'),
        }
        sections[phase] = {'name': phase, 'io_backend': {'type': 'disk'}, 'num_masks': NUM_MASKS, **places}
    sections['train'] |= {'type': 'SemanticClipDataset', 'num_frame': 3, 'gt_size': gt_size, 'interval_list': [1]}
    sections['train'] |= {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2}
    sections['val'] |= {'type': 'SemanticClipTestDataset'}
    return sections
