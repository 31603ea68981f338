"""Compressed run lengths of the COCO API to pixels, all masks of a frame at once, and only the pixels asked for.

pycocotools writes every pixel of every mask one by one, which took as long as decoding the PNG of the frame. Here the
cost is that of the runs and of the box. Malformed runs are refused; pycocotools leaves memory uninitialised for them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Box = tuple[int, int, int, int]


def parse_runs(counts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read compressed run lengths.

    In the COCO API's format a number is a sequence of characters with five bits each, lowest first, shifted by 48; the
    sixth bit says that more follow, and the highest bit of the last group is the sign. From the fourth number of a mask
    on, the difference to the last but one is written.

    Args:
        counts: the ``counts`` of each mask, at least one.

    Returns:
        The lengths of the runs of zeros and ones in turn, all masks in a row, (r,) int64; and the number of runs of
        each mask (n,).

    Raises:
        ValueError: A string is not of this form, or a run is negative.
    """
    text = np.frombuffer(''.join(counts).encode('utf-8'), np.uint8)
    groups = text - np.uint8(48)  # characters below '0' wrap around and are found to be too large
    last_of_text = np.cumsum([len(item) for item in counts]) - 1
    if not all(counts) or last_of_text[-1] + 1 != text.size or groups.max() > 63 or (groups[last_of_text] & 32).any():
        raise ValueError('the counts are no compressed run lengths')
    ends = np.flatnonzero(groups < 32)
    starts = np.empty_like(ends)
    starts[0], starts[1:] = 0, ends[:-1] + 1
    lengths = ends - starts + 1
    if lengths.max() > 7:
        raise ValueError('a run is longer than any picture')
    low = (groups & 31).astype(np.int64)
    runs = low[starts]
    for position in range(1, int(lengths.max())):
        longer = np.flatnonzero(lengths > position)
        runs[longer] |= low[starts[longer] + position] << (5 * position)
    negative = np.flatnonzero(groups[ends] & 16)
    runs[negative] -= np.int64(1) << (5 * lengths[negative])

    past = np.searchsorted(ends, last_of_text, side='right')  # number of runs up to and including each mask
    per_mask = np.diff(past, prepend=0)
    place = _places(per_mask)
    for chain in (np.flatnonzero(place & 1), np.flatnonzero((place & 1 == 0) & (place > 0))):
        before = np.searchsorted(chain, past - per_mask)  # links of the chain that belong to earlier masks
        sums = np.concatenate([[0], np.cumsum(runs[chain])])
        runs[chain] = sums[1:] - np.repeat(sums[before], np.diff(before, append=chain.size))
    if runs.min() < 0:
        raise ValueError('a run is negative')
    return runs, per_mask


def draw_runs(runs: np.ndarray, per_mask: np.ndarray, height: int, width: int, box: Box) -> np.ndarray:
    """Pixels of a box of all masks.

    Args:
        runs: lengths of the runs of zeros and ones in turn, columns first, all masks in a row.
        per_mask: number of runs of each mask (n,).
        height: rows of the frame.
        width: columns of the frame.
        box: (top, left, rows, columns) inside the frame.

    Returns:
        (n, rows, columns) uint8 with values 0 and 1. A view whose rows are contiguous.

    Raises:
        ValueError: The runs of a mask do not add up to the pixels of the frame.
    """
    top, left, rows, columns = box
    count, area = len(per_mask), height * width
    ends = np.cumsum(runs)
    last = np.cumsum(per_mask) - 1
    if (ends[last] != area * np.arange(1, count + 1)).any():
        raise ValueError(f'the runs of a mask do not add up to the {area} pixels of its frame')
    # Each column of the box: the value of its first pixel is that of the run around it, the others change at run ends.
    planes = np.zeros((rows, count, columns), np.uint8)
    first = area * np.arange(count)[:, None] + height * (left + np.arange(columns)) + top
    around = np.searchsorted(ends, first.ravel(), side='right')
    planes[0] = (_places(per_mask)[around] & 1).reshape(count, columns)  # runs of ones have odd places
    mask, inside = np.divmod(ends, area)
    column, row = np.divmod(inside, height)
    column -= left
    row -= top
    changes = np.flatnonzero((row > 0) & (row < rows) & (column >= 0) & (column < columns))
    np.bitwise_xor.at(planes, (row[changes], mask[changes], column[changes]), np.uint8(1))
    for below in range(1, rows):  # ufunc.accumulate does the same forty times slower
        np.bitwise_xor(planes[below], planes[below - 1], out=planes[below])
    return planes.transpose(1, 0, 2)


def _places(per_mask: np.ndarray) -> np.ndarray:
    """The place of each run within its mask, from 0; (r,) int64."""
    ends = np.cumsum(per_mask)
    return np.arange(ends[-1]) - np.repeat(ends - per_mask, per_mask)
