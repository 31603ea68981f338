"""Real clips, whole in memory, and how well a network restores them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from tqdm import tqdm

import basicsr_semantic  # noqa: F401  (repairs BasicSR before it is imported)
from basicsr_semantic.data.degradations import degrade, mod_crop
from basicsr_semantic.priors import SemanticPriors
from basicsr_semantic.utils.errors import UserError

SCALE = 4
Figures = dict[str, dict[str, float]]
"""Clip -> metric -> mean over its frames."""


@dataclass
class Clip:
    """A clip of t frames.

    Attributes:
        name: What it is called.
        gt: (t, 3, 4 h, 4 w) uint8, RGB.
        lq: (t, 3, h, w) uint8.
        flows: Backward and forward flows as in BasicVSR, (2, t - 1, 2, h, w) in pixels; None where not needed.
    """

    name: str
    gt: torch.Tensor
    lq: torch.Tensor
    flows: torch.Tensor | None = None


def as_clip(name: str, frames: list[np.ndarray]) -> Clip:
    """A clip of frames (H, W, 3) uint8, RGB, with the LR frames that MATLAB's bicubic makes of them."""
    gt = [mod_crop(frame, SCALE) for frame in frames]
    lq = [degrade(frame, 'BI', SCALE) for frame in gt]
    return Clip(name, *(torch.from_numpy(np.stack(one)).permute(0, 3, 1, 2).contiguous() for one in (gt, lq)))


def read_folder(folder: Path) -> list[Clip]:
    """A clip for each folder of frames in a folder.

    Raises:
        UserError: There is none.
    """
    clips = []
    for path in sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []:
        files = sorted(file for file in path.iterdir() if file.suffix in ('.png', '.jpg'))
        clips.append(as_clip(path.name, [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]))
    if not clips:
        raise UserError(f'{folder} has no folder of frames.')
    return clips


@torch.no_grad()
def measure(
    net: nn.Module | None, clips: list[Clip], masks: Mapping[str, torch.Tensor] | None = None, note: str = 'measured'
) -> Figures:
    """PSNR and SSIM on Y of every clip, means over its frames, of frames rounded to 8 bits as a test does.

    Args:
        net: The network; None is MATLAB's bicubic interpolation.
        clips: The clips.
        masks: Clip -> masks (t, N, h, w), for a network that takes some.
        note: What the progress bar says.
    """
    from basicsr.metrics import calculate_psnr, calculate_ssim
    from basicsr.utils import tensor2img
    from basicsr.utils.matlab_functions import imresize

    figures = {}
    for clip in tqdm(clips, desc=note, unit='clip'):
        lq = clip.lq.float() / 255
        if net is None:
            restored = torch.stack([imresize(frame, SCALE) for frame in lq])
        elif masks is None:
            restored = net(lq[None])[0]
        else:
            restored = net(lq[None], SemanticPriors(masks=masks[clip.name][None]))[0]
        rows = []
        for frame, gt in zip(restored, clip.gt, strict=True):
            images = tensor2img(frame), tensor2img(gt.float() / 255)
            rows.append([f(*images, crop_border=0, test_y_channel=True) for f in (calculate_psnr, calculate_ssim)])
        psnr, ssim = (sum(column) / len(rows) for column in zip(*rows, strict=True))
        figures[clip.name] = {'psnr_y': round(float(psnr), 4), 'ssim_y': round(float(ssim), 4)}
    return figures
