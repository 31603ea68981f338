"""The loop of ``basicsr extract``: frames in, priors into a store; it can be resumed, divided and killed."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..data.clip_folders import gaps_of_numbers
from ..priors import PriorStoreWriter, store_metadata
from ..utils.errors import UserError
from ..utils.printing import LAYOUT, printable
from .base import Extractor


@dataclass(frozen=True)
class Extraction:
    """What a run did.

    Attributes:
        made: frames whose priors were written.
        skipped: frames that the store had already.
        seconds: wall-clock time of the loop.
    """

    made: int
    skipped: int
    seconds: float


def parse_shard(text: str) -> tuple[int, int]:
    """Read 'i/n' with 1 <= i <= n.

    Raises:
        UserError: The text is not of this form.
    """
    match = re.fullmatch(r'(\d+)/(\d+)', text.strip())
    part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= parts:
        raise UserError(
            f'The shard {text!r} is not of the form i/n with i from 1 to n, for example 1/4, 2/4, 3/4, 4/4.'
        )
    return part, parts


def extract(
    extractor: Extractor,
    keys: Sequence[str],
    read: Callable[[str], np.ndarray],
    out: Path,
    shard: tuple[int, int] = (1, 1),
    batch_frames: int = 16,
    progress: bool = True,
    names: Mapping[str, str] | None = None,
) -> Extraction:
    """Make the priors of all frames that the store does not have yet.

    The unit that is done at once, resumed and divided between processes is a frame, or a clip for an extractor of
    clips: all masks and tokens of a clip are written in one transaction, so the store has a clip whole or not at all;
    its pixel features, which are large, are written before, and nothing reads them until masks are there. Several
    processes may fill one store at once, each with a shard of its own. Priors of frames are written in batches, each in
    one durable transaction, so a killed run loses at most its last batch and the next one continues after it.

    Args:
        extractor: makes the priors.
        keys: the frames, those of a clip one after another.
        read: gives a frame by its key, (h, w, 3) uint8 RGB; raises UserError when it cannot be read.
        out: folder of the store.
        shard: (i, n): take every n-th frame or clip, beginning with the i-th.
        batch_frames: frames a transaction; a batch is also written after ten seconds.
        progress: show a progress bar with the frames per second.
        names: what annotations call a frame, where that is not its key.

    Returns:
        What was done.

    Raises:
        UserError: The extractor makes no stores or refuses a frame, frames could not be read (all others are done
            first), or the store cannot be written or was made otherwise.
    """
    if not extractor.fills_stores():
        raise UserError(
            f'The extractor {extractor.kind!r} makes no store of frames: it is for network_s of an option file.'
        )
    of_clips = extractor.by_clips()
    units = _clips(keys) if of_clips else [[key] for key in keys]
    part, parts = shard
    mine = units[part - 1 :: parts]
    seen = _seen(read, keys[0]) if keys else None
    meta = store_metadata(
        extractor.kind,
        extractor.parameters,
        extractor.checkpoint,
        extractor.order,
        extractor.max_masks,
        extractor.tokens,
        seen,
        extractor.features,
    )
    unreadable: list[str] = []
    made = 0
    start = time.monotonic()
    with PriorStoreWriter(out, meta, batch_frames) as store:
        clips = {key: key.rpartition('/')[0] for unit in mine for key in unit}
        first = {key.rpartition('/')[0]: key for key in reversed(keys)}  # that of every clip, whatever the shard
        recorded = {clip: record for clip in set(clips.values()) if (record := store.seen(clip)) is not None}
        _check_same_frames(store, recorded.values(), set(keys), read)
        done = store.keys()
        todo = [unit for unit in mine if not done.issuperset(unit)]
        total, left = sum(map(len, mine)), sum(map(len, todo))
        label = extractor.kind if parts == 1 else f'{extractor.kind} {part}/{parts}'
        with tqdm(total=total, initial=total - left, desc=label, unit='frame', disable=not progress) as bar:
            for unit in todo:
                frames = _Frames(read, bar)
                try:
                    if of_clips:
                        _put_clip(store, extractor, unit, frames)
                    elif extractor.by_frames():
                        _put_description(store, extractor, unit[0], frames)
                    else:
                        _put_frame(store, extractor, unit[0], frames, names or {})
                    made += len(unit)
                    clip = clips[unit[0]]
                    if clip not in recorded and (now := _seen(read, first[clip]) or _seen(read, unit[0])) is not None:
                        store.put_seen(clip, **now)
                        recorded[clip] = now
                except _UnreadableError as error:
                    # a run may take days: go on, and fail at the end with all that is wrong
                    unreadable.append(str(error))
                    bar.write(printable(error, LAYOUT))
                bar.update(len(unit) - len(frames.seen))
    if unreadable:
        raise UserError(
            f'{len(unreadable)} of {len(mine)} {"clips" if of_clips else "frames"} could not be read, so the store '
            f'{out} lacks their {"priors" if meta["tokens"] else "masks"}; all others are in it. The first: '
            f'{unreadable[0]} Repair the frames and run the same command again.'
        )
    return Extraction(made, total - left, time.monotonic() - start)


def _seen(read: Callable[[str], np.ndarray], key: str) -> dict[str, str] | None:
    """What a store records of the frames it was made of: the pixels of one; None where it cannot be read."""
    try:
        frame = read(key)
    except UserError:
        return None
    digest = hashlib.sha256(repr(frame.shape).encode() + np.ascontiguousarray(frame).tobytes())
    return {'key': key, 'sha256': digest.hexdigest()}


def _check_same_frames(
    store: PriorStoreWriter,
    recorded: Iterable[dict[str, str]],
    keys: Container[str],
    read: Callable[[str], np.ndarray],
) -> None:
    """Frames of another degradation, or another clip, may have the keys of those that the store describes.

    One frame of each clip is compared: all of them would take as long as reading the data set.

    Args:
        store: the store.
        recorded: what it says of the clips that are to be in it.
        keys: all frames that are there.
        read: gives a frame.

    Raises:
        UserError: A frame that the store recorded has other pixels now.
    """
    said = {stored['key']: stored for stored in (store.meta.get('seen'), *recorded) if stored is not None}
    for key in sorted(said):
        if key in keys and (now := _seen(read, key)) is not None and now != said[key]:
            raise UserError(
                f'The store {store.path} was made of other frames: {key} has other pixels now. Choose another --out, '
                'or delete the store.'
            )


class _UnreadableError(Exception):
    """A frame could not be read; not a UserError, which an extractor raises for what it refuses."""


class _Frames:
    """Reads frames, moves the bar on when a frame is read for the first time, and marks failures as such."""

    def __init__(self, read: Callable[[str], np.ndarray], bar: tqdm) -> None:
        self._read, self._bar = read, bar
        self.seen: set[str] = set()

    def __call__(self, key: str) -> np.ndarray:
        try:
            frame = self._read(key)
        except UserError as error:
            raise _UnreadableError(str(error)) from error
        if key not in self.seen:
            self.seen.add(key)
            self._bar.update()
        return frame


def _clips(keys: Sequence[str]) -> list[list[str]]:
    """Frames by clip; the clip of a frame is its key up to the last '/', cut where the numbers of its frames jump."""
    clips = []
    for _, folder in groupby(keys, lambda key: key.rpartition('/')[0]):
        clip = list(folder)
        gaps = gaps_of_numbers([key.rpartition('/')[2] for key in clip])
        clips += [clip[start:stop] for start, stop in pairwise([0, *gaps, len(clip)])]
    return clips


def _put_frame(
    store: PriorStoreWriter, extractor: Extractor, key: str, frames: _Frames, names: Mapping[str, str]
) -> None:
    store.put(key, *extractor(frames(key), names.get(key, key)))


def _put_description(store: PriorStoreWriter, extractor: Extractor, key: str, frames: _Frames) -> None:
    """Everything about a frame; masks, which say that it is there, come last."""
    found = extractor.describe_frame(frames(key))
    if found.pixel_features is not None:
        store.put_features(key, found.pixel_features)
    store.put_tokens(key, found.frame_tokens, found.global_token)
    store.put(key, found.masks)


def _put_clip(store: PriorStoreWriter, extractor: Extractor, keys: Sequence[str], frames: _Frames) -> None:
    """Everything about a clip; all but its pixel features in one transaction."""
    try:
        found = extractor.describe_clip(len(keys), lambda number: frames(keys[number]))
    except UserError as error:
        raise UserError(f'Clip {keys[0].rpartition("/")[0]!r}: {error}') from error
    if found.pixel_features is not None:
        for key, features in zip(keys, found.pixel_features, strict=True):
            store.put_features(key, features)
    with store.together():
        for key, *tokens, masks in zip(keys, found.frame_tokens, found.global_tokens, found.masks, strict=True):
            store.put_tokens(key, *tokens)
            store.put(key, masks, found.scores)
