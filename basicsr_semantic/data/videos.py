"""Video files: how many frames one has, and reading a frame by its number, frame-exact and in any process."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..utils.files import why_no_file
from .images import DamagedImageError, check_megapixels

VIDEO_SUFFIXES = ('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mpg', '.mpeg', '.wmv', '.flv')
NO_VIDEO = 'it is not a video that OpenCV can decode'

_MOST_OPEN = 4
"""Decoders that a process keeps: LQ and GT of the clip it reads, and those of another data set."""
_KEPT_BYTES, _LEAST_KEPT, _MOST_KEPT = 64 << 20, 8, 32
"""Decoded frames that a decoder keeps, for windows that overlap and clips that are played backwards."""


def is_video(name: str) -> bool:
    """Whether a file is taken for a video, by its name; hidden ones are not."""
    return name.lower().endswith(VIDEO_SUFFIXES) and not name.startswith('.')


class OpenVideo:
    """A video opened by OpenCV; a file that is not a video has no frames.

    Frames come as OpenCV decodes them: 8 bits, BGR, upright.

    Attributes:
        capture: OpenCV's decoder.
        announced: Frames that the container announces; may be wrong.
        size: (height, width) that it announces.
    """

    def __init__(self, path: Path) -> None:
        self.capture = cv2.VideoCapture(str(path))
        self.announced = max(int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        height, width = (self.capture.get(side) for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
        self.size = max(int(height), 0), max(int(width), 0)

    def __enter__(self) -> OpenVideo:
        return self

    def __exit__(self, *_: object) -> None:
        self.capture.release()


@dataclass(frozen=True)
class VideoLength:
    """How long a video is.

    Attributes:
        frames: Frames that can be decoded, at least 1.
        announced: Frames that the container announces.
    """

    frames: int
    announced: int

    @property
    def why_short(self) -> str | None:
        """What is wrong at the position after the last frame, None where nothing is missing there."""
        return ends_early(self.announced) if self.frames < self.announced else None


def ends_early(announced: int) -> str:
    """The clause for a video that has fewer frames than its container announces."""
    return f'the video ends there, though it announces {announced} frames'


_lengths: dict[tuple[str, int, int], VideoLength] = {}


def video_length(path: Path, max_megapixels: float) -> VideoLength:
    """Count the frames of a video by decoding all of it, once in a process as long as the file does not change.

    Args:
        path: The file.
        max_megapixels: Videos of larger frames are refused before they are decoded.

    Raises:
        DamagedImageError: No video, no frames, larger frames, or no regular file.
    """
    if (wrong := why_no_file(path)) is not None:
        raise DamagedImageError(wrong)
    state = path.stat()
    key = os.path.realpath(path), state.st_size, state.st_mtime_ns
    with OpenVideo(path) as video:
        check_megapixels(video.size, max_megapixels)
        if key not in _lengths:
            frames = 0
            while video.capture.grab():
                frames += 1
            if not frames:
                raise DamagedImageError(NO_VIDEO)
            _lengths[key] = VideoLength(frames, video.announced)
    return _lengths[key]


class _Decoder:
    """Goes through one video, forward only: earlier frames are looked up among the last ones, or decoded again.

    Containers seek to the wrong frame too often, so seeking is not used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._frames: OrderedDict[int, np.ndarray] = OrderedDict()
        self._video, self._next = OpenVideo(path), 0
        size = self._video.size
        self._most = min(max(_KEPT_BYTES // max(3 * size[0] * size[1], 1), _LEAST_KEPT), _MOST_KEPT)

    @property
    def size(self) -> tuple[int, int]:
        return self._video.size

    def read(self, number: int) -> np.ndarray:
        if number < self._next and number not in self._frames:
            self.close()
            self._video, self._next = OpenVideo(self._path), 0
        while self._next <= number:
            if not self._video.capture.grab():
                raise DamagedImageError(f'it ends after {self._next} frames' if self._next else NO_VIDEO)
            image = self._video.capture.retrieve()[1] if number - self._next < self._most else None
            if image is not None:
                self._frames[self._next] = image
            self._next += 1
            while len(self._frames) > self._most:
                self._frames.popitem(last=False)
        if number not in self._frames:
            raise DamagedImageError(f'its frame {number} cannot be decoded')
        return self._frames[number].copy()

    def close(self) -> None:
        self._video.capture.release()
        self._frames.clear()


_lock = threading.Lock()
_decoders: OrderedDict[str, _Decoder] = OrderedDict()
_inherited: list[_Decoder] = []
"""Decoders of the process that forked this one. Their threads are not here, so closing one would wait for ever."""


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread may have held it
    _inherited.extend(_decoders.values())
    _decoders.clear()


if hasattr(os, 'register_at_fork'):  # where there is no fork nothing is inherited
    os.register_at_fork(after_in_child=_after_fork)


def read_video_frame(path: Path, number: int, max_megapixels: float) -> np.ndarray:
    """Read one frame of a video.

    A process keeps a few decoders, so a frame after the one read before costs the frames between them; one further back
    than the frames that are kept costs all frames before it.

    Args:
        path: The file.
        number: Position of the frame, from 0, counted as it is decoded.
        max_megapixels: Videos of larger frames are not decoded.

    Returns:
        (h, w, 3) uint8 BGR, the caller's own.

    Raises:
        DamagedImageError: No such frame, one that cannot be decoded, larger frames, or no video at all.
    """
    key = os.path.realpath(path)
    with _lock:
        if key not in _decoders:
            if (wrong := why_no_file(path)) is not None:
                raise DamagedImageError(wrong)
            _decoders[key] = _Decoder(path)
        _decoders.move_to_end(key)
        if len(_decoders) > _MOST_OPEN:
            _decoders.popitem(last=False)[1].close()
        check_megapixels(_decoders[key].size, max_megapixels)
        return _decoders[key].read(number)


def close_videos(paths: Iterable[Path]) -> None:
    """Close the decoders of these videos in this process; the next read opens them again."""
    with _lock:
        for path in paths:
            decoder = _decoders.pop(os.path.realpath(path), None)
            if decoder is not None:
                decoder.close()
