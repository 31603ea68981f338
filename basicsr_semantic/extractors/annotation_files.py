"""Annotated instances from files: YouTube-VIS JSON, or DAVIS folders of indexed PNG."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..priors.youtube_vis import read_youtube_vis
from ..utils.errors import UserError, full_stop
from ..utils.files import file_sha256

VOID = 255  # DAVIS: pixels that belong to nothing that was annotated


class InstanceMasks(Protocol):
    """Masks of the instances of a video, one identity a channel.

    Attributes:
        parameters: what identifies the annotations, for the metadata of a store.
    """

    parameters: dict[str, Any]

    def masks(self, key: str) -> tuple[tuple[int, int], Iterator[np.ndarray]]:
        """(H, W) of one frame, and the mask (H, W) bool of each instance of the video, empty in frames without it.

        Masks are made when asked for, so that the size can be looked at before.
        """
        ...


def open_annotations(path: Path) -> InstanceMasks:
    """Open a YouTube-VIS JSON file, or a DAVIS folder whose subfolders are clips of PNG files.

    Raises:
        UserError: There is neither.
    """
    if path.is_dir():
        return DavisMasks(path)
    if path.is_file():
        return YouTubeVISMasks(path)
    raise UserError(
        f'The annotations {path} do not exist. Give a YouTube-VIS JSON file or a DAVIS folder of PNG files.'
    )


class YouTubeVISMasks:
    """Instances of a YouTube-VIS JSON file: ``videos`` with ``file_names``, ``annotations`` with ``segmentations``.

    Channel k is the instance with the k-th smallest annotation id of the video.

    Args:
        path: the JSON file.

    Raises:
        UserError: The file is not such a JSON file, or it has no annotations.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = read_youtube_vis(path)
        if not self._file.annotated:
            raise UserError(f'{path} has no annotations. The valid and test files of YouTube-VIS have none.')
        self._frames = {
            frame: (video, position) for video in self._file.videos for position, frame in enumerate(video.frames)
        }
        self.parameters = {'form': 'youtube-vis', 'file': path.name, 'sha256': file_sha256(path)}

    def masks(self, key: str) -> tuple[tuple[int, int], Iterator[np.ndarray]]:
        """Masks of one frame.

        Args:
            key: name of the frame in ``file_names``, without its extension.

        Returns:
            (H, W), and (H, W) bool for each instance in turn.

        Raises:
            UserError: The frame is not in the file, or, when it is asked for, a segmentation is malformed.
        """
        if key not in self._frames:
            raise UserError(_no_frame(key, self.path, next(iter(self._frames), None)))
        video, position = self._frames[key]
        planes = (self._file.mask(video, instance, position) for instance in video.instances)
        return (video.height, video.width), planes


class DavisMasks:
    """Instances of a DAVIS folder: ``CLIP/FRAME.png``, the value of a pixel is the number of its instance.

    Indexed PNG (DAVIS-2017): 0 is the background and 255 belongs to nothing. Grey PNG of 0 and 255 (DAVIS-2016): 255 is
    the only instance. Channel k is instance k + 1; there are as many channels as the largest number in the clip says.

    Args:
        path: the folder that holds the clips' folders, for example ``DAVIS/Annotations/480p``.

    Raises:
        UserError: There are no PNG files one folder below.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        first = next(path.glob('*/*.png'), None)
        if first is None:
            raise UserError(f'{path} has no PNG files one folder below, as CLIP/00000.png. Is it Annotations/480p?')
        self._first = first.relative_to(path).with_suffix('').as_posix()
        self._count = cache(self._count_instances)
        self.parameters = {'form': 'davis', 'folder': path.name, 'sha256': _sha256_of_folder(path)}

    def masks(self, key: str) -> tuple[tuple[int, int], Iterator[np.ndarray]]:
        """Masks of one frame.

        Args:
            key: CLIP/FRAME, without extension.

        Returns:
            (H, W), and (H, W) bool for each instance in turn.

        Raises:
            UserError: The PNG is missing or damaged.
        """
        path = self.path / f'{key}.png'
        if not path.is_file():
            raise UserError(_no_frame(key, self.path, self._first))
        labels = _read_labels(path)
        count = self._count(path.parent)
        return labels.shape, (labels == number for number in range(1, count + 1))

    @staticmethod
    def _count_instances(folder: Path) -> int:
        return max(int(_read_labels(path).max(initial=0)) for path in folder.glob('*.png'))


def _sha256_of_folder(path: Path) -> str:
    """Of all its PNG files and their places; folders of other annotations have the same name, as Annotations/480p."""
    digest = hashlib.sha256()
    for file in sorted(path.glob('*/*.png')):
        digest.update(f'{file.relative_to(path).as_posix()} {file_sha256(file)}\n'.encode('utf-8', 'surrogatepass'))
    return digest.hexdigest()


def _read_labels(path: Path) -> np.ndarray:
    """(H, W) uint8 with 0 for everything that is not an instance."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            mode, labels = image.mode, np.array(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f'The annotation {path} is damaged or not a PNG: {full_stop(error)}') from error
    if mode == '1' or (mode == 'L' and not np.setdiff1d(labels, (0, VOID)).size):
        return (labels != 0).astype(np.uint8)
    if mode not in ('P', 'L'):
        raise UserError(f'The annotation {path} is a PNG of mode {mode}, not an indexed or a grey one as in DAVIS.')
    return np.where(labels == VOID, 0, labels).astype(np.uint8)


def _no_frame(key: str, path: Path, example: str | None) -> str:
    example = f' They name a frame {example!r}.' if example else ' They name no frame at all.'
    return (
        f'The annotations {path} have no frame {key!r}.{example} Frames and annotations must have the same names: '
        f'the path of a frame below --frames, without its extension.'
    )
