"""Draws what Semantic Lens looks at: instances over time, attention over instance tokens, the window of IMAGE.

All pictures are uint8 RGB arrays (h, w, 3); `figures_semantic_lens.py` feeds them from a trained network.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from demo_picture import FRAME, INK, PAPER, resize, write_line

from basicsr_semantic.priors.drawing import overlay

GAP, CAPTION = 6, 26
BLOCKED = np.array((150, 0, 60), np.float64)


def caption(picture: np.ndarray, text: str) -> np.ndarray:
    """The picture below a line of text, smaller letters where it would not fit."""
    line = np.full((CAPTION, picture.shape[1], 3), PAPER, np.uint8)
    write_line(line, text, 0, 17, picture.shape[1])
    return np.concatenate((line, picture))


def row(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one height side by side.

    Raises:
        ValueError: There is none, or heights differ.
    """
    if len({picture.shape[0] for picture in pictures}) != 1:
        raise ValueError(f'A row needs pictures of one height, not {[picture.shape[:2] for picture in pictures]}.')
    gap = np.full((pictures[0].shape[0], GAP, 3), PAPER, np.uint8)
    parts = [gap]
    for picture in pictures:
        parts += [picture, gap]
    return np.concatenate(parts, axis=1)


def instances(frames: Sequence[np.ndarray], masks: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Frames with their instance masks; an instance has one colour in all of them.

    Args:
        frames: t frames (h, w, 3).
        masks: for each, (n, h, w), an instance having the same place in all.
        names: t captions.
    """
    panels = zip(frames, masks, names, strict=True)
    return row([caption(overlay(frame, mask), name) for frame, mask, name in panels])


def heat(values: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Weights (h, w), of any scale, as a warm light on the grey frame (h, w, 3)."""
    scaled = values / max(float(values.max()), 1e-12)
    grey = frame.mean(2, keepdims=True) * 0.6
    colour = cv2.applyColorMap(np.round(scaled * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    share = 0.75 * scaled[..., None]
    return np.round(grey * (1 - share) + colour * share).astype(np.uint8)


def bars(weights: np.ndarray, height: int, width: int) -> np.ndarray:
    """A bar chart of weights (n,) that sum to 1; the largest is marked and labelled with its place and value."""
    canvas = np.full((height, width, 3), PAPER, np.uint8)
    top, bottom, left, right = 24, height - 22, 10, width - 10
    slot = (right - left) / len(weights)
    largest = int(weights.argmax())
    for index, weight in enumerate(weights):
        near, far = left + index * slot, left + (index + 1) * slot
        tall = round((bottom - top) * float(weight) / float(weights[largest]))
        end = max(round(far) - (1 if slot > 2 else 0), round(near) + 1)
        colour = (214, 80, 20) if index == largest else (90, 110, 150)
        cv2.rectangle(canvas, (round(near), bottom - tall), (end, bottom), colour, -1)
    face = cv2.FONT_HERSHEY_SIMPLEX
    text = f'token {largest}: {weights[largest]:.3f}, even: {1 / len(weights):.3f}'
    cv2.putText(canvas, text, (left, 16), face, 0.42, INK, 1, cv2.LINE_AA)
    cv2.putText(canvas, f'instance tokens 0 to {len(weights) - 1}', (left, height - 7), face, 0.42, INK, 1, cv2.LINE_AA)
    return canvas


def token_attention(
    frame: np.ndarray, pixel: tuple[int, int], weights: np.ndarray, strongest: np.ndarray, side: int = 256
) -> np.ndarray:
    """What one pixel attends to among the instance tokens, and which other pixels attend to the same token.

    Args:
        frame: (h, w, 3).
        pixel: its row and column.
        weights: (n,) attention of the pixel over the tokens.
        strongest: (h, w) attention of all pixels to the pixel's strongest token.
        side: height of the panels.
    """
    height, width = frame.shape[:2]
    wide = round(side * width / height)
    shown = _mark(resize(frame, side, wide), pixel, side / height)
    map_ = _mark(resize(heat(strongest, frame), side, wide), pixel, side / height)
    return row(
        [
            caption(shown, 'a pixel'),
            caption(bars(weights, side, max(wide, 280)), 'its attention over instance tokens'),
            caption(map_, 'attention of all pixels to its strongest token'),
        ]
    )


def image_window(
    current: np.ndarray,
    support: np.ndarray,
    pixel: tuple[int, int],
    reach: int,
    allowed: np.ndarray,
    weights: np.ndarray,
    around: int = 12,
    side: int = 256,
) -> np.ndarray:
    """IMAGE at one pixel: its surroundings, the window in the supporting frame with what is blocked, the attention.

    Args:
        current: frame of the pixel (h, w, 3).
        support: supporting frame (h, w, 3).
        pixel: row and column.
        reach: pixels of the window on each side of it.
        allowed: (h, w) bool: the pixel may look there.
        weights: (h, w) its attention, 0 outside of the window.
        around: pixels shown on each side of it.
        side: side of a panel.
    """
    inside = weights.shape
    rows, columns = (
        range(max(0, min(at - around, size - 2 * around - 1)), min(size, max(at + around + 1, 2 * around + 1)))
        for at, size in zip(pixel, inside, strict=True)
    )
    top, left = (max(0, at - reach) for at in pixel)
    bottom, right = (min(size, at + reach + 1) for at, size in zip(pixel, inside, strict=True))
    cut = np.ix_(rows, columns)
    blocked = np.zeros(inside, bool)
    blocked[top:bottom, left:right] = True
    blocked &= ~allowed
    dimmed = np.where(blocked[..., None], 0.35 * support + 0.65 * BLOCKED, support).astype(np.uint8)
    here = (pixel[0] - rows.start, pixel[1] - columns.start)
    box = (top - rows.start, left - columns.start, bottom - rows.start, right - columns.start)
    panels = []
    for picture, name in (
        (current, 'current frame'),
        (dimmed, 'window in the supporting frame (dark red: blocked)'),
        (heat(weights, support), 'attention within it'),
    ):
        crop = picture[cut]
        factor = side / crop.shape[0]
        shown = _mark(resize(crop, side, round(crop.shape[1] * factor)), here, factor)
        if picture is not current:
            corners = [round(value * factor) for value in box]
            shown = cv2.rectangle(shown, (corners[1], corners[0]), (corners[3] - 1, corners[2] - 1), FRAME, 1)
        panels.append(caption(shown, name))
    return row(panels)


def _mark(picture: np.ndarray, pixel: tuple[int, int], factor: float) -> np.ndarray:
    """A cross at a pixel of the picture before it was enlarged by the factor."""
    y, x = (round((at + 0.5) * factor) for at in pixel)
    return cv2.drawMarker(np.ascontiguousarray(picture), (x, y), FRAME, cv2.MARKER_CROSS, 15, 2)
