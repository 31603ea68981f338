"""Masks over frames, one colour each."""

from __future__ import annotations

import numpy as np
import pytest

from basicsr_semantic.priors.drawing import overlay, palette


def test_overlay_colours_masks_and_leaves_the_rest():
    image = np.full((20, 30, 3), 100, np.uint8)
    masks = np.zeros((3, 20, 30), np.uint8)
    masks[0, :, :20] = 1
    masks[1, 5:15, 5:15] = 1  # painted over the first; the third is empty
    drawn = overlay(image, masks)
    colours = palette(2)
    assert (drawn[10, 25] == 100).all()
    assert drawn[1, 1] == pytest.approx((100 + colours[0].astype(float)) / 2, abs=1)
    assert drawn[10, 10] == pytest.approx((100 + colours[1].astype(float)) / 2, abs=1)
    assert (drawn[10, 5] == 255).all(), 'no line around a mask'
    assert np.ptp(image) == 0, 'the frame itself was painted on'


def test_overlay_of_no_mask_is_the_frame():
    image = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    assert np.array_equal(overlay(image, np.zeros((4, 10, 10))), image)
    assert np.array_equal(overlay(image, np.zeros((0, 10, 10))), image)


def test_colours_differ():
    assert len({tuple(colour) for colour in palette(64)}) == 64
