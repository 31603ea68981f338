"""The mean of what a network makes of a scene as it is, mirrored, and played backwards."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..priors.geometry import ClipGeometry
from .frame_file import FrameFile
from .scene_restorers import Progress, Saved, SceneRestorer, ScenesWithin, never, silent
from .scenes import Scene, SceneView

_FLIPS = ((False, False), (True, False), (False, True), (True, True))


class EnsembleScenes(ScenesWithin):
    """Four mirrorings in both directions of time: eight results of a scene, of which the mean is taken.

    What is made of the scene backwards comes last frame first, so it waits on disk, as float32.

    Args:
        inner: Restores a scene.
        scale: How many times it enlarges.
    """

    def __init__(self, inner: SceneRestorer, scale: int) -> None:
        super().__init__(inner)
        self.scale = scale

    @property
    def plan(self) -> str:
        """What is special about how scenes are restored, as a sentence; empty: nothing."""
        return f'{self.inner.plan} Mean of eight: four mirrorings, in both directions of time.'.strip()

    def disk(self, height: int, width: int) -> int:
        """Bytes on disk for a frame."""
        made = 3 * np.dtype(np.float32).itemsize * self.scale**2 * height * width
        return len(_FLIPS) * (self.inner.disk(height, width) + made) + self.inner.disk(height, width)

    def restore(
        self, scene: Scene, first: int = 0, saved: Saved = never, progress: Progress = silent
    ) -> Iterator[Tensor]:
        """See `SceneRestorer`."""
        height, width = scene.size
        geometries = [ClipGeometry(0, 0, height, width, hflip=h, vflip=v) for h, v in _FLIPS]
        files = [self._backwards(scene, k, geometry, progress) for k, geometry in enumerate(geometries)]
        streams = []
        for k, geometry in enumerate(geometries):
            view = SceneView(scene, f'forwards_{k}', geometry)
            streams.append(self.inner.restore(view, first, saved, progress if not k else silent))
        try:
            for number, parts in enumerate(zip(*streams, strict=True), first):
                made = torch.zeros(3, height * self.scale, width * self.scale)
                for part, file, (h, v) in zip(parts, files, _FLIPS, strict=True):
                    both = part.cpu() + torch.from_numpy(file[len(scene) - 1 - number])
                    made += both.flip([axis for axis, flipped in ((2, h), (1, v)) if flipped])
                yield made / (2 * len(_FLIPS))
        finally:
            for file in files:
                file.close()

    def _backwards(self, scene: Scene, k: int, geometry: ClipGeometry, progress: Progress) -> FrameFile:
        """What is made of the scene backwards, on disk."""
        shape = (3, scene.size[0] * self.scale, scene.size[1] * self.scale)
        file = FrameFile(scene.folder / f'backwards_{k}', shape, np.float32)
        whole = scene.folder / f'backwards_{k}.done'
        if not whole.is_file():
            view = SceneView(scene, f'backwards_{k}_view', geometry, backwards=True)
            for number, made in enumerate(self.inner.restore(view)):
                file[number] = made.cpu().numpy()
                progress('backward', 1)
            view.remove()
            whole.touch()
        return file
