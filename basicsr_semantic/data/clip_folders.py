"""Folders below a root, the images in them, and the clips that these are by their names."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..utils.errors import UserError
from .images import IMAGE_SUFFIXES


@dataclass(frozen=True)
class Folder:
    """A folder below a root.

    Attributes:
        path: The folder.
        name: Its path below the root with '/', '.' for the root itself.
        files: Names of what is in it except folders, in natural order.
        has_folders: Whether there are folders in it.
    """

    path: Path
    name: str
    files: list[str]
    has_folders: bool


def walk_folders(root: Path) -> tuple[list[Folder], list[tuple[str, str]]]:
    """All folders below a root, each once, whatever links lead to it; hidden files and folders are left out.

    Returns:
        The folders, those that are reached without a link first; and what is left out: names below the root, with the
        reason.
    """
    found: list[Folder] = []
    left_out: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    waiting, linked = [root], []
    while waiting or linked:
        path = waiting.pop() if waiting else linked.pop(0)
        name = path.relative_to(root).as_posix()
        real = os.path.realpath(path)
        if real in seen:
            left_out.append((name, f"it is a link to '{seen[real]}', which is taken already"))
            continue
        try:
            entries = sorted((entry for entry in os.scandir(path) if entry.name[:1] != '.'), key=lambda one: one.name)
        except OSError as error:
            left_out.append((name, f'the folder cannot be read: {error.strerror}'))
            continue
        seen[real] = name
        kinds = [(entry, _is_folder(entry)) for entry in entries]
        folders = [entry for entry, is_folder in kinds if is_folder]
        linked += [path / entry.name for entry in folders if entry.is_symlink()]
        waiting += [path / entry.name for entry in reversed(folders) if not entry.is_symlink()]
        files = sorted((entry.name for entry, is_folder in kinds if not is_folder), key=natural_order)
        found.append(Folder(path, name, files, bool(folders)))
    return found, left_out


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Sort key with numbers by value: 'frame2' before 'frame10'."""
    return [_by_value(part) for part in re.split(r'(\d+)', name)] + [(1, 0, name)]


def _by_value(part: str) -> tuple[int, int, str]:
    """Digits by their number, then by their value, without making an int of them, which takes at most 4300 digits."""
    digits = part.lstrip('0')
    return (0, len(digits), digits) if part.isdecimal() else (1, 0, part)


def image_files(folder: Path, clip: str) -> list[Path]:
    """The images directly in one clip's folder, in natural order.

    Raises:
        UserError: The folder holds none.
    """
    images = [path for path in folder.iterdir() if is_image(path.name)]
    if not images:
        raise UserError(f"The folder '{folder}' of clip '{clip}' holds no images.")
    return sorted(images, key=lambda path: natural_order(path.name))


def frame_names_of_folder(clip: str, paths: list[Path]) -> tuple[str, ...]:
    """Names without extension of a clip's image files.

    Raises:
        UserError: Two files are one frame, as 0.png and 0.jpg.
    """
    stems = tuple(path.stem for path in paths)
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        files = ' and '.join(path.name for path in paths if path.stem == twice)
        raise UserError(f"Clip '{clip}' in '{paths[0].parent}' has two files for one frame: {files}. Remove one.")
    return stems


def gaps_of_numbers(names: Sequence[str]) -> dict[int, str]:
    """Where the numbers of a clip's frames jump.

    Frames are numbered where their names differ by a number alone, which most often grows by the same step.

    Args:
        names: Names of the frames in order, without extension.

    Returns:
        Position of a frame before which others are missing -> '00002 to 00004', the names on both sides.
    """
    parts = [re.fullmatch(r'(.*?)(\d+)(\D*)', name) for name in names]
    if len({(part[1], part[3]) for part in parts if part}) != 1 or None in parts:
        return {}
    numbers = [int(part[2]) for part in parts if part]
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    if not steps:
        return {}
    counted = Counter(steps)
    count = max(counted.values())
    usual = min(step for step in counted if counted[step] == count)
    if usual < 1 or (usual > 1 and 2 * count <= len(steps)):  # times of day, say
        return {}
    return {k + 1: f'{names[k]} to {names[k + 1]}' for k, step in enumerate(steps) if step > usual}


def part_name(clip: str, start: int) -> str:
    """Name of the part of a clip that begins at a position in its source."""
    return clip if start == 0 else f'{clip}_from_{start:05d}'


def parts_of_clip(clip: str, frames: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Cut a clip where the numbers of its frames jump, under the names that ``basicsr prepare clips`` gives the parts.

    Args:
        clip: Its name, which its first part keeps.
        frames: Names of its frames in order, without extension.

    Returns:
        Name and frames of each part; of a clip without a jump, the clip itself.
    """
    starts = [0, *gaps_of_numbers(frames)]
    for number, (start, stop) in enumerate(itertools.pairwise([*starts, len(frames)])):
        yield part_name(clip, start + number), tuple(frames[start:stop])  # a gap counts as a frame


def is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith('.')
