"""One random view of a clip for training on instances: scale, a crop that may travel, flip; frames and masks alike."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ClipView:
    """What is shown of each frame of a clip, and at which size.

    Attributes:
        height: Rows of the result.
        width: Columns of the result.
        boxes: (top, left, height, width) of what each frame shows, in its own pixels; fractions are allowed.
        hflip: Whether left and right are exchanged.
    """

    height: int
    width: int
    boxes: tuple[Box, ...]
    hflip: bool = False

    def frame(self, frame: np.ndarray, position: int) -> np.ndarray:
        """The view of a frame, resampled once by an antialiased cubic filter.

        Args:
            frame: (h, w, 3) uint8.
            position: Its number in the clip.

        Returns:
            (height, width, 3) uint8, C-contiguous.
        """
        from PIL import Image

        top, left, rows, columns = self.boxes[position]
        box = (left, top, min(left + columns, frame.shape[1]), min(top + rows, frame.shape[0]))
        image = Image.fromarray(np.ascontiguousarray(frame))
        shown = np.asarray(image.resize((self.width, self.height), Image.Resampling.BICUBIC, box))
        return np.ascontiguousarray(shown[:, ::-1] if self.hflip else shown)

    def mask(self, mask: np.ndarray, position: int, factor: int = 1) -> np.ndarray:
        """The view of a mask: each pixel takes the value at its centre.

        Args:
            mask: (H, W) of any type, ``factor`` times the size of the frame; rows and columns beyond are ignored.
            position: Number of the frame in the clip.
            factor: Size of the mask relative to the frame.

        Returns:
            (height, width), C-contiguous.
        """
        top, left, rows, columns = self.boxes[position]
        y = ((top + (np.arange(self.height) + 0.5) * rows / self.height) * factor).astype(np.int64)
        x = ((left + (np.arange(self.width) + 0.5) * columns / self.width) * factor).astype(np.int64)
        x = x[::-1] if self.hflip else x
        return mask[np.minimum(y, mask.shape[0] - 1)[:, None], np.minimum(x, mask.shape[1] - 1)]


def whole_view(count: int, height: int, width: int, short_side: int | None, max_long_side: int | None) -> ClipView:
    """Whole frames at a size for tests.

    Args:
        count: Frames.
        height: Rows of a frame.
        width: Columns of a frame.
        short_side: Rows or columns of the result, whichever are fewer; None leaves frames as they are.
        max_long_side: At most so many of the others; None is no limit.
    """
    size = (height, width) if short_side is None else scaled_size(height, width, short_side, max_long_side)
    return ClipView(*size, boxes=((0.0, 0.0, float(height), float(width)),) * count)


def draw_view(
    count: int,
    height: int,
    width: int,
    short_sides: Sequence[int],
    max_long_side: int | None,
    crop_range: Sequence[int] | None,
    crop_sides: Sequence[int],
    hflip: bool,
) -> ClipView:
    """Draw a view as VITA (Heo et al. 2022) does for YouTube-VIS, by Python's ``random``, once for the whole clip.

    Half of the clips are cropped: the frames are taken to have a short side out of ``crop_sides``, and a window is cut
    there whose sides are drawn from ``crop_range``; it travels in a straight line over the clip. The result has a short
    side out of ``short_sides``. Half of the clips are mirrored. Scaling twice is one resampling here.

    Args:
        count: Frames.
        height: Rows of a frame.
        width: Columns of a frame.
        short_sides: Short sides of the result to choose from.
        max_long_side: Longest side of the result; None is no limit.
        crop_range: Shortest and longest side of the window; None never crops.
        crop_sides: Short sides of the frames that are cropped, to choose from.
        hflip: Mirror half of the clips.
    """
    boxes: tuple[Box, ...] = ((0.0, 0.0, float(height), float(width)),) * count
    rows, columns = height, width
    if crop_range is not None and random.random() < 0.5:
        tall, wide = scaled_size(height, width, random.choice(list(crop_sides)), None)
        lowest, highest = crop_range
        rows = random.randint(min(tall, lowest), min(tall, highest))
        columns = random.randint(min(wide, lowest), min(wide, highest))
        start = random.randint(0, tall - rows), random.randint(0, wide - columns)
        stop = random.randint(start[0], tall - rows), random.randint(start[1], wide - columns)
        shares = sorted((random.random() for _ in range(count)), reverse=random.random() < 0.5)
        tops, lefts = ([a + (b - a) * share for share in shares] for a, b in zip(start, stop, strict=True))
        y, x = height / tall, width / wide
        boxes = tuple((top * y, left * x, rows * y, columns * x) for top, left in zip(tops, lefts, strict=True))
    size = scaled_size(rows, columns, random.choice(list(short_sides)), max_long_side)
    return ClipView(*size, boxes=boxes, hflip=hflip and random.random() < 0.5)


def scaled_size(height: int, width: int, short_side: int, max_long_side: int | None) -> tuple[int, int]:
    """(height, width) with the given short side, or smaller so that the long one is at most ``max_long_side``."""
    factor = short_side / min(height, width)
    if max_long_side is not None:
        factor = min(factor, max_long_side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))
