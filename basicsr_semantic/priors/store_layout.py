"""What a store has under which key: one value a frame, its tokens and features next to it, the metadata of all."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb

from ..utils.errors import MissingError, UserError, shown
from .store_meta import FORMAT, META_KEY, wrong_metadata

LONGEST_KEY = 511  # bytes; LMDB's own limit
TOKENS = b'__tokens__/'
FEATURES = b'__features__/'
SEEN = b'__seen__/'
#: Prefix of everything other than masks -> the first key after it.
_AFTER_PREFIX = {prefix: prefix[:-1] + bytes([prefix[-1] + 1]) for prefix in (TOKENS, FEATURES, SEEN)}


def is_text(value: str) -> bool:
    """Whether it can be written; halves of characters, from JSON escapes or names that are not UTF-8, cannot."""
    return not any('\ud800' <= character <= '\udfff' for character in value)


def mask_key(key: str) -> bytes:
    """Where the masks of a frame are: under the frame's own key. A key that is not text has none."""
    return key.encode('utf-8', 'surrogatepass')


def token_key(key: str) -> bytes:
    """Where the tokens of a frame are."""
    return TOKENS + mask_key(key)


def feature_key(key: str) -> bytes:
    """Where the pixel features of a frame are."""
    return FEATURES + mask_key(key)


def seen_key(clip: str) -> bytes:
    """Where it is said of which pixels the priors of a clip were made; its name may be as long as a key may be."""
    return SEEN + hashlib.sha256(mask_key(clip)).hexdigest().encode()


def is_mask_key(place: bytes) -> bool:
    """Whether masks are there."""
    return place != META_KEY and not place.startswith(tuple(_AFTER_PREFIX))


def check_key(key: str, has_tokens: bool, has_features: bool = False) -> None:
    """Refuse keys that LMDB or the layout cannot hold.

    Raises:
        UserError: The key is empty, too long, or one that the store uses itself.
    """
    longest = LONGEST_KEY - (len(FEATURES) if has_features else len(TOKENS) if has_tokens else 0)
    encoded = mask_key(key)
    if not is_text(key):
        raise UserError(f'The frame key {key!r} cannot be stored: the name of the file is not UTF-8. Rename the frame.')
    if not 1 <= len(encoded) <= longest or not is_mask_key(encoded):
        raise UserError(
            f'The frame key {key!r} cannot be stored: a key has 1 to {longest} bytes, is not {META_KEY.decode()!r} '
            f'and does not begin with {TOKENS.decode()!r}, {FEATURES.decode()!r} or {SEEN.decode()!r}. Rename the '
            'frame.'
        )


def clips_seen(transaction: lmdb.Transaction) -> int:
    """Of how many clips it is said which pixels they had."""
    cursor = transaction.cursor()
    if not cursor.set_range(SEEN):
        return 0
    return sum(1 for _ in itertools.takewhile(lambda key: bytes(key).startswith(SEEN), cursor.iternext(values=False)))


def frame_keys(transaction: lmdb.Transaction, path: Path) -> Iterator[str]:
    """The keys of all frames with masks, sorted by their bytes.

    Raises:
        UserError: A key is not text.
    """
    cursor = transaction.cursor()
    found = cursor.first()
    while found:
        key = bytes(cursor.key())
        prefix_found = next((prefix for prefix in _AFTER_PREFIX if key.startswith(prefix)), None)
        if prefix_found is not None:
            found = cursor.set_range(
                _AFTER_PREFIX[prefix_found]
            )  # all tokens follow one another, all features too: one step over them
            continue
        if key != META_KEY:
            yield decode_key(key, path)
        found = cursor.next()


def decode_key(key: bytes, path: Path) -> str:
    """A key of the LMDB at the path as text.

    Raises:
        UserError: It is not text, so the LMDB was made by something else.
    """
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f'The LMDB {path} has the key {shown(key)}, which is not text: something else wrote into it. Make it again.'
        ) from error


def read_meta(transaction: lmdb.Transaction, path: Path) -> dict[str, Any]:
    """The metadata of a store.

    Raises:
        UserError: There are none, they are damaged, or they are of another format.
    """
    record = transaction.get(META_KEY)
    if record is None:
        raise MissingError(
            f'{path} is an LMDB, but not a store of priors: it has no {META_KEY.decode()!r}. If these are frames, make '
            'a store of their priors.',
            'priors',
            frames=path,
        )
    try:
        meta = dict(json.loads(bytes(record)))
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f'The metadata of the store {path} are damaged ({error}). Make the store again.') from error
    if meta.get('format') != FORMAT:
        raise MissingError(
            f'The store {path} has the format {meta.get("format")!r}, but this version reads {FORMAT!r}. Make it '
            'again.',
            'priors',
            store=path,
        )
    if wrong := wrong_metadata(meta):
        raise UserError(f'The metadata of the store {path} are damaged ({wrong}). Make the store again.')
    return meta
