"""From high to low resolution: BI, BD and BD_DUF, the three degradations of the VSR papers.

Each is a separable filter of which only every ``scale``-th position is kept, so each is described by its taps:
which high-resolution positions an output pixel reads, with which weights, and what is beyond the border.

=========  =====================================================  =======================  ==========
name       filter                                                 centre of output pixel i  border
=========  =====================================================  =======================  ==========
BI         MATLAB ``imresize``: bicubic (a = -1/2), antialiased   scale i + (scale - 1)/2  symmetric
BD         Gaussian sigma 1.6, 12 taps, as BasicVSR's MATLAB code  4 i + 1.5                replicate
BD_DUF     Gaussian sigma 0.4 scale, 13 taps at scale 4, as DUF   scale i                  reflect
=========  =====================================================  =======================  ==========

BD and BD_DUF differ by a shift of 1.5 high-resolution pixels: the released BD weights of BasicVSR lose 7.0 dB on BD_DUF
(docs/results/published.md; users of MMagic met the same, issues 318 and 948). BD is the one that released "BD" weights
of BasicVSR and its relatives expect.

BI of a uint8 frame is rounded to 8 bits between rows and columns, because MATLAB's ``imresize`` returns the class of
its input from each of its two passes: so it reproduces MATLAB exactly. BI of a float32 frame is MATLAB's for ``double``
(and ``basicsr.utils.matlab_functions.imresize``); after rounding the two differ by 1/255 in one value of ten.

Output pixels are sums over the taps in a fixed order, so that a box of a frame is bit-equal to the same box of the
degraded whole frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..utils.errors import UserError

DEGRADATIONS = ('BI', 'BD', 'BD_DUF')
_SCALES = {'BI': (2, 3, 4), 'BD': (4,), 'BD_DUF': (2, 3, 4)}


@dataclass(frozen=True)
class Taps:
    """The one-dimensional filter of a degradation.

    Attributes:
        first: Offset of the first tap from ``scale * i`` for output pixel i, in high-resolution pixels.
        weights: One weight a tap; they sum to 1.
        border: ``symmetric`` (edge pixel repeated, then mirrored), ``reflect`` (mirrored at the edge pixel) or
            ``replicate`` (edge pixel repeated).
    """

    first: int
    weights: tuple[float, ...]
    border: str


def wrong_degradation(kind: str, scale: int) -> str | None:
    """A sentence, unless ``kind`` exists and is defined for ``scale``."""
    if kind not in DEGRADATIONS:
        return f"There is no degradation '{kind}'. Choose one of {', '.join(DEGRADATIONS)}."
    if scale not in _SCALES[kind]:
        scales = ', '.join(map(str, _SCALES[kind]))
        return f"Degradation '{kind}' is defined for scale {scales}, not for scale {scale}."
    return None


def check_degradation(kind: str, scale: int) -> None:
    """Raise UserError unless ``kind`` exists and is defined for ``scale``."""
    if (wrong := wrong_degradation(kind, scale)) is not None:
        raise UserError(wrong)


@cache
def taps(kind: str, scale: int) -> Taps:
    """The filter of a degradation.

    Raises:
        UserError: Unknown degradation, or one that is not defined for this scale.
    """
    check_degradation(kind, scale)
    if kind == 'BI':
        # MATLAB widens the cubic kernel by the scale; all output pixels share one phase because scale is an integer.
        centre = (scale - 1) / 2
        offsets = np.arange(math.floor(centre - 2 * scale) + 1, math.ceil(centre + 2 * scale))
        weights = _cubic((offsets - centre) / scale)
        border = 'symmetric'
    elif kind == 'BD':
        offsets = np.arange(-4, 8)
        weights = np.exp(-((offsets - 1.5) ** 2) / (2 * 1.6**2))
        border = 'replicate'
    else:
        sigma = 0.4 * scale
        radius = int(4 * sigma + 0.5)
        offsets = np.arange(-radius, radius + 1)
        weights = np.exp(-(offsets**2) / (2 * sigma**2))
        border = 'reflect'
    return Taps(int(offsets[0]), tuple((weights / weights.sum()).tolist()), border)


def mod_crop(image: np.ndarray, scale: int) -> np.ndarray:
    """Cut rows at the bottom and columns at the right until both counts are multiples of ``scale``.

    Args:
        image: (h, w) or (h, w, c), any type.
        scale: At least 1.

    Returns:
        A view of ``image``.
    """
    return image[: image.shape[0] // scale * scale, : image.shape[1] // scale * scale]


def degrade(image: np.ndarray, kind: str, scale: int = 4, box: Sequence[int] | None = None) -> np.ndarray:
    """Make the low-resolution version of a frame, or of a part of it.

    Args:
        image: Whole high-resolution frame, (h, w) or (h, w, c), uint8 in 0..255 or float32 (usually 0..1); h and w
            multiples of ``scale`` (see ``mod_crop``).
        kind: ``BI``, ``BD`` or ``BD_DUF``.
        scale: 2, 3 or 4 (BD: 4 only).
        box: (top, left, height, width) in low-resolution pixels: return only that part. Only the high-resolution pixels
            it depends on are read. Pixels beyond the frame's border are filled as for the whole frame, so the result is
            bit-equal to cutting the box out of the degraded frame.

    Returns:
        (h / scale, w / scale[, c]) or the box of it, of the type of ``image``: uint8 rounded (half up) and clipped
        to 0..255 as an 8-bit PNG holds it, float32 neither rounded nor clipped.

    Raises:
        UserError: Unknown degradation, or one that is not defined for this scale.
        ValueError: Wrong type or size of the image, or a box outside the frame.
    """
    spec = taps(kind, scale)
    if image.dtype not in (np.uint8, np.float32) or image.ndim not in (2, 3):
        raise ValueError(f'degrade takes uint8 or float32 of shape (h, w[, c]), not {image.dtype} {image.shape}.')
    height, width = image.shape[:2]
    if height % scale or width % scale or not height or not width:
        raise ValueError(f'A frame of {height}x{width} cannot be degraded by {scale}; use mod_crop first.')
    box_top, box_left, box_height, box_width = box if box is not None else (0, 0, height // scale, width // scale)
    if (
        min(box_top, box_left) < 0
        or box_top + box_height > height // scale
        or box_left + box_width > width // scale
        or min(box_height, box_width) < 1
    ):
        raise ValueError(f'The box {box} is not inside the degraded frame of {height // scale}x{width // scale}.')

    rows = _source_positions(spec, scale, box_top, box_height, height)
    columns = _source_positions(spec, scale, box_left, box_width, width)
    left = columns.min()
    region = image[:, left : columns.max() + 1][rows][:, columns - left].astype(np.float32, copy=False)
    region = _weighted_sum(region, spec.weights, scale, box_height, axis=0)
    if kind == 'BI' and image.dtype == np.uint8:
        region = _round_to_8_bits(region)
    region = _weighted_sum(region, spec.weights, scale, box_width, axis=1)
    return region if image.dtype == np.float32 else _round_to_8_bits(region).astype(np.uint8)


def _round_to_8_bits(array: np.ndarray) -> np.ndarray:
    """Round halves up and clip to 0..255; stays float32."""
    return np.clip(np.floor(array + np.float32(0.5)), 0, 255)


def _cubic(x: np.ndarray) -> np.ndarray:
    """The cubic convolution kernel of Keys (1981, Eq. 15, a = -1/2) at ``x``; the sign of x is free."""
    x = np.abs(x)
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0.0))


def _source_positions(spec: Taps, scale: int, start: int, count: int, length: int) -> np.ndarray:
    """High-resolution positions read by output pixels start .. start + count - 1, beyond the border mapped inside."""
    first = scale * start + spec.first
    positions = np.arange(first, first + scale * (count - 1) + len(spec.weights))
    if spec.border == 'replicate':
        return positions.clip(0, length - 1)
    if spec.border == 'symmetric':
        positions %= 2 * length
        return np.minimum(positions, 2 * length - 1 - positions)
    period = max(2 * length - 2, 1)
    positions %= period
    return np.minimum(positions, period - positions)


def _weighted_sum(array: np.ndarray, weights: tuple[float, ...], scale: int, count: int, axis: int) -> np.ndarray:
    """Sum the taps of ``count`` output pixels along ``axis``, in the order of the taps."""
    total: np.ndarray | None = None
    for tap, weight in enumerate(weights):
        picked = slice(tap, tap + scale * (count - 1) + 1, scale)
        term = array[picked] if axis == 0 else array[:, picked]
        term = term * np.float32(weight)
        total = term if total is None else np.add(total, term, out=total)
    assert total is not None
    return total
