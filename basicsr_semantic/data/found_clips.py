"""Which clips are below a root: folders of images and videos, for preparation, extraction and data sets."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from ..utils.errors import UserError
from ..utils.names import LONGEST, as_text
from .clip_folders import frame_names_of_folder, is_image, natural_order, walk_folders
from .videos import VIDEO_SUFFIXES, is_video


class HasSource(Protocol):
    """Something that messages name by its place below the root."""

    @property
    def source(self) -> str:
        """The path below the root."""
        ...


Clip = TypeVar('Clip', bound=HasSource)


@dataclass(frozen=True)
class FoundClip:
    """A clip below a root.

    Attributes:
        source: Path below the root with '/', of a video with its extension.
        images: The images of a folder in natural order; empty for a video.
        video: The video file; None for a folder.
    """

    source: str
    images: tuple[Path, ...]
    video: Path | None = None

    @property
    def name(self) -> str:
        """Its name in what is prepared, see :func:`clean_name`."""
        return clean_name(self.source if self.video is None else self.source.removesuffix(self.video.suffix))

    @property
    def key(self) -> str:
        """What the keys of its frames begin with where it is read directly: the path of a folder, the name of a video.

        Frames of a video have no names of their own, so they get those that preparation gives them.
        """
        return self.source if self.video is None else self.name


def find_clips(root: Path) -> tuple[list[FoundClip], list[tuple[str, str]]]:
    """Find every folder with images and every video, at any depth, each once, whatever links lead to it.

    Args:
        root: A folder, or one video file. Hidden files and folders are left out.

    Returns:
        The clips in the order of the walk, which :func:`in_order` sorts; and folders that are left out, with the
        reason: nothing is in them, they cannot be read, or a link leads to one that is taken already.

    Raises:
        UserError: Nothing is found, images are directly in ``root``, or two files of a folder are one frame.
    """
    if root.is_file():
        check_video_name(root)
        return [FoundClip(root.name, (), root)], []
    if not root.is_dir():
        raise UserError(f"There is no folder or video '{root}'.")
    clips, left_out = _walk(root)
    for clip in clips:
        if clip.images and clip.source == '.':
            raise UserError(
                f"Images such as {clip.images[0].name} are directly in '{root}'. Each clip needs a folder of its own: "
                "give the folder that holds the clips' folders."
            )
        if clip.images:
            frame_names_of_folder(clip.source, list(clip.images))
    if not clips:
        reason = f' {left_out[0][0]}: {left_out[0][1]}.' if left_out else ''
        raise UserError(f"There are neither folders of images nor videos in '{root}'.{reason}")
    return clips, sorted(left_out, key=lambda one: natural_order(one[0]))


def check_video_name(path: Path, where: str = '') -> None:
    """Look at a file that is given in the place of a folder.

    Args:
        path: The file.
        where: Beginning of the message.

    Raises:
        UserError: It does not have the name of a video.
    """
    if not is_video(path.name):
        raise UserError(f"{where}'{path}' is neither a folder nor a video ({', '.join(VIDEO_SUFFIXES)}).")


def videos_below(root: Path) -> dict[str, Path]:
    """The videos of a root that :func:`find_clips` takes, by what the keys of their frames begin with."""
    clips = [FoundClip(root.name, (), root)] if root.is_file() else _walk(root)[0]
    return {clip.key: clip.video for clip in clips if clip.video is not None}


def _walk(root: Path) -> tuple[list[FoundClip], list[tuple[str, str]]]:
    clips: list[FoundClip] = []
    folders, left_out = walk_folders(root)
    for folder in folders:
        images = tuple(folder.path / name for name in folder.files if is_image(name))
        videos = [folder.path / name for name in folder.files if is_video(name)]
        if images:
            clips.append(FoundClip(folder.name, images))
        clips += [FoundClip(path.relative_to(root).as_posix(), (), path) for path in videos]
        if not images and not videos and not folder.has_folders:
            left_out.append(
                (folder.name, 'no image or video is in the folder' if folder.files else 'the folder is empty')
            )
    return clips, left_out


def in_order(clips: Sequence[Clip], name_of: Callable[[Clip], str]) -> list[Clip]:
    """Clips in natural order of their names.

    Args:
        clips: The clips.
        name_of: Gives the name of one.

    Raises:
        UserError: Two have one name.
    """
    by_name: dict[str, Clip] = {}
    for clip in clips:
        name = name_of(clip)
        other = by_name.setdefault(name, clip)
        if other is not clip:
            first, second = as_text(other.source), as_text(clip.source)
            raise UserError(f"'{first}' and '{second}' would both become clip '{as_text(name)}'. Rename one.")
    return [by_name[name] for name in sorted(by_name, key=natural_order)]


_UNSAFE = re.compile(r'[^A-Za-z0-9_\-+=@/]')
"""What BasicSR's meta info and LMDB keys do not take in the name of a clip."""


def clean_name(name: str) -> str:
    """Name of a clip in the output: BasicSR's meta info and LMDB keys take neither blanks nor other alphabets.

    ASCII characters other than letters, digits and ``_-+=@/`` become ``_``, and so do punctuation and blanks of other
    alphabets; their letters are percent-encoded, as in web addresses, so that two names stay different. Names that
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
        return f'{re.sub("%.?$", "", cleaned[: LONGEST - 17])}-{digest([name])[:16]}'
    return cleaned


def old_name(name: str) -> str:
    """What `clean_name` made of a name before it kept other alphabets; stores that were begun with it go on with it."""
    return _UNSAFE.sub('_', name)


def digest(lines: list[str]) -> str:
    """128-bit BLAKE2b of lines in hexadecimal digits."""
    return hashlib.blake2b('\n'.join(lines).encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()
