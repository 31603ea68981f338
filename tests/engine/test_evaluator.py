"""Which metrics look at which frames, and what is said where they have no value."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from basicsr.utils.registry import METRIC_REGISTRY

from basicsr_semantic.config.components import better_of, components
from basicsr_semantic.engine.evaluator import Evaluator, prepare_metrics, wants
from basicsr_semantic.metrics.frames import prepared_by
from basicsr_semantic.utils.errors import UserError


def difference(img, img2, power=1):
    return float(np.abs(img.astype(int) - img2).mean()) ** power


def brightness(img, better='higher'):
    return float(img.mean()) or float('nan')


def with_or_without(img, img2=None):
    return -1.0 if img2 is None else float(img2.mean())


def change(img, previous, img2=None, previous2=None):
    restored, true = (0.0 if one is None else float(one.mean()) for one in (previous, previous2))
    return float(img.mean()) - restored + 1000 * true


def in_basicsr_manner(img, crop_border=0, **kwargs):
    return float(len(kwargs))


@pytest.fixture(autouse=True)
def metrics(monkeypatch):
    """The functions above, registered for one test."""
    for metric in (difference, brightness, with_or_without, change, in_basicsr_manner):
        monkeypatch.setitem(METRIC_REGISTRY._obj_map, metric.__name__, metric)


def frame(value: int) -> np.ndarray:
    return np.full((4, 4, 3), value, np.uint8)


def evaluator_of(*names: str) -> Evaluator:
    evaluator = Evaluator({name: {'type': name} for name in names}, 'set')
    evaluator.begin_item()
    return evaluator


@pytest.fixture
def warnings(monkeypatch):
    """What the log warns of."""
    messages: list[str] = []
    monkeypatch.setattr(logging.getLogger('basicsr'), 'warning', messages.append)
    return messages


@pytest.mark.parametrize(
    ('name', 'gt', 'over_time'),
    [
        ('calculate_psnr', True, False),
        ('calculate_ssim', True, False),
        ('calculate_niqe', False, False),
        ('calculate_lpips', True, False),
        ('calculate_dists', True, False),
        ('calculate_clip_iqa', False, False),
        ('calculate_warping_error', False, True),
    ],
)
def test_a_metric_says_by_its_signature_what_it_needs(name, gt, over_time):
    asked = wants({'type': name})
    assert (asked.gt, asked.over_time) == (gt, over_time)


def test_with_gt_everything_is_measured(warnings):
    evaluator = evaluator_of('difference', 'brightness', 'with_or_without', 'in_basicsr_manner')
    values = evaluator.measure(0, frame(10), frame(14))
    assert values == {'difference': 4, 'brightness': 10, 'with_or_without': 14, 'in_basicsr_manner': 0}
    evaluator.end_item()
    assert evaluator.remarks(set(values)) == [] and warnings == []


def test_without_gt_what_needs_none_is_measured():
    evaluator = evaluator_of('difference', 'brightness', 'with_or_without', 'change')
    assert evaluator.measure(0, frame(10), None) == {'brightness': 10, 'with_or_without': -1}
    assert evaluator.measure(1, frame(12), None) == {'brightness': 12, 'with_or_without': -1, 'change': 2}
    evaluator.end_item()
    assert evaluator.remarks({'brightness', 'with_or_without', 'change'}) == [
        'set has no GT: difference could not be measured.'
    ]
    assert evaluator_of('difference').remarks(set()) == []  # no frame, no GT missed
    alone = evaluator_of('difference')
    alone.measure(0, frame(1), None)
    assert alone.remarks(set()) == ['set has no GT: frames were restored, nothing was measured.']


def test_over_time_means_the_frame_before_of_the_same_item():
    evaluator = evaluator_of('change')
    assert evaluator.measure(4, frame(10), frame(1)) == {}
    assert evaluator.measure(5, frame(12), frame(2)) == {'change': 1002}
    assert evaluator.measure(6, frame(15), frame(2)) == {'change': 2003}
    assert evaluator.measure(8, frame(20), frame(2)) == {}  # frame 7 was not there
    evaluator.begin_item()
    assert evaluator.measure(9, frame(20), frame(2)) == {}


def test_single_frames_give_one_warning(warnings):
    evaluator = evaluator_of('change', 'brightness')
    for index in range(3):
        evaluator.begin_item()
        evaluator.measure(index, frame(index + 1), frame(1))
        evaluator.end_item()
    assert len(warnings) == 1 and 'change compares consecutive frames' in warnings[0]
    assert 'whole clips' in warnings[0] and 'brightness' not in warnings[0]


def test_not_a_number_is_no_value():
    evaluator = evaluator_of('brightness')
    assert [evaluator.measure(i, frame(v), None) for i, v in enumerate((0, 3, 0))] == [{}, {'brightness': 3}, {}]
    assert evaluator.remarks({'brightness'}) == [
        'set: brightness is undefined for 2 frames (not a number), not counted.'
    ]


def test_arguments_come_from_the_options():
    evaluator = Evaluator({'squared': {'type': 'difference', 'power': 2}}, 'set')
    evaluator.begin_item()
    assert evaluator.measure(0, frame(10), frame(13)) == {'squared': 9}


def test_a_border_that_leaves_nothing_is_named():
    evaluator = Evaluator({'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}, 'set')
    small, large = (np.zeros((size, 20, 3), np.uint8) for size in (8, 9))
    assert evaluator.measure(0, large, large + 1)
    with pytest.raises(UserError, match='psnr:crop_border: 4 on each side leaves nothing of the frames of set, 20x8'):
        evaluator.measure(1, small, small)


def test_a_metric_that_is_not_registered_is_named():
    with pytest.raises(UserError, match="No metric is registered as 'calculate_nothing'"):
        Evaluator({'x': {'type': 'calculate_nothing'}}, 'set')


def test_networks_are_made_before_the_run(monkeypatch):
    result = []

    @prepared_by(lambda weights=None, device=None: result.append((weights, device)))
    def looks_through_a_network(img, img2, weights=None, device=None, crop_border=0):
        return 0.0

    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'looks_through_a_network', looks_through_a_network)
    deep = {'type': 'looks_through_a_network', 'weights': 'a.pth', 'crop_border': 4, 'better': 'lower'}
    prepare_metrics({'val': {'metrics': {'deep': deep, 'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}}})
    assert result == [('a.pth', None)]
    for opt in ({}, {'val': None}, {'val': {'metrics': None}}):
        prepare_metrics(opt)


def test_the_better_value():
    lower = {name for name, one in components('metric').items() if better_of(one) == 'lower'}
    known = {'calculate_niqe', 'calculate_lpips', 'calculate_dists', 'calculate_warping_error'}
    assert known <= lower and not {'calculate_psnr', 'calculate_ssim', 'calculate_clip_iqa', 'brightness'} & lower
