"""Priors of frames by key: masks and pixel features cut as the frames were, and tokens; zeros where that is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from basicsr.utils import get_root_logger

from ..priors import CELL
from ..priors.feature_records import cells
from ..priors.geometry import ClipGeometry
from ..priors.store import PriorStore
from ..priors.store_meta import feature_dim, token_origin, token_shape
from ..utils.errors import MissingError, UserError
from .dataset_options import ClipOptions

NEUTRAL = 'neutral'
"""Kind of prior of all-zero masks where there is no store; their number of tokens is not known, so there are none."""


class ClipPriorSource:
    """What a data set knows of its frames in addition to their pixels.

    Opens the store in the process that reads, when it reads.

    Args:
        options: Options of the data set.

    Attributes:
        store: The store; None without one.
        kind: Kind of the priors, ``neutral`` for all-zero masks without a store, None without priors.
        labels: What every item has about its priors: ``prior_kind`` and, of tokens, ``prior_origin``, see
            :func:`..priors.store_meta.token_origin`; unknown ones are left out.
        crop_step: Crops begin at multiples of so many LR pixels: those of a cell where there are pixel features.

    Raises:
        UserError: The store does not exist or is not what the options ask for.
    """

    def __init__(self, options: ClipOptions) -> None:
        self._num_masks = options.num_masks
        self._neutral = options.missing_priors == 'neutral'
        self.store, self.kind = _open_priors(options)
        meta = self.store.meta if self.store is not None and self.store.has_tokens else None
        origin = None if meta is None else token_origin(meta['checkpoint'], meta['parameters'])
        self.labels = {k: v for k, v in (('prior_kind', self.kind), ('prior_origin', origin)) if v is not None}
        stored = self.store is not None and self.store.has_features
        self._with_features = stored if options.with_features is None else options.with_features
        self.crop_step = CELL if self._with_features else 1

    def check_frames(self, keys: Iterable[str]) -> str | None:
        """Refuse a store that lacks frames before a run reads them, or log how many are neutral where that is allowed.

        A store of entirely other frames is refused also with neutral priors, which would hide the mistake.

        Args:
            keys: Frames whose priors will be read; a frame may come often.

        Returns:
            The first of them that is in the store; None without a store.

        Raises:
            UserError: The store lacks one of them; with neutral priors, all of them.
        """
        store = self.store
        if store is None:
            return None
        kept, keys = store.keys(), list(dict.fromkeys(keys))
        self.close()
        stored = set(kept)
        lacking = [key for key in keys if key not in stored]
        if len(lacking) == len(keys):
            raise UserError(
                f'The store {store.path} {f"holds {kept[0]!r} and the like" if kept else "is empty"}, but none of the '
                f'{len(keys)} frames of the data set, for example {keys[0]!r}. Was it made of these frames, under '
                'these names?'
            )
        if lacking:
            message = f'The store {store.path} lacks {len(lacking)} of {len(keys)} frames, for example {lacking[0]!r}.'
            if not self._neutral:
                raise store.missing(f'{message} What is in it is kept.')
            get_root_logger().warning(f'{message} Neutral priors are used for them (missing_priors).')
        return next(key for key in keys if key in stored)

    def close(self) -> None:
        """Close the store in this process; the next read opens it again."""
        if self.store is not None:
            self.store.close()

    def masks(self, keys: Sequence[str], size: tuple[int, int], geometry: ClipGeometry) -> torch.Tensor | None:
        """Masks of frames through the geometry of their crops.

        Args:
            keys: Frames, in order; a frame may come twice.
            size: (h, w) of their whole low-resolution frames.
            geometry: What their crops went through.

        Returns:
            (t, num_masks, height, width) uint8 of 0 and 1; None without priors, or of an extractor that makes none.

        Raises:
            UserError: No masks for a frame (unless missing_priors is neutral), or masks of another size.
        """
        store = self.store
        if self.kind is None or (store is not None and not store.has_masks):
            return None
        shape, box = (self._num_masks, geometry.height, geometry.width), geometry.box()

        def read(stored: Sequence[str]) -> np.ndarray:
            assert store is not None
            return store.clip_masks(stored, self._num_masks, box, frame_size=size)

        masks = self._rows(keys, np.zeros(shape, np.uint8), read, geometry)
        return torch.from_numpy(np.ascontiguousarray(masks))

    def features(self, keys: Sequence[str], size: tuple[int, int], geometry: ClipGeometry) -> torch.Tensor | None:
        """Pixel features of frames through the geometry of their crops.

        Args:
            keys: Frames, in order; a frame may come twice.
            size: (h, w) of their whole low-resolution frames.
            geometry: What their crops went through; begins at multiples of ``crop_step``.

        Returns:
            (t, Cp, hp, wp) float32, all zero for frames that are not in the store where missing_priors is neutral; None
            where there are none or they are not wanted.

        Raises:
            UserError: No features for a frame (unless missing_priors is neutral), or features of another size.
        """
        store = self.store
        dim = None if store is None or not self._with_features else feature_dim(store.meta)
        if store is None or dim is None:
            return None
        shape, box = (dim, cells(geometry.height), cells(geometry.width)), geometry.box()

        def read(stored: Sequence[str]) -> np.ndarray:
            return store.clip_features(stored, box, frame_size=size)

        features = self._rows(keys, np.zeros(shape, np.float32), read, geometry)
        return torch.from_numpy(np.ascontiguousarray(features))

    def tokens(self, keys: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor | None] | tuple[None, None]:
        """Tokens of frames; they belong to whole frames and do not depend on crops and flips.

        Args:
            keys: Frames, in order; a frame may come twice.

        Returns:
            Frame tokens (t, K, Ct) and global tokens (t, Cg), float32, all zero for frames that are not in the store
            where missing_priors is neutral; None for global tokens that the store does not have, twice None where it
            has no tokens or there is no store.

        Raises:
            UserError: No tokens for a frame (unless missing_priors is neutral), or a damaged record.
        """
        store = self.store
        shape = None if store is None else token_shape(store.meta)
        if store is None or shape is None:
            return None, None
        count, dim, global_dim = shape

        def read(stored: Sequence[str]) -> np.ndarray:
            frame_tokens, global_tokens = store.clip_tokens(stored)
            return np.concatenate([frame_tokens.reshape(len(stored), -1), global_tokens], 1)

        rows = torch.from_numpy(self._rows(keys, np.zeros(count * dim + global_dim, np.float32), read))
        frame_tokens, global_tokens = rows.split([count * dim, global_dim], 1)
        return frame_tokens.reshape(-1, count, dim), global_tokens.contiguous() if global_dim else None

    def _rows(
        self,
        keys: Sequence[str],
        neutral: np.ndarray,
        read: Callable[[Sequence[str]], np.ndarray],
        geometry: ClipGeometry | None = None,
    ) -> np.ndarray:
        """One array a frame: each is read, cut and flipped once, and is repeated wherever its key is.

        Args:
            keys: Frames, in order; a frame may come twice.
            neutral: What is used for a frame that is not in the store.
            read: Reads the frames of some keys that are there.
            geometry: Flips what was read; None flips nothing.
        """
        store, different = self.store, list(dict.fromkeys(keys))
        stored = [] if store is None else [key for key in different if not (self._neutral and key not in store)]
        if len(stored) == len(different):
            rows = read(stored)
        else:
            rows = np.repeat(neutral[None], len(different), 0)
            if stored:
                rows[[different.index(key) for key in stored]] = read(stored)
        if geometry is not None:
            rows = geometry.flip(rows, (2, 3))
        return rows if len(different) == len(keys) else rows[[different.index(key) for key in keys]]


def _open_priors(options: ClipOptions) -> tuple[PriorStore | None, str | None]:
    """The store and its kind."""
    if options.dataroot_priors is None:
        return None, NEUTRAL if options.missing_priors == 'neutral' else None
    try:
        reader = PriorStore(options.dataroot_priors)
    except UserError as error:
        raise UserError(f'dataroot_priors: {error}') from error
    if options.prior_kind is not None and options.prior_kind != reader.kind:
        raise MissingError(
            f"The store '{options.dataroot_priors}' holds priors of kind '{reader.kind}', but prior_kind asks for "
            f"'{options.prior_kind}'. Masks of one kind mean nothing to a network trained with another: give a store "
            'of that kind, or change prior_kind.',
            'priors',
            kind=options.prior_kind,
        )
    if options.with_features and not reader.has_features:
        raise MissingError(
            f"Data set '{options.name}': with_features is true, but the store '{options.dataroot_priors}' (extractor "
            f"'{reader.kind}') has no pixel features. Make one that has.",
            'features',
        )
    return reader, reader.kind
