"""YouTube-VIS JSON files: videos, and instances with one segmentation a frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..utils.errors import UserError
from .segmentations import compress_runs, decode_segmentation


@dataclass(frozen=True)
class AnnotatedInstance:
    """One instance of a video.

    Attributes:
        id: Its number in the file.
        category: Number of its category in the file; None where the file gives none.
        crowd: Whether it stands for a crowd that nobody told apart.
        segmentations: One for each frame of the video, as ``decode_segmentation`` takes them; None where it is absent.
    """

    id: Any
    category: Any
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

    id: Any
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
        annotated: Whether the file has annotations; the valid and test files of YouTube-VIS come without.
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
        UserError: The file is no such JSON.
    """
    content = _read_json(path)
    try:
        _check_form(path, content)
        found: dict[Any, Any] = {video['id']: video for video in content['videos']}
        instances: dict[Any, list[AnnotatedInstance]] = {identity: [] for identity in found}
        annotations: list[Any] = content.get('annotations') or []
        for one in sorted(annotations, key=lambda item: item['id']):
            video = found[one['video_id']]
            shape = int(video['height']), int(video['width'])
            segmentations = tuple(compress_runs(each, *shape) for each in one['segmentations'])
            instances[one['video_id']].append(
                AnnotatedInstance(one['id'], one.get('category_id'), bool(int(one.get('iscrowd') or 0)), segmentations)
            )
        videos = tuple(
            AnnotatedVideo(
                identity,
                tuple(map(str, video['file_names'])),
                int(video['height']),
                int(video['width']),
                tuple(instances[identity]),
            )
            for identity, video in found.items()
        )
        categories: tuple[Mapping[str, Any], ...] = tuple(
            sorted(content.get('categories') or (), key=lambda one: one['id'])
        )
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f'{error} is missing' if isinstance(error, KeyError) else f'something is of the wrong type ({error})'
        raise UserError(
            f'{path} is no YouTube-VIS file: {why}. It needs "videos" (id, file_names, '
            f'height, width) and "annotations" (id, video_id, segmentations).'
        ) from error
    seen: set[str] = set()
    for video in videos:
        for frame in video.frames:
            if frame in seen:
                raise UserError(f'{path} names the frame {frame!r} twice.')
            seen.add(frame)
    return YouTubeVIS(path, videos, categories, bool(content.get('annotations')))


def _check_form(path: Path, content: Any) -> None:
    """What would be found out late, or never: ids that are no numbers or come twice, lists that are none.

    Raises:
        UserError: Something of that kind, with its place.
    """
    for part in ('videos', 'annotations', 'categories'):
        seen: set[int] = set()
        for one in content.get(part) or ():
            identity = one['id']
            if type(identity) is not int or identity in seen:
                why = 'comes twice' if identity in seen else 'is no whole number'
                raise UserError(f'{path}: the id {identity!r} among its "{part}" {why}.')
            seen.add(identity)
            if part == 'videos' and not (
                isinstance(one['file_names'], list)
                and all(isinstance(file, str) and file for file in one['file_names'])
            ):
                raise UserError(f'{path}: file_names of video {identity} is no list of names.')
    videos = {video['id']: video for video in content['videos']}
    categories = {category['id'] for category in content.get('categories') or ()}
    for one in content.get('annotations') or ():
        where = f'{path}: annotation {one["id"]}'
        if one['video_id'] not in videos:
            raise UserError(f'{where} belongs to video {one["video_id"]!r}, which the file does not have.')
        if categories and one.get('category_id') is not None and one['category_id'] not in categories:
            raise UserError(f'{where} has the category {one["category_id"]!r}, which the file does not have.')
        given, wanted = len(one['segmentations']), len(videos[one['video_id']]['file_names'])
        if given != wanted:
            raise UserError(f'{where} has {given} segmentations for the {wanted} frames of its video.')


def _read_json(path: Path) -> Any:
    try:
        with path.open(encoding='utf-8') as file:
            return json.load(file)
    except RecursionError as error:
        raise UserError(f'The annotations {path} cannot be read as JSON: they are nested too deeply.') from error
    except (ValueError, OSError) as error:
        raise UserError(f'The annotations {path} cannot be read as JSON: {error}.') from error
