"""Views of clips: frames and masks stay together, and the draws are those of VITA."""

from __future__ import annotations

import random

import numpy as np
import pytest

from basicsr_semantic.data.instance_views import ClipView, draw_view, scaled_size, whole_view

RECIPE = {'short_sides': [48, 64], 'max_long_side': 100, 'crop_range': [40, 60], 'crop_sides': [50, 80], 'hflip': True}


def test_short_side_and_long_side():
    assert scaled_size(720, 1280, 360, None) == (360, 640)
    assert scaled_size(1280, 720, 360, None) == (640, 360)
    assert scaled_size(720, 1280, 512, 768) == (432, 768)
    assert scaled_size(3, 3000, 2, 100) == (1, 100)


def test_whole_frames_as_they_are():
    image = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
    view = whole_view(2, 30, 41, None, None)
    assert np.array_equal(view.frame(image, 1), image)
    mask = image[..., 0] > 100
    assert np.array_equal(view.mask(mask, 0), mask)


def test_whole_pixel_boxes_are_cuts():
    image = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
    view = ClipView(10, 12, ((5.0, 7.0, 10.0, 12.0),), hflip=True)
    assert np.array_equal(view.frame(image, 0), image[5:15, 7:19][:, ::-1])
    assert np.array_equal(view.mask(image[..., 0], 0), image[5:15, 7:19, 0][:, ::-1])


def test_masks_of_larger_annotations_take_the_value_at_the_centre():
    mask = np.arange(12 * 16).reshape(12, 16)
    view = whole_view(1, 3, 4, None, None)
    assert np.array_equal(view.mask(mask, 0, factor=4), mask[2::4, 2::4])


@pytest.mark.parametrize('factor', [1, 4])
@pytest.mark.parametrize('seed', range(6))
def test_frames_and_masks_cannot_drift_apart(seed, factor):
    """A bright disc and its mask, through every draw, agree up to the pixels at the edge."""
    random.seed(seed)
    height, width = 72, 108
    y, x = np.mgrid[: height * factor, : width * factor] / factor
    mask = (y - 40) ** 2 + (x - 50) ** 2 < 20**2
    rows, columns = np.mgrid[:height, :width] + 0.5
    frame = np.repeat((((rows - 40) ** 2 + (columns - 50) ** 2 < 400) * np.uint8(200))[..., None], 3, 2)
    view = draw_view(3, height, width, **RECIPE)
    for position in range(3):
        shown, expected = view.frame(frame, position)[..., 0] > 100, view.mask(mask, position, factor)
        assert shown.shape == expected.shape == (view.height, view.width)
        assert (shown != expected).mean() < 0.02
        assert expected.mean() > 0.05


def test_the_draws():
    random.seed(0)
    views = [draw_view(5, 72, 128, **RECIPE) for _ in range(400)]
    whole = [view for view in views if view.boxes[0] == (0.0, 0.0, 72.0, 128.0)]
    assert 150 < len(whole) < 250
    assert {(view.height, view.width) for view in whole} == {(48, 85), (56, 100)}
    assert 150 < sum(view.hflip for view in views) < 250
    for view in views:
        assert max(view.height, view.width) <= 100
        tops, lefts = ([box[axis] for box in view.boxes] for axis in (0, 1))
        assert len({box[2:] for box in view.boxes}) == 1
        assert tops in (sorted(tops), sorted(tops, reverse=True))
        assert lefts in (sorted(lefts), sorted(lefts, reverse=True))
        for top, left, rows, columns in view.boxes:
            assert top >= 0 and left >= 0 and top + rows <= 72 + 1e-9 and left + columns <= 128 + 1e-9
    cut = [view for view in views if view not in whole]
    assert any(view.boxes[0] != view.boxes[-1] for view in cut)
    # a window of 40 to 60 pixels in frames of 50 or 80 rows
    assert min(view.boxes[0][2] for view in cut) >= 72 * 40 / 80 - 1e-9


def test_small_frames_are_cropped_within_their_size():
    random.seed(1)
    for _ in range(50):
        view = draw_view(2, 20, 30, [16], None, [384, 600], [20, 30], False)
        assert min(view.height, view.width) == 16


def test_equal_seeds_give_equal_views():
    first, second = (random.seed(3) or draw_view(4, 50, 60, **RECIPE) for _ in range(2))
    assert first == second
