"""Frames and masks of a data set by key: stored or made on the fly, whole or a box, checked against each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from basicsr.utils import get_root_logger

from ..priors.geometry import ClipGeometry
from ..utils.errors import MissingError, UserError
from .clip_lists import read_lmdb_sizes
from .clip_priors import ClipPriorSource
from .clips import Clip, ClipIndex, val_partition_clips
from .dataset_options import ClipOptions
from .degradations import degrade, mod_crop
from .frame_reader import FrameReader


@dataclass
class ClipCrop:
    """The same part of some frames of a clip.

    Attributes:
        lq: (t, 3, h, w) float32 in [0, 1], RGB.
        gt: (n, 3, scale h, scale w), as ``lq``, one for each frame whose GT was wanted; None for none.
        masks: (t, num_masks, h, w) uint8 of 0 and 1; None without priors, or of an extractor that makes none.
        frame_tokens: (t, K, Ct) float32; None where the store has no tokens.
        global_tokens: (t, Cg) float32; None where the store has no global tokens.
        pixel_features: (t, Cp, hp, wp) float32, one vector for each cell of 4x4 LR pixels; None without.
        geometry: What the crops went through.
        lq_whole: (t, 3, hf, wf) float32, the whole low-resolution frames as they are; None where they were not wanted.
    """

    lq: torch.Tensor
    gt: torch.Tensor | None
    masks: torch.Tensor | None
    frame_tokens: torch.Tensor | None
    global_tokens: torch.Tensor | None
    pixel_features: torch.Tensor | None
    geometry: ClipGeometry
    lq_whole: torch.Tensor | None


class ClipSource:
    """What both data sets of clips read from.

    Opens files and LMDBs in the process that reads, when it reads: safe under forked and spawned loader workers.

    Args:
        options: Options of the data set.

    Attributes:
        index: The clips of the data roots or the meta info file, without the validation clips in training, only them in
            val and test, where ``val_partition`` is given.
        prior_kind: Kind of the priors, ``neutral`` for all-zero masks without a store, None without priors.
        has_gt: Whether there are high-resolution frames.
        crop_step: Crops begin at multiples of so many LR pixels.
        priors: Masks, tokens and pixel features of frames.

    Raises:
        UserError: Options that contradict each other, roots or stores that do not exist, LQ and GT with other frames.
    """

    def __init__(self, options: ClipOptions) -> None:
        self.scale = options.scale
        backend = options.io_backend
        limit, gt, lq = options.max_megapixels, options.dataroot_gt, options.dataroot_lq
        self._gt = FrameReader(gt, backend, 'dataroot_gt', limit) if gt else None
        self._lq = FrameReader(lq, backend, 'dataroot_lq', limit) if lq else None
        self._degradation = options.degradation or ''
        self.has_gt = self._gt is not None
        self.index = self._find_clips(options)
        self.priors = ClipPriorSource(options)
        self.prior_kind, self.crop_step = self.priors.kind, self.priors.crop_step

    def gt(self, key: str) -> np.ndarray:
        """The whole high-resolution frame, (H, W, 3) uint8 RGB, cut to multiples of the scale.

        Raises:
            UserError: The frame is missing, damaged or smaller than the scale.
        """
        assert self._gt is not None, 'ask has_gt first'
        frame = mod_crop(self._gt.read(key), self.scale)
        if not frame.size:
            raise UserError(f"dataroot_gt: frame '{key}' is smaller than {self.scale}x{self.scale} pixels.")
        return frame[..., ::-1]

    def lr_sizes(self, clips: Sequence[Clip]) -> dict[str, tuple[int, int]]:
        """(h, w) of the low-resolution frames of clips, by their first ones; of an LMDB, what its list says.

        Raises:
            UserError: A first frame is missing or damaged.
        """
        reader, scale = (self._lq, 1) if self._lq is not None else (self._gt, self.scale)
        assert reader is not None
        listed = read_lmdb_sizes(reader.root) if reader.backend == 'lmdb' else {}
        sizes = {clip.name: listed.get(clip.folder) or reader.read(clip.key(0)).shape[:2] for clip in clips}
        return {name: (height // scale, width // scale) for name, (height, width) in sizes.items()}

    def close(self) -> None:
        """Close the LMDBs and videos of frames in this process; the next read opens them again."""
        for reader in (self._gt, self._lq):
            if reader is not None:
                reader.close()

    def check_priors(self, clips: Sequence[Clip], keys: Iterable[str]) -> None:
        """Look for the priors of all frames, and read those of one, so that a store that does not fit is found early.

        Args:
            clips: The clips that are used.
            keys: Frames of theirs whose priors will be read; a frame may come often.

        Raises:
            UserError: The store lacks a frame, or its priors are of frames of another size.
        """
        if (key := self.priors.check_frames(keys)) is None:
            return
        clip = next(clip for clip in clips if key in clip.keys)
        size = self.lr_sizes([clip])[clip.name]
        geometry = ClipGeometry.whole(*size)
        self.priors.masks([key], size, geometry)
        self.priors.features([key], size, geometry)
        self.priors.close()

    def read(
        self,
        keys: Sequence[str],
        gt_keys: Collection[str],
        geometry_for: Callable[[int, int], ClipGeometry],
        mask_keys: Sequence[str] | None = None,
        whole_frames: bool = False,
    ) -> ClipCrop:
        """Read the same crop of frames of one clip, of their GT and of their priors, and the tokens of the frames.

        Args:
            keys: Frames, in order; a frame may come twice.
            gt_keys: Those of them whose GT is wanted.
            geometry_for: Called once, as ``geometry_for(lr_height, lr_width)``, when the size of the frames is known.
            mask_keys: Those of them whose masks are wanted; None wants all.
            whole_frames: Whether the whole frames are wanted too.

        Raises:
            UserError: A frame or its priors are missing or damaged, or have another size than the first frame or than
                their GT asks for; names the frame.
        """
        frames: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        whole: dict[str, np.ndarray] = {}
        geometry, size = None, (0, 0)
        for key in dict.fromkeys(keys):
            gt = self.gt(key) if self._lq is None or key in gt_keys else None
            lq = self._lq.read(key)[..., ::-1] if self._lq is not None else None
            this = self._lr_size(key, lq, gt)
            if geometry is None:
                size, geometry = this, geometry_for(*this)
            elif this != size:
                raise MissingError(
                    f"Frame '{key}' has {_by(this)} low-resolution pixels, but '{keys[0]}' of its clip {_by(size)}. "
                    'All frames of a clip need one size; preparing the clips leaves out those that differ.',
                    'clips',
                )
            if lq is None and whole_frames:
                assert gt is not None
                lq = degrade(gt, self._degradation, self.scale)
            if whole_frames:
                assert lq is not None
                whole[key] = lq
            if lq is not None:
                small = geometry.apply(lq)
            else:
                assert gt is not None
                small = geometry.flip(degrade(gt, self._degradation, self.scale, geometry.box()))
            frames[key] = small, geometry.apply(gt, self.scale) if gt is not None and key in gt_keys else None
        assert geometry is not None, 'no frames were asked for'
        gts = [gt for key in keys if (gt := frames[key][1]) is not None]
        frame_tokens, global_tokens = self.priors.tokens(keys)
        return ClipCrop(
            lq=to_tensor(np.stack([frames[key][0] for key in keys])),
            gt=to_tensor(np.stack(gts)) if gts else None,
            masks=self.priors.masks(mask_keys or keys, size, geometry),
            frame_tokens=frame_tokens,
            global_tokens=global_tokens,
            pixel_features=self.priors.features(keys, size, geometry),
            geometry=geometry,
            lq_whole=to_tensor(np.stack([whole[key] for key in keys])) if whole_frames else None,
        )

    def _lr_size(self, key: str, lq: np.ndarray | None, gt: np.ndarray | None) -> tuple[int, int]:
        """(h, w) of a low-resolution frame, of which at least the GT has been read."""
        asked = None if gt is None else (gt.shape[0] // self.scale, gt.shape[1] // self.scale)
        if lq is None:
            assert asked is not None
            return asked
        size = (lq.shape[0], lq.shape[1])
        if asked is not None and asked != size:
            assert gt is not None
            raise UserError(
                f"Frame '{key}': LQ has {_by(size)} pixels and GT {_by(gt.shape)}, which is not {self.scale} times as "
                'much. Do dataroot_lq and dataroot_gt belong together, at this scale?'
            )
        return size

    def _find_clips(self, options: ClipOptions) -> ClipIndex:
        backend, lists = options.io_backend['type'], (options.meta_info_file, options.filename_tmpl)
        limit = options.max_megapixels
        index = ClipIndex.load(str(options.dataroot_lq or options.dataroot_gt), backend, *lists, limit)
        remarks = index.remarks
        if self._lq is not None and self._gt is not None and options.meta_info_file is None and backend == 'disk':
            gt = ClipIndex.load(self._gt.root, backend, *lists, limit)
            index.check_same_frames(gt)
            remarks = remarks + gt.remarks
        for remark in remarks:
            get_root_logger().warning(f"Data set '{options.name}': {remark}")
        if options.val_partition is not None:
            names = val_partition_clips(options.val_partition)
            index = index.without(names) if options.phase == 'train' else index.only(names)
        if later := [clip for clip in index if clip.name != clip.folder]:
            cut = len({clip.folder for clip in later})
            get_root_logger().warning(
                f"Data set '{options.name}': the numbers of the frames jump in {cut} of its clips, and they are cut "
                f"there: '{later[0].folder}', for example, goes on as '{later[0].name}' with frame "
                f"'{later[0].frames[0]}'."
            )
        for reader in (self._lq, self._gt):
            if reader is not None and backend == 'disk' and options.meta_info_file is not None:
                index.check_on_disk(reader.root, limit)
        return index


def to_tensor(frames: np.ndarray) -> torch.Tensor:
    """(..., h, w, 3) uint8 -> (..., 3, h, w) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(frames, -1, -3))).float().div_(255)


def _by(size: tuple[int, ...]) -> str:
    return f'{size[1]}x{size[0]}'
