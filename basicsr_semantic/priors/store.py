"""The mask store: an LMDB with one value a frame, under the frame's own key, and metadata under ``__meta__``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from ..errors import UserError
from .lmdb_env import GrowingEnv, SharedReadEnv, lmdb_errors
from .records import decode_records, encode_record
from .run_lengths import Box
from .store_meta import FORMAT, META_KEY, differences, store_metadata

LONGEST_KEY = 511  # bytes; LMDB's own limit


class PriorStoreReader:
    """Reads masks for training and testing.

    It can be pickled, forked and shared between threads: the LMDB is opened in each process when first needed.

    Args:
        path: folder of the store.

    Raises:
        UserError: There is no mask store at the path; the message says what is there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._shared = SharedReadEnv(self.path)
        if not self.path.exists():
            raise UserError(f'The mask store {self.path} does not exist. {self._how_to_make()}')
        try:
            self.meta = self._read_meta()
        finally:
            self._shared.close()  # nothing stays open in a process that only makes the reader and forks

    @property
    def kind(self) -> str:
        """Name of the extractor that made the masks."""
        return self.meta['kind']

    def keys(self) -> list[str]:
        """The keys of all frames, sorted by their bytes."""
        with lmdb_errors(self.path, 'read the store'), self._shared.get().begin() as transaction:
            return list(_frame_keys(transaction))

    def __len__(self) -> int:
        with lmdb_errors(self.path, 'read the store'):
            return self._shared.get().stat()['entries'] - 1

    def __contains__(self, key: str) -> bool:
        return self._get(key) is not None

    def masks(
        self,
        key: str,
        num_masks: int = 64,
        box: Box | None = None,
        frame_size: tuple[int, int] | None = None,
    ) -> np.ndarray:
        """Read the masks of one frame.

        Args:
            key: key of the frame, for example '000/00000000'.
            num_masks: channels of the result: the first masks in the store's order, followed by zeros.
            box: (top, left, height, width) in pixels to read; None reads the whole frame.
            frame_size: (h, w) of the frame the masks are for; None does not check it.

        Returns:
            (num_masks, height, width) uint8 with values 0 and 1.

        Raises:
            UserError: The frame is not in the store, its record is damaged, or its size is another.
        """
        return self.clip_masks([key], num_masks, box, frame_size)[0]

    def clip_masks(
        self,
        keys: Sequence[str],
        num_masks: int = 64,
        box: Box | None = None,
        frame_size: tuple[int, int] | None = None,
    ) -> np.ndarray:
        """Read the masks of several frames of one size, in half the time of reading them one by one.

        Args:
            keys: keys of the frames, at least one.
            num_masks: as in ``masks``.
            box: as in ``masks``.
            frame_size: as in ``masks``; None expects that of the first frame.

        Returns:
            (t, num_masks, height, width) uint8 with values 0 and 1.

        Raises:
            UserError: A frame is not in the store, its record is damaged, or its size is another; names the frame.
        """
        records = [self._record(key) for key in keys]
        try:
            return decode_records(records, num_masks, box, frame_size)
        except ValueError as error:
            together = ([records[0], record] for record in records)
            culprits = (_fails(pair, num_masks, box, frame_size) for pair in together)
            key = next(key for key, fails in zip(keys, culprits, strict=True) if fails)
            raise UserError(
                f'The masks of the frame {key!r} in the store {self.path} cannot be used: {error}. Frames and masks '
                f'must be of the same LR frames; delete the store and make it again from those. {self._how_to_make()}'
            ) from error

    def close(self) -> None:
        """Close the LMDB in this process; the next read opens it again."""
        self._shared.close()

    def __getstate__(self) -> dict[str, Any]:
        return {'path': self.path, 'meta': self.meta}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._shared = SharedReadEnv(self.path)

    def __del__(self) -> None:
        if hasattr(self, '_shared'):
            self._shared.close()

    def _record(self, key: str) -> bytes:
        record = self._get(key)
        if record is None:
            raise UserError(
                f'The mask store {self.path} has no masks for the frame {key!r}. '
                f'{self._what_it_has()} {self._how_to_make()}'
            )
        return record

    def _get(self, key: str) -> bytes | None:
        with lmdb_errors(self.path, 'read the store'), self._shared.get().begin() as transaction:
            return transaction.get(key.encode())

    def _read_meta(self) -> dict[str, Any]:
        with lmdb_errors(self.path, 'read the store'), self._shared.get().begin() as transaction:
            return _read_meta(transaction, self.path)

    def _what_it_has(self) -> str:
        with lmdb_errors(self.path, 'read the store'), self._shared.get().begin() as transaction:
            first = next(_frame_keys(transaction), None)
        return 'It is empty.' if first is None else f'It has {len(self)} frames, the first is {first!r}.'

    def _how_to_make(self) -> str:
        kind = self.meta['kind'] if hasattr(self, 'meta') else 'sam|regions|annotations'
        return f'To make it: basicsr extract --extractor {kind} --frames LR_FRAMES --out {self.path}'


