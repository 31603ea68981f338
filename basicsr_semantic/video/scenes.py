"""The frames between two cuts, on disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .cuts import CutDetector
from .frame_file import FrameFile, eight_bits
from .scene_priors import PriorMaker, ScenePriors
from .sources import TimedFrame


class Scene:
    """The frames between two cuts, on disk.

    Args:
        folder: For its files.
        first: Number of its first frame in the input.
        shape: Of a frame (h, w, 3).
        dtype: uint8 or uint16.
    """

    def __init__(self, folder: Path, first: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.first = folder, first
        self.frames = FrameFile(folder / 'frames', shape, dtype)
        self.times: list[int] = []
        self.priors: ScenePriors | None = None

    def __len__(self) -> int:
        return len(self.times)

    def add(self, image: np.ndarray, time: int) -> None:
        """Take the next frame."""
        self.frames[len(self.times)] = image
        self.times.append(time)

    def read_priors(self, maker: PriorMaker, clip: str) -> None:
        """Get the priors of the frames: made of them, or out of the store that was given for the whole input."""
        if maker.given is not None:
            self.priors = maker.stored(clip, self.first, len(self))
        else:
            self.priors = maker.describe(self.folder.name, len(self), lambda k: eight_bits(self.frames[k]))

    def remove(self) -> None:
        """Remove its files."""
        self.frames.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def tensor(self, k: int, device: torch.device) -> Tensor:
        """A frame (1, 3, h, w) float32 in [0, 1]."""
        image = self.frames[k]
        top = np.iinfo(image.dtype).max
        whole = image if image.dtype == np.uint8 else image.astype(np.float32)
        return torch.from_numpy(whole).to(device).permute(2, 0, 1)[None].float().div_(top)

    def masks(self, k: int, device: torch.device) -> Tensor | None:
        """Masks (1, N, h, w) of a frame; None without."""
        if self.priors is None or 'masks' not in self.priors.wanted:
            return None
        masks = self.priors.at([k]).masks
        assert masks is not None
        return masks[:, 0].to(device)


def cut_into_scenes(frames: Iterable[TimedFrame], folder: Path, cuts: bool) -> Iterator[Scene]:
    """The scenes of a video, each when it is whole.

    Args:
        frames: Its frames, in order.
        folder: Where the scenes are put.
        cuts: Whether a cut ends a scene.
    """
    is_cut, scene = CutDetector(), None
    for number, frame in enumerate(frames):
        begins = is_cut(frame.image) and cuts
        if scene is not None and begins:
            yield scene
        if scene is None or begins:
            scene = Scene(folder / f'scene_{number:08d}', number, frame.image.shape, frame.image.dtype)
        scene.add(frame.image, frame.time)
    if scene is not None:
        yield scene
