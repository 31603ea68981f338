"""Masks over frames, one colour each, for people to look at."""

from __future__ import annotations

import colorsys

import numpy as np


def palette(count: int) -> np.ndarray:
    """Colours that neighbours in the list do not share, (count, 3): hues a golden ratio of the circle apart."""
    hues = (index * 0.61803398875 % 1 for index in range(count))
    colours = [[round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.75, 1.0)] for hue in hues]
    return np.array(colours, np.uint8).reshape(count, 3)


def overlay(image: np.ndarray, masks: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Colour a frame by its masks, with a thin line around each.

    Args:
        image: (h, w, 3) uint8.
        masks: (n, h, w), non-zero is inside. The colour of a mask is that of its place, so an instance that keeps its
            place keeps its colour over time. Later masks are painted over earlier ones, so an order by area (large
            first) leaves the small ones to be seen.
        opacity: share of the colour, 0 to 1.

    Returns:
        (h, w, 3) uint8.
    """
    masks = np.asarray(masks).astype(bool)
    label = np.zeros(image.shape[:2], np.int64)
    for index, mask in enumerate(masks, 1):
        label[mask] = index
    colours = np.concatenate((np.zeros((1, 3), np.uint8), palette(len(masks))))
    tinted = np.where(label[..., None] > 0, image * (1 - opacity) + colours[label] * opacity, image)
    edge = np.zeros(label.shape, bool)
    edge[:, 1:] |= label[:, 1:] != label[:, :-1]
    edge[1:] |= label[1:] != label[:-1]
    tinted = np.where(edge[..., None], 255, tinted)
    return np.round(tinted).astype(np.uint8)