class PriorStoreWriter:
    """Writes masks, also into a store that exists already; several processes may write to one store at once.

    Frames are written in small batches, each in one durable transaction: a killed process loses at most the last batch
    and leaves no half-written frame.

    Args:
        path: folder of the store, made if absent.
        meta: what ``store_metadata`` returned.
        batch_frames: frames a transaction.
        batch_seconds: a transaction is written after this time even with fewer frames.
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
            meta['kind'], meta.get('parameters'), meta.get('checkpoint'), meta['order'], meta['max_masks']
        )
        self._batch_frames = batch_frames
        self._batch_seconds = batch_seconds
        self._pending: dict[str, bytes] = {}
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
        if not 1 <= len(key.encode()) <= LONGEST_KEY or key.encode() == META_KEY:
            raise UserError(
                f'The frame key {key!r} cannot be stored: a key has 1 to {LONGEST_KEY} bytes and is not '
                f'{META_KEY.decode()!r}. Rename the frame.'
            )
        self._pending[key] = encode_record(masks, scores)
        waited = time.monotonic() - self._last_write
        if len(self._pending) >= self._batch_frames or waited >= self._batch_seconds:
            self.flush()

    def flush(self) -> None:
        """Write what is pending; when this returns it is on the disk.

        Raises:
            UserError: The disk is full or the store cannot be written; the pending frames are then lost.
        """
        batch, self._pending = self._pending, {}
        self._last_write = time.monotonic()
        if batch:
            self._env.write(lambda transaction: _put_all(transaction, batch), sum(map(len, batch.values())))

    def __contains__(self, key: str) -> bool:
        return key in self._pending or self._env.read(lambda transaction: transaction.get(key.encode())) is not None

    def keys(self) -> set[str]:
        """The keys of all frames, those that are pending included."""
        return set(self._env.read(lambda transaction: list(_frame_keys(transaction)))) | self._pending.keys()

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
        """Write the metadata into an empty store, or check that those of the store are the same."""
        if transaction.stat()['entries'] == 0:
            transaction.put(META_KEY, json.dumps(self.meta).encode())
            return
        found = differences(_read_meta(transaction, self.path), self.meta)
        if found:
            raise UserError(
                f'The mask store {self.path} was made otherwise: {"; ".join(found)}. Use the same arguments, '
                f'choose another --out, or delete the store.'
            )


def _fails(records: Sequence[bytes], *arguments: Any) -> bool:
    try:
        decode_records(records, *arguments)
    except ValueError:
        return True
    return False


def _put_all(transaction: lmdb.Transaction, batch: dict[str, bytes]) -> None:
    for key, record in batch.items():
        transaction.put(key.encode(), record)


def _frame_keys(transaction: lmdb.Transaction) -> Iterator[str]:
    return (bytes(key).decode() for key in transaction.cursor().iternext(values=False) if key != META_KEY)


def _read_meta(transaction: lmdb.Transaction, path: Path) -> dict[str, Any]:
    record = transaction.get(META_KEY)
    if record is None:
        raise UserError(
            f'{path} is an LMDB, but no mask store: it has no {META_KEY.decode()!r}. If these are frames, make their '
            f'masks with: basicsr extract --extractor sam|regions|annotations --frames {path} --out MASKS'
        )
    try:
        meta = dict(json.loads(bytes(record)))
    except (ValueError, TypeError) as error:
        raise UserError(
            f'The metadata of the mask store {path} are damaged ({error}). Make the store again.'
        ) from error
    if meta.get('format') != FORMAT:
        raise UserError(
            f'The mask store {path} has the format {meta.get("format")!r}, but this version reads {FORMAT!r}. '
            f'Make the store again with: basicsr extract'
        )
    return meta
