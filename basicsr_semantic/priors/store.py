"""The store of priors: an LMDB with the masks of each frame, tokens and features where there are some, and metadata."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.errors import MissingError
from .feature_records import decode_features
from .lmdb_env import SharedReadEnv, lmdb_errors
from .records import decode_records
from .run_lengths import Box
from .semantic_priors import CELL
from .store_layout import clips_seen, feature_key, frame_keys, mask_key, read_meta, token_key
from .store_meta import feature_dim, token_shape
from .store_writer import PriorStoreWriter
from .token_records import decode_tokens

__all__ = ['PriorStore', 'PriorStoreWriter']


class PriorStore:
    """Reads masks, tokens and pixel features for training and testing.

    It can be pickled, forked and shared between threads: the LMDB is opened in each process when first needed.

    Args:
        path: folder of the store.

    Raises:
        UserError: There is no store at the path; the message says what is there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._shared = SharedReadEnv(self.path)
        if not self.path.exists():
            raise self.missing(f'The store {self.path} does not exist.')
        try:
            self.meta = self._read_meta()
        finally:
            self._shared.close()  # nothing stays open in a process that only makes the reader and forks

    @property
    def kind(self) -> str:
        """Name of the extractor that made the masks."""
        return self.meta['kind']

    @property
    def has_tokens(self) -> bool:
        """Whether each frame has tokens in addition to masks."""
        return self.meta.get('tokens') is not None

    @property
    def has_features(self) -> bool:
        """Whether each frame has pixel features in addition to masks."""
        return feature_dim(self.meta) is not None

    @property
    def has_masks(self) -> bool:
        """Whether frames may have masks; some extractors make tokens and features alone."""
        return self.meta['max_masks'] > 0

    def keys(self) -> list[str]:
        """The keys of all frames with masks, sorted by their bytes."""
        with lmdb_errors(self.path, 'read the store'), self._shared.get().begin() as transaction:
            return list(frame_keys(transaction, self.path))

    def __len__(self) -> int:
        if self.has_tokens or self.has_features:
            return len(self.keys())
        with lmdb_errors(self.path, 'read the store'), self._shared.get().begin() as transaction:
            return transaction.stat()['entries'] - 1 - clips_seen(transaction)

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
        records = [self._record(mask_key(key), key, 'masks') for key in keys]
        try:
            return decode_records(records, num_masks, box, frame_size)
        except ValueError as error:
            together = ([records[0], record] for record in records)
            culprits = (_fails(pair, num_masks, box, frame_size) for pair in together)
            key = next(key for key, fails in zip(keys, culprits, strict=True) if fails)
            raise self.missing(
                f'The masks of the frame {key!r} in the store {self.path} cannot be used: {error}. Frames and masks '
                'must be of the same LR frames; delete the store and make it again from those.'
            ) from error

    def clip_tokens(self, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Read the tokens of several frames.

        Args:
            keys: keys of the frames, at least one.

        Returns:
            Frame tokens (t, K, Ct) and global tokens (t, Cg), float32 of half precision.

        Raises:
            UserError: The store has no tokens, lacks those of a frame, or a record is damaged; names the frame.
        """
        shape = token_shape(self.meta)
        if shape is None:
            raise MissingError(
                f'The store {self.path} was made by the extractor {self.kind!r} and holds masks alone, no tokens. Make '
                'one with tokens.',
                'tokens',
            )
        records = [self._record(token_key(key), key, 'tokens') for key in keys]
        try:
            return decode_tokens(records, shape)
        except ValueError:
            for key, record in zip(keys, records, strict=True):
                try:
                    decode_tokens([record], shape)
                except ValueError as error:
                    raise self.missing(
                        f'The tokens of the frame {key!r} in the store {self.path} cannot be used: {error}. Delete '
                        'the store and make it again.'
                    ) from error
            raise

    def clip_features(
        self, keys: Sequence[str], box: Box | None = None, frame_size: tuple[int, int] | None = None
    ) -> np.ndarray:
        """Read the pixel features of several frames of one size.

        Args:
            keys: keys of the frames, at least one.
            box: (top, left, height, width) in pixels of the frame to read, multiples of 4 but for the far edge of the
                frame; None reads the whole frame.
            frame_size: (h, w) of the frames; None expects that of the first one.

        Returns:
            (t, Cp, hp, wp) float32 of half precision, one vector for each cell of 4x4 pixels.

        Raises:
            UserError: The store has no pixel features, lacks those of a frame, or a record is damaged or of a frame of
                another size; names the frame.
            ValueError: The box begins within a cell.
        """
        dim = feature_dim(self.meta)
        if dim is None:
            raise MissingError(
                f'The store {self.path} was made by the extractor {self.kind!r} without pixel features. Make one with '
                'them.',
                'features',
            )
        if box is not None and (box[0] % CELL or box[1] % CELL):
            raise ValueError(f'The box {tuple(box)} must begin at multiples of {CELL} pixels to have pixel features.')
        records = [self._record(feature_key(key), key, 'pixel features') for key in keys]
        try:
            return decode_features(records, dim, box, frame_size)
        except ValueError:
            for key, record in zip(keys, records, strict=True):
                try:
                    decode_features([records[0], record], dim, box, frame_size)
                except ValueError as error:
                    raise self.missing(
                        f'The pixel features of the frame {key!r} in the store {self.path} cannot be used: {error}. '
                        f'Frames and features must be of the same LR frames; delete the store and make it again from '
                        'those.'
                    ) from error
            raise

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

    def _record(self, place: bytes, key: str, what: str) -> bytes:
        record = self._read(place)
        if record is None:
            raise self.missing(f'The store {self.path} has no {what} for the frame {key!r}. {self._what_it_has()}')
        return record

    def _get(self, key: str) -> bytes | None:
        return self._read(mask_key(key))

    def _read(self, place: bytes) -> bytes | None:
        with lmdb_errors(self.path, 'read the store'), self._shared.get().begin() as transaction:
            return transaction.get(place)

    def _read_meta(self) -> dict[str, Any]:
        with lmdb_errors(self.path, 'read the store'), self._shared.get().begin() as transaction:
            return read_meta(transaction, self.path)

    def _what_it_has(self) -> str:
        with lmdb_errors(self.path, 'read the store'), self._shared.get().begin() as transaction:
            first = next(frame_keys(transaction, self.path), None)
        return 'It is empty.' if first is None else f'It has {len(self)} frames, the first is {first!r}.'

    def missing(self, sentence: str) -> MissingError:
        """The error that the store, or something in it, is missing and must be made.

        Args:
            sentence: What is wrong.
        """
        kind = {'kind': self.meta['kind']} if hasattr(self, 'meta') else {}
        return MissingError(sentence, 'priors', store=self.path, **kind)


def _fails(records: Sequence[bytes], *arguments: Any) -> bool:
    try:
        decode_records(records, *arguments)
    except ValueError:
        return True
    return False
