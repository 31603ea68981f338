"""Videos with annotated instances, as both data sets of instances read them: which there are, frames, masks, labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from ..config.section import Positive
from ..priors.segmentations import encode_mask
from ..priors.youtube_vis import AnnotatedInstance, AnnotatedVideo, read_youtube_vis
from ..utils.errors import UserError
from ..utils.names import inside
from .clip_lists import read_lmdb_meta_info
from .dataset_options import DatasetOptions
from .degradations import degrade, mod_crop, wrong_degradation
from .frame_reader import FrameReader
from .prepare.output import original_keys


class InstanceOptions(DatasetOptions):
    """Where the videos and their instances are."""

    dataroot_gt: str | None = None
    """High-resolution frames: JPEGImages of YouTube-VIS, another folder of clip folders, or an LMDB folder."""
    dataroot_lq: str | None = None
    """Low-resolution frames instead, 1/scale of the annotations, as the network gets them later."""
    degradation: Literal['BI', 'BD', 'BD_DUF'] | None = None
    """Degrade the frames of dataroot_gt on the fly: BI (MATLAB bicubic), BD (Gaussian, as BasicVSR) or BD_DUF."""
    annotation_file: str
    """YouTube-VIS JSON: train.json, or instances.json of `basicsr prepare ytvis`; only its frames are read."""
    num_classes: Positive | None = None
    """Classes of the network; ~ is as many as annotation_file has categories, which are numbered by their ids."""
    val_every: Annotated[int, Field(ge=2)] | None = None
    """N takes every N-th video, in the order of the ids, for tests only; training leaves those out."""
    max_long_side: Positive | None = 768
    """Longest side of the frames after scaling; ~ is no limit."""

    @model_validator(mode='after')
    def _one_source(self):
        if bool(self.dataroot_gt) == bool(self.dataroot_lq):
            raise ValueError(
                'It needs one of dataroot_gt (high-resolution frames) and dataroot_lq (stored low-resolution frames).'
            )
        if self.degradation and self.dataroot_lq:
            raise ValueError('degradation makes low-resolution frames out of dataroot_gt, not of dataroot_lq.')
        if self.degradation and (wrong := wrong_degradation(self.degradation, self.scale)):
            raise ValueError(wrong)
        return self


@dataclass(frozen=True)
class SourceVideo:
    """One video of which frames are there.

    Attributes:
        annotated: The video of the annotation file.
        name: Folder of its frames in the annotation file.
        keys: Keys of its frames below the data root.
        positions: Numbers of these frames in the annotation file.
        instances: Its instances; crowds only where they were asked for, and
        labels: the class of each, from 0.
    """

    annotated: AnnotatedVideo
    name: str
    keys: tuple[str, ...]
    positions: tuple[int, ...]
    instances: tuple[AnnotatedInstance, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.keys)


class InstanceSource:
    """Reads frames and masks of videos by key and position.

    Frames of an LMDB of ours are found by the names that its manifest remembers, so the annotation file may be that of
    the original frames. Frames that are not in the LMDB, as damaged ones, are left out.

    Args:
        options: Options of the data set.
        held_out: With ``val_every``: take the videos held out for tests (else the others).
        crowds: Keep annotations of crowds, in which single instances are not separated: a test ignores what matches
            them.

    Attributes:
        videos: The videos, by their ids.
        categories: ``{'id', 'name', ...}`` of each class, in order.
        annotated: Whether there are annotations.
        factor: Size of the annotations relative to the frames that are shown: 1, or the scale for low-resolution ones.

    Raises:
        UserError: Options that contradict each other, files that do not exist or do not belong together.
    """

    def __init__(self, options: InstanceOptions, held_out: bool, crowds: bool = False) -> None:
        self._crowds = crowds
        self._where = f"Data set '{options.name}'"
        self._scale = options.scale
        self._degradation = options.degradation or ''
        self.factor = 1 if options.dataroot_gt and not options.degradation else options.scale
        option = 'dataroot_gt' if options.dataroot_gt else 'dataroot_lq'
        root = str(options.dataroot_gt or options.dataroot_lq)
        self._frames = FrameReader(root, options.io_backend, option, options.max_megapixels)
        path = Path(options.annotation_file).expanduser()
        if not path.is_file():
            raise UserError(f"{self._where}: annotation_file: there is no file '{path}'.{_how(options, path)}")
        self._file = read_youtube_vis(path)
        self.categories = self._file.categories
        self.annotated = self._file.annotated
        self.num_classes = self._check_classes(options.num_classes)
        labels = {category['id']: label for label, category in enumerate(self.categories)}
        videos = sorted((video for video in self._file.videos if video.files), key=lambda video: video.id)
        if options.val_every is not None:
            last = options.val_every - 1
            videos = [v for i, v in enumerate(videos) if (i % options.val_every == last) == held_out]
        if not videos:
            raise UserError(
                f"{self._where}: '{path}' has no videos"
                + (f' left with val_every {options.val_every}.' if options.val_every else '.')
            )
        self.videos = self._find_frames([self._with_labels(video, labels) for video in videos])

    def frame(self, video: SourceVideo, number: int) -> np.ndarray:
        """A frame as the network may see it, before scaling: (h, w, 3) uint8 RGB.

        Raises:
            UserError: The frame is missing, damaged, or of another size than its annotations ask for.
        """
        key = video.keys[number]
        frame = self._frames.read(key)[..., ::-1]
        if self._degradation:
            frame = degrade(mod_crop(frame, self._scale), self._degradation, self._scale)
        height, width = video.annotated.height, video.annotated.width
        # frames may have been cut to multiples of the scale, annotations not
        left = height - self.factor * frame.shape[0], width - self.factor * frame.shape[1]
        if not all(0 <= rest < max(self._scale, 2) for rest in left):
            raise UserError(
                f"{self._where}: frame '{key}' has {frame.shape[1]}x{frame.shape[0]} pixels, but '{self._file.path}' "
                f'says {width}x{height}' + (f' at {self.factor} times its size.' if self.factor > 1 else '.')
            )
        return frame

    def mask(self, video: SourceVideo, instance: AnnotatedInstance, number: int) -> np.ndarray | None:
        """The mask of an instance in a frame, (H, W) bool at the size of the annotations; None where it is absent.

        Raises:
            UserError: The segmentation is malformed.
        """
        position = video.positions[number]
        if position < len(instance.segmentations) and not instance.segmentations[position]:
            return None
        return self._file.mask(video.annotated, instance, position)

    def run_lengths(self, video: SourceVideo, instance: AnnotatedInstance, number: int) -> dict[str, Any] | None:
        """The same mask as compressed run lengths of the COCO API."""
        mask = self.mask(video, instance, number)
        return None if mask is None or not mask.any() else encode_mask(mask)

    def _check_classes(self, wanted: int | None) -> int:
        found = len(self.categories)
        if wanted is not None and wanted < found:
            raise UserError(
                f"{self._where}: num_classes is {wanted}, but '{self._file.path}' has {found} categories. Set it, and "
                f'that of the network, to {found} at least.'
            )
        return wanted or found

    def _with_labels(self, video: AnnotatedVideo, labels: Mapping[Any, int]) -> SourceVideo:
        kept = [instance for instance in video.instances if self._crowds or not instance.crowd]
        for instance in kept:
            if instance.category not in labels:
                raise UserError(
                    f"{self._where}: annotation {instance.id} of '{self._file.path}' has the category "
                    f'{instance.category}, which is not among its categories.'
                )
        numbers = tuple(labels[instance.category] for instance in kept)
        return SourceVideo(video, video.name, video.frames, tuple(range(len(video.files))), tuple(kept), numbers)

    def _find_frames(self, videos: list[SourceVideo]) -> tuple[SourceVideo, ...]:
        root = self._frames.root
        if self._frames.backend == 'disk':
            for key in (key for video in videos for key in video.keys):
                inside(root, key, where=f"{self._where}: '{self._file.path}'")
            if not (root / videos[0].name).is_dir():
                raise UserError(
                    f"{self._where}: '{self._file.path}' begins with the video '{videos[0].name}', but there is no "
                    f"folder '{root / videos[0].name}'. Do the frames and the annotations belong together?"
                )
            return tuple(videos)
        keys = {original: key for key, original in original_keys(root).items()}
        listed = read_lmdb_meta_info(root)
        if not keys and listed is not None:
            keys = {key: key for clip, frames in listed.items() for key in (f'{clip}/{frame}' for frame in frames)}
        found = []
        for video in videos:
            stored = [n for n, frame in enumerate(video.keys) if frame in keys]
            if stored:
                names = tuple(keys[video.keys[n]] for n in stored)
                found.append(
                    SourceVideo(video.annotated, video.name, names, tuple(stored), video.instances, video.labels)
                )
        if not found:
            raise UserError(
                f"{self._where}: the LMDB '{root}' has none of the frames of '{self._file.path}', as "
                f"'{videos[0].keys[0]}'; its first is '{next(iter(keys), 'none')}'. Do they belong together?"
            )
        return tuple(found)


def _how(options: InstanceOptions, path: Path) -> str:
    command = (options.prepare or '').replace('{folder}', str(path.parent))
    return f' Make it with: {command}' if command else ''
