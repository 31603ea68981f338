"""Run lengths agree with pycocotools, the reference that other tools use, on any masks and any box."""

from __future__ import annotations

import numpy as np
import pycocotools.mask as coco
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from basicsr_semantic.priors.records import decode_record, encode_record
from basicsr_semantic.priors.run_lengths import draw_runs, parse_runs


def some_masks(count, height, width):
    return arrays(np.bool_, (count, height, width), elements=st.booleans(), fill=st.booleans())


@st.composite
def masks_and_boxes(draw):
    count, height, width = draw(st.integers(1, 5)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    masks = draw(some_masks(count, height, width))
    rows, columns = draw(st.integers(1, height)), draw(st.integers(1, width))
    return masks, (draw(st.integers(0, height - rows)), draw(st.integers(0, width - columns)), rows, columns)


def coco_counts(masks: np.ndarray) -> list[str]:
    runs = coco.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    return [run['counts'].decode() for run in runs]


@given(masks_and_boxes())
@settings(max_examples=300)
def test_drawing_inverts_pycocotools(drawn):
    masks, (top, left, rows, columns) = drawn
    count, height, width = masks.shape
    runs, per_mask = parse_runs(coco_counts(masks))
    assert per_mask.sum() == runs.size
    drawn_masks = draw_runs(runs, per_mask, height, width, (top, left, rows, columns))
    assert drawn_masks.shape == (count, rows, columns)
    assert np.array_equal(drawn_masks, masks[:, top : top + rows, left : left + columns])


@pytest.mark.parametrize('share', [0.0, 0.002, 0.5, 1.0])
def test_large_masks_with_long_and_short_runs(share):
    """Runs of several characters and differences with a sign, as small masks rarely have."""
    generator = np.random.default_rng(0)
    masks = generator.random((6, 300, 400)) < share
    masks[1, 40:250, 10:390] ^= True
    runs, per_mask = parse_runs(coco_counts(masks))
    assert np.array_equal(draw_runs(runs, per_mask, 300, 400, (0, 0, 300, 400)), masks)


def test_runs_of_no_length_are_harmless():
    """Tools other than pycocotools may write them: [2, 0, 1, 3] is three zeros and three ones."""
    drawn = draw_runs(np.array([2, 0, 1, 3]), np.array([4]), 3, 2, (0, 0, 3, 2))
    assert np.array_equal(drawn[0], [[0, 1], [0, 1], [0, 1]])


@pytest.mark.parametrize('counts', [['!!'], ['d1', ''], ['P'], ['é'], ['PPPPPPPP0'], ['~~']])
def test_malformed_strings_are_refused(counts):
    with pytest.raises(ValueError, match=r'counts|run'):
        parse_runs(counts)


def test_runs_must_fill_the_frame():
    with pytest.raises(ValueError, match='do not add up to the 8 pixels'):
        draw_runs(np.array([4, 4, 3, 4]), np.array([2, 2]), 2, 4, (0, 0, 1, 1))


@given(masks_and_boxes(), st.integers(1, 8))
def test_records_crop_and_pad(drawn, num_masks):
    masks, (top, left, rows, columns) = drawn
    record = encode_record(masks)
    read = decode_record(record, num_masks, (top, left, rows, columns), masks.shape[1:])
    kept = min(num_masks, len(masks))
    assert read.shape == (num_masks, rows, columns)
    assert read.flags['C_CONTIGUOUS']
    assert np.array_equal(read[:kept], masks[:kept, top : top + rows, left : left + columns])
    assert not read[kept:].any()


def test_a_record_can_be_read_by_pycocotools():
    import json

    masks = np.random.default_rng(0).random((3, 10, 12)) > 0.5
    content = json.loads(encode_record(masks, np.array([0.5, 0.25, 1.0])))
    runs = [{'size': content['size'], 'counts': entry['counts']} for entry in content['masks']]
    assert np.array_equal(coco.decode(runs).transpose(2, 0, 1), masks)
    assert [entry['area'] for entry in content['masks']] == masks.sum((1, 2)).tolist()
    assert [entry['score'] for entry in content['masks']] == [0.5, 0.25, 1.0]


def test_records_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r'must be \(n, h, w\)'):
        encode_record(np.zeros((3, 4), bool))
    with pytest.raises(ValueError, match='largest value is 255'):
        encode_record(np.full((1, 3, 4), 255, np.uint8))
    with pytest.raises(ValueError, match='scores of shape'):
        encode_record(np.zeros((2, 3, 4), bool), np.ones(3))
    record = encode_record(np.zeros((0, 3, 4), bool))
    assert decode_record(record, 2).shape == (2, 3, 4)
    with pytest.raises(ValueError, match='does not fit the stored masks of 3 rows and 4 columns'):
        decode_record(record, 2, (0, 2, 3, 3))
    with pytest.raises(ValueError, match='frame of 4x3, not 5x3'):
        decode_record(record, 2, None, (3, 5))
    for damaged in (b'', b'{}', b'[1]', b'{"size":[3,4],"masks":[{}]}', record[:-4]):
        with pytest.raises(ValueError, match='damaged'):
            decode_record(damaged, 2)
