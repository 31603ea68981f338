"""Tokens in the store: half precision next to the masks, checked for shape and damage, absent from older stores."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import lmdb
import numpy as np
import pytest

from basicsr_semantic.priors import PriorStore, PriorStoreWriter, store_metadata
from basicsr_semantic.priors.store_layout import token_key
from basicsr_semantic.priors.token_records import decode_tokens, encode_tokens
from basicsr_semantic.utils.errors import MissingError, UserError

SIZES = {'num': 5, 'dim': 8, 'global_dim': 6}
META = store_metadata('xdecoder', order='id', max_masks=3, tokens=SIZES)
MASKS = np.ones((2, 4, 6), bool)


def some_tokens(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(5, 8)).astype(np.float32), generator.normal(size=6).astype(np.float32)


def half(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float16).astype(np.float32)


@pytest.fixture
def store(tmp_path) -> Path:
    """Three frames with masks and tokens, and tokens of a fourth that has no masks yet."""
    path = tmp_path / 'priors'
    with PriorStoreWriter(path, META) as writer:
        for i in range(4):
            writer.put_tokens(f'a/{i}', *some_tokens(i))
            if i < 3:
                writer.put(f'a/{i}', MASKS)
    return path


def damage(path: Path, key: bytes, record: bytes | None) -> None:
    with lmdb.open(str(path), map_size=1 << 26) as env, env.begin(write=True) as transaction:
        transaction.delete(key) if record is None else transaction.put(key, record)


def raw(path: Path, key: bytes) -> bytes:
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as transaction:
        record = transaction.get(key)
        assert record is not None
        return bytes(record)


def test_round_trip_in_half_precision_in_the_order_asked_for(store):
    reader = PriorStore(store)
    assert reader.has_tokens
    assert reader.meta['tokens'] == SIZES
    frame_tokens, global_tokens = reader.clip_tokens(['a/2', 'a/0', 'a/2'])
    assert (frame_tokens.shape, global_tokens.shape) == ((3, 5, 8), (3, 6))
    assert frame_tokens.dtype == global_tokens.dtype == np.float32
    for place, seed in enumerate((2, 0, 2)):
        assert np.array_equal(frame_tokens[place], half(some_tokens(seed)[0]))
        assert np.array_equal(global_tokens[place], half(some_tokens(seed)[1]))


def test_frames_are_those_with_masks(store):
    reader = PriorStore(store)
    assert reader.keys() == ['a/0', 'a/1', 'a/2']
    assert len(reader) == 3
    assert 'a/3' not in reader
    reader.close()
    with PriorStoreWriter(store, META) as writer:
        writer.put_tokens('a/4', *some_tokens(4))
        assert writer.keys() == {'a/0', 'a/1', 'a/2'}
        assert 'a/4' not in writer
        writer.put('zz/0', MASKS)  # keys on both sides of the tokens, whose prefix sorts between
        writer.put('A/0', MASKS)
    assert PriorStore(store).keys() == ['A/0', 'a/0', 'a/1', 'a/2', 'zz/0']


def test_a_record_is_a_small_header_and_half_precision():
    record = encode_tokens(*some_tokens(0))
    assert len(record) == 20 + 2 * (5 * 8 + 6)
    assert np.array_equal(np.frombuffer(record, '<f2', offset=20)[:40].reshape(5, 8), some_tokens(0)[0].astype('<f2'))
    decoded = decode_tokens([record], (5, 8, 6))
    assert all(np.array_equal(a[0], half(b)) for a, b in zip(decoded, some_tokens(0), strict=True))


@pytest.mark.parametrize(
    ('tokens', 'global_token', 'message'),
    [
        (np.zeros((5, 8), int), np.zeros(6), 'floating point, not int64'),
        (np.zeros(8), np.zeros(6), r'Tokens must be \(K, Ct\)'),
        (np.zeros((5, 8)), np.zeros((1, 6)), r'Tokens must be \(Cg\)'),
        (np.full((5, 8), np.nan), np.zeros(6), 'finite'),
        (np.zeros((5, 8)), np.full(6, 1e5), 'at most 65504'),
    ],
)
def test_tokens_that_cannot_be_stored(tokens, global_token, message):
    with pytest.raises(ValueError, match=message):
        encode_tokens(tokens, global_token)


def test_tokens_of_another_shape_are_refused_when_written(tmp_path):
    with PriorStoreWriter(tmp_path / 's', META) as writer:
        with pytest.raises(ValueError, match=r"\(5, 7\).* came for 'a', but the store holds 5 x 8 and 6"):
            writer.put_tokens('a', np.zeros((5, 7)), np.zeros(6))
        with pytest.raises(UserError, match='1 to 500 bytes'):
            writer.put_tokens('x' * 501, *some_tokens(0))
        with pytest.raises(UserError, match='does not begin with'):
            writer.put('__tokens__/a', MASKS)
    with PriorStoreWriter(tmp_path / 'masks', store_metadata('sam')) as writer:
        with pytest.raises(ValueError, match='name no tokens'):
            writer.put_tokens('a', *some_tokens(0))
        writer.put('x' * 511, MASKS)


@pytest.mark.parametrize(
    'sizes', [{'num': 5, 'dim': 8}, SIZES | {'num': 0}, SIZES | {'heads': 1}, SIZES | {'dim': 1.5}]
)
def test_the_sizes_in_the_metadata_must_make_sense(sizes):
    with pytest.raises(ValueError, match='num, dim, global_dim'):
        store_metadata('xdecoder', tokens=sizes)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda record: record[:10], 'has 10 bytes, fewer than its header'),
        (lambda record: record[:-2], 'bytes where 112 are expected'),
        (lambda record: b'JSON' + record[4:], 'begins with'),
        (lambda record: record[:-1] + bytes([record[-1] ^ 1]), 'checksum'),
        (lambda record: encode_tokens(np.zeros((4, 8)), np.zeros(6)), 'holds 4 tokens of width 8'),
    ],
)
def test_a_damaged_record_names_its_frame(store, change, message):
    damage(store, token_key('a/1'), change(raw(store, token_key('a/1'))))
    reader = PriorStore(store)
    with pytest.raises(UserError, match=f"tokens of the frame 'a/1' in the store .*{message}"):
        reader.clip_tokens(['a/0', 'a/1', 'a/2'])
    assert reader.clip_tokens(['a/0', 'a/2'])[0].shape == (2, 5, 8)  # the others are as they were


def test_a_frame_without_tokens_is_named(store):
    damage(store, token_key('a/1'), None)
    with pytest.raises(MissingError, match="no tokens for the frame 'a/1'") as caught:
        PriorStore(store).clip_tokens(['a/0', 'a/1'])
    assert caught.value.values['kind'] == 'xdecoder'


def test_a_store_of_masks_alone_says_what_has_tokens(tmp_path):
    with PriorStoreWriter(tmp_path / 's', store_metadata('sam')) as writer:
        writer.put('a', MASKS)
    reader = PriorStore(tmp_path / 's')
    assert not reader.has_tokens
    with pytest.raises(MissingError, match="extractor 'sam' and holds masks alone") as caught:
        reader.clip_tokens(['a'])
    assert caught.value.what == 'tokens'


def test_stores_older_than_tokens_are_read_and_written(tmp_path):
    with PriorStoreWriter(tmp_path / 's', store_metadata('sam')) as writer:
        writer.put('a', MASKS)
    old = store_metadata('sam')
    del old['tokens']
    damage(tmp_path / 's', b'__meta__', json.dumps(old).encode())
    reader = PriorStore(tmp_path / 's')
    assert (reader.has_tokens, len(reader), reader.keys()) == (False, 1, ['a'])
    reader.close()
    with PriorStoreWriter(tmp_path / 's', store_metadata('sam')) as writer:
        writer.put('b', MASKS)
    assert PriorStore(tmp_path / 's').keys() == ['a', 'b']


def test_stores_with_other_tokens_differ(store):
    with pytest.raises(UserError, match=r'tokens.dim is 8 in the store and 16 now'):
        PriorStoreWriter(store, store_metadata('xdecoder', order='id', max_masks=3, tokens=SIZES | {'dim': 16}))
    with pytest.raises(UserError, match=r'tokens is .* in the store and null now'):
        PriorStoreWriter(store, store_metadata('xdecoder', order='id', max_masks=3))


def test_what_is_put_together_is_written_together_or_not_at_all(store):
    with PriorStoreWriter(store, META, batch_frames=1, batch_seconds=0.0) as writer:
        with pytest.raises(ZeroDivisionError), writer.together():
            writer.put_tokens('b/0', *some_tokens(0))
            writer.put('b/0', MASKS)
            assert token_key('b/0') in writer._pending
            raise ZeroDivisionError
        assert 'b/0' not in writer
        with writer.together():
            for i in range(3):
                writer.put_tokens(f'c/{i}', *some_tokens(i))
                writer.put(f'c/{i}', MASKS)
            assert len(writer._pending) == 6
        assert not writer._pending
    assert PriorStore(store).keys() == ['a/0', 'a/1', 'a/2', 'c/0', 'c/1', 'c/2']


def write_clip(path: Path, clip: str) -> None:
    with PriorStoreWriter(path, META) as writer:
        for i in range(40):
            with writer.together():
                writer.put_tokens(f'{clip}/{i}', *some_tokens(i))
                writer.put(f'{clip}/{i}', MASKS)


def test_two_processes_write_tokens_into_one_store(tmp_path):
    context = multiprocessing.get_context('fork')
    children = [context.Process(target=write_clip, args=(tmp_path / 's', clip)) for clip in 'ab']
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    reader = PriorStore(tmp_path / 's')
    assert len(reader) == 80
    tokens, _ = reader.clip_tokens([f'b/{i}' for i in range(40)])
    assert np.array_equal(tokens[33], half(some_tokens(33)[0]))
