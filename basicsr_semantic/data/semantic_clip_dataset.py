"""Training samples from clips: a window of frames, one random crop and flip, with GT and semantic priors."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, field
from itertools import accumulate
from typing import Any, Literal

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import model_validator
from torch.utils.data import Dataset, default_collate

from ..config.section import Positive
from ..priors import CELL
from ..priors.geometry import ClipGeometry
from ..utils.errors import UserError
from .clip_source import ClipSource
from .clips import Clip
from .dataset_options import ClipOptions, build_options


@DATASET_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
class SemanticClipDataset(Dataset):
    """Windows of consecutive frames for training, with low-resolution frames, GT and masks cut by one geometry.

    Options select REDS, Vimeo-90K, YouTube-VIS or any folder or LMDB of clips; see datasets/README.md. There
    is one item for each place a window of ``num_frame`` frames at the smallest interval can begin. Its random choices
    (interval, a new beginning where a longer interval would leave the clip, reverse, crop, flips) use Python's
    ``random``, so its seed determines the sample.

    An item is a dict:

    - ``lq``: (t, 3, h, w) float32 in [0, 1], RGB; t is ``num_frame``, twice that with ``flip_sequence``
    - ``gt``: (t, 3, H, W), or (3, H, W) of the centre frame with ``center_frame_only``
    - ``masks``: (t, num_masks, h, w) uint8 of 0 and 1, t is 1 with ``center_masks_only``; and ``prior_kind``: str; both
      only with priors, masks only of an extractor that makes some
    - ``frame_tokens``: (t, K, Ct) and ``global_tokens``: (t, Cg), float32, and ``prior_origin``: str, what made them,
      only where the store has such tokens
    - ``pixel_features``: (t, Cp, h / 4, w / 4) float32, rounded up, one vector for each 4x4 low-resolution pixels, only
      where the store has them and ``with_features`` is not false
    - ``lq_whole``: (t, 3, hf, wf) float32, the whole low-resolution frames, and ``crop``: (8,) int64 with what ``lq``
      went through (top, left, height, width, hflip, vflip, transpose, 0), both only with ``whole_frames``
    - ``key``: str, key of the first frame in time, or of the centre frame with ``center_frame_only``

    Args:
        opt: BasicSR's dict of options; left as it is.

    Raises:
        UserError: Options that do not fit, roots that do not exist, clips with too few frames. Items raise it for
            frames and masks that are missing, damaged or of the wrong size.
    """

    class Options(ClipOptions):
        """Options of training; ``dataroot_gt`` is needed."""

        num_frame: Positive
        """Frames of a window."""
        gt_size: Positive | None = None
        """Side of the square crop in high-resolution pixels, a multiple of the scale; ~ takes whole frames."""
        interval_list: list[Positive] = [1]
        """Steps from frame to frame to choose from at random."""
        random_reverse: bool = False
        """Run half of the windows backwards."""
        flip_sequence: bool = False
        """Follow each window by itself backwards, doubling its length (BasicVSR on Vimeo-90K)."""
        center_frame_only: bool = False
        """GT of the centre frame only (EDVR)."""
        use_hflip: bool = False
        """Mirror half of the samples."""
        use_rot: bool = False
        """Turn half of the samples upside down and exchange rows and columns of half of them."""
        whole_frames: bool = False
        """Add the whole LR frames and the place of the crop, for priors that the model extracts (online_full)."""
        exclude_clips: list[str] = field(default_factory=list)
        """Names of clips to leave out."""
        unfit_clips: Literal['error', 'leave_out'] = 'error'
        """What happens to clips with too few frames, or frames too small for gt_size: error or leave_out."""

        @model_validator(mode='after')
        def _agree(self):
            _check(self)
            return self

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.opt = opt
        self.options = options = build_options(self.Options, opt)
        self.source = ClipSource(options)
        self.prior_kind = self.source.prior_kind
        if wrong := _wrong_patch(options, self.source.crop_step):
            raise UserError(f"Data set '{options.name}': {wrong}")
        index = self.source.index
        for name in options.exclude_clips:
            index[name]  # a misspelt name would leave its clip in the training data
        index = index.without(options.exclude_clips) if options.exclude_clips else index
        self.clips = index.clips if options.unfit_clips == 'error' else self._fitting(index.clips)
        longest = self._span(max(options.interval_list)) + 1
        short = [clip for clip in self.clips if len(clip) < longest]
        if short:
            names = ', '.join(clip.name for clip in short[:5]) + (', ...' if len(short) > 5 else '')
            raise UserError(
                f"Data set '{options.name}': num_frame {options.num_frame} at interval {max(options.interval_list)} "
                f'needs clips of {longest} frames, but {len(short)} of {len(self.clips)} are shorter: '
                f'{names} ({short[0].name} has {len(short[0])}). Lower num_frame or the interval, or '
                'name them in exclude_clips, or set unfit_clips: leave_out.'
            )
        if options.gt_size is not None:  # most data sets have frames of one size: better known now than later
            self._check_patch(self.clips[0], *self.source.lr_sizes(self.clips[:1])[self.clips[0].name])
            self.source.close()
        shortest = self._span(min(options.interval_list))
        self._ends = list(accumulate(len(clip) - shortest for clip in self.clips))
        self.source.check_priors(self.clips, self._prior_keys())
        get_root_logger().info(
            f"Data set '{options.name}': {len(self.clips)} clips, {len(self)} windows of {options.num_frame} frames; "
            f'LQ {options.dataroot_lq or "by " + str(options.degradation)}; priors: {self.prior_kind or "none"}.'
        )

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        options = self.options
        number = bisect_right(self._ends, index)
        clip = self.clips[number]
        start = index - (self._ends[number - 1] if number else 0)
        interval = random.choice(options.interval_list)
        last_start = len(clip) - 1 - self._span(interval)
        if start > last_start:
            start = random.randint(0, last_start)
        keys = [clip.key(start + k * interval) for k in range(options.num_frame)]
        sample_key = keys[options.num_frame // 2] if options.center_frame_only else keys[0]
        if options.random_reverse and random.random() < 0.5:
            keys.reverse()

        def draw(lr_height: int, lr_width: int) -> ClipGeometry:
            self._check_patch(clip, lr_height, lr_width)
            patch = None if options.gt_size is None else options.gt_size // options.scale
            step = self.source.crop_step
            if patch is None and (options.use_hflip or options.use_rot) and (lr_height % step or lr_width % step):
                raise UserError(
                    f"Clip '{clip.name}' has {lr_width}x{lr_height} low-resolution pixels, no multiples of {step}, so "
                    'its whole frames cannot be flipped together with their pixel features. Give gt_size, or set '
                    'use_hflip and use_rot: false.'
                )
            return ClipGeometry.draw(lr_height, lr_width, patch, options.use_hflip, options.use_rot, step)

        gt_keys = {sample_key} if options.center_frame_only else set(keys)
        mask_keys = [sample_key] if options.center_masks_only else None
        crop = self.source.read(keys, gt_keys, draw, mask_keys, options.whole_frames)
        assert crop.gt is not None
        item: dict[str, Any] = {'lq': crop.lq, 'gt': crop.gt[0] if options.center_frame_only else crop.gt}
        item |= self.source.priors.labels
        priors = ('masks', 'frame_tokens', 'global_tokens', 'pixel_features', 'lq_whole')
        item |= {name: tensor for name in priors if (tensor := getattr(crop, name)) is not None}
        if options.flip_sequence:
            forth = {name: item[name] for name in ('lq', 'gt', *priors) if name in item}
            item |= {name: torch.cat([frames, frames.flip(0)]) for name, frames in forth.items()}
        if options.whole_frames:
            item['crop'] = torch.tensor([*astuple(crop.geometry), 0], dtype=torch.int64)
        item['key'] = sample_key
        return item

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Make a batch of items.

        Raises:
            UserError: Their frames are of several sizes.
        """
        for name, remedy in (
            ('lq_whole', 'use priors from a store (dataroot_priors and network_s:extract_mode: cached)'),
            ('lq', 'give gt_size, which cuts crops of one size'),
        ):
            sizes = {tuple(item[name].shape[-2:]): item['key'] for item in items if name in item}
            if len(sizes) > 1:
                shown = ' and '.join(f"{width}x{height} ('{key}')" for (height, width), key in sizes.items())
                raise UserError(
                    f"Data set '{self.options.name}': the whole low-resolution frames in a batch have {shown} pixels, "
                    f'but a batch needs one size. Set batch_size_per_gpu: 1, or {remedy}.'
                )
        return default_collate(items)

    def _check_patch(self, clip: Clip, lr_height: int, lr_width: int) -> None:
        options = self.options
        if options.gt_size is not None and options.gt_size // options.scale > min(lr_height, lr_width):
            raise UserError(
                f"gt_size {options.gt_size} does not fit into clip '{clip.name}', whose high-resolution frames "
                f'have {lr_width * options.scale}x{lr_height * options.scale} pixels. Lower gt_size or leave the '
                'clip out by exclude_clips, or all that are too small by unfit_clips: leave_out.'
            )

    def _fitting(self, clips: Sequence[Clip]) -> tuple[Clip, ...]:
        """The clips that are long and large enough."""
        options = self.options
        longest = self._span(max(options.interval_list)) + 1
        kept = [clip for clip in clips if len(clip) >= longest]
        if options.gt_size is not None:
            sizes = self.source.lr_sizes(kept)
            kept = [clip for clip in kept if min(sizes[clip.name]) * options.scale >= options.gt_size]
        if not kept:
            raise UserError(
                f"Data set '{options.name}': none of its {len(clips)} clips has {longest} frames of at least "
                f'{options.gt_size}x{options.gt_size} pixels. Lower num_frame or gt_size.'
            )
        if len(kept) < len(clips):
            get_root_logger().info(
                f"Data set '{options.name}': {len(clips) - len(kept)} of {len(clips)} clips are too short or too small "
                'and left out.'
            )
        return tuple(kept)

    def _prior_keys(self) -> Iterator[str]:
        """The frames that a window may want priors of; some come often."""
        options = self.options
        places = [options.num_frame // 2] if options.center_masks_only else range(options.num_frame)
        for clip in self.clips:
            for interval in options.interval_list:
                for start in range(len(clip) - self._span(interval)):
                    yield from (clip.key(start + place * interval) for place in places)

    def _span(self, interval: int) -> int:
        """Frames from the first to the last of a window."""
        return (self.options.num_frame - 1) * interval


def _wrong_patch(options: SemanticClipDataset.Options, step: int) -> str | None:
    """What is wrong with ``gt_size`` where crops begin at multiples of so many LR pixels, in sentences."""
    patch = (options.gt_size or 0) // options.scale
    if not patch % step:
        return None
    return (
        f'gt_size is {options.gt_size}, {patch} low-resolution pixels, but pixel features belong to {step}x{step} of '
        f'them. Choose a multiple of {step * options.scale}, or leave the features out by with_features: false.'
    )


def _check(options: SemanticClipDataset.Options) -> None:
    if not options.dataroot_gt:
        raise ValueError('It is for training and needs dataroot_gt.')
    if options.num_frame < 1:
        raise ValueError(f'num_frame is {options.num_frame}; at least 1 is needed.')
    if not options.interval_list or min(options.interval_list) < 1:
        raise ValueError(f'interval_list is {options.interval_list}; it needs whole numbers from 1.')
    if options.gt_size is not None and (options.gt_size < 1 or options.gt_size % options.scale):
        raise ValueError(f'gt_size is {options.gt_size}, which is no multiple of the scale {options.scale}.')
    if options.with_features and (wrong := _wrong_patch(options, CELL)):
        raise ValueError(wrong)
    if options.center_frame_only and options.num_frame % 2 == 0:
        raise ValueError(f'center_frame_only needs an odd num_frame, not {options.num_frame}.')
    if options.center_masks_only and not options.center_frame_only:
        raise ValueError('center_masks_only needs center_frame_only: true.')
    if options.center_frame_only and options.flip_sequence:
        raise ValueError('flip_sequence has no single centre frame; choose it or center_frame_only.')
