"""What `basicsr prepare clips` reads: folders of frames and video files, frame by frame, damage included."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn, TypeVar

import cv2
import numpy as np

from ..utils.errors import UserError
from .clip_folders import frame_names_of_folder, is_image, natural_order
from .images import DamagedImageError, decode

VIDEO_SUFFIXES = ('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mpg', '.mpeg', '.wmv', '.flv')


@dataclass(frozen=True)
class RawFrame:
    """One frame before it is looked at.

    Attributes:
        label: What to call it in messages, as 'bear/00010.jpg' or 'dog.mp4, frame 10'.
        name: Name of its file without extension; empty for a frame of a video.
        load: Gives the frame, (h, w, 3) uint8 BGR; raises DamagedImageError or OSError. May run in another thread.
    """

    label: str
    name: str
    load: Callable[[], np.ndarray]


class FolderClip:
    """A folder of images as a clip.

    Args:
        name: Name of the clip in the output.
        source: Path below the source folder, for messages and the manifest.
        files: Its images in order.
    """

    def __init__(self, name: str, source: str, files: list[Path]) -> None:
        self.name = name
        self.source = source
        self.files = files
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.files)

    def fingerprint(self) -> str:
        """Changes when files are added, removed, renamed or get another size."""
        return _digest([f'{path.name} {path.stat().st_size}' for path in self.files])

    def frames(self, wanted: Callable[[int], bool]) -> Iterator[RawFrame]:
        """All frames in order; ``wanted`` is for videos, here a frame costs nothing before it is loaded."""
        for path in self.files:
            yield RawFrame(f'{self.source}/{path.name}', path.stem, lambda path=path: self._load(path))

    @cached_property
    def _size(self) -> tuple[int, int]:
        """(height, width) that most frames have, by their headers; the first one's of equally many."""
        sizes = Counter(size for size in map(size_in_header, self.files) if size is not None)
        return sizes.most_common(1)[0][0] if sizes else (0, 0)

    def _load(self, path: Path) -> np.ndarray:
        image = decode(path.read_bytes())
        with self._lock:
            height, width = self._size
        h, w = image.shape[:2]
        if (h, w) != (height, width):
            raise DamagedImageError(f'it has {w}x{h} pixels, while most frames of the clip have {width}x{height}')
        return image


class VideoClip:
    """A video file as a clip.

    Frames come as OpenCV decodes them: 8 bits, upright. A decoder conceals damage inside a video stream, so only
    frames that are missing at its end are noticed.

    Args:
        name: Name of the clip in the output.
        source: Path below the source folder, for messages and the manifest.
        path: The file.
    """

    def __init__(self, name: str, source: str, path: Path) -> None:
        self.name = name
        self.source = source
        self.path = path

    def __len__(self) -> int:
        """Frames that the container announces; may be wrong."""
        with _Video(self.path) as video:
            return video.announced

    def fingerprint(self) -> str:
        """Changes when the file gets another size."""
        return _digest([f'{self.path.name} {self.path.stat().st_size}'])

    def frames(self, wanted: Callable[[int], bool]) -> Iterator[RawFrame]:
        """All frames in order, and one that cannot be loaded where the file ends early.

        Args:
            wanted: Whether the frame at a position will be loaded; the others are not converted.
        """
        position, size = 0, None
        with _Video(self.path) as video:
            while video.capture.grab():
                image = video.capture.retrieve()[1] if wanted(position) else None
                size = size if image is None else size or image.shape
                label = f'{self.source}, frame {position}'
                yield RawFrame(label, '', lambda image=image, size=size: _checked_video_frame(image, size))
                position += 1
        if position == 0:
            yield RawFrame(self.source, '', lambda: _fail('it is not a video, or none that OpenCV can decode'))
        elif position < video.announced:
            reason = f'the video ends there, though it announces {video.announced} frames'
            yield RawFrame(f'{self.source}, frame {position}', '', lambda: _fail(reason))


