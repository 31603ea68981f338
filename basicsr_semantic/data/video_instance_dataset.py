"""Training samples for video instance segmentation: some frames of a video, scaled, cropped, with their instances."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import model_validator
from torch.utils.data import Dataset

from ..config.section import Positive
from ..utils.errors import UserError
from .clip_source import to_tensor
from .dataset_options import build_options
from .instance_source import InstanceOptions, InstanceSource, SourceVideo
from .instance_views import ClipView, draw_view

SIZE_MULTIPLE = 32
"""Sides of a batch are multiples of this: the largest stride of the frame decoder."""


@DATASET_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
class VideoInstanceDataset(Dataset):
    """A few frames of one video and the instances that they show, augmented as VITA (Heo et al. 2022) does it.

    There is one item a video. A frame is drawn, then others around it; scale, crop and mirror are drawn once for all of
    them (see ``draw_view``). All draws use Python's ``random``, so its seed determines the sample. VITA's
    configurations for YouTube-VIS change no colours, and neither does this.

    An item is a dict:

    - ``frames``: (t, 3, h, w) float32 in [0, 1], RGB
    - ``instances``: dict of ``labels`` (n,) int64 in [0, num_classes), ``masks`` (n, t, h, w) bool and ``ids`` (n,)
      int64, the numbers of the annotations; an instance may be absent from some frames, and n may be 0
    - ``key``: str, key of the first frame

    ``collate`` makes a batch of items of different sizes: ``frames`` (b, t, 3, H, W), zeros below and to the right of
    each, H and W the largest of the batch, enlarged to multiples of 32; ``sizes`` (b, 2) int64, height and width of
    each item; ``instances``: list of the dicts, masks at the size of their item; ``key``: list of str.

    Args:
        opt: BasicSR's dict of options; left as it is.

    Attributes:
        num_classes: Classes that labels may have.

    Raises:
        UserError: Options that do not fit, files that do not exist, no annotations. Items raise it for frames that are
            missing, damaged or of the wrong size and for malformed segmentations.
    """

    class Options(InstanceOptions):
        """Options of training."""

        num_frame: Positive = 5
        """Frames of an item."""
        frame_range: Positive = 20
        """The others are drawn from so many frames before and after the first that is drawn."""
        short_sides: list[Positive] = [288, 320, 352, 384, 416, 448, 480, 512]
        """Short sides of the frames to choose from."""
        crop_range: list[Positive] | None = [384, 600]
        """Shortest and longest side of the window that half of the clips are cropped to; ~ crops none."""
        crop_sides: list[Positive] = [400, 500, 600]
        """Short sides of the frames to choose from, to which crop_range refers."""
        use_hflip: bool = True
        """Mirror half of the samples."""

        @model_validator(mode='after')
        def _agree(self):
            _check(self)
            return self

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.opt = opt
        self.options = options = build_options(self.Options, opt)
        self.source = InstanceSource(options, held_out=False)
        self.num_classes = self.source.num_classes
        if not self.source.annotated:
            raise UserError(
                f"Data set '{options.name}': '{options.annotation_file}' has no annotations to train on. The valid and "
                'test files of YouTube-VIS have none.'
            )
        self.videos = tuple(video for video in self.source.videos if video.instances)
        if not self.videos:
            raise UserError(f"Data set '{options.name}': no video of '{options.annotation_file}' has instances.")
        get_root_logger().info(
            f"Data set '{options.name}': {len(self.videos)} videos, {sum(map(len, self.videos))} frames, "
            f'{sum(len(video.instances) for video in self.videos)} instances of {self.num_classes} classes; frames '
            f'{options.dataroot_lq or options.dataroot_gt}'
            + (f' degraded by {options.degradation}.' if options.degradation else '.')
        )

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> dict[str, Any]:
        options = self.options
        video = self.videos[index]
        numbers = sample_frames(len(video), options.num_frame, options.frame_range)
        frames = [self.source.frame(video, number) for number in numbers]
        height, width = frames[0].shape[:2]
        for number, frame in zip(numbers, frames, strict=True):
            if frame.shape != frames[0].shape:
                raise UserError(
                    f"Frame '{video.keys[number]}' has {frame.shape[1]}x{frame.shape[0]} pixels, but "
                    f"'{video.keys[numbers[0]]}' of its video {width}x{height}. All frames of a video need one size."
                )
        view = draw_view(
            len(numbers),
            height,
            width,
            options.short_sides,
            options.max_long_side,
            options.crop_range,
            options.crop_sides,
            options.use_hflip,
        )
        return {
            'frames': to_tensor(np.stack([view.frame(frame, place) for place, frame in enumerate(frames)])),
            'instances': self._instances(video, numbers, view),
            'key': video.keys[numbers[0]],
        }

    def _instances(self, video: SourceVideo, numbers: Sequence[int], view: ClipView) -> dict[str, torch.Tensor]:
        """The instances that are seen in at least one of the frames."""
        labels, identities, planes = [], [], []
        for instance, label in zip(video.instances, video.labels, strict=True):
            masks = np.zeros((len(numbers), view.height, view.width), bool)
            for place, number in enumerate(numbers):
                mask = self.source.mask(video, instance, number)
                if mask is not None:
                    masks[place] = view.mask(mask, place, self.source.factor)
            if masks.any():
                labels.append(label)
                identities.append(int(instance.id))
                planes.append(masks)
        empty = np.zeros((0, len(numbers), view.height, view.width), bool)
        return {
            'labels': torch.tensor(labels, dtype=torch.int64),
            'masks': torch.from_numpy(np.stack(planes) if planes else empty),
            'ids': torch.tensor(identities, dtype=torch.int64),
        }

    @staticmethod
    def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Make a batch; see the class."""
        sizes = torch.tensor([item['frames'].shape[-2:] for item in items], dtype=torch.int64)
        height, width = (-(-int(side) // SIZE_MULTIPLE) * SIZE_MULTIPLE for side in sizes.amax(0))
        frames = torch.zeros(len(items), *items[0]['frames'].shape[:2], height, width)
        for whole, item in zip(frames, items, strict=True):
            whole[..., : item['frames'].shape[-2], : item['frames'].shape[-1]] = item['frames']
        return {
            'frames': frames,
            'sizes': sizes,
            'instances': [item['instances'] for item in items],
            'key': [item['key'] for item in items],
        }


def sample_frames(length: int, count: int, reach: int) -> list[int]:
    """Draw a frame, and others at most ``reach`` frames away from it.

    Args:
        length: Frames of the video.
        count: Frames to draw; where there are fewer, some come more than once.
        reach: How far the others may be.

    Returns:
        Their numbers in order.
    """
    reference = random.randrange(length)
    around = [n for n in range(max(0, reference - reach), min(length, reference + reach + 1)) if n != reference]
    if len(around) >= count - 1:
        others = random.sample(around, count - 1)
    else:
        others = around + random.choices([*around, reference], k=count - 1 - len(around))
    return sorted([reference, *others])


def _check(options: VideoInstanceDataset.Options) -> None:
    if options.num_frame < 1 or options.frame_range < 0:
        raise ValueError('num_frame must be at least 1 and frame_range at least 0.')
    if not options.short_sides or min(options.short_sides) < 1:
        raise ValueError(f'short_sides is {options.short_sides}; it needs whole numbers from 1.')
    if options.crop_range is None:
        return
    if len(options.crop_range) != 2 or not 1 <= options.crop_range[0] <= options.crop_range[1]:
        raise ValueError(f'crop_range is {options.crop_range}; it needs the shortest and the longest side.')
    if not options.crop_sides or min(options.crop_sides) < 1:
        raise ValueError(f'crop_sides is {options.crop_sides}; it needs whole numbers from 1.')
