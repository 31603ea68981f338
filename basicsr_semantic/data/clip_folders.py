"""Folders of frame folders: which clips lie below a root, and which images are their frames."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..utils.errors import UserError
from .images import IMAGE_SUFFIXES


def scan_clip_folders(root: Path) -> dict[str, list[Path]]:
    """Find all folders with images below a folder, at any depth.

    Args:
        root: The folder. Hidden files and folders are left out; links are followed.

    Returns:
        Clip name (path below ``root`` with '/') -> its image files; both in natural order (2 before 10).

    Raises:
        UserError: No images at all, or some directly in ``root``.
    """
    found: dict[str, list[Path]] = {}
    for folder, subfolders, files in os.walk(root, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith('.')]
        images = [name for name in files if is_image(name)]
        if images:
            name = Path(folder).relative_to(root).as_posix()
            found[name] = [Path(folder, image) for image in sorted(images, key=natural_order)]
    if '.' in found:
        raise UserError(
            f"Images such as {found['.'][0].name} lie directly in '{root}'. Each clip needs a folder of its own: "
            "give the folder that holds the clips' folders."
        )
    if not found:
        raise UserError(f"There are no images in the folders below '{root}'.")
    return {name: found[name] for name in sorted(found, key=natural_order)}


def natural_order(name: str) -> list[tuple[int, int | str]]:
    """Sort key with numbers by value: 'frame2' before 'frame10'."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r'(\d+)', name)] + [(1, name)]


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


def is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith('.')
