"""A made-up YouTube-VIS: small videos of different sizes with bright boxes that travel over dark ground."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from basicsr_semantic.priors.segmentations import encode_mask

SIZES = {'ant': (64, 96), 'bee': (90, 62), 'cow': (48, 48)}
"""Height and width of each video; those of bee are no multiples of 4."""
LISTED = 6
"""Frames of a video that the annotations list: 00000, 00005, ..., 00025."""
STEP = 5
CATEGORIES = [{'id': 7, 'name': 'cat', 'supercategory': 'object'}, {'id': 3, 'name': 'bird', 'supercategory': 'object'}]
"""Two categories, not in the order of their ids: birds are class 0, cats class 1."""


def box_mask(video: str, instance: int, number: int) -> np.ndarray | None:
    """(H, W) bool of an instance (0 or 1) in frame ``number``; None for instance 1 in the listed frames 2 and 3."""
    height, width = SIZES[video]
    if instance == 1 and number // STEP in (2, 3):
        return None
    mask = np.zeros((height, width), bool)
    if instance == 0:
        left = number * (width - 16) // (LISTED * STEP)
        mask[8:24, left : left + 16] = True
    else:
        mask[height - 20 :, width - 20 :] = True  # touches the corner that a crop to multiples of 4 cuts
    return mask


def frame(video: str, number: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB: instance 0 is red, instance 1 green, on dark blue ground."""
    image = np.zeros((*SIZES[video], 3), np.uint8)
    image[..., 2] = 40
    for instance in (0, 1):
        mask = box_mask(video, instance, number)
        if mask is not None:
            image[mask] = (230, 0, 0) if instance == 0 else (0, 230, 0)
    return image


def runs(mask: np.ndarray) -> dict[str, Any]:
    """Run lengths as a list, as train.json of 2019 has them."""
    flat = np.concatenate([[0], mask.ravel(order='F').astype(np.int8), [1 - mask[-1, -1]]])
    ends = np.flatnonzero(np.diff(flat))
    return {'size': list(mask.shape), 'counts': np.diff([0, *ends]).tolist()}


def train_json(videos: tuple[str, ...] = tuple(SIZES), compressed: bool = False) -> dict[str, Any]:
    """The content of train.json."""
    listed, found = [], []
    for number, video in enumerate(videos):
        height, width = SIZES[video]
        shape = {'height': height, 'width': width, 'length': LISTED}
        names = [f'{video}/{STEP * i:05d}.jpg' for i in range(LISTED)]
        listed.append({'id': 10 + number, **shape, 'file_names': names})
        for instance in (0, 1):
            masks = [box_mask(video, instance, STEP * i) for i in range(LISTED)]
            code = encode_mask if compressed else runs
            found.append(
                {
                    'id': 100 * (number + 1) + instance,
                    'video_id': 10 + number,
                    'category_id': (7, 3)[instance],
                    'iscrowd': 0,
                    **shape,
                    'segmentations': [None if mask is None else code(mask) for mask in masks],
                    'bboxes': [None] * LISTED,
                    'areas': [None] * LISTED,
                }
            )
    return {'info': {}, 'categories': CATEGORIES, 'videos': listed, 'annotations': found}


def make_ytvis(root: Path, split: str = 'train', every: int = STEP, videos: tuple[str, ...] = tuple(SIZES)) -> Path:
    """Write ``root/SPLIT/JPEGImages`` and ``root/SPLIT.json``; every ``every``-th frame is there."""
    for video in videos:
        folder = root / split / 'JPEGImages' / video
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(0, LISTED * STEP, every):
            quality = [cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
            assert cv2.imwrite(str(folder / f'{number:05d}.jpg'), frame(video, number)[..., ::-1], quality)
    (root / f'{split}.json').write_text(json.dumps(train_json(videos)))
    return root
