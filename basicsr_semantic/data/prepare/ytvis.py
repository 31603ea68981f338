"""YouTube-VIS, of any year, to pairs of LMDBs and annotations that fit their frames."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from tqdm import tqdm

from ...priors.segmentations import encode_mask
from ...priors.youtube_vis import AnnotatedVideo, YouTubeVIS, read_youtube_vis
from ...utils.errors import UserError
from ...utils.files import why_no_file, write_whole
from ...utils.names import inside
from ..clip_folders import image_files
from ..found_clips import clean_name, in_order
from ..images import MAX_MEGAPIXELS, header_size
from .clips import prepare_found
from .input import FolderClip
from .output import Prepared, only_writer

INSTANCES = 'instances.json'
"""The annotations next to the LMDBs."""

# Where the releases of 2019, 2021 and 2022 and what others made of them keep a split.
_JSON_PLACES = ('{split}.json', '{split}/instances.json', 'annotations/{split}.json', '{split}/{split}.json')
_FRAME_PLACES = ('{split}/JPEGImages', '{split}/frames')
_ALL_FRAME_PLACES = ('{split}_all_frames/JPEGImages', *_FRAME_PLACES)


def prepare_ytvis(
    source: Path,
    target: Path,
    split: str = 'train',
    annotations: Path | None = None,
    frames: Path | None = None,
    all_frames: bool = False,
    degradation: str = 'BI',
    scale: int = 4,
    strict: bool = False,
    workers: int | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Prepared:
    """Write the LMDBs, lists and manifest of ``prepare_clips`` and ``target/instances.json``.

    A clip is a video of the annotations, with the frames that they list. ``instances.json`` has the form of the source:
    the frames that were written, under the names that the source gives them, and masks cut as the frames are, to
    multiples of the scale. Where the source has no annotations (valid and test), it lists the videos alone.

    A run that was interrupted is continued by the same call.

    Args:
        source: Folder of the data set, with ``train.json`` and ``train/JPEGImages``.
        target: Output folder; made if absent.
        split: train, valid, test, or how else the JSON file and the folder are called.
        annotations: The JSON file, where it is elsewhere.
        frames: Folder of the videos' folders, where it is elsewhere.
        all_frames: Take every image in the folder of a video, not just those that the annotations list; looked for in
            ``train_all_frames`` first.
        degradation: ``BI``, ``BD`` or ``BD_DUF``.
        scale: Downsampling factor.
        strict: Refuse frames that cannot be used instead of cutting their clip there.
        workers: Threads; None takes the number of CPUs, at most 8.
        max_megapixels: Frames that their headers say to be larger are not decoded and count as damaged.

    Returns:
        What is in the manifest.

    Raises:
        UserError: Files that are missing or of another form or outside the folder of frames, frames of another size
            than the annotations say, and whatever ``prepare_clips`` refuses.
    """
    if not source.is_dir():
        raise UserError(f"There is no folder '{source}'. Give that of YouTube-VIS, which has train.json and train/.")
    path = annotations or _find(source, split, _JSON_PLACES, 'JSON file', '--json FILE')
    root = frames or _find(
        source, split, _ALL_FRAME_PLACES if all_frames else _FRAME_PLACES, 'folder of frames', '--frames FOLDER'
    )
    if not path.is_file():
        raise UserError(f"--json: there is no file '{path}'.")
    if not root.is_dir():
        raise UserError(f"--frames: there is no folder '{root}'.")
    if path.resolve() == (target / INSTANCES).resolve():
        raise UserError(f"'{target}' holds the annotations that are read, '{path}'. Write to another folder.")
    with only_writer(target):
        file = read_youtube_vis(path)
        found = [_clip(path, root, video, all_frames, max_megapixels) for video in file.videos if video.files]
        clips = in_order(found, attrgetter('name'))
        if not clips:
            raise UserError(f"'{path}' has no videos.")
        _check_files(file, root, clips)
        prepared = prepare_found(root, clips, [], target, degradation, scale, strict, workers)
        text = json.dumps(_instances(file, prepared)).encode()
        written = target / INSTANCES
        if not written.is_file() or written.read_bytes() != text:
            write_whole(written, text)
    return prepared


def _find(source: Path, split: str, places: Sequence[str], what: str, flag: str) -> Path:
    names = [place.format(split=split) for place in places]
    found = next((source / name for name in names if (source / name).exists()), None)
    if found is None:
        raise UserError(
            f"'{source}' has no {what} of the split '{split}': there is none of {', '.join(names)}. Choose another "
            f'--split, or say where it is by {flag}.'
        )
    return found


def _clip(path: Path, root: Path, video: AnnotatedVideo, all_frames: bool, max_megapixels: float) -> FolderClip:
    parents = {PurePosixPath(file).parent.as_posix() for file in video.files}
    if len(parents) > 1 or video.name == '.':
        raise UserError(
            f"'{path}': the frames of video {video.id} are not in one folder of their own, as '{video.files[0]}'. "
            'File names must be of the form VIDEO/00000.jpg.'
        )
    files = [inside(root, file, where=f"'{path}'") for file in video.files]
    if all_frames and (root / video.name).is_dir():
        files = image_files(root / video.name, video.name)
    return FolderClip(clean_name(video.name), video.name, files, max_megapixels)


def _check_files(file: YouTubeVIS, root: Path, clips: Sequence[FolderClip]) -> None:
    """Find out at the start, not after hours, that frames are missing or not those of the annotations."""
    missing = [path for clip in clips for path in clip.files if not path.is_file()]
    if missing:
        count = sum(map(len, clips))
        raise UserError(
            f"{len(missing)} of the {count} frames that '{file.path}' lists are not there; the first is "
            f"'{missing[0]}'. Unpack the frames completely, or give their folder by --frames."
        )
    for video in file.videos:
        if not video.files:
            continue
        first = root / video.files[0]
        size = header_size(first) if why_no_file(first) is None else None
        if size is not None and size != (video.height, video.width):
            raise UserError(
                f"'{root / video.files[0]}' has {size[1]}x{size[0]} pixels, but '{file.path}' says "
                f'{video.width}x{video.height}. Do the frames and the annotations belong together?'
            )


def _instances(file: YouTubeVIS, prepared: Prepared) -> dict[str, Any]:
    """The content of ``instances.json``."""
    sizes = {f'{clip.source}/{name}': clip.gt_size for clip in prepared.clips.values() for name in clip.frame_names}
    videos, annotations = [], []
    for video in tqdm(file.videos, unit='video', desc='Instances'):
        kept = [position for position, frame in enumerate(video.frames) if frame in sizes]
        if not kept:
            continue
        height, width = sizes[video.frames[kept[0]]]
        shape = {'height': height, 'width': width, 'length': len(kept)}
        videos.append({'id': video.id, **shape, 'file_names': [video.files[position] for position in kept]})
        annotations += _annotations(file, video, kept, shape)
    return {
        'info': {'description': f'Instances of {file.path.name} in the frames of the LMDBs next to this file'},
        'categories': list(file.categories),
        'videos': videos,
        'annotations': annotations,
    }


def _annotations(
    file: YouTubeVIS, video: AnnotatedVideo, kept: list[int], shape: dict[str, int]
) -> Iterator[dict[str, Any]]:
    for instance in video.instances:
        masks = (file.mask(video, instance, position)[: shape['height'], : shape['width']] for position in kept)
        found = [_segmentation(mask) for mask in masks]
        if not any(found):
            continue
        segmentations, boxes, areas = zip(*(one or (None, None, None) for one in found), strict=True)
        category = {} if instance.category is None else {'category_id': instance.category}
        yield {
            'id': instance.id,
            'video_id': video.id,
            **category,
            'iscrowd': int(instance.crowd),
            **shape,
            'segmentations': segmentations,
            'bboxes': boxes,
            'areas': areas,
        }


def _segmentation(mask: np.ndarray) -> tuple[dict[str, Any], list[float], int] | None:
    """Run lengths, box (x, y, width, height) and area of a mask; None for an empty one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return None
    box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    return encode_mask(mask), [float(side) for side in box], int(mask.sum())
