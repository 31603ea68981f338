"""Run lengths agree with pycocotools, the reference that other tools use, on any masks and any box."""

from __future__ import annotations

import numpy as np
import pycocotools.mask as coco
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from basicsr_semantic.priors import run_lengths
from basicsr_semantic.priors.records import decode_records, encode_record
from basicsr_semantic.priors.run_lengths import draw_runs, pad_runs, parse_runs


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
    runs, stops = parse_runs(coco_counts(masks))
    assert stops[-1] == runs.size
    drawn_masks = draw_runs(runs, stops, height, width, (top, left, rows, columns))
    assert drawn_masks.shape == (count, rows, columns)
    assert np.array_equal(drawn_masks, masks[:, top : top + rows, left : left + columns])


def test_chunks_join(monkeypatch):
    masks = np.random.default_rng(0).random((7, 9, 8)) > 0.5
    monkeypatch.setattr(run_lengths, 'CHUNK_PIXELS', 60)  # two masks of 5x6
    drawn = draw_runs(*parse_runs(coco_counts(masks)), 9, 8, (2, 1, 5, 6))
    assert np.array_equal(drawn, masks[:, 2:7, 1:7])


@pytest.mark.parametrize('share', [0.0, 0.002, 0.5, 1.0])
def test_large_masks_with_long_and_short_runs(share):
    """Runs of several characters and differences with a sign, as small masks rarely have."""
    generator = np.random.default_rng(0)
    masks = generator.random((6, 300, 400)) < share
    masks[1, 40:250, 10:390] ^= True
    runs, stops = parse_runs(coco_counts(masks))
    assert np.array_equal(draw_runs(runs, stops, 300, 400, (0, 0, 300, 400)), masks)


def test_runs_of_no_length_are_harmless():
    """Tools other than pycocotools may write them: [2, 0, 1, 3] is three zeros and three ones."""
    drawn = draw_runs(np.array([2, 0, 1, 3]), np.array([4]), 3, 2, (0, 0, 3, 2))
    assert np.array_equal(drawn[0], [[0, 1], [0, 1], [0, 1]])
    drawn = draw_runs(*pad_runs(np.array([1, 0, 4, 1, 0, 6, 0]), np.array([4, 3])), 3, 2, (0, 0, 3, 2))
    assert np.array_equal(drawn, [[[0, 0], [0, 0], [0, 1]], [[1, 1], [1, 1], [1, 1]]])


def test_masks_with_odd_numbers_of_runs_are_padded():
    runs, stops = pad_runs(np.array([6, 2, 4, 1, 2, 3]), np.array([1, 2, 3]))
    assert runs.tolist() == [6, 0, 2, 4, 1, 2, 3, 0]
    assert stops.tolist() == [2, 4, 8]


@pytest.mark.parametrize('counts', [['!!'], ['d1', ''], ['P'], ['é'], ['~~'], ['\ud800']])
def test_malformed_strings_are_refused(counts):
    with pytest.raises(ValueError, match='not compressed run lengths'):
        parse_runs(counts)


@pytest.mark.parametrize('counts', ['oooooo0', 'oooooooooooooo4', 'o' * 3_000_000 + '0'], ids=lambda text: text[:20])
def test_numbers_that_would_overflow_are_refused_at_once(counts):
    with pytest.raises(ValueError, match='a number is too long'):
        parse_runs(['d1', counts])


def test_the_largest_number_is_read():
    for pixels in (2**28, 2**29 - 1):
        code = coco.frPyObjects({'size': [1, pixels], 'counts': [pixels]}, 1, pixels)
        runs, _ = parse_runs([code['counts'].decode()])
        assert runs.tolist() == [pixels, 0]


def test_runs_must_fill_the_frame():
    for runs in ([4, 4, 3, 4], [4, 4, 9, 0], [10, -2, 8, 0], [8, 0, 8]):
        padded = pad_runs(np.array(runs), np.array([2, len(runs) - 2]))
        expected = runs == [8, 0, 8]
        if expected:
            assert not draw_runs(*padded, 2, 4, (0, 0, 2, 4)).any()
        else:
            with pytest.raises(ValueError, match='do not add up to the 8 pixels'):
                draw_runs(*padded, 2, 4, (0, 0, 1, 1))


@given(masks_and_boxes(), st.integers(1, 8), st.data())
def test_records_crop_and_pad(drawn, num_masks, data):
    """Frames of a clip with different numbers of masks, none included."""
    masks, (top, left, rows, columns) = drawn
    numbers = data.draw(st.lists(st.integers(0, len(masks)), min_size=1, max_size=4))
    records = [encode_record(masks[:number]) for number in numbers]
    read = decode_records(records, num_masks, (top, left, rows, columns), masks.shape[1:])
    assert read.shape == (len(numbers), num_masks, rows, columns)
    assert read.flags['C_CONTIGUOUS']
    for frame, number in zip(read, numbers, strict=True):
        kept = min(num_masks, number)
        assert np.array_equal(frame[:kept], masks[:kept, top : top + rows, left : left + columns])
        assert not frame[kept:].any()


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
    assert decode_records([record], 2).shape == (1, 2, 3, 4)
    with pytest.raises(ValueError, match='does not fit the stored masks of 3 rows and 4 columns'):
        decode_records([record], 2, (0, 2, 3, 3))
    with pytest.raises(ValueError, match='frame of 4x3, not 5x3'):
        decode_records([record], 2, None, (3, 5))
    with pytest.raises(ValueError, match='frame of 5x3, not 4x3'):
        decode_records([record, encode_record(np.zeros((0, 3, 5), bool))], 2)
    for damaged in (b'', b'{}', b'[1]', b'{"size":[3,4],"masks":[{}]}', record[:-4]):
        with pytest.raises(ValueError, match='damaged'):
            decode_records([record, damaged], 2)
