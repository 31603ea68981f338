#!/usr/bin/env python3
"""What reading masks costs: the time of a training sample with 64 masks a frame, by that of the same sample without.

SemanticClipDataset reads both from LMDB (GT and LQ as PNG, masks as run lengths): the same crops, in alternation, in
one thread as in a loader worker. The median of the pairs' ratios counts. Times are CPU times with the files in the page
cache: reading from a disk would add more to the frames, which are a hundred times as large as their masks.

    python tools/benchmarks/benchmark_store.py                   # frames made from the photographs in scikit-image
    python tools/benchmarks/benchmark_store.py --frames FOLDER_OF_CLIPS
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from basicsr_semantic.cli.extract import open_frames
from basicsr_semantic.data.prepare.clips import prepare_clips
from basicsr_semantic.data.semantic_clip_dataset import SemanticClipDataset
from basicsr_semantic.extractors import build_extractor
from basicsr_semantic.extractors.runner import extract
from basicsr_semantic.priors import PriorStore

TARGET = 1.25


@dataclass(frozen=True)
class Case:
    """A kind of training sample. The last one reads one GT for five frames' masks, the least to compare them with."""

    title: str
    num_frame: int
    center_frame_only: bool


CASES = (
    Case('BasicVSR, 15 frames, 15 GT', 15, False),
    Case('EDVR, 5 frames, 5 GT', 5, False),
    Case('EDVR, 5 frames, 1 GT', 5, True),
)


def write_photographs(folder: Path, width: int, height: int, frames: int) -> None:
    """One clip: a mosaic of photographs in their own resolution, under a moving window."""
    from skimage import data

    tiles = [data.coffee(), data.astronaut(), data.chelsea(), data.rocket()]
    side = max(max(tile.shape[:2]) for tile in tiles)
    tiles = [
        np.pad(tile, ((0, side - tile.shape[0]), (0, side - tile.shape[1]), (0, 0)), 'symmetric') for tile in tiles
    ]
    mosaic = np.concatenate([np.concatenate(tiles[:2], 1), np.concatenate(tiles[2:], 1)], 0)
    repeat = [-(-(size + 3 * frames) // (2 * side)) for size in (height, width)]
    mosaic = np.tile(mosaic, (*repeat, 1))
    folder.mkdir(parents=True)
    for i in range(frames):
        window = mosaic[i : i + height, 3 * i : 3 * i + width, ::-1]
        cv2.imwrite(str(folder / f'{i:08d}.png'), window)


def prepare(frames: Path, work: Path) -> None:
    """GT and LQ as LMDB, and a store of the 64 largest regions a frame."""
    prepare_clips(frames, work, workers=1)
    keys, read = open_frames(work / 'lq.lmdb')
    # finer than the defaults, so that there are 64 masks in small frames too
    extractor = build_extractor('regions', scales=(20, 50, 150, 500), min_size=10)
    extract(extractor, keys, read, work / 'masks')


def data_set(work: Path, case: Case, gt_size: int, masks: bool) -> SemanticClipDataset:
    """The training data with or without masks."""
    options = {
        'name': 'benchmark',
        'type': 'SemanticClipDataset',
        'dataroot_gt': str(work / 'gt.lmdb'),
        'dataroot_lq': str(work / 'lq.lmdb'),
        'dataroot_priors': str(work / 'masks') if masks else None,
        'io_backend': {'type': 'lmdb'},
        'num_frame': case.num_frame,
        'center_frame_only': case.center_frame_only,
        'center_masks_only': case.center_frame_only,
        'gt_size': gt_size,
        'use_hflip': True,
        'use_rot': True,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        return SemanticClipDataset(options)


def measure(data: SemanticClipDataset, index: int, seed: int) -> float:
    """Seconds of CPU time of one sample."""
    random.seed(seed)
    start = time.process_time()
    data[index % len(data)]
    return time.process_time() - start


def compare(work: Path, case: Case, gt_size: int, samples: int) -> tuple[float, float, float]:
    """Median seconds without and with masks, and the median ratio."""
    plain, masked = (data_set(work, case, gt_size, masks) for masks in (False, True))
    pairs = []
    for i in tqdm(range(-3, samples), desc=case.title, leave=False):
        order = (plain, masked) if i % 2 else (masked, plain)
        times = {id(data): measure(data, i, i) for data in order}
        if i >= 0:  # the first ones open files and fill caches
            pairs.append((times[id(plain)], times[id(masked)]))
    without, together = (statistics.median(values) for values in zip(*pairs, strict=True))
    return without, together, statistics.median(b / a for a, b in pairs)


def main(argv: list[str] | None = None) -> int:
    """Run the comparison and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--frames', type=Path, help='folder of clip folders to use as GT; default: photographs')
    parser.add_argument('--size', default='1280x720', help='size of the photographs as GT, width x height')
    parser.add_argument('--gt-size', type=int, default=256, help='side of the crop in GT pixels')
    parser.add_argument('--samples', type=int, default=40, help='pairs of samples a case')
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        frames = args.frames
        if frames is None:
            frames = work / 'frames'
            width, height = (int(value) for value in args.size.split('x'))
            write_photographs(frames / '000', width, height, 20)
        prepare(frames, work)
        reader = PriorStore(work / 'masks')
        count = statistics.mean(int(reader.masks(key).any((1, 2)).sum()) for key in reader.keys()[:20])
        print(f'{args.frames or "photographs, " + args.size}: {count:.0f} masks a frame, crop {args.gt_size}')
        print(f'{"sample":32} {"without":>10} {"with":>10} {"ratio":>6}')
        for case in CASES:
            without, together, ratio = compare(work, case, args.gt_size, args.samples)
            verdict = 'reached' if ratio <= TARGET else 'MISSED'
            print(f'{case.title:32} {1e3 * without:7.1f} ms {1e3 * together:7.1f} ms {ratio:6.3f}  {verdict}')
        print(f'Target: at most {TARGET}.')
    return 0


if __name__ == '__main__':
    sys.exit(main())
