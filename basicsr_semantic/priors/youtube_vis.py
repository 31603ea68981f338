"""YouTube-VIS JSON files: videos, and instances with one segmentation a frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from ..utils.errors import UserError
from ..utils.names import wrong_inner_name
from .run_lengths import LARGEST_FRAME, LARGEST_SIDE, is_side
from .segmentations import as_json, compress_runs, decode_segmentation
from .store_layout import is_text

Form = TypeVar('Form', dict, list)

LARGEST_ID = 2**63 - 1
LONGEST_NAME, LONGEST_PATH = 255, 1000  # bytes; file systems take no longer names, nor much longer paths


@dataclass(frozen=True)
class AnnotatedInstance:
    """One instance of a video.

    Attributes:
        id: Its number in the file.
        category: Number of its category in the file; None where the file gives none.
        crowd: Whether it is a crowd, in which single instances are not separated.
        segmentations: One for each frame of the video, as ``decode_segmentation`` takes them; None where it is absent.
    """

    id: int
    category: int | None
    crowd: bool
    segmentations: tuple[Any, ...]


@dataclass(frozen=True)
class AnnotatedVideo:
    """One video.

    Attributes:
        id: Its number in the file.
        files: Its frames as ``file_names`` gives them, as '0043f083b5/00000.jpg'.
        height: Rows of a frame.
        width: Columns of a frame.
        instances: Its instances by their ids.
    """

    id: int
    files: tuple[str, ...]
    height: int
    width: int
    instances: tuple[AnnotatedInstance, ...]

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of the frames without extension, as '0043f083b5/00000'."""
        return tuple(PurePosixPath(file).with_suffix('').as_posix() for file in self.files)

    @property
    def name(self) -> str:
        """Folder of the frames, as '0043f083b5'."""
        return PurePosixPath(self.files[0]).parent.as_posix()


@dataclass(frozen=True)
class YouTubeVIS:
    """A whole file.

    Attributes:
        path: The file.
        videos: In the order of the file.
        categories: ``{'id', 'name', ...}`` in the order of their ids; empty where the file has none.
        annotated: Whether the file has annotations; the valid and test files of YouTube-VIS have none.
    """

    path: Path
    videos: tuple[AnnotatedVideo, ...]
    categories: tuple[Mapping[str, Any], ...]
    annotated: bool

    def mask(self, video: AnnotatedVideo, instance: AnnotatedInstance, position: int) -> np.ndarray:
        """The mask of an instance in one frame.

        Args:
            video: One of ``videos``.
            instance: One of its instances.
            position: Number of the frame in the video, from 0.

        Returns:
            (height, width) bool.

        Raises:
            UserError: The segmentation is malformed.
        """
        try:
            return decode_segmentation(instance.segmentations[position], video.height, video.width)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise UserError(
                f'{self.path}: annotation {instance.id} has no usable segmentation for the frame '
                f'{video.frames[position]!r} (number {position} of its video): {error}.'
            ) from error


def read_youtube_vis(path: Path) -> YouTubeVIS:
    """Read a YouTube-VIS JSON file: ``videos`` with ``file_names``, ``annotations`` with ``segmentations``.

    Lists of run lengths, as the releases have them, are kept in compressed form: whole lists of Python's numbers would
    take gigabytes.

    Raises:
        UserError: The file is not such a JSON file.
    """
    content = _Json(path, _read_json(path))
    found = {video['id']: video for video in content.entries('videos', needed=True)}
    annotations, categories = content.entries('annotations'), content.entries('categories')
    frames: dict[int, tuple[str, ...]] = {}
    sizes: dict[int, tuple[int, int]] = {}
    for identity, video in found.items():
        frames[identity] = content.names(f'video {identity}', video)
        sizes[identity] = content.size(f'video {identity}', video)
    instances: dict[int, list[AnnotatedInstance]] = {identity: [] for identity in found}
    known = {category['id'] for category in categories}
    for one in sorted(annotations, key=lambda one: one['id']):
        where = f'annotation {one["id"]}'
        owner = _whole(content.field(where, one, 'video_id'))
        if owner not in found:
            raise UserError(f'{path}: {where} belongs to video {as_json(owner)}, which the file does not have.')
        category, crowd = _whole(one.get('category_id')), one.get('iscrowd')
        if category is not None and (type(category) is not int or (known and category not in known)):
            raise UserError(f'{path}: {where} has the category {as_json(category)}, which the file does not have.')
        if crowd not in (None, 0, 1):
            raise UserError(f'{path}: iscrowd of {where} must be 0 or 1, not {as_json(crowd)}.')
        masks = content.segmentations(where, one)
        if len(masks) != len(frames[owner]):
            raise UserError(
                f'{path}: {where} has {len(masks)} segmentations for the {len(frames[owner])} frames of its video.'
            )
        kept = tuple(compress_runs(each, *sizes[owner]) for each in masks)
        instances[owner].append(AnnotatedInstance(one['id'], category, bool(crowd), kept))
    videos = tuple(AnnotatedVideo(one, frames[one], *sizes[one], tuple(instances[one])) for one in found)
    seen: set[str] = set()
    for video in videos:
        for frame in video.frames:
            if frame in seen:
                raise UserError(f'{path} names the frame {frame!r} twice.')
            seen.add(frame)
    return YouTubeVIS(path, videos, tuple(sorted(categories, key=lambda one: one['id'])), bool(annotations))


