"""Clips for validation and test: whole, in segments, or as windows around each frame; GT is optional."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from basicsr.data.data_util import generate_frame_indices
from basicsr.utils import get_root_logger
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import model_validator
from torch.utils.data import Dataset

from ..config.section import Positive
from ..priors.geometry import ClipGeometry
from ..utils.errors import UserError
from .clip_source import ClipSource, to_tensor
from .clips import Clip
from .dataset_options import ClipOptions, build_options

PADDINGS = ('reflection_circle', 'reflection', 'replicate', 'circle')


class _Item(NamedTuple):
    clip: Clip
    shown: range  # positions of the frames that are to be restored
    read: list[int]  # positions of the frames that are read for them


@DATASET_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
class SemanticClipTestDataset(Dataset):
    """Whole frames of clips for validation and test, with masks, and with GT where there is some.

    Recurrent networks (no ``num_frame``): an item is a clip, or a segment of at most ``max_frames`` frames. GT is not
    in it: ``read_gt`` streams it frame by frame, so that no clip is in memory at high resolution.

    Window networks (``num_frame``: 5, say): an item is one centre frame and its neighbours; those beyond the clip's
    ends are chosen by ``padding``, as BasicSR's ``generate_frame_indices`` does.

    An item is a dict:

    - ``lq``: (t, 3, h, w) float32 in [0, 1], RGB
    - ``gt``: (3, H, W) of the centre frame; windows only, and only with GT
    - ``masks``: (t, num_masks, h, w) uint8 of 0 and 1, and ``prior_kind``: str, both only with priors, masks only of an
      extractor that makes some
    - ``frame_tokens``: (t, K, Ct) and ``global_tokens``: (t, Cg), float32, and ``prior_origin``: str, what made them,
      only where the store has such tokens
    - ``pixel_features``: (t, Cp, h / 4, w / 4) float32, rounded up, one vector for each 4x4 low-resolution pixels, only
      where the store has them and ``with_features`` is not false
    - ``clip``: str; ``frame_names``: list of str and ``frame_indices``: list of int (positions in the clip) of the
      frames to judge: all of the item, the last ones of a segment that ``shift_last`` has lengthened to the front, or
      the centre frame of a window

    Args:
        opt: BasicSR's dict of options; left as it is.

    Attributes:
        opt: The same dict.
        clip_lengths: Frames of each clip, by its name.
        prior_kind: Kind of the priors, ``neutral`` for all-zero masks without a store, None without priors.
        has_gt: Whether there is GT.

    Raises:
        UserError: Options that do not fit, roots that do not exist, clips too short for the padding. Items raise it
            for frames and masks that are missing, damaged or of the wrong size.
    """

    class Options(ClipOptions):
        """Options of validation and test; ``dataroot_gt`` is optional where ``dataroot_lq`` is given."""

        phase: Literal['train', 'val', 'test'] = 'test'
        """val or test; set by BasicSR from the name of the section."""
        num_frame: Positive | None = None
        """Frames of a window around each frame, odd (EDVR); ~ for recurrent networks."""
        padding: Literal['reflection_circle', 'reflection', 'replicate', 'circle'] = 'reflection_circle'
        """What replaces the neighbours beyond the ends of a clip, with num_frame."""
        center_frame_only: bool = False
        """Only the window around the centre frame of each clip (Vimeo-90K), with num_frame."""
        max_frames: Positive | None = None
        """Cut clips into segments of at most so many frames, without num_frame; ~ takes whole clips."""
        first_frames: Positive | None = None
        """Only the first so many frames of each clip: a quick look, during training for instance; ~ takes them all."""
        shift_last: bool = False
        """Begin the last segment of a clip earlier, so that it has max_frames too; only its new frames are judged."""

        @model_validator(mode='after')
        def _agree(self):
            _check(self)
            return self

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.opt = opt
        self.options = options = build_options(self.Options, opt)
        self.source = ClipSource(options)
        self.prior_kind = self.source.prior_kind
        self.has_gt = self.source.has_gt
        clips = [replace(clip, frames=clip.frames[: options.first_frames]) for clip in self.source.index.clips]
        self.clip_lengths = {clip.name: len(clip) for clip in clips}
        items = self._windows if options.num_frame else self._segments
        self._items = [item for clip in clips for item in items(clip)]
        self.source.check_priors(clips, self._prior_keys())
        get_root_logger().info(
            f"Data set '{options.name}': {len(clips)} clips, {sum(self.clip_lengths.values())} frames; "
            f'LQ {options.dataroot_lq or "by " + str(options.degradation)}; GT: {"yes" if self.has_gt else "none"}; '
            f'priors: {self.prior_kind or "none"}.'
        )

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip, shown, read = self._items[index]
        centre = clip.key(shown[0])
        with_gt = {centre} if self.options.num_frame and self.has_gt else set()
        mask_keys = [centre] if self.options.center_masks_only else None
        crop = self.source.read([clip.key(position) for position in read], with_gt, ClipGeometry.whole, mask_keys)
        item: dict[str, Any] = {'lq': crop.lq}
        if crop.gt is not None:
            item['gt'] = crop.gt[0]
        item |= self.source.priors.labels
        priors = ('masks', 'frame_tokens', 'global_tokens', 'pixel_features')
        item |= {name: tensor for name in priors if (tensor := getattr(crop, name)) is not None}
        item['clip'] = clip.name
        item['frame_names'] = [clip.frames[position] for position in shown]
        item['frame_indices'] = list(shown)
        return item

    def read_gt(self, item_index: int, frame_position_in_item: int) -> torch.Tensor | None:
        """Read the GT of one frame.

        Args:
            item_index: Index of the item.
            frame_position_in_item: Place of the frame in the item's ``frame_names``.

        Returns:
            (3, H, W) float32 in [0, 1], RGB, H and W multiples of the scale; None without GT.

        Raises:
            UserError: The frame is missing or damaged.
            IndexError: No such item or frame.
        """
        clip, shown, _ = self._items[item_index]
        position = shown[frame_position_in_item]
        return to_tensor(self.source.gt(clip.key(position))) if self.has_gt else None

    def _prior_keys(self) -> Iterator[str]:
        """The frames that an item may want priors of; some come often."""
        for clip, shown, read in self._items:
            yield from (clip.key(position) for position in (shown if self.options.center_masks_only else read))

    def _segments(self, clip: Clip) -> list[_Item]:
        length = self.options.max_frames or len(clip)
        parts = [range(start, min(start + length, len(clip))) for start in range(0, len(clip), length)]
        first_read = [max(0, part.stop - length) if self.options.shift_last else part.start for part in parts]
        return [_Item(clip, part, list(range(first, part.stop))) for part, first in zip(parts, first_read, strict=True)]

    def _windows(self, clip: Clip) -> list[_Item]:
        options = self.options
        assert options.num_frame is not None
        centres = [len(clip) // 2] if options.center_frame_only else range(len(clip))
        items = []
        for centre in centres:
            read = generate_frame_indices(centre, len(clip), options.num_frame, options.padding)
            if not 0 <= min(read) <= max(read) < len(clip):
                raise UserError(
                    f"Clip '{clip.name}' has {len(clip)} frames, too few for windows of {options.num_frame} with "
                    f"padding '{options.padding}'. Use padding: replicate or a network with fewer frames."
                )
            items.append(_Item(clip, range(centre, centre + 1), read))
        return items


def _check(options: SemanticClipTestDataset.Options) -> None:
    if options.first_frames is not None and options.first_frames < 1:
        raise ValueError(f'first_frames is {options.first_frames}; at least 1 is needed.')
    if options.num_frame is None:
        if options.center_masks_only:
            raise ValueError('center_masks_only needs num_frame; recurrent networks use all masks.')
        if options.center_frame_only:
            raise ValueError('center_frame_only needs num_frame; for recurrent networks set it below val.')
        if options.max_frames is not None and options.max_frames < 1:
            raise ValueError(f'max_frames is {options.max_frames}; at least 1 is needed.')
        if options.shift_last and options.max_frames is None:
            raise ValueError('shift_last needs max_frames, the length of the segments.')
        return
    if options.num_frame < 1 or options.num_frame % 2 == 0:
        raise ValueError(f'num_frame is {options.num_frame}; a window around a frame needs an odd number.')
    if options.max_frames is not None or options.shift_last:
        key = 'shift_last' if options.max_frames is None else 'max_frames'
        raise ValueError(f'{key} cuts clips for recurrent networks and cannot be combined with num_frame.')
    if options.padding not in PADDINGS:
        raise ValueError(f"padding is '{options.padding}'. Choose one of {', '.join(PADDINGS)}.")
