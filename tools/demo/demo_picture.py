"""Draws the demo's picture: labelled panels of one frame, and below each the same crop enlarged.

All pictures are uint8 RGB arrays (h, w, 3).
"""

from __future__ import annotations

import cv2
import numpy as np

INK, PAPER, FRAME = (32, 32, 32), (255, 255, 255), (255, 214, 10)


def hardest_crop(restored: np.ndarray, gt: np.ndarray, size: int) -> tuple[int, int]:
    """(top, left) of the size x size square in which a restored frame has the largest squared error.

    The demo uses it on bicubic interpolation, so the choice favours none of the networks.
    """
    error = ((restored.astype(np.float64) - gt) ** 2).mean(2)
    total = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    boxes = total[size:, size:] - total[:-size, size:] - total[size:, :-size] + total[:-size, :-size]
    top, left = np.unravel_index(boxes.argmax(), boxes.shape)
    return int(top), int(left)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Enlarges by repeating pixels, so that nothing is smoothed that the method has not; shrinks by averaging."""
    smaller = width < image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_NEAREST)


def write_line(canvas: np.ndarray, text: str, left: int, base: int, width: int) -> None:
    """Centres a line of text above `base`, smaller where it would not fit."""
    face, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.5
    measured = cv2.getTextSize(text, face, scale, 1)[0][0]
    if measured > width - 4:
        scale *= (width - 4) / measured
        measured = cv2.getTextSize(text, face, scale, 1)[0][0]
    cv2.putText(canvas, text, (left + (width - measured) // 2, base), face, scale, INK, 1, cv2.LINE_AA)


def compose(
    panels: list[tuple[str, str, np.ndarray]], top: int, left: int, size: int, panel: int = 256, gap: int = 6
) -> np.ndarray:
    """The whole picture: a row of frames with the crop marked, a row of the crops, a caption above each panel.

    Args:
        panels: (caption, figure, frame) from left to right, all frames of one size; the figure (a PSNR, say) may be
            empty.
        top, left, size: the crop, in pixels of the frames.
        panel: side of a drawn panel in pixels.
        gap: pixels between panels.

    Returns:
        (height, width, 3) uint8.

    Raises:
        ValueError: there is no panel, or frames differ in size, or the crop leaves them.
    """
    if not panels:
        raise ValueError('A comparison needs at least one panel.')
    shapes = {image.shape for _, _, image in panels}
    if len(shapes) > 1:
        raise ValueError(f'The panels of a comparison have different sizes: {sorted(shapes)}.')
    height, width = panels[0][2].shape[:2]
    if not (0 <= top <= height - size and 0 <= left <= width - size):
        raise ValueError(f'The crop of {size} pixels at row {top}, column {left} leaves the {height}x{width} frame.')
    tall = round(panel * height / width)
    caption = 42
    canvas = np.full((caption + tall + gap + panel + gap, gap + len(panels) * (panel + gap), 3), PAPER, np.uint8)
    for index, (text, figure, image) in enumerate(panels):
        x = gap + index * (panel + gap)
        write_line(canvas, text, x, 17, panel)
        write_line(canvas, figure, x, 35, panel)
        shown = resize(image, tall, panel)
        near, far = ([round(side * panel / width) for side in (left + far, top + far)] for far in (0, size))
        shown = cv2.rectangle(shown, near, far, FRAME, 2)
        canvas[caption : caption + tall, x : x + panel] = shown
        crop = resize(image[top : top + size, left : left + size], panel, panel)
        below = caption + tall + gap
        canvas[below : below + panel, x : x + panel] = crop
    return canvas
