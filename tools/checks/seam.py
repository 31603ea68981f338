#!/usr/bin/env python3
"""What windows cost a recurrent network: PSNR of each frame by windows and of the whole scene at once, and the seams.

    python tools/checks/seam.py VIDEO                                        # 64 frames, the released BasicVSR
    python tools/checks/seam.py VIDEO --model lite --window 32 --overlap 8

VIDEO is shrunk to 640x360, the ground truth, and that to 160x90 by MATLAB's bicubic interpolation, which is restored.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from statistics import mean

import cv2
import numpy as np
import torch
from tqdm import tqdm

from basicsr_semantic import load, upscale
from basicsr_semantic.video.scene_restorers import windows
from basicsr_semantic.video.sources import open_source

WIDTH, HEIGHT, SCALE = 640, 360, 4


def main(arguments: list[str] | None = None) -> None:
    """Restore both ways and print the difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('video', type=Path)
    parser.add_argument('--model', default='basicvsr-vimeo90k-bi')
    parser.add_argument('--frames', type=int, default=64)
    parser.add_argument('--window', type=int, default=16)
    parser.add_argument('--overlap', type=int, default=4)
    parser.add_argument('--json', type=Path, help='file for the figures')
    options = parser.parse_args(arguments)
    gt = [
        cv2.resize(frame.image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        for frame in itertools.islice(open_source(options.video).read(), options.frames)
    ]
    lq = [shrink(image) for image in gt]
    net, found = load(options.model), {}
    for name, how in (('whole', {}), ('windows', {'window': options.window, 'overlap': options.overlap})):
        made = tqdm(upscale(iter(lq), net, scenes='none', **how), desc=name, total=len(lq), unit='frame')
        found[name] = [psnr(image, right) for image, right in zip(made, gt, strict=True)]
    shown = [frames for *_, frames in windows(len(lq), options.window, options.overlap)]
    seams = sorted({k for frames in shown for k in (frames[0], frames[-1])} - {0, len(lq) - 1})
    lost = [a - b for a, b in zip(found['whole'], found['windows'], strict=True)]
    said = {
        'model': options.model,
        'frames': len(lq),
        'window': options.window,
        'overlap': options.overlap,
        'whole': round(mean(found['whole']), 4),
        'windows': round(mean(found['windows']), 4),
        'lost at the seams': round(mean(lost[k] for k in seams), 4),
        'lost at most in a frame': round(max(lost), 4),
    }
    print(json.dumps(said))
    if options.json is not None:
        options.json.write_text(json.dumps(said, indent=1) + '\n', encoding='utf-8')


def shrink(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 by MATLAB's bicubic interpolation."""
    from basicsr.utils.matlab_functions import imresize  # this package repairs BasicSR first

    small = torch.as_tensor(imresize(torch.from_numpy(image).permute(2, 0, 1).float() / 255, 1 / SCALE))
    return small.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()


def psnr(image: np.ndarray, right: np.ndarray) -> float:
    """On Y."""
    from basicsr.metrics import calculate_psnr

    both = (np.ascontiguousarray(one[..., ::-1]) for one in (image, right))
    return float(calculate_psnr(*both, crop_border=0, test_y_channel=True))


if __name__ == '__main__':
    main()
