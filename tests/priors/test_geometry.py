"""One geometry cuts frames, ground truth and masks, so a pixel of the crop always means the same place of the clip."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from basicsr_semantic.priors import ClipGeometry
from basicsr_semantic.utils.errors import UserError

SCALE = 4


@st.composite
def geometries(draw) -> tuple[ClipGeometry, int, int]:
    """A geometry with any box and any flips, and the size of a frame it fits into."""
    rows, columns = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    height, width = draw(st.integers(1, rows)), draw(st.integers(1, columns))
    top, left = draw(st.integers(0, rows - height)), draw(st.integers(0, columns - width))
    flips = {name: draw(st.booleans()) for name in ('hflip', 'vflip', 'transpose')}
    return ClipGeometry(top, left, height, width, **flips), rows, columns


@given(geometries())
def test_frame_gt_and_masks_stay_aligned(drawn):
    """Every LR pixel carries its own number; its 4x4 block in GT and its place in the masks carry the same one."""
    geometry, rows, columns = drawn
    frame = np.arange(rows * columns).reshape(rows, columns)
    gt = frame.repeat(SCALE, 0).repeat(SCALE, 1)[..., None]
    masks = np.stack([frame, -frame, frame + 1])
    cut = geometry.apply(frame)
    assert np.array_equal(geometry.apply(gt, SCALE)[..., 0], cut.repeat(SCALE, 0).repeat(SCALE, 1))
    assert np.array_equal(geometry.apply(masks, axes=(1, 2)), np.stack([cut, -cut, cut + 1]))
    assert sorted(cut.ravel()) == sorted(geometry.crop(frame).ravel())
    assert geometry.apply(gt, SCALE).flags['C_CONTIGUOUS']


@given(geometries())
def test_crop_then_flip_equals_apply(drawn):
    geometry, rows, columns = drawn
    array = np.random.default_rng(0).random((rows, columns, 3))
    top, left, height, width = geometry.box()
    assert np.array_equal(geometry.flip(array[top : top + height, left : left + width]), geometry.apply(array))


@given(geometries())
def test_flips_match_their_definition(drawn):
    geometry, rows, columns = drawn
    array = np.random.default_rng(1).random((rows, columns))
    flipped = geometry.flip(array)
    for y in range(rows):
        for x in range(columns):
            row = rows - 1 - y if geometry.vflip else y
            column = columns - 1 - x if geometry.hflip else x
            assert flipped[(column, row) if geometry.transpose else (row, column)] == array[y, x]


@pytest.mark.parametrize('name', ['hflip', 'vflip', 'transpose'])
@given(array=st.integers(1, 6).flatmap(lambda n: st.just(np.arange(2 * n).reshape(2, n))))
def test_each_flip_is_an_involution(name, array):
    geometry = ClipGeometry(0, 0, 1, 1, **{name: True})
    assert np.array_equal(geometry.flip(geometry.flip(array)), array)


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    data=st.data(),
    hflip=st.booleans(),
    rot=st.booleans(),
    seed=st.integers(0, 99),
)
def test_drawn_boxes_lie_inside_the_frame(rows, columns, data, hflip, rot, seed):
    patch = data.draw(st.one_of(st.none(), st.integers(1, min(rows, columns))))
    random.seed(seed)
    geometry = ClipGeometry.draw(rows, columns, patch, hflip, rot)
    top, left, height, width = geometry.box()
    assert 0 <= top <= rows - height
    assert 0 <= left <= columns - width
    assert (height, width) == ((rows, columns) if patch is None else (patch, patch))
    assert hflip or not geometry.hflip
    assert rot or not (geometry.vflip or geometry.transpose)
    assert geometry.box(SCALE) == tuple(SCALE * value for value in geometry.box())
    random.seed(seed)
    assert ClipGeometry.draw(rows, columns, patch, hflip, rot) == geometry


def test_boxes_of_coarser_maps_begin_at_multiples_of_their_step():
    random.seed(0)
    drawn = [ClipGeometry.draw(22, 33, 16, True, True, step=4) for _ in range(400)]
    assert {(g.top, g.left) for g in drawn} == {(top, left) for top in (0, 4) for left in (0, 4, 8, 12, 16)}
    assert ClipGeometry.draw(22, 33, None, False, False, step=4) == ClipGeometry.whole(22, 33)


def test_draw_reaches_every_corner_and_every_flip():
    random.seed(0)
    drawn = [ClipGeometry.draw(3, 4, 2, True, True) for _ in range(400)]
    assert {(g.top, g.left) for g in drawn} == {(top, left) for top in (0, 1) for left in (0, 1, 2)}
    assert len({(g.hflip, g.vflip, g.transpose) for g in drawn}) == 8


def test_flips_equal_basicsr_augment(monkeypatch):
    """The same choices give the same picture as ``basicsr.data.transforms.augment``."""
    from basicsr.data.transforms import augment

    image = np.random.default_rng(0).random((5, 7, 3)).astype(np.float32)
    for hflip in (False, True):
        for vflip in (False, True):
            for transpose in (False, True):
                choices = iter([0.0 if value else 1.0 for value in (hflip, vflip, transpose)])
                monkeypatch.setattr(random, 'random', lambda choices=choices: next(choices))
                expected = augment(image.copy(), True, True)
                geometry = ClipGeometry(0, 0, 5, 7, hflip, vflip, transpose)
                assert np.array_equal(geometry.apply(image), expected)


def test_a_whole_frame_is_left_alone():
    frame = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert np.array_equal(ClipGeometry.whole(2, 2).apply(frame), frame)


def test_boxes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match='reaches over the edge of an array of 8 rows and 7 columns'):
        ClipGeometry(0, 0, 2, 2).apply(np.zeros((8, 7)), SCALE)
    with pytest.raises(ValueError, match='top, left >= 0'):
        ClipGeometry(-1, 0, 2, 2)
    with pytest.raises(ValueError, match='must differ'):
        ClipGeometry(0, 0, 1, 1).apply(np.zeros((4, 4)), axes=(1, -1))
    with pytest.raises(UserError, match='33x33 LR pixels does not fit an LR frame of 40x32'):
        ClipGeometry.draw(32, 40, 33, False, False)
