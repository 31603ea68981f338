"""What `basicsr prepare clips` reads: folders of frames and video files, frame by frame, damage included."""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn, TypeVar

import cv2
import numpy as np

from ...utils.errors import UserError
from ...utils.files import why_no_file
from ...utils.names import LONGEST, as_text
from ..clip_folders import frame_names_of_folder, gaps_of_numbers, is_image, natural_order, walk_folders
from ..images import MAX_MEGAPIXELS, DamagedImageError, check_megapixels, decode, header_size

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
        return _digest([f'{path.name} {size}' for path, size in sizes])

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
        """(height, width) that most frames have, by their headers; the first one's of equally many."""
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
        with _Video(self.path) as video:
            return video.announced

    def fingerprint(self) -> str:
        """Changes when the file gets another size."""
        return _digest([f'{self.path.name} {self.path.stat().st_size if why_no_file(self.path) is None else "-"}'])

    def frames(self, wanted: Callable[[int], bool]) -> Iterator[RawFrame]:
        """All frames in order, and one that cannot be loaded where the file ends early.

        Args:
            wanted: Whether the frame at a position will be loaded; the others are not converted.
        """
        position, size = 0, None
        if (wrong := why_no_file(self.path)) is not None:
            yield RawFrame(self.source, '', lambda: _fail(wrong))
            return
        with _Video(self.path) as video:
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
            yield RawFrame(self.source, '', lambda: _fail('it is not a video, or none that OpenCV can decode'))
        elif position < video.announced:
            reason = f'the video ends there, though it announces {video.announced} frames'
            yield RawFrame(f'{self.source}, frame {position}', '', lambda: _fail(reason))


SourceClip = FolderClip | VideoClip
Clip = TypeVar('Clip', FolderClip, VideoClip, SourceClip)


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
    if source.is_file():
        if not _is_video(source.name):
            raise UserError(f"'{source}' is neither a folder nor a video ({', '.join(VIDEO_SUFFIXES)}).")
        return [VideoClip(clean_name(source.stem), source.name, source, max_megapixels)], []
    if not source.is_dir():
        raise UserError(f"There is no folder or video '{source}'.")
    clips: list[SourceClip] = []
    folders, left_out = walk_folders(source)
    for folder in folders:
        below = folder.name
        images = list(filter(is_image, folder.files))
        videos = [name for name in folder.files if _is_video(name)]
        if images and below == '.':
            raise UserError(
                f"Images such as {images[0]} lie directly in '{source}'. Each clip needs a folder of its own: give the "
                "folder that holds the clips' folders."
            )
        if images:
            paths = [folder.path / image for image in images]
            frame_names_of_folder(below, paths)
            clips.append(FolderClip(clean_name(below), below, paths, max_megapixels))
        for video in videos:
            path = folder.path / video
            place = path.relative_to(source)
            name = clean_name(place.with_suffix('').as_posix())
            clips.append(VideoClip(name, place.as_posix(), path, max_megapixels))
        if not images and not videos and not folder.has_folders:
            what = 'no image or video is in the folder' if folder.files else 'the folder is empty'
            left_out.append((below, what))
    if not clips:
        reason = f' {left_out[0][0]}: {left_out[0][1]}.' if left_out else ''
        raise UserError(f"There are neither folders of images nor videos in '{source}'.{reason}")
    return in_order(clips), sorted(left_out, key=lambda one: natural_order(one[0]))


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
        height, width = (self.capture.get(side) for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
        self.size = max(int(height), 0), max(int(width), 0)

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


def _is_video(name: str) -> bool:
    return name.lower().endswith(VIDEO_SUFFIXES) and not name.startswith('.')


_UNSAFE = re.compile(r'[^A-Za-z0-9_\-+=@/]')
"""What BasicSR's meta info and LMDB keys do not take in the name of a clip."""


def clean_name(name: str) -> str:
    """Name of a clip in the output: BasicSR's meta info and LMDB keys take neither blanks nor other alphabets.

    ASCII characters other than letters, digits and ``_-+=@/`` become ``_``, and so do punctuation and blanks of other
    alphabets; their letters are written in percent signs, as in web addresses, so that two names stay two. Names that
    come out longer than 200 characters are cut and end in a digest.

    Args:
        name: Path of the clip below the source folder.
    """

    def clean(found: re.Match[str]) -> str:
        letter = found[0]
        if letter.isascii() or (unicodedata.category(letter)[0] in 'PZC' and not '\ud800' <= letter <= '\udfff'):
            return '_'
        return ''.join(f'%{byte:02X}' for byte in letter.encode('utf-8', 'surrogateescape'))

    cleaned = _UNSAFE.sub(clean, name)
    if len(cleaned) > LONGEST:  # LMDB's keys and file systems' names end soon after; the digest keeps two names two
        return f'{re.sub("%.?$", "", cleaned[: LONGEST - 17])}-{_digest([name])[:16]}'
    return cleaned


def old_name(name: str) -> str:
    """What `clean_name` made of a name before it kept other alphabets; stores begun so go on so."""
    return _UNSAFE.sub('_', name)


def _digest(lines: list[str]) -> str:
    return hashlib.blake2b('\n'.join(lines).encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()
