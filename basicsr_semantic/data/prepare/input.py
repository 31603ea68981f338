"""What `basicsr prepare clips` reads: folders of frames and video files, frame by frame, damage included."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import NoReturn

import numpy as np

from ...utils.files import why_no_file
from ...utils.names import as_text
from ..clip_folders import gaps_of_numbers
from ..found_clips import digest, find_clips, in_order
from ..images import MAX_MEGAPIXELS, DamagedImageError, check_megapixels, decode, header_size
from ..videos import NO_VIDEO, OpenVideo, ends_early


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
        max_megapixels: Larger images are damaged ones.
    """

    def __init__(self, name: str, source: str, files: list[Path], max_megapixels: float = MAX_MEGAPIXELS) -> None:
        self.name = name
        self.source = as_text(source)
        self.files = files
        self.max_megapixels = max_megapixels
        self._lock = threading.Lock()
        self._gaps = gaps_of_numbers([path.stem for path in files])

    def __len__(self) -> int:
        return len(self.files) + len(self._gaps)

    def fingerprint(self) -> str:
        """Changes when files are added, removed, renamed or get another size."""
        sizes = [(path, path.stat().st_size if why_no_file(path) is None else '-') for path in self.files]
        return digest([f'{path.name} {size}' for path, size in sizes])

    def frames(self, wanted: Callable[[int], bool]) -> Iterator[RawFrame]:
        """All frames in order, and one that cannot be loaded where numbers are missing.

        ``wanted`` is for videos; here a frame costs nothing before it is loaded.
        """
        for position, path in enumerate(self.files):
            if position in self._gaps:
                reason = f'missing: the numbers of the frames jump from {self._gaps[position]}'
                yield RawFrame(f'{self.source}, before {as_text(path.name)}', '', lambda reason=reason: _fail(reason))
            label = f'{self.source}/{as_text(path.name)}'
            yield RawFrame(label, as_text(path.stem), lambda path=path: self._load(path))

    @cached_property
    def _size(self) -> tuple[int, int]:
        """(height, width) that most frames have, by their headers; of the first one if several are equally frequent."""
        files = [path for path in self.files if why_no_file(path) is None]
        sizes = Counter(size for size in map(header_size, files) if size is not None)
        return sizes.most_common(1)[0][0] if sizes else (0, 0)

    def _load(self, path: Path) -> np.ndarray:
        if (wrong := why_no_file(path)) is not None:
            _fail(wrong)
        with self._lock:
            height, width = self._size
        found = header_size(path)
        check_megapixels(found, self.max_megapixels)
        if found is not None and found != (height, width):
            _fail(f'it has {found[1]}x{found[0]} pixels, while most frames of the clip have {width}x{height}')
        image = decode(path.read_bytes(), self.max_megapixels)
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
        max_megapixels: Videos of larger frames are damaged ones.
    """

    def __init__(self, name: str, source: str, path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> None:
        self.name = name
        self.source = as_text(source)
        self.path = path
        self.max_megapixels = max_megapixels

    def __len__(self) -> int:
        """Frames that the container announces; may be wrong."""
        if why_no_file(self.path) is not None:
            return 0
        with OpenVideo(self.path) as video:
            return video.announced

    def fingerprint(self) -> str:
        """Changes when the file gets another size."""
        return digest([f'{self.path.name} {self.path.stat().st_size if why_no_file(self.path) is None else "-"}'])

    def frames(self, wanted: Callable[[int], bool]) -> Iterator[RawFrame]:
        """All frames in order, and one that cannot be loaded where the file ends early.

        Args:
            wanted: Whether the frame at a position will be loaded; the others are not converted.
        """
        position, size = 0, None
        if (wrong := why_no_file(self.path)) is not None:
            yield RawFrame(self.source, '', lambda: _fail(wrong))
            return
        with OpenVideo(self.path) as video:
            if video.size[0] * video.size[1] > self.max_megapixels * 1e6:
                yield RawFrame(self.source, '', lambda: check_megapixels(video.size, self.max_megapixels) or _fail(''))
                return
            while video.capture.grab():
                image = video.capture.retrieve()[1] if wanted(position) else None
                size = size if image is None else size or image.shape
                label = f'{self.source}, frame {position}'
                yield RawFrame(label, '', lambda image=image, size=size: _checked_video_frame(image, size))
                position += 1
        if position == 0:
            yield RawFrame(self.source, '', lambda: _fail(NO_VIDEO))
        elif position < video.announced:
            reason = ends_early(video.announced)
            yield RawFrame(f'{self.source}, frame {position}', '', lambda: _fail(reason))


SourceClip = FolderClip | VideoClip


def find_source_clips(
    source: Path, max_megapixels: float = MAX_MEGAPIXELS
) -> tuple[list[SourceClip], list[tuple[str, str]]]:
    """Find the clips in a folder: every folder with images, and every video, at any depth, each once.

    For their names see :func:`clean_name`.

    Args:
        source: A folder, or one video file.
        max_megapixels: Larger frames are not decoded and count as damaged.

    Returns:
        The clips in natural order of their names; and folders that are left out, with the reason: nothing is in them,
        they cannot be read, or a link leads to one that is taken already.

    Raises:
        UserError: Nothing is found, images lie directly in ``source``, or two clips get one name.
    """
    found, left_out = find_clips(source)
    return [
        FolderClip(clip.name, clip.source, list(clip.images), max_megapixels)
        if clip.video is None
        else VideoClip(clip.name, clip.source, clip.video, max_megapixels)
        for clip in in_order(found, attrgetter('name'))
    ], left_out


def _checked_video_frame(image: np.ndarray | None, size: tuple[int, ...] | None) -> np.ndarray:
    if image is None:
        _fail('it cannot be decoded')
    if image.shape != size:
        _fail('it has another size than the frames before')
    return image


def _fail(reason: str) -> NoReturn:
    raise DamagedImageError(reason)