def _whole(value: Any) -> Any:
    """7 for 7.0, as tables write it; for anything else, or an object, a value that is not an id."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return repr(value) if isinstance(value, (bool, list, dict)) else value


class _Json:
    """Reads the parts of a file; each method refuses what has another form and names its place."""

    def __init__(self, path: Path, content: Any) -> None:
        self.path = path
        self.content: dict[str, Any] = self._form('it', content, dict)

    def field(self, where: str, one: dict[str, Any], name: str) -> Any:
        """A key that must be there."""
        if name not in one:
            raise self._error(f'{name!r} is missing in {where}')
        return one[name]

    def entries(self, part: str, needed: bool = False) -> list[dict[str, Any]]:
        """The objects of a list, each with an id of its own; none where there is no list and none is needed."""
        if not needed and self.content.get(part) is None:
            return []
        found = self._form(f'"{part}"', self.field('it', self.content, part), list)
        seen: set[int] = set()
        for number, one in enumerate(found):
            where = f'number {number} of its "{part}"'
            identity = self.field(where, self._form(where, one, dict), 'id')
            why = 'is not a whole number' if type(identity) is not int else ''
            if not why and (abs(identity) > LARGEST_ID or identity in seen):
                why = 'comes twice' if identity in seen else 'does not fit into 64 bits'
            if why:
                raise UserError(f'{self.path}: the id {as_json(identity)} among its "{part}" {why}.')
            seen.add(identity)
        return found

    def names(self, where: str, video: dict[str, Any]) -> tuple[str, ...]:
        """Names of the frames, below the folder of frames."""
        found = self.field(where, video, 'file_names')
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            raise UserError(f'{self.path}: file_names of {where} is not a list of names.')
        for name in found:
            sizes = [len(part.encode('utf-8', 'surrogatepass')) for part in PurePosixPath(name).parts]
            too_long = sum(sizes) > LONGEST_PATH or max(sizes, default=0) > LONGEST_NAME
            wrong = wrong_inner_name(name) or (None if is_text(name) and not too_long else 'no file can have')
            if wrong is not None:
                raise UserError(
                    f'{self.path}: {where} names the file {as_json(name)}, which {wrong}. It must be a path below the '
                    "folder of frames, as 'VIDEO/00000.jpg'."
                )
        return tuple(found)

    def size(self, where: str, video: dict[str, Any]) -> tuple[int, int]:
        """(height, width), checked before anything of that size is made."""
        height, width = (self._side(where, video, name) for name in ('height', 'width'))
        if height * width > LARGEST_FRAME:
            raise UserError(
                f'{self.path}: {where} has frames of {width}x{height} pixels, more than the {LARGEST_FRAME:,} that '
                'can be handled.'
            )
        return height, width

    def segmentations(self, where: str, annotation: dict[str, Any]) -> list[Any]:
        """One for each frame."""
        return self._form(f'"segmentations" of {where}', self.field(where, annotation, 'segmentations'), list)

    def _side(self, where: str, video: dict[str, Any], name: str) -> int:
        side = self.field(where, video, name)
        if not is_side(side):
            raise UserError(
                f'{self.path}: {name} of {where} must be a whole number from 1 to {LARGEST_SIDE:,}, '
                f'not {as_json(side)}.'
            )
        return int(side)

    def _form(self, what: str, found: Any, wanted: type[Form]) -> Form:
        if isinstance(found, wanted):
            return found
        name = 'a list' if wanted is list else 'an object'
        raise self._error(f'{what} is of the wrong type, {as_json(found)} instead of {name}')

    def _error(self, why: str) -> UserError:
        return UserError(
            f'{self.path} is not a YouTube-VIS file: {why}. It needs "videos" (id, file_names, height, width) and '
            '"annotations" (id, video_id, segmentations).'
        )


def _read_json(path: Path) -> Any:
    try:
        with path.open(encoding='utf-8-sig') as file:
            return json.load(file)
    except RecursionError as error:
        raise UserError(f'The annotations {path} cannot be read as JSON: they are nested too deeply.') from error
    except (ValueError, OSError) as error:
        raise UserError(f'The annotations {path} cannot be read as JSON: {error}.') from error
