#!/usr/bin/env python3
"""Make davis320, the real clips of the comparisons in docs/results, of the DAVIS-2016 data set.

    python tools/experiments/make_davis320.py DAVIS DAVIS320

DAVIS holds ``JPEGImages/480p/CLIP/*.jpg`` and ``Annotations/480p/CLIP/*.png``, 854x480 (https://davischallenge.org; the
annotations of 2017 do as well, since the objects of a clip are joined). Of each of fifteen clips the first 32 frames
are taken, reduced to 320 rows and cut to the middle 544 columns: ``{train,val}/frames/CLIP/*.jpg``, and
``{train,val}/instances.json`` in the form of YouTube-VIS, one instance a clip.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.files import write_whole

FRAMES, HEIGHT, WIDTH = 32, 320, 544
CATEGORIES = ('camel', 'car', 'cow', 'dog', 'duck', 'goat', 'horse', 'motorbike', 'person', 'vehicle')
CLIPS = {
    'train': {
        'blackswan': 'duck',
        'breakdance': 'person',
        'camel': 'camel',
        'car-roundabout': 'car',
        'cows': 'cow',
        'dance-twirl': 'person',
        'dog': 'dog',
        'drift-straight': 'car',
        'horsejump-high': 'horse',
        'kite-surf': 'person',
        'motocross-jump': 'motorbike',
        'soapbox': 'vehicle',
    },
    'val': {'car-shadow': 'car', 'goat': 'goat', 'parkour': 'person'},
}
"""Name of a clip -> what its instance is."""


def reduce(image: np.ndarray) -> np.ndarray:
    """Average a picture (h, w) or (h, w, 3) down to 320 rows and cut the middle 544 columns.

    Raises:
        UserError: It is not wide enough.
    """
    width = round(image.shape[1] * HEIGHT / image.shape[0])
    if width < WIDTH:
        raise UserError(f'A picture of {image.shape[1]}x{image.shape[0]} is too narrow; those of DAVIS have 854x480.')
    left = (width - WIDTH) // 2
    return cv2.resize(image, (width, HEIGHT), interpolation=cv2.INTER_AREA)[:, left : left + WIDTH]


def read(path: Path, flags: int) -> np.ndarray:
    """Read a picture.

    Raises:
        UserError: It is missing or damaged.
    """
    image = cv2.imread(str(path), flags)
    if image is None:
        raise UserError(f'{path} is missing or damaged. DAVIS holds JPEGImages/480p and Annotations/480p.')
    return image


def track(masks: Iterator[np.ndarray]) -> dict[str, Any]:
    """Outlines of an instance, frame by frame, as YouTube-VIS has them.

    Args:
        masks: (320, 544) bool of each frame.
    """
    found: dict[str, Any] = {'segmentations': [], 'bboxes': [], 'areas': []}
    for mask in masks:
        code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        found['bboxes'].append(coco_mask.toBbox(code).tolist() if mask.any() else None)
        found['areas'].append(float(coco_mask.area(code)) if mask.any() else None)
        counts = code['counts'].decode()
        found['segmentations'].append({'size': [HEIGHT, WIDTH], 'counts': counts} if mask.any() else None)
    return found


def make_part(davis: Path, out: Path, clips: dict[str, str], bar: tqdm) -> None:
    """Make the frames of one part and, when they are whole, its annotations.

    Args:
        davis: Folder with JPEGImages and Annotations.
        out: Folder of the part.
        clips: Name of a clip -> what its instance is.
        bar: Moves on one step a frame.
    """
    videos, annotations = [], []
    for number, (clip, category) in enumerate(clips.items(), 1):
        names = [f'{frame:05d}' for frame in range(FRAMES)]
        for name in names:
            frame = reduce(read(davis / 'JPEGImages/480p' / clip / f'{name}.jpg', cv2.IMREAD_COLOR))
            jpeg = cv2.imencode('.jpg', frame, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
            (out / 'frames' / clip).mkdir(parents=True, exist_ok=True)
            write_whole(out / 'frames' / clip / f'{name}.jpg', jpeg.tobytes())
            bar.update()
        images = (read(davis / 'Annotations/480p' / clip / f'{name}.png', cv2.IMREAD_GRAYSCALE) for name in names)
        masks = (reduce((image != 0).astype(np.float32)) >= 0.5 for image in images)
        size = {'width': WIDTH, 'height': HEIGHT, 'length': FRAMES}
        videos.append({'id': number, 'file_names': [f'{clip}/{name}.jpg' for name in names]} | size)
        place = {'id': number, 'video_id': number, 'category_id': CATEGORIES.index(category) + 1, 'iscrowd': 0}
        annotations.append(place | size | track(masks))
    categories = [{'id': k, 'name': name, 'supercategory': 'object'} for k, name in enumerate(CATEGORIES, 1)]
    info = {'description': 'DAVIS-2016 clips in YouTube-VIS form, one track a clip'}
    content = {'info': info, 'categories': categories, 'videos': videos, 'annotations': annotations}
    write_whole(out / 'instances.json', json.dumps(content).encode())


def main() -> None:
    """Make both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('davis', type=Path, metavar='DAVIS', help='folder with JPEGImages and Annotations')
    parser.add_argument('out', type=Path, metavar='DAVIS320', help='folder to make')
    args = parser.parse_args()
    try:
        with tqdm(total=FRAMES * sum(map(len, CLIPS.values())), desc='davis320', unit='frame') as bar:
            for part, clips in CLIPS.items():
                make_part(args.davis, args.out / part, clips, bar)
    except UserError as error:
        raise SystemExit(str(error)) from error


if __name__ == '__main__':
    main()
