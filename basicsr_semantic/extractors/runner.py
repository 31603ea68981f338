"""The loop of ``basicsr extract``: frames in, masks into a store; resumable, divisible, and safe to kill."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..errors import UserError
from ..priors import PriorStoreWriter, store_metadata
from .base import MaskExtractor


@dataclass(frozen=True)
class Extraction:
    """What a run did.

    Attributes:
        made: frames whose masks were written.
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
    extractor: MaskExtractor,
    keys: Sequence[str],
    read: Callable[[str], np.ndarray],
    out: Path,
    shard: tuple[int, int] = (1, 1),
    batch_frames: int = 16,
    progress: bool = True,
    names: Mapping[str, str] | None = None,
) -> Extraction:
    """Make the masks of all frames that the store does not have yet.

    Several processes may fill one store at once, each with a shard of its own. Masks are written in batches, each in
    one durable transaction, so a killed run loses at most its last batch and the next one continues after it.

    Args:
        extractor: makes the masks.
        keys: the frames.
        read: gives a frame by its key, (h, w, 3) uint8 RGB; raises UserError when it cannot be read.
        out: folder of the store.
        shard: (i, n): take every n-th frame, beginning with the i-th.
        batch_frames: frames a transaction; a batch is also written after ten seconds.
        progress: show a progress bar with the frames per second.
        names: what annotations call a frame, for keys under which they do not know it.

    Returns:
        What was done.

    Raises:
        UserError: Frames could not be read (all others are done first), the extractor refuses a frame, or the store
            cannot be written or was made otherwise.
    """
    part, parts = shard
    mine = keys[part - 1 :: parts]
    meta = store_metadata(
        extractor.kind, extractor.parameters, extractor.checkpoint, extractor.order, extractor.max_masks
    )
    unreadable: list[str] = []
    made = 0
    start = time.monotonic()
    with PriorStoreWriter(out, meta, batch_frames) as store:
        done = store.keys()
        todo = [key for key in mine if key not in done]
        label = extractor.kind if parts == 1 else f'{extractor.kind} {part}/{parts}'
        with tqdm(
            total=len(mine), initial=len(mine) - len(todo), desc=label, unit='frame', disable=not progress
        ) as bar:
            for key in todo:
                try:
                    frame = read(key)
                except UserError as error:
                    # a run may take days: go on, and fail at the end with all that is wrong
                    unreadable.append(str(error))
                    bar.write(str(error))
                else:
                    store.put(key, *extractor(frame, names.get(key, key) if names else key))
                    made += 1
                bar.update()
    if unreadable:
        raise UserError(
            f'{len(unreadable)} of {len(mine)} frames could not be read, so the store {out} lacks their masks; all '
            f'others are in it. The first: {unreadable[0]} Mend the frames and run the same command again.'
        )
    return Extraction(made, len(mine) - len(todo), time.monotonic() - start)