SourceClip = FolderClip | VideoClip
Clip = TypeVar('Clip', FolderClip, VideoClip, SourceClip)


def find_source_clips(source: Path) -> tuple[list[SourceClip], list[str]]:
    """Find the clips in a folder: every folder with images, and every video, at any depth.

    Letters other than A-Z, a-z, 0-9 and ``_-+=@`` in a clip's name become ``_``: blanks, dots and other alphabets do
    not survive BasicSR's meta info and LMDB keys.

    Args:
        source: A folder, or one video file.

    Returns:
        The clips in natural order of their names, and the folders in which there is nothing at all.

    Raises:
        UserError: Nothing is found, images lie directly in ``source``, or two clips get one name.
    """
    if source.is_file():
        if not _is_video(source.name):
            raise UserError(f"'{source}' is neither a folder nor a video ({', '.join(VIDEO_SUFFIXES)}).")
        return [VideoClip(clean_name(source.stem), source.name, source)], []
    if not source.is_dir():
        raise UserError(f"There is no folder or video '{source}'.")
    clips: list[SourceClip] = []
    empty = []
    for folder, subfolders, files in os.walk(source, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith('.')]
        below = Path(folder).relative_to(source).as_posix()
        images = sorted(filter(is_image, files), key=natural_order)
        videos = [name for name in files if _is_video(name)]
        if images and below == '.':
            raise UserError(
                f"Images such as {images[0]} lie directly in '{source}'. Each clip needs a folder of its own: give the "
                "folder that holds the clips' folders."
            )
        if images:
            paths = [Path(folder, image) for image in images]
            frame_names_of_folder(below, paths)
            clips.append(FolderClip(clean_name(below), below, paths))
        for name in videos:
            path = Path(folder, name)
            clips.append(
                VideoClip(clean_name(path.relative_to(source).with_suffix('').as_posix()), _below(path, source), path)
            )
        if not images and not videos and not subfolders:
            empty.append(below)
    if not clips:
        raise UserError(f"There are neither folders of images nor videos in '{source}'.")
    return in_order(clips), sorted(empty, key=natural_order)


def in_order(clips: Sequence[Clip]) -> list[Clip]:
    """Clips in natural order of their names.

    Raises:
        UserError: Two have one name.
    """
    by_name: dict[str, Clip] = {}
    for clip in clips:
        other = by_name.setdefault(clip.name, clip)
        if other is not clip:
            raise UserError(f"'{other.source}' and '{clip.source}' would both become clip '{clip.name}'. Rename one.")
    return sorted(clips, key=lambda clip: natural_order(clip.name))


class _Video:
    """A video opened by OpenCV; not being one shows as no frames."""

    def __init__(self, path: Path) -> None:
        self.capture = cv2.VideoCapture(str(path))
        self.announced = max(int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)

    def __enter__(self) -> _Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.capture.release()


def _checked_video_frame(image: np.ndarray | None, size: tuple[int, ...] | None) -> np.ndarray:
    if image is None:
        _fail('it cannot be decoded')
    if image.shape != size:
        _fail('it has another size than the frames before')
    return image


def _fail(reason: str) -> NoReturn:
    raise DamagedImageError(reason)


def size_in_header(path: Path) -> tuple[int, int] | None:
    """(height, width) as OpenCV will decode the file, without decoding it; None for a damaged header."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            width, height = image.size
            on_its_side = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # OpenCV turns by this tag of cameras
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
        return None
    return (width, height) if on_its_side else (height, width)


def _is_video(name: str) -> bool:
    return name.lower().endswith(VIDEO_SUFFIXES) and not name.startswith('.')


def clean_name(name: str) -> str:
    """Name of a clip in the output; see ``find_source_clips``."""
    return re.sub(r'[^A-Za-z0-9_\-+=@/]', '_', name)


def _below(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix()


def _digest(lines: list[str]) -> str:
    return hashlib.blake2b('\n'.join(lines).encode(), digest_size=16).hexdigest()
