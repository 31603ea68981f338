"""A scene restored frame by frame: exactly, by two passes of a recurrent network, or by windows that overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..archs.seeclear_arch import SeeClear
from ..inference.restorer import Restorer, SeeClearRestorer
from ..inference.streaming import RecurrentStream, streamable
from ..priors import SemanticPriors
from ..utils.errors import UserError
from ..utils.files import write_whole
from .frame_file import FrameFile
from .scenes import Scene

_WINDOW, _SHARED = 16, 4
"""Frames of a window, and those that neighbours share."""
Progress = Callable[[str, int], None]
"""What is done, and frames that are done of it."""
Saved = Callable[[int], bool]
"""Whether what comes behind a frame is to be kept."""


def never(frame: int) -> bool:
    """Nothing is kept."""
    return False


def silent(what: str, count: int) -> None:
    """Nobody is told."""


class SceneRestorer(Protocol):
    """Restores scenes."""

    @property
    def plan(self) -> str:
        """What is special about how scenes are restored, as a sentence; empty: nothing."""
        ...

    @property
    def frames_at_once(self) -> int:
        """Frames that are in memory at once."""
        ...

    def disk(self, height: int, width: int) -> int:
        """Bytes on disk for a frame of a scene, in addition to the frame itself."""
        ...

    def restore(
        self, scene: Scene, first: int = 0, saved: Saved = never, progress: Progress = silent
    ) -> Iterator[Tensor]:
        """Restore the frames of a scene from ``first`` on, (3, H, W) float32.

        Args:
            scene: The scene.
            first: The first frame that is wanted, from 0.
            saved: Whether what comes behind a frame should be kept, so that a stopped run can go on there.
            progress: Is told what is done.
        """
        ...


class ScenesWithin:
    """Restores scenes by what restores them otherwise; as that does, but for what a subclass does itself.

    Args:
        inner: Restores a scene.
    """

    def __init__(self, inner: SceneRestorer) -> None:
        self.inner = inner

    @property
    def plan(self) -> str:
        """What is special about how scenes are restored, as a sentence; empty: nothing."""
        return self.inner.plan

    @property
    def frames_at_once(self) -> int:
        """Frames that are in memory at once."""
        return self.inner.frames_at_once

    def disk(self, height: int, width: int) -> int:
        """Bytes on disk for a frame."""
        return self.inner.disk(height, width)


class RecurrentScenes:
    """BasicVSR and networks made of it: exact, with the features of the backward branch on disk."""

    plan = ''
    frames_at_once = 2

    def __init__(self, restorer: Restorer) -> None:
        net = streamable(restorer.net)
        assert net is not None
        self.net = net
        self.device = next(net.parameters()).device

    def disk(self, height: int, width: int) -> int:
        """Bytes on disk for a frame."""
        stream = RecurrentStream(self.net, 1, lambda _: torch.empty(0), lambda _: None, (height, width))
        channels, rows, columns = stream.state_shape
        return 4 * channels * rows * columns

    def restore(
        self, scene: Scene, first: int = 0, saved: Saved = never, progress: Progress = silent
    ) -> Iterator[Tensor]:
        """See `SceneRestorer`."""
        stream = RecurrentStream(
            self.net,
            len(scene),
            lambda k: scene.tensor(k, self.device),
            lambda k: scene.masks(k, self.device),
            scene.size,
        )
        whole, state = scene.folder / 'backward.done', self._state(scene.folder, first)
        with FrameFile(scene.folder / 'backward', stream.state_shape, np.float32) as backward:
            if not whole.is_file():
                for _ in stream.backward(backward.__setitem__):
                    progress('backward', 1)
                whole.touch()

            def keep(k: int, state: Tensor) -> None:
                if saved(k):
                    write_whole(scene.folder / f'state_{k + 1}', state.cpu().numpy().tobytes(), durable=False)

            yield from stream.forward(
                backward.__getitem__,
                first,
                None if state is None else torch.from_numpy(state.reshape(stream.state_shape)),
                keep,
            )

    @staticmethod
    def _state(folder: Path, first: int) -> np.ndarray | None:
        path = folder / f'state_{first}'
        return np.frombuffer(bytearray(path.read_bytes()), np.float32) if first and path.is_file() else None


class WindowedScenes:
    """Any other network, over windows of frames that overlap; each frame comes from the window that it is most inside.

    Args:
        restorer: The network.
        window: Frames of a window.
        overlap: Frames that neighbouring windows share.
    """

    def __init__(self, restorer: Restorer, window: int, overlap: int) -> None:
        self.restorer, self.window, self.overlap = restorer, window, overlap
        self.device = next(restorer.parameters()).device

    @property
    def plan(self) -> str:
        """How frames are cut into windows; empty where the result does not depend on it."""
        if self.restorer.single_frames or self.restorer.arch.num_frame is not None:
            return ''
        return f'Windows of {self.window} frames, of which neighbours share {self.overlap}.'

    @property
    def frames_at_once(self) -> int:
        """Frames that are in memory at once."""
        return self.window

    def disk(self, height: int, width: int) -> int:
        """Nothing."""
        return 0

    def restore(
        self, scene: Scene, first: int = 0, saved: Saved = never, progress: Progress = silent
    ) -> Iterator[Tensor]:
        """See `SceneRestorer`."""
        for begin, end, shown in windows(len(scene), self.window, self.overlap, self.restorer.arch.num_frame):
            if shown[-1] < first:
                continue
            frames = torch.cat([scene.tensor(k, self.device) for k in range(begin, end)])[None]
            made = self._run(frames, scene.priors_at(range(begin, end)), scene.first + begin)[0].cpu()
            for k in shown:
                if k >= first:
                    yield made[k - begin]

    @torch.inference_mode()
    def _run(self, frames: Tensor, priors: SemanticPriors | None, number: int) -> Tensor:
        if isinstance(self.restorer, SeeClearRestorer):
            return self.restorer(frames, priors, names=[str(number)])
        return self.restorer(frames, priors)


def windows(count: int, window: int, overlap: int, centred: int | None = None) -> Iterator[tuple[int, int, range]]:
    """Cut a scene into windows: (first frame, frame behind the last, frames that are taken from it).

    Args:
        count: Frames of the scene.
        window: Frames of a window, at least 1.
        overlap: Frames that neighbours share, less than a window; half of them are taken from each.
        centred: For a network of centred windows, how many frames each has: then windows begin and end that far outside
            of what is taken, and the result is that of the whole scene.
    """
    if centred is not None:
        overlap = 2 * (centred - 1)  # BasicSR reflects the ends of a clip by as many
        window = max(window, overlap + 1)
    step, before = window - overlap, overlap // 2
    taken = 0
    while taken < count:
        begin = max(taken - before, 0)
        end = min(begin + window, count)
        begin = max(end - window, 0) if centred is None else begin
        stop = count if end == count else end - (overlap - before)
        yield begin, end, range(taken, max(stop, taken + 1) if step else stop)
        taken = max(stop, taken + 1)


def plain_restorer(restorer: Restorer, window: int | None, overlap: int | None) -> RecurrentScenes | WindowedScenes:
    """How a network restores scenes: exactly where it can.

    Args:
        restorer: The network.
        window: Frames of a window; None: those of a clip of SeeClear, else 16. Given, it is used for any network.
        overlap: Frames that windows share; None: 0 for SeeClear, whose windows are its clips, else 4.

    Raises:
        UserError: Windows would share all of their frames, or weights of another type than float32.
    """
    net = restorer.net
    dtype = next(net.parameters()).dtype
    if dtype != torch.float32:
        raise UserError(f'The network has weights in {dtype}; videos are restored in float32. Call its float() first.')
    if window is None and streamable(net) is not None:
        return RecurrentScenes(restorer)
    if restorer.single_frames:
        return WindowedScenes(restorer, 1, 0)
    of_clips = isinstance(net, SeeClear)
    frames = window or (net.clip_length if of_clips else _WINDOW)
    shared = (0 if of_clips else min(_SHARED, frames - 1)) if overlap is None else overlap
    if shared >= frames:
        raise UserError(f'Windows of {frames} frames cannot share {shared}.')
    return WindowedScenes(restorer, frames, shared)
