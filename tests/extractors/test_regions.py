"""Regions of similar colour."""

from __future__ import annotations

import numpy as np
import pytest

from basicsr_semantic.extractors import build_extractor
from basicsr_semantic.priors import store_metadata
from basicsr_semantic.utils.errors import UserError


def patches() -> np.ndarray:
    """A frame of flat colours: a 10x10 red and a 6x6 blue square on green."""
    frame = np.zeros((32, 40, 3), np.uint8)
    frame[..., 1] = 200
    frame[4:14, 5:15] = (200, 0, 0)
    frame[20:26, 30:36] = (0, 0, 200)
    return frame


def test_flat_patches_are_found_largest_first():
    masks, scores = build_extractor('regions', sigma=0.0)(patches(), 'a')
    assert scores is None
    assert masks.dtype == bool
    assert masks.shape == (3, 32, 40)
    assert masks.sum((1, 2)).tolist() == [32 * 40 - 136, 100, 36]
    assert masks[1, 4:14, 5:15].all()
    assert masks[2, 20:26, 30:36].all()


@pytest.mark.parametrize('size', [(20, 34), (1, 1), (1, 2), (2, 1), (3, 3), (1, 300), (300, 1)])
def test_a_frame_of_one_colour_is_one_region(size):
    masks, _ = build_extractor('regions')(np.zeros((*size, 3), np.uint8), 'a')
    assert masks.shape == (1, *size) and masks.all()


def test_scales_are_nested_deduplicated_and_limited():
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    every, _ = build_extractor('regions', scales=[10, 100], min_size=4, max_masks=10_000)(noise, 'a')
    areas = every.sum((1, 2))
    assert len(every) > 64
    assert len({mask.tobytes() for mask in every}) == len(every)
    assert (np.diff(areas) <= 0).all()
    few, _ = build_extractor('regions', scales=[10, 100], min_size=4)(noise, 'b')
    assert np.array_equal(few, every[:64])


def test_it_is_deterministic_and_its_parameters_can_be_stored():
    extractor = build_extractor('regions', scales=(300, 20))
    noise = np.random.default_rng(1).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(extractor(noise, 'a')[0], extractor(noise, 'b')[0])
    meta = store_metadata(extractor.kind, extractor.parameters, extractor.checkpoint, extractor.order)
    assert meta['parameters'] == {'scales': [20.0, 300.0], 'sigma': 0.5, 'min_size': 20}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'scales': []}, 'scales must be one or more positive numbers'),
        ({'scales': [50, 0]}, 'scales must be one or more positive numbers'),
        ({'scales': [float('nan')]}, 'scales must be one or more positive numbers, at most 1,000,000,000'),
        ({'scales': [1e300, 5]}, 'scales must be one or more positive numbers'),
        ({'scales': ['x']}, 'scales must be one or more positive numbers'),
        ({'scales': 5.0}, 'scales must be one or more positive numbers'),
        ({'sigma': -1}, r'sigma must be at least 0 and at most 1,000 \(a number\), not -1'),
        ({'sigma': float('nan')}, 'sigma must be at least 0'),
        ({'sigma': 1e9}, 'sigma must be at least 0'),
        ({'min_size': 0}, r'min_size must be at least 1 and at most 1,000,000,000 \(a whole number\), not 0'),
        ({'min_size': 10**30}, 'min_size must be at least 1'),
        ({'max_masks': 10**12}, 'max_masks must be at least 1 and at most 1,000,000'),
        ({'max_masks': 0}, 'max_masks must be at least 1'),
    ],
)
def test_values_out_of_range(arguments, message):
    with pytest.raises(UserError, match=message):
        build_extractor('regions', **arguments)


def test_frames_of_another_kind():
    with pytest.raises(ValueError, match='uint8 RGB'):
        build_extractor('regions')(np.zeros((4, 4, 3), np.float32), 'a')
