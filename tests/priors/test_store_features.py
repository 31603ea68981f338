"""Pixel features in the store: one vector a cell of 4x4 pixels, read by boxes of pixels, absent from older stores."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np
import pytest

from basicsr_semantic.priors import PriorStore, PriorStoreWriter, store_metadata
from basicsr_semantic.priors.feature_records import decode_features, encode_features
from basicsr_semantic.priors.store_layout import feature_key, token_key
from basicsr_semantic.utils.errors import MissingError, UserError

SIZES = {'dim': 5, 'cell': 4}
TOKENS = {'num': 2, 'dim': 3, 'global_dim': 0}
META = store_metadata('openseed', max_masks=0, tokens=TOKENS, features=SIZES)
HEIGHT, WIDTH = 22, 33  # 6 x 9 cells, the last ones reaching over the edge
NO_MASKS = np.zeros((0, HEIGHT, WIDTH), bool)


def some_features(seed: int, rows: int = 6, columns: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(5, rows, columns)).astype(np.float32)


def some_tokens(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, 3)).astype(np.float32)


def half(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float16).astype(np.float32)


def put_frame(writer: PriorStoreWriter, key: str, seed: int) -> None:
    writer.put_features(key, some_features(seed))
    writer.put_tokens(key, some_tokens(seed), np.zeros(0, np.float32))
    writer.put(key, NO_MASKS)


@pytest.fixture
def store(tmp_path) -> Path:
    """Three frames, and features of a fourth that is not finished."""
    path = tmp_path / 'priors'
    with PriorStoreWriter(path, META) as writer:
        for i in range(3):
            put_frame(writer, f'a/{i}', i)
        writer.put_features('a/3', some_features(3))
    return path


def damage(path: Path, key: bytes, change) -> None:
    with lmdb.open(str(path), map_size=1 << 26) as env, env.begin(write=True) as transaction:
        record = transaction.get(key)
        transaction.put(key, change(bytes(record))) if change else transaction.delete(key)


def test_round_trip_in_half_precision_in_the_order_asked_for(store):
    reader = PriorStore(store)
    assert (reader.has_features, reader.has_tokens, reader.has_masks) == (True, True, False)
    assert reader.meta['features'] == SIZES
    found = reader.clip_features(['a/2', 'a/0', 'a/2'])
    assert found.shape == (3, 5, 6, 9) and found.dtype == np.float32
    for place, seed in enumerate((2, 0, 2)):
        assert np.array_equal(found[place], half(some_features(seed)))


def test_frames_are_those_that_were_finished(store):
    reader = PriorStore(store)
    assert (reader.keys(), len(reader), 'a/3' in reader) == (['a/0', 'a/1', 'a/2'], 3, False)
    assert reader.clip_masks(['a/0'], 2).shape == (1, 2, HEIGHT, WIDTH)
    reader.close()
    with PriorStoreWriter(store, META) as writer:
        assert writer.keys() == {'a/0', 'a/1', 'a/2'}
        for key in ('Z/0', '_/0', '__n/0', 'zz/0'):  # on all sides of the features
            put_frame(writer, key, 0)
    assert PriorStore(store).keys() == ['Z/0', '_/0', '__n/0', 'a/0', 'a/1', 'a/2', 'zz/0']


def test_tokens_without_a_global_token(store):
    tokens, global_tokens = PriorStore(store).clip_tokens(['a/1', 'a/0'])
    assert np.array_equal(tokens, half(np.stack([some_tokens(1), some_tokens(0)])))
    assert global_tokens.shape == (2, 0)


@pytest.mark.parametrize(
    ('box', 'rows', 'columns'),
    [
        ((0, 0, 4, 4), slice(0, 1), slice(0, 1)),
        ((8, 4, 12, 16), slice(2, 5), slice(1, 5)),
        ((4, 12, 18, 21), slice(1, 6), slice(3, 9)),  # to the edge, within a cell
        ((0, 0, 22, 33), slice(None), slice(None)),
    ],
)
def test_a_box_of_pixels_is_a_box_of_cells(store, box, rows, columns):
    found = PriorStore(store).clip_features(['a/1'], box, (HEIGHT, WIDTH))
    assert np.array_equal(found[0], half(some_features(1))[:, rows, columns])
    assert found.flags.c_contiguous


def test_boxes_that_divide_cells(store):
    reader = PriorStore(store)
    for box in ((2, 0, 4, 4), (0, 6, 4, 4)):
        with pytest.raises(ValueError, match='must begin at multiples of 4 pixels'):
            reader.clip_features(['a/0'], box)
    for box in ((0, 0, 6, 4), (0, 0, 4, 7), (0, 0, 28, 4), (0, 32, 4, 8)):
        with pytest.raises(UserError, match=r"features of the frame 'a/0'.* does not fall between cells of 4x4 pixels"):
            reader.clip_features(['a/0'], box)


def test_a_record_is_a_small_header_and_half_precision():
    record = encode_features(some_features(0))
    assert len(record) == 20 + 2 * 5 * 6 * 9
    assert np.array_equal(np.frombuffer(record, '<f2', offset=20).reshape(5, 6, 9), some_features(0).astype('<f2'))
    assert np.array_equal(decode_features([record], 5)[0], half(some_features(0)))


@pytest.mark.parametrize(
    ('features', 'message'),
    [
        (np.zeros((5, 6, 9), int), 'floating point, not int64'),
        (np.zeros((5, 6)), r'must be \(Cp, hp, wp\)'),
        (np.zeros((5, 0, 9)), r'must be \(Cp, hp, wp\)'),
        (np.full((5, 6, 9), np.nan), 'finite'),
        (np.full((5, 6, 9), -1e5), 'at most 65504'),
    ],
)
def test_features_that_cannot_be_stored(features, message):
    with pytest.raises(ValueError, match=message):
        encode_features(features)


def test_features_of_another_width_are_refused_when_written(tmp_path):
    with PriorStoreWriter(tmp_path / 's', META) as writer:
        with pytest.raises(ValueError, match=r"\(4, 6, 9\) came for 'a', but the store holds features of width 5"):
            writer.put_features('a', np.zeros((4, 6, 9)))
        with pytest.raises(UserError, match='1 to 498 bytes'):
            writer.put_features('x' * 499, some_features(0))
        with pytest.raises(UserError, match="does not begin with '__tokens__/', '__features__/' or '__seen__/'"):
            writer.put('__features__/a', NO_MASKS)
    sam = PriorStoreWriter(tmp_path / 'masks', store_metadata('sam'))
    with sam as writer, pytest.raises(ValueError, match='name no pixel features'):
        writer.put_features('a', some_features(0))


@pytest.mark.parametrize('sizes', [{'dim': 5}, {'dim': 0, 'cell': 4}, {'dim': 5, 'cell': 8}, SIZES | {'stride': 1}])
def test_the_sizes_in_the_metadata_must_make_sense(sizes):
    with pytest.raises(ValueError, match='ixel features'):
        store_metadata('openseed', features=sizes)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda record: record[:10], 'has 10 bytes, fewer than its header'),
        (lambda record: record[:-2], 'bytes where 560 are expected'),
        (lambda record: b'TOK1' + record[4:], 'begins with'),
        (lambda record: record[:-1] + bytes([record[-1] ^ 1]), 'checksum'),
        (lambda record: encode_features(np.zeros((4, 6, 9))), 'holds features of width 4'),
        (lambda record: encode_features(np.zeros((5, 6, 8))), 'holds 8x6 cells of 4x4 pixels where the frame has 9x6'),
    ],
)
def test_a_damaged_record_names_its_frame(store, change, message):
    damage(store, feature_key('a/1'), change)
    reader = PriorStore(store)
    with pytest.raises(UserError, match=f"pixel features of the frame 'a/1' in the store .*{message}"):
        reader.clip_features(['a/0', 'a/1', 'a/2'])
    assert reader.clip_features(['a/0', 'a/2']).shape == (2, 5, 6, 9)


def test_features_of_frames_of_another_size_are_noticed(store):
    reader = PriorStore(store)
    assert reader.clip_features(['a/0'], frame_size=(21, 36)).shape == (1, 5, 6, 9)
    with pytest.raises(UserError, match='holds 9x6 cells of 4x4 pixels where the frame has 9x5'):
        reader.clip_features(['a/0'], frame_size=(20, 33))


def test_a_frame_without_features_is_named(store):
    damage(store, feature_key('a/1'), None)
    with pytest.raises(MissingError, match="no pixel features for the frame 'a/1'") as caught:
        PriorStore(store).clip_features(['a/0', 'a/1'])
    assert caught.value.values['kind'] == 'openseed'


def test_a_store_without_features_says_what_has_them(tmp_path):
    with PriorStoreWriter(tmp_path / 's', store_metadata('xdecoder', order='id', tokens=TOKENS)) as writer:
        writer.put('a', NO_MASKS)
    reader = PriorStore(tmp_path / 's')
    assert not reader.has_features and 'features' not in reader.meta
    with pytest.raises(MissingError, match="extractor 'xdecoder' without pixel features") as caught:
        reader.clip_features(['a'])
    assert caught.value.what == 'features'
    reader.close()
    with pytest.raises(UserError, match=r'features is null in the store and .* now'):
        PriorStoreWriter(tmp_path / 's', store_metadata('xdecoder', order='id', tokens=TOKENS, features=SIZES))


def test_features_are_written_before_their_frame_counts_and_do_not_pile_up(tmp_path, monkeypatch):
    monkeypatch.setattr('basicsr_semantic.priors.store_writer._BATCH_BYTES', 1500)  # two records and a bit
    with PriorStoreWriter(tmp_path / 's', META, batch_frames=2) as writer:
        for i in range(5):
            writer.put_features(f'a/{i}', some_features(i))
            assert len(writer._pending) < 3
        assert not writer.keys()
    monkeypatch.undo()
    with PriorStoreWriter(tmp_path / 's', META, batch_frames=2) as writer:
        put_frame(writer, 'a/0', 0)
        assert set(writer._pending) == {feature_key('a/0'), token_key('a/0'), b'a/0'}  # one frame, however many records
        put_frame(writer, 'a/1', 1)
        assert not writer._pending
    assert PriorStore(tmp_path / 's').keys() == ['a/0', 'a/1']
