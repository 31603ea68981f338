"""The order of masks and which are kept, against a plain statement of the rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from basicsr_semantic.extractors.ordering import order_and_keep, stack_masks
from basicsr_semantic.utils.errors import UserError

AREAS = [5, 9, 9, 1, 0, 7]
CORNERS = [(0, 0), (3, 1), (2, 8), (0, 4), (0, 0), (1, 1)]
SCORES = [0.9, 0.5, 0.95, 0.8, 0.99, 0.8]
POINTS = [(1, 1), (1, 0), (0, 1), (1, 1), (0, 0), (0, 1)]


def chosen(order: str, keep: str, limit: int) -> list[int]:
    return order_and_keep(AREAS, CORNERS, SCORES, POINTS, order, keep, limit)


def test_area_is_descending_and_ties_go_to_the_top_left():
    assert chosen('area', 'area', 64) == [2, 1, 5, 0, 3]


def test_iou_is_descending_and_ties_go_to_the_top_left():
    assert chosen('iou', 'area', 64) == [2, 0, 3, 5, 1]


def test_grid_is_the_raster_order_of_the_prompts_then_the_score():
    assert chosen('grid', 'area', 64) == [2, 5, 1, 0, 3]


def test_truncation_by_area_and_by_iou():
    assert chosen('area', 'area', 3) == [2, 1, 5]
    assert chosen('area', 'iou', 3) == [2, 0, 3]
    assert chosen('iou', 'area', 3) == [2, 5, 1]


def test_masks_without_pixels_are_left_out():
    assert 4 not in chosen('area', 'iou', 64)


@pytest.mark.parametrize(('order', 'keep'), [('size', 'area'), ('area', 'grid')])
def test_unknown_names(order, keep):
    with pytest.raises(UserError, match='must be one of'):
        chosen(order, keep, 3)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1)), max_size=12), st.integers(1, 12))
def test_the_kept_ones_beat_the_others(items, limit):
    areas, scores = [a for a, _ in items], [s for _, s in items]
    corners = [(i, 0) for i in range(len(items))]
    for keep, values in (('area', areas), ('iou', scores)):
        kept = order_and_keep(areas, corners, scores, corners, 'area', keep, limit)
        left = [i for i in range(len(items)) if i not in kept and areas[i] > 0]
        assert len(kept) == min(limit, sum(area > 0 for area in areas))
        assert all(values[i] >= values[j] for i in kept for j in left)
        assert [areas[i] for i in kept] == sorted((areas[i] for i in kept), reverse=True)


def test_no_masks_have_a_shape_too():
    assert stack_masks([], 3, 4).shape == (0, 3, 4)
    assert stack_masks([np.ones((3, 4), np.uint8)], 3, 4).dtype == bool
