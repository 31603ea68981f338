"""The frames between two cuts, on disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..priors import SemanticPriors
from ..priors.geometry import ClipGeometry
from ..priors.semantic_priors import CELL
from .cuts import cut_detector
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

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of its frames."""
        return self.frames.shape[0], self.frames.shape[1]

    @property
    def whole(self) -> Scene:
        """The scene that it is a view of, or itself."""
        return self

    def image(self, k: int) -> np.ndarray:
        """A frame (h, w, 3), uint8 or uint16."""
        return self.frames[k]

    def priors_at(self, frames: Sequence[int]) -> SemanticPriors | None:
        """The priors (1, T, ...) of frames, by number; None where it has none."""
        return None if self.priors is None else self.priors.at(frames)

    def tensor(self, k: int, device: torch.device) -> Tensor:
        """A frame (1, 3, h, w) float32 in [0, 1]."""
        image = self.image(k)
        top = np.iinfo(image.dtype).max
        whole = image if image.dtype == np.uint8 else image.astype(np.float32)
        return torch.from_numpy(whole).to(device).permute(2, 0, 1)[None].float().div_(top)

    def masks(self, k: int, device: torch.device) -> Tensor | None:
        """Masks (1, N, h, w) of a frame; None without."""
        priors = self.priors_at([k])
        return None if priors is None or priors.masks is None else priors.masks[:, 0].to(device)


class SceneView(Scene):
    """A scene in another one: a box of its frames, mirrored or not, in one direction of time or the other.

    Args:
        scene: The scene, or a view of one.
        name: For its folder in that of the scene.
        geometry: The box and the flips; its corner must be a multiple of 4 pixels, the cells of pixel features.
        backwards: Whether its first frame is the last one.
        count: Its frames; None: all.
    """

    def __init__(
        self, scene: Scene, name: str, geometry: ClipGeometry, backwards: bool = False, count: int | None = None
    ) -> None:
        self.scene, self.geometry, self.backwards = scene, geometry, backwards
        self.count = len(scene) if count is None else count
        self.folder, self.first = scene.folder / name, scene.first
        self.folder.mkdir(exist_ok=True)

    def __len__(self) -> int:
        return self.count

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of its frames."""
        return self.geometry.height, self.geometry.width

    @property
    def whole(self) -> Scene:
        """The scene that it is a view of."""
        return self.scene.whole

    def image(self, k: int) -> np.ndarray:
        """A frame (h, w, 3), uint8 or uint16."""
        return self.geometry.apply(self.scene.image(self._number(k)))

    def priors_at(self, frames: Sequence[int]) -> SemanticPriors | None:
        """The priors (1, T, ...) of frames: what has pixels is cut and mirrored, tokens stay as they are."""
        whole = self.scene.priors_at([self._number(k) for k in frames])
        if whole is None:
            return None
        cut, box = {}, self.geometry
        top, left, height, width = box.top // CELL, box.left // CELL, -(-box.height // CELL), -(-box.width // CELL)
        cells = replace(box, top=top, left=left, height=height, width=width)
        for name, part in (('masks', box), ('pixel_features', cells)):
            tensor = getattr(whole, name)
            if tensor is not None:
                cut[name] = torch.from_numpy(part.apply(tensor.numpy(), axes=(-2, -1)))
        return replace(whole, **cut)

    def remove(self) -> None:
        """Remove its files; those of the scene stay."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _number(self, k: int) -> int:
        return len(self.scene) - 1 - k if self.backwards else k


def cut_into_scenes(frames: Iterable[TimedFrame], folder: Path, cuts: str = 'cuts') -> Iterator[Scene]:
    """The scenes of a video, each when it is whole.

    Args:
        frames: Its frames, in order.
        folder: Where the scenes are put.
        cuts: What finds where one ends, see `cut_detector`.

    Raises:
        UserError: See `cut_detector`.
    """
    is_cut, scene = cut_detector(cuts), None
    for number, frame in enumerate(frames):
        begins = is_cut(frame.image)
        if scene is not None and begins:
            yield scene
        if scene is None or begins:
            scene = Scene(folder / f'scene_{number:08d}', number, frame.image.shape, frame.image.dtype)
        scene.add(frame.image, frame.time)
    if scene is not None:
        yield scene
