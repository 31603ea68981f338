"""Whole videos for the validation of instance segmentation, and what was annotated in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from ..config.section import Positive
from ..utils.errors import UserError
from .clip_source import to_tensor
from .dataset_options import build_options
from .instance_source import InstanceOptions, InstanceSource
from .instance_views import whole_view


@DATASET_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
class VideoInstanceTestDataset(Dataset):
    """Videos, one an item, all their frames at one short side.

    An item is a dict:

    - ``frames``: (t, 3, h, w) float32 in [0, 1], RGB
    - ``clip``: str, folder of the frames in the annotation file; ``video_id``: int
    - ``frame_names``: list of str, names of the frames in that folder, without extension
    - ``num_listed``: int, frames that the annotation file has for the video, and ``positions``: list of int, which of
      them these are (all, unless frames are missing from an LMDB)
    - ``size``: (height, width) of the frames as the annotation file gives it; results are for this size

    The annotations are not in the item; ``annotations`` gives them. ``collate`` takes one item and returns it.

    Args:
        opt: BasicSR's dict of options; left as it is.

    Attributes:
        opt: The same dict.
        num_classes: Classes that labels may have.
        categories: ``{'id', 'name', ...}`` of each class in order; results files need these ids.
        annotated: Whether the annotation file has annotations; those of valid and test of YouTube-VIS have none.

    Raises:
        UserError: Options that do not fit, files that do not exist. Items raise it for frames that are missing, damaged
            or of the wrong size.
    """

    class Options(InstanceOptions):
        """Options of a test; ``val_every`` takes only the videos that training leaves out."""

        short_side: Positive | None = 360
        """Short side of the frames that the network sees; ~ leaves them as they are."""
        max_long_side: Positive | None = None
        """Longest side of the frames after scaling; ~ is no limit."""

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.opt = opt
        self.options = options = build_options(self.Options, opt)
        if options.short_side is not None and options.short_side < 1:
            raise UserError(f"Data set '{options.name}': short_side is {options.short_side}; at least 1 is needed.")
        self.source = InstanceSource(options, held_out=True, crowds=True)
        self.num_classes = self.source.num_classes
        self.categories = self.source.categories
        self.annotated = self.source.annotated
        self.videos = self.source.videos
        get_root_logger().info(
            f"Data set '{options.name}': {len(self.videos)} videos, {sum(map(len, self.videos))} frames; annotations: "
            f'{"yes" if self.annotated else "none"}.'
        )

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> dict[str, Any]:
        video = self.videos[index]
        first = self.source.frame(video, 0)
        options = self.options
        height, width = first.shape[:2]
        view = whole_view(len(video), height, width, options.short_side, options.max_long_side)
        frames = [view.frame(self.source.frame(video, n) if n else first, n) for n in range(len(video))]
        files = video.annotated.frames
        return {
            'frames': to_tensor(np.stack(frames)),
            'clip': video.name,
            'video_id': int(video.annotated.id),
            'frame_names': [files[position].rpartition('/')[2] for position in video.positions],
            'num_listed': len(files),
            'positions': list(video.positions),
            'size': (video.annotated.height, video.annotated.width),
        }

    def annotations(self, index: int) -> dict[str, Any]:
        """What was annotated in a video.

        Args:
            index: Index of the item.

        Returns:
            ``labels`` (n,) int64 in [0, num_classes), ``ids`` (n,) int64, ``masks``: for each instance a list with one
            ``{'size', 'counts'}`` (compressed run lengths of the COCO API) or None for each frame of the item,
            ``crowd`` (n,) bool, and ``size`` (height, width) of the masks. n is 0 where nothing was annotated.

        Raises:
            UserError: A segmentation is malformed.
        """
        video = self.videos[index]
        return {
            'labels': torch.tensor(video.labels, dtype=torch.int64),
            'ids': torch.tensor([int(instance.id) for instance in video.instances], dtype=torch.int64),
            'masks': [
                [self.source.run_lengths(video, instance, number) for number in range(len(video))]
                for instance in video.instances
            ],
            'crowd': torch.tensor([instance.crowd for instance in video.instances], dtype=torch.bool),
            'size': (video.annotated.height, video.annotated.width),
        }

    @staticmethod
    def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The only item of a batch of one, as it is."""
        (item,) = items
        return item
