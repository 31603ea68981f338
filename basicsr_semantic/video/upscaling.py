"""Any video in, a better one out: decode, describe, restore and encode at once, in bounded memory, and resumable."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ..data.images import encode_png
from ..inference.restorer import Restorer
from ..utils.errors import UserError
from ..utils.files import check_free, make_folder_of, whole_file, write_whole
from ..utils.memory import free_memory
from .choices import Choices, read_json
from .measures import MEASURES
from .plan import Plan, restorer_of_scenes, scale_of
from .scene_priors import PriorMaker
from .scenes import Scene, cut_into_scenes
from .segments import PART, Coding, SegmentWriter, check_container, check_size, coding_for, join
from .sources import Source, TimedFrame

_WAITING = 4
"""Restored frames that may wait for their encoding."""
_BYTES = 2 * 3 * 4 + (2 + _WAITING) * 3
"""Of memory for each pixel of a result: as float32 twice while it is rounded, and those that wait."""
SETTINGS, CHOICES = 'settings.json', 'choices.json'


@dataclass
class Outputs:
    """Where results go.

    Attributes:
        video: A video file.
        frames: A folder of PNG files.
        side_by_side: A video of the input, enlarged by bicubic interpolation, next to the result.
    """

    video: Path | None = None
    frames: Path | None = None
    side_by_side: Path | None = None

    def work(self) -> Path:
        """The folder of what is not done, next to the result."""
        path = self.video or self.side_by_side or self.frames
        assert path is not None
        path = path.resolve() if path.name in ('', '..') else path
        if not path.name:
            raise UserError(f'OUTPUT is {path}. Give the name of a video, or of a folder for PNG files.')
        return path.with_name(f'{path.name}.parts')


@dataclass
class Settings:
    """How a video is restored.

    Attributes:
        segment: Frames of a segment, the unit that is done or not.
        scenes: What finds cuts, which end a clip, see `cut_detector`.
        plan: How scenes are restored.
        codec: Encoder; None: what plays everywhere.
        crf: Constant quality.
        pix_fmt: Of the coded frames.
    """

    segment: int = 48
    scenes: str = 'cuts'
    plan: Plan = field(default_factory=Plan)
    codec: str | None = None
    crf: float | None = None
    pix_fmt: str | None = None


@dataclass
class UpscalingReport:
    """What a run did.

    Attributes:
        frames: Frames that are in the result.
        restored: Frames that this run restored.
        seconds: Wall-clock time.
        network_seconds: Of these in the network.
        scenes: Scenes.
        size: (H, W) of the result.
        remarks: What could not be kept.
        measured: What was asked for, a frame: 'warping error', 'NIQE'.
    """

    frames: int = 0
    restored: int = 0
    seconds: float = 0.0
    network_seconds: float = 0.0
    scenes: int = 0
    size: tuple[int, int] = (0, 0)
    remarks: list[str] = field(default_factory=list)
    measured: dict[str, list[float | None]] = field(default_factory=dict)


class Upscaler:
    """Restores one input.

    Args:
        source: The input.
        restorer: The network.
        outputs: Where the result goes.
        settings: How.
        priors: Makes or reads the priors of scenes; None: the network gets none.
        identity: What decides the result, as plain values; a run that is resumed must have the same.
        progress: Is told of every frame: what is done of it, and how many frames.
        measures: What is worked out of every frame, of `MEASURES`.

    Raises:
        UserError: Settings that contradict the input or each other.
    """

    def __init__(
        self,
        source: Source,
        restorer: Restorer,
        outputs: Outputs,
        settings: Settings | None = None,
        priors: PriorMaker | None = None,
        identity: Mapping[str, Any] | None = None,
        progress: Callable[[str, int], None] | None = None,
        measures: Sequence[str] = (),
    ) -> None:
        self.source, self.restorer, self.outputs, self.priors = source, restorer, outputs, priors
        self.settings = settings or Settings()
        self.work = outputs.work()
        self.report = UpscalingReport()
        self.scenes = restorer_of_scenes(
            restorer, self.settings.plan, Choices(self.work / CHOICES), self.report.remarks.append
        )
        self.scale = scale_of(restorer)
        self.size = self.report.size = (source.height * self.scale, source.width * self.scale)
        self.coding: Coding | None = None
        if (file := outputs.video or outputs.side_by_side) is not None:
            self.coding = coding_for(source, file, self.settings.codec, self.settings.crf, self.settings.pix_fmt)
            if any(side % 2 for side in self.size) and '420' in self.coding.pix_fmt:
                self.coding = dataclasses.replace(self.coding, pix_fmt=self.coding.pix_fmt.replace('420', '444'))
            if source.bits > 8 >= self.coding.bits:
                self.report.remarks.append(f'{file} has 8 bits, as {self.coding.codec} writes it; the input has more.')
        self._check_size()
        self.identity = dict(identity or {}) | {
            'size': list(self.size),
            'settings': dataclasses.asdict(self.settings),
            'measures': list(measures),
        }
        self.progress = progress or (lambda what, count: None)
        self.report.measured = {name: [] for name in measures}
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._whole = True

    def _check_size(self) -> None:
        """Refuse frames that no encoder or no memory takes, before the first one is restored."""
        height, width = self.size
        for factor, out in ((1, self.outputs.video), (2, self.outputs.side_by_side)):
            if out is not None and self.coding is not None:
                check_size(self.coding, height, factor * width)
                check_container(self.coding, out)
        needed, free = _BYTES * height * width, free_memory(torch.device('cpu'))
        if free is not None and needed > free:
            raise UserError(
                f'Frames of {width}x{height} take about {needed / 1e9:.1f} GB of memory, of which {free / 1e9:.1f} GB '
                'are free.'
            )

    def disk(self) -> int:
        """Bytes on disk that a frame takes until its scene is done."""
        raw = self.source.height * self.source.width * 3 * (self.source.bits // 8)
        return raw + self.scenes.disk(self.source.height, self.source.width)

    def prepare(self, resume: bool, force: bool) -> None:
        """Make the working folder, or check the one that is there.

        Args:
            resume: Go on with it.
            force: Begin from the start, and replace results.

        Raises:
            UserError: There is one and neither is asked for, or it is of another run.
        """
        settings = self.work / SETTINGS
        stopped = settings.is_file()
        if not stopped and self.work.is_dir() and any(one.name[:1] != '.' for one in self.work.iterdir()):
            raise UserError(
                f'{self.work} is in the way: what is not done is to be there, and it is not of a run that was stopped. '
                'Move it, or give another name.'
            )
        stopped = stopped and not force
        for path in (self.outputs.video, self.outputs.side_by_side):
            if path is not None:
                if path.is_dir():
                    raise UserError(f'{path} is a folder, and its name that of a video. Give another name.')
                if stopped and not resume and path.exists():
                    raise UserError(
                        f'{path} exists already, as far as a run that was stopped has come: --resume goes on, --force '
                        'begins from the start.'
                    )
                check_free(path, force or (resume and stopped))
                make_folder_of(path)
        folder = self.outputs.frames
        if folder is not None:
            if folder.exists() and not folder.is_dir():
                raise UserError(f'{folder} is a file; PNG files need a folder. Give another name.')
            if not (force or stopped) and folder.is_dir() and any(folder.glob('*.png')):
                raise UserError(f'{folder} has PNG files already. Give another folder, or --force to write into it.')
        if stopped:
            if not resume:
                raise UserError(
                    f'{self.work} has what an earlier run has done of this. --resume goes on, --force begins from '
                    'the start.'
                )
            before = read_json(settings)
            now = json.loads(json.dumps(self.identity))
            for key in sorted(before.keys() | now.keys()):
                if before.get(key) != now.get(key):
                    raise UserError(
                        f'{self.work} is of a run with another {key}: {_short(before.get(key))} then, '
                        f'{_short(now.get(key))} now. --force begins from the start.'
                    )
        if force:
            shutil.rmtree(self.work, ignore_errors=True)
        make_folder_of(self.work)
        self.work.mkdir(parents=True, exist_ok=True)
        write_whole(settings, json.dumps(self.identity).encode())

    def done(self) -> int:
        """Frames that are in whole segments, from the beginning."""
        return sum(part['frames'] for part in self._done())

    def _done(self) -> list[dict[str, Any]]:
        """What is kept of each whole segment, from the first one on: its frames, and what was measured of them."""
        found: list[dict[str, Any]] = []
        while (record := self._record(len(found))).is_file() and all(p.is_file() for p in self._segments(len(found))):
            part = read_json(record)
            first = len(found) * self.settings.segment
            frames = range(first, first + part['frames'])
            if self.outputs.frames is not None and not all(self._png(k).is_file() for k in frames):
                break
            found.append(part)
        return found

    def run(self) -> UpscalingReport:
        """Restore what is not done, and join the whole.

        Returns:
            What was done.

        Raises:
            UserError: Frames that cannot be read, or results that cannot be written.
            KeyboardInterrupt: It was interrupted. In both cases what is whole is joined and can be played.
        """
        started, done = time.monotonic(), self._done()
        first = self.report.frames = sum(part['frames'] for part in done)
        for name, values in self.report.measured.items():
            values[:] = [value for part in done for value in part['measured'][name]]
        scenes: queue.Queue[Scene | None] = queue.Queue(1)
        restored: queue.Queue[tuple[int, TimedFrame, np.ndarray] | None] = queue.Queue(_WAITING)
        threads = [
            threading.Thread(target=self._guard, args=(self._decode, scenes, first), daemon=True),
            threading.Thread(target=self._guard, args=(self._encode, restored, first), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            while (scene := self._take(scenes)) is not None:
                self._restore(scene, first, restored)
                if not self._errors:
                    scene.remove()
            self._put(restored, None)
            while threads[1].is_alive() and not self._errors:
                threads[1].join(0.1)
        except BaseException as error:
            self._errors.append(error)
            self._drain(restored, threads[1])
        self._stop.set()
        for thread in threads:
            thread.join()
        self.report.seconds = time.monotonic() - started
        if self._errors:
            error = self._errors[0]
            with contextlib.suppress(UserError):  # what is whole can be played, whatever the reason
                self.join()
            if isinstance(error, UserError) and not self.report.frames:  # nothing that --resume could go on with
                shutil.rmtree(self.work, ignore_errors=True)
            raise error
        self.join()
        shutil.rmtree(self.work, ignore_errors=True)
        return self.report

    def join(self) -> None:
        """Join whole segments into the results, where there are some."""
        for kind, out in (('video', self.outputs.video), ('side', self.outputs.side_by_side)):
            parts = sorted(self.work.glob(f'{kind}_*{PART}')) if out is not None else []
            if out is None or not parts or self.coding is None:
                continue
            size = self.size if kind == 'video' else (self.size[0], 2 * self.size[1])
            self.report.remarks += join(parts, out, self.coding, size, self.source if kind == 'video' else None)

    def _guard(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException as error:
            self._errors.append(error)
            self._stop.set()

    def _drain(self, restored: queue.Queue[Any], encoding: threading.Thread) -> None:
        """Let what is restored be encoded; a segment that is not whole then is given up."""
        self._whole = False
        while encoding.is_alive() and not self._stop.is_set():
            try:
                restored.put(None, timeout=0.1)
                encoding.join()
            except queue.Full:
                continue

    def _put(self, line: queue.Queue[Any], item: Any) -> None:
        while not self._stop.is_set():
            try:
                line.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def _take(self, line: queue.Queue[Any]) -> Any:
        while not self._stop.is_set():
            try:
                return line.get(timeout=0.1)
            except queue.Empty:
                continue
        return None

    def _decode(self, scenes: queue.Queue[Scene | None], first: int) -> None:
        """Cut the input into scenes; those that are done are passed over."""
        frames = itertools.takewhile(lambda _: not self._stop.is_set(), self.source.read())
        for scene in cut_into_scenes(frames, self.work, self.settings.scenes):
            self.report.scenes += 1
            if scene.first + len(scene) <= first:
                scene.remove()
            else:
                self._put(scenes, scene)
        if not self.report.scenes and not self._stop.is_set():
            raise UserError(f'{self.source.path or self.source.name} has no frame that can be decoded.')
        self._put(scenes, None)

    def _restore(self, scene: Scene, first: int, restored: queue.Queue[Any]) -> None:
        if self.priors is not None and self.restorer.prior_fields:
            scene.read_priors(self.priors, self.source.name)
        begin = max(first - scene.first, 0)

        def saved(k: int) -> bool:
            return (scene.first + k + 1) % self.settings.segment == 0

        started = time.monotonic()
        for k, made in enumerate(self.scenes.restore(scene, begin, saved, self.progress), begin):
            image = as_image(made, scene.frames.dtype)
            if image.shape[:2] != self.size:
                (height, width), (h, w) = self.size, image.shape[:2]
                raise UserError(f'The network makes frames of {w}x{h}, its file says {width}x{height}: another scale.')
            self.report.network_seconds += time.monotonic() - started
            self._put(restored, (scene.first + k, TimedFrame(scene.frames[k], scene.times[k]), image))
            if self._stop.is_set():
                return
            started = time.monotonic()
        self.report.network_seconds += time.monotonic() - started

    def _encode(self, restored: queue.Queue[Any], first: int) -> None:
        """Write frames as they come, segment by segment."""
        writers: list[SegmentWriter] = []
        try:
            expected, before = first, self._last_image(first)
            while (item := self._take(restored)) is not None:
                number, frame, image = item
                assert number == expected, (number, expected)
                expected += 1
                if number % self.settings.segment == 0 or number == first:
                    writers = self._begin(number // self.settings.segment)
                self._write(writers, number, frame, image)
                for name, values in self.report.measured.items():
                    values.append(MEASURES[name](image, before))
                before = image
                self.report.restored += 1
                self.progress('restored', 1)
                if (number + 1) % self.settings.segment == 0:
                    self._finish(writers, number + 1, before)
                    writers = []
            if self._whole and not self._stop.is_set() and expected % self.settings.segment and expected > first:
                self._finish(writers, expected, before)
                writers = []
        finally:
            for writer in writers:
                writer.abandon()

    def _begin(self, index: int) -> list[SegmentWriter]:
        writers = []
        for path in self._segments(index):
            assert self.coding is not None
            width = self.size[1] * (2 if path.name.startswith('side') else 1)
            writers.append(SegmentWriter(path, self.coding, self.size[0], width))
        return writers

    def _write(self, writers: list[SegmentWriter], number: int, frame: TimedFrame, image: np.ndarray) -> None:
        for writer in writers:
            shown = image
            if writer.path.name.startswith('side'):
                shown = np.concatenate([_bicubic(frame.image, self.scale), image], axis=1)
            writer.write(shown, frame.time)
        if self.outputs.frames is not None:
            write_whole(self._png(number), encode_png(np.ascontiguousarray(image[..., ::-1])), durable=False)

    def _finish(self, writers: list[SegmentWriter], behind: int, last: np.ndarray | None) -> None:
        for writer in writers:
            writer.finish()
        if self.report.measured and last is not None:
            with whole_file(self._last(behind), durable=False) as file:
                np.save(file, last)
        begin = (behind - 1) // self.settings.segment * self.settings.segment
        measured = {name: values[begin:behind] for name, values in self.report.measured.items()}
        record = {'frames': behind - begin, 'measured': measured}
        write_whole(self._record(begin // self.settings.segment), json.dumps(record).encode())
        if begin:
            self._last(begin).unlink(missing_ok=True)
        self.report.frames = behind
        for state in _states(self.work):
            scene = int(state.relative_to(self.work).parts[0].rpartition('_')[2])
            if scene + int(state.name.rpartition('_')[2]) < behind:
                state.unlink(missing_ok=True)

    def _record(self, index: int) -> Path:
        """Written when a segment is whole, whatever it is written to."""
        return self.work / f'done_{index:06d}.json'

    def _last(self, behind: int) -> Path:
        """The restored frame before a number, which the measures of the next one need."""
        return self.work / f'last_{behind}.npy'

    def _last_image(self, behind: int) -> np.ndarray | None:
        path = self._last(behind)
        return np.load(path) if behind and path.is_file() else None

    def _segments(self, index: int) -> list[Path]:
        kinds = (('video', self.outputs.video), ('side', self.outputs.side_by_side))
        return [self.work / f'{kind}_{index:06d}{PART}' for kind, out in kinds if out is not None]

    def _png(self, number: int) -> Path:
        assert self.outputs.frames is not None
        names = self.source.names
        name = f'{number:08d}' if names is None or number >= len(names) else names[number]
        return self.outputs.frames / f'{name}.png'


def _states(work: Path) -> Iterator[Path]:
    """States of scenes on disk. A scene may be removed meanwhile, which a walk passes over and a glob stumbles over."""
    for folder, _, names in os.walk(work):
        yield from (Path(folder) / name for name in names if name.startswith('state_'))


def as_image(frame: Tensor, dtype: np.dtype) -> np.ndarray:
    """(3, H, W) in [0, 1] as (H, W, 3) of the source's type."""
    top = np.iinfo(dtype).max
    scaled = frame.clamp(0, 1).mul_(top).round_().to(torch.int32 if top > 255 else torch.uint8)
    return np.ascontiguousarray(scaled.permute(1, 2, 0).cpu().numpy(), dtype)


def _bicubic(image: np.ndarray, scale: int) -> np.ndarray:
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 120 else f'{text[:117]}...'
