"""Compressed run lengths of the COCO API to pixels: many masks at once, and only the pixels asked for.

pycocotools writes every pixel of every mask one by one; for the 64 masks of a frame that takes longer than decoding the
PNG of the frame. Here the cost is that of the runs and of the box, and the masks of a whole clip share NumPy's fixed
costs. Malformed runs are refused; pycocotools leaves memory uninitialised for them.

Inside, each mask has an even number of runs; an empty one is added where needed. So in the row of all masks runs of
zeros are at even places and runs of ones at odd places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Box = tuple[int, int, int, int]

# Pixels drawn at once. What fits into a processor's cache made 15 frames three times faster than drawing all of them
# together.
CHUNK_PIXELS = 1 << 21
# Characters of a number in compressed runs: 30 bits, which hold 2^29 pixels and its sign. More would overflow unseen.
LONGEST_NUMBER = 6
LARGEST_SIDE = 65_535
LARGEST_FRAME = 1 << 28
"""Pixels of a frame of which masks are made."""


def is_side(value: Any) -> bool:
    """Whether a value read from a file can be the height or width of a frame; 64.0 is 64, as tables write it."""
    return type(value) in (int, float) and 1 <= value <= LARGEST_SIDE and value == int(value)


def parse_runs(counts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read compressed run lengths.

    In the COCO API's format a number is a sequence of characters with five bits each, lowest first, shifted by 48; the
    sixth bit says that more follow, and the highest bit of the last group is the sign. From the fourth number of a mask
    on, the difference to the last but one is written.

    Args:
        counts: the ``counts`` of each mask, at least one.

    Returns:
        The lengths of the runs of zeros and ones in turn, all masks in a row, (r,) int32; and where the runs of each
        mask end in it (n,).

    Raises:
        ValueError: A string is not of this form.
    """
    groups = np.frombuffer(''.join(counts).encode('utf-8', 'surrogatepass'), np.uint8) - np.uint8(48)
    # characters below '0' have wrapped around to large values; others than ASCII make the text longer than its strings
    lengths = np.fromiter(map(len, counts), np.int64, len(counts))
    last = np.cumsum(lengths) - 1
    is_end = groups < 32
    if lengths.min() == 0 or last[-1] + 1 != groups.size or groups.max() > 63 or not is_end[last].all():
        raise ValueError('the counts are not compressed run lengths')
    ends = np.flatnonzero(is_end)
    bits = (groups & 31).view(np.int8)
    highest = bits[ends]
    runs = (highest - ((highest & 16) << 1)).astype(np.int32)  # the highest group carries the sign
    before = np.concatenate([[-1], ends[:-1]])
    longer = np.flatnonzero(ends - before > 1)
    if longer.size and (ends - before).max() > LONGEST_NUMBER:
        raise ValueError('the counts are not compressed run lengths: a number is too long')
    step = 1
    while longer.size:
        runs[longer] = (runs[longer] << 5) | bits[ends[longer] - step]
        step += 1
        longer = longer[ends[longer] - before[longer] > step]
    per_mask = np.add.reduceat(is_end, last + 1 - lengths, dtype=np.int64)
    return _undo_differences(runs, per_mask)


def pad_runs(runs: np.ndarray, per_mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give each mask an even number of runs by an empty one at its end.

    Args:
        runs: the runs of all masks in a row (r,).
        per_mask: the number of runs of each mask (n,).

    Returns:
        As ``parse_runs``.
    """
    odd = np.flatnonzero(per_mask & 1)
    stops = np.cumsum(per_mask + (per_mask & 1))
    return (np.insert(runs, np.cumsum(per_mask)[odd], 0) if odd.size else runs), stops


def draw_runs(runs: np.ndarray, stops: np.ndarray, height: int, width: int, box: Box) -> np.ndarray:
    """Pixels of a box of all masks.

    Args:
        runs: lengths of the runs, columns first, as from ``parse_runs``.
        stops: where the runs of each mask end (n,).
        height: rows of the frame.
        width: columns of the frame.
        box: (top, left, rows, columns) inside the frame.

    Returns:
        (n, rows, columns) uint8 with values 0 and 1, C-contiguous.

    Raises:
        ValueError: A run is negative, or the runs of a mask do not add up to the pixels of the frame.
    """
    _, _, rows, columns = box
    masks = np.empty((len(stops), rows, columns), np.uint8)
    step = max(1, CHUNK_PIXELS // (rows * columns))
    begin = 0
    for first in range(0, len(stops), step):
        some = stops[first : first + step]
        masks[first : first + step] = _draw(runs[begin : some[-1]], some - begin, height, width, box)
        begin = some[-1]
    return masks


def _draw(runs: np.ndarray, stops: np.ndarray, height: int, width: int, box: Box) -> np.ndarray:
    """As ``draw_runs``, all at once; the result is a view with another order of axes in memory."""
    top, left, rows, columns = box
    count, area = len(stops), height * width
    ends = np.cumsum(runs, dtype=np.int64)
    if runs.min() < 0 or (ends[stops - 1] != area * np.arange(1, count + 1)).any():
        raise ValueError(f'the runs of a mask do not add up to the {area} pixels of its frame')
    number = np.int32 if count * area < 2**31 else np.int64
    ends = ends.astype(number)
    # columns are numbered through all masks, rows are counted from the top of the box
    column = ends // number(height)
    row = ends - column * number(height) - number(top)

    # The first pixel of a column is 1 if an odd number of runs ends at it or before. That holds across masks, because
    # each has an even number of runs.
    ended = np.cumsum(np.bincount(column + (row > 0), minlength=count * width)[: count * width])
    planes = np.zeros((rows, count, columns), np.uint8)
    planes[0] = (ended.reshape(count, width)[:, left : left + columns] & 1).astype(np.uint8)

    # Below it, the value changes wherever a run ends.
    mask = column // number(width)
    column -= mask * number(width) + number(left)
    row -= number(1)
    changes = np.flatnonzero(_below(row, rows - 1) & _below(column, columns))
    places = ((row[changes] + 1) * number(count) + mask[changes]) * number(columns) + column[changes]
    flat = planes.reshape(-1)
    if (np.diff(ends[changes]) == 0).any():  # empty runs, which some tools write: two changes at one place
        np.bitwise_xor.at(flat, places, np.uint8(1))
    else:
        flat[places] = 1
    for y in range(1, rows):  # ufunc.accumulate does the same forty times slower
        np.bitwise_xor(planes[y], planes[y - 1], out=planes[y])
    return planes.transpose(1, 0, 2)


def _undo_differences(runs: np.ndarray, per_mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add up the two chains of differences of each mask: second, fourth, ... and third, fifth, ... run."""
    runs, stops = pad_runs(runs, per_mask)
    pairs = runs.reshape(-1, 2)
    first = np.concatenate([[0], stops[:-1]]) >> 1  # pair in which each mask begins
    start = pairs[first, 0]
    pairs[first, 0] = 0  # the first number belongs to no chain
    for chain in (0, 1):
        links = pairs[:, chain].copy()
        sums = np.add.reduceat(links, first)
        links[first[1:]] -= sums[:-1]  # so that the running sum begins again at each mask
        np.cumsum(links, out=pairs[:, chain])
    pairs[first, 0] = start
    runs[stops[per_mask & 1 == 1] - 1] = 0  # the added runs became sums of their chains
    return runs, stops


def _below(values: np.ndarray, limit: int) -> np.ndarray:
    """0 <= values < limit in one comparison: negative numbers are large without their sign."""
    return values.view(f'u{values.itemsize}') < limit
