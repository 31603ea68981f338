"""Writing priors into a store: in durable batches, from several processes at once, continued after a crash."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from ..utils.errors import UserError
from .feature_records import encode_features
from .lmdb_env import GrowingEnv
from .records import encode_record
from .store_layout import (
    check_key,
    feature_key,
    frame_keys,
    is_mask_key,
    mask_key,
    read_meta,
    seen_key,
    token_key,
)
from .store_meta import META_KEY, differences, feature_dim, store_metadata, token_shape
from .token_records import encode_tokens

_BATCH_BYTES = 1 << 26


class PriorStoreWriter:
    """Writes masks, tokens and pixel features, also into a store that exists already, and several processes at once.

    Frames are written in small batches, each in one durable transaction: a killed process loses at most the last batch
    and leaves no half-written frame. A frame counts as written when its masks are there, so they are put last, after
    tokens and features.

    Args:
        path: folder of the store, made if absent.
        meta: what ``store_metadata`` returned.
        batch_frames: frames a transaction.
        batch_seconds: a transaction is written after this time even with fewer frames, and whenever 64 MiB wait.
        map_size: size of the LMDB map in bytes to begin with; it grows by itself.

    Raises:
        UserError: The folder cannot be written, holds something else, or holds masks that were made otherwise.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        meta: dict[str, Any],
        batch_frames: int = 16,
        batch_seconds: float = 10.0,
        map_size: int = 1 << 26,
    ) -> None:
        self.path = Path(path)
        self.meta = store_metadata(
            meta['kind'],
            meta.get('parameters'),
            meta.get('checkpoint'),
            meta['order'],
            meta['max_masks'],
            meta.get('tokens'),
            meta.get('seen'),
            meta.get('features'),
        )
        self._batch_frames = batch_frames
        self._batch_seconds = batch_seconds
        self._pending: dict[bytes, bytes] = {}
        self._together = False
        self._agreed: bytes | None = None
        self._last_write = time.monotonic()
        self._env = GrowingEnv(self.path, map_size)
        try:
            self._env.write(self._agree)
        except BaseException:
            self._env.close()
            raise

    def put(self, key: str, masks: np.ndarray, scores: np.ndarray | None = None) -> None:
        """Add or replace the masks of one frame.

        Args:
            key: key of the frame, for example '000/00000000'.
            masks: (n, h, w) bool or uint8 with values 0 and 1, in the order that the metadata name, at most max_masks.
            scores: (n,) confidence of each mask, or None.

        Raises:
            UserError: The key is too long for LMDB, or the batch could not be written.
            ValueError: The masks have a wrong shape or type, or there are too many.
        """
        if len(masks) > self.meta['max_masks']:
            raise ValueError(f'{len(masks)} masks for {key!r}, but the store holds at most {self.meta["max_masks"]}.')
        self._put(key, mask_key(key), encode_record(masks, scores))

    def put_tokens(self, key: str, frame_tokens: np.ndarray, global_token: np.ndarray) -> None:
        """Add or replace the tokens of one frame; they are stored in half precision.

        Args:
            key: key of the frame.
            frame_tokens: (K, Ct) floating point.
            global_token: (Cg,) floating point; Cg may be 0.

        Raises:
            UserError: The key is too long for LMDB, or the batch could not be written.
            ValueError: The shapes are not those of the metadata, or a value is not finite in half precision.
        """
        wanted = token_shape(self.meta)
        if wanted is None:
            raise ValueError(f'The metadata of the store {self.path} name no tokens.')
        if (*np.shape(frame_tokens), *np.shape(global_token)) != wanted:
            raise ValueError(
                f'Tokens of {np.shape(frame_tokens)} and a global token of {np.shape(global_token)} came for {key!r}, '
                f'but the store holds {wanted[0]} x {wanted[1]} and {wanted[2]}.'
            )
        self._put(key, token_key(key), encode_tokens(frame_tokens, global_token))

    def put_features(self, key: str, features: np.ndarray) -> None:
        """Add or replace the pixel features of one frame; they are stored in half precision.

        Args:
            key: key of the frame.
            features: (Cp, hp, wp) floating point, one vector for each cell of 4x4 pixels, beginning at the upper left.

        Raises:
            UserError: The key is too long for LMDB, or the batch could not be written.
            ValueError: The width is not that of the metadata, or a value is not finite in half precision.
        """
        dim = feature_dim(self.meta)
        if dim is None:
            raise ValueError(f'The metadata of the store {self.path} name no pixel features.')
        if np.ndim(features) != 3 or len(features) != dim:
            raise ValueError(
                f'Pixel features of {np.shape(features)} came for {key!r}, but the store holds features of width {dim}.'
            )
        self._put(key, feature_key(key), encode_features(features))

    def put_seen(self, clip: str, key: str, sha256: str) -> None:
        """Say of which pixels the priors of a clip were made.

        Args:
            clip: its name, the keys of its frames up to their last '/'.
            key: key of one of its frames.
            sha256: hex digits of the pixels of that frame.
        """
        self._pending[seen_key(clip)] = json.dumps({'key': key, 'sha256': sha256}).encode()

    def seen(self, clip: str) -> dict[str, str] | None:
        """What ``put_seen`` was given of a clip; None where nothing was, as in stores of before."""
        place = seen_key(clip)
        record = self._pending.get(place) or self._env.read(lambda transaction: transaction.get(place))
        return None if record is None else json.loads(bytes(record))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write everything that is put inside in one transaction at the end, and nothing of it after an exception."""
        self.flush()
        self._together = True
        try:
            yield
        except BaseException:
            self._pending = {}
            raise
        finally:
            self._together = False
        self.flush()

    def _put(self, key: str, place: bytes, record: bytes) -> None:
        check_key(key, self.meta['tokens'] is not None, feature_dim(self.meta) is not None)
        self._pending[place] = record
        if self._together:
            return
        waited = time.monotonic() - self._last_write
        frames = sum(map(is_mask_key, self._pending))
        heavy = sum(map(len, self._pending.values())) >= _BATCH_BYTES
        if frames >= self._batch_frames or heavy or waited >= self._batch_seconds:
            self.flush()

    def flush(self) -> None:
        """Write what is pending; when this returns it is on the disk.

        Raises:
            UserError: The disk is full or the store cannot be written; the pending frames are then lost.
        """
        batch, self._pending = self._pending, {}
        self._last_write = time.monotonic()
        if batch:
            self._env.write(lambda transaction: self._put_batch(transaction, batch), sum(map(len, batch.values())))

    def __contains__(self, key: str) -> bool:
        place = mask_key(key)
        return place in self._pending or self._env.read(lambda transaction: transaction.get(place)) is not None

    def keys(self) -> set[str]:
        """The keys of all frames with masks, those that are pending included."""
        pending = {place.decode() for place in self._pending if is_mask_key(place)}
        return set(self._env.read(lambda transaction: list(frame_keys(transaction, self.path)))) | pending

    def __len__(self) -> int:
        return len(self.keys())

    def close(self) -> None:
        """Write what is pending and close the store.

        Raises:
            UserError: The last batch could not be written.
        """
        try:
            self.flush()
        finally:
            self._env.close()

    def __enter__(self) -> PriorStoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        # after an exception too: every pending frame is complete in itself
        self.close()

    def _agree(self, transaction: lmdb.Transaction) -> None:
        """Write the metadata into a store without frames, or check that those of the store are the same."""
        entries = transaction.stat()['entries']
        stored = read_meta(transaction, self.path) if entries else {}
        found = differences(stored, self.meta) if entries else []
        if not entries or (found and entries == 1):  # metadata alone: the run that wrote them failed
            self._agreed = json.dumps(self.meta).encode()
            transaction.put(META_KEY, self._agreed)
            return
        self._agreed = bytes(transaction.get(META_KEY) or b'')
        self.meta.pop('seen', None)
        if 'seen' in stored:
            self.meta['seen'] = stored['seen']
        if found:
            raise UserError(
                f'The store {self.path} was made otherwise: {"; ".join(found)}. Use the same arguments, '
                f'choose another --out, or delete the store.'
            )

    def _put_batch(self, transaction: lmdb.Transaction, batch: dict[bytes, bytes]) -> None:
        if bytes(transaction.get(META_KEY) or b'') != self._agreed:  # two began at once, before either had a frame
            raise UserError(f'The store {self.path} is filled by another process, otherwise. Choose another --out.')
        _put_all(transaction, batch)


def _put_all(transaction: lmdb.Transaction, batch: dict[bytes, bytes]) -> None:
    for place, record in batch.items():
        transaction.put(place, record)
