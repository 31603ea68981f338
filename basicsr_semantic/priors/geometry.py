"""Crop, flip and transpose: the one place where frames, ground truth and masks are cut, so they cannot drift apart."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from ..utils.errors import UserError


@dataclass(frozen=True)
class ClipGeometry:
    """One crop box and one set of flips for everything that belongs to a clip.

    The box is in pixels of the LR frame. Ground truth at scale s is cut at s times the box. The order of the flips is
    BasicSR's: left-right, then upside-down, then rows and columns exchanged.

    Args:
        top: first row of the box.
        left: first column of the box.
        height: rows of the box, before the transpose.
        width: columns of the box, before the transpose.
        hflip: mirror left and right.
        vflip: mirror top and bottom.
        transpose: exchange rows and columns, after the flips.

    Raises:
        ValueError: The box is empty or begins at a negative position.
    """

    top: int
    left: int
    height: int
    width: int
    hflip: bool = False
    vflip: bool = False
    transpose: bool = False

    def __post_init__(self) -> None:
        if self.top < 0 or self.left < 0 or self.height < 1 or self.width < 1:
            raise ValueError(f'A crop box needs top, left >= 0 and height, width >= 1, not {self.box()}.')

    @classmethod
    def whole(cls, lr_height: int, lr_width: int) -> ClipGeometry:
        """The geometry that leaves a frame of this size as it is."""
        return cls(0, 0, lr_height, lr_width)

    @classmethod
    def draw(
        cls, lr_height: int, lr_width: int, patch: int | None, hflip: bool, rot: bool, step: int = 1
    ) -> ClipGeometry:
        """Draw a random geometry with Python's ``random`` module, which the data loader seeds for every sample.

        Args:
            lr_height: height of the LR frame in pixels.
            lr_width: width of the LR frame in pixels.
            patch: side of the square crop in LR pixels; None takes the whole frame.
            hflip: allow the left-right mirror (probability 0.5).
            rot: allow the upside-down mirror and the transpose (probability 0.5 each), as BasicSR's ``use_rot``.
            step: the crop begins at multiples of so many pixels, as coarser maps of the frame need it.

        Raises:
            UserError: The patch is smaller than one pixel or larger than the frame.
        """
        if patch is None:
            top, left, height, width = 0, 0, lr_height, lr_width
        else:
            if not 1 <= patch <= min(lr_height, lr_width):
                raise UserError(
                    f'A crop of {patch}x{patch} LR pixels does not fit an LR frame of {lr_width}x{lr_height} '
                    f'(width x height). Choose a gt_size of at most {min(lr_height, lr_width)} times the scale.'
                )
            top, left = (step * random.randint(0, (side - patch) // step) for side in (lr_height, lr_width))
            height = width = patch
        return cls(
            top,
            left,
            height,
            width,
            hflip=hflip and random.random() < 0.5,
            vflip=rot and random.random() < 0.5,
            transpose=rot and random.random() < 0.5,
        )

    def box(self, scale: int = 1) -> tuple[int, int, int, int]:
        """(top, left, height, width) of the crop in pixels of an image ``scale`` times as large as the LR frame."""
        return self.top * scale, self.left * scale, self.height * scale, self.width * scale

    def crop(self, array: np.ndarray, scale: int = 1, axes: tuple[int, int] = (0, 1)) -> np.ndarray:
        """Cut the box out of an array, without flips; a view.

        Args:
            array: any array with two spatial axes.
            scale: its size relative to the LR frame.
            axes: (row axis, column axis).

        Raises:
            ValueError: The box reaches over the edge of the array.
        """
        rows, columns = self._spatial(array, axes)
        top, left, height, width = self.box(scale)
        if top + height > array.shape[rows] or left + width > array.shape[columns]:
            raise ValueError(
                f'The crop box (top {top}, left {left}, height {height}, width {width}) reaches over the edge of an '
                f'array of {array.shape[rows]} rows and {array.shape[columns]} columns.'
            )
        index = [slice(None)] * array.ndim
        index[rows], index[columns] = slice(top, top + height), slice(left, left + width)
        return array[tuple(index)]

    def flip(self, array: np.ndarray, axes: tuple[int, int] = (0, 1)) -> np.ndarray:
        """Flip and transpose an array that is already cropped, for example masks that were read by ``box()``.

        Args:
            array: any array with two spatial axes.
            axes: (row axis, column axis).

        Returns:
            A C-contiguous array; the argument itself where there is nothing to do.
        """
        rows, columns = self._spatial(array, axes)
        if self.hflip:
            array = np.flip(array, columns)
        if self.vflip:
            array = np.flip(array, rows)
        if self.transpose:
            array = np.swapaxes(array, rows, columns)
        return np.ascontiguousarray(array)

    def apply(self, array: np.ndarray, scale: int = 1, axes: tuple[int, int] = (0, 1)) -> np.ndarray:
        """Crop, then flip.

        Args:
            array: frames (h, w, c), masks (n, h, w) with ``axes=(1, 2)``, or any array with two spatial axes.
            scale: size of the array relative to the LR frame: 1 for LR frames and masks, 4 for ground truth.
            axes: (row axis, column axis).

        Returns:
            A C-contiguous array of ``scale`` times the box, its sides exchanged when ``transpose`` is set.

        Raises:
            ValueError: The box reaches over the edge of the array.
        """
        return self.flip(self.crop(array, scale, axes), axes)

    @staticmethod
    def _spatial(array: np.ndarray, axes: tuple[int, int]) -> tuple[int, int]:
        rows, columns = (axis % array.ndim for axis in axes)
        if rows == columns:
            raise ValueError(f'The row axis and the column axis must differ, not {axes}.')
        return rows, columns
