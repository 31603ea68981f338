"""The store of priors: what is put in comes out, cropped alike, in any process; and every failure is a sentence."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import resource
import threading
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from basicsr_semantic.priors import ClipGeometry, PriorStore, PriorStoreWriter, store_metadata
from basicsr_semantic.utils.errors import MissingError, UserError

META = store_metadata('regions', {'scales': (50, 150)})
SHAPE = (5, 20, 30)


def some_masks(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(SHAPE) > 0.5


@pytest.fixture
def store(tmp_path) -> Path:
    """Three frames of five random masks."""
    path = tmp_path / 'masks'
    with PriorStoreWriter(path, META) as writer:
        for i in range(3):
            writer.put(f'000/{i:08d}', some_masks(i), np.linspace(1, 0.5, 5))
    return path


def test_round_trip(store):
    reader = PriorStore(store)
    assert reader.kind == 'regions'
    assert reader.meta == json.loads(json.dumps(META))
    assert reader.keys() == ['000/00000000', '000/00000001', '000/00000002']
    assert len(reader) == 3
    assert '000/00000001' in reader
    assert '000/00000003' not in reader
    masks = reader.masks('000/00000001')
    assert masks.shape == (64, 20, 30)
    assert masks.dtype == np.uint8
    assert np.array_equal(masks[:5], some_masks(1))
    assert not masks[5:].any()
    assert np.array_equal(reader.masks('000/00000001', num_masks=2), some_masks(1)[:2])
    reader.close()
    assert np.array_equal(reader.masks('000/00000001', 5), some_masks(1))


def test_several_frames_at_once(store):
    reader = PriorStore(store)
    keys = ['000/00000002', '000/00000000', '000/00000002']
    masks = reader.clip_masks(keys, 7, (3, 4, 10, 11), frame_size=(20, 30))
    assert masks.shape == (3, 7, 10, 11)
    assert np.array_equal(masks, np.stack([reader.masks(key, 7, (3, 4, 10, 11)) for key in keys]))


def test_other_tools_can_read_the_values(store):
    import pycocotools.mask as coco

    with lmdb.open(str(store), readonly=True, lock=False) as env, env.begin() as transaction:
        value = json.loads(transaction.get(b'000/00000002'))
    runs = [{'size': value['size'], 'counts': item['counts']} for item in value['masks']]
    assert np.array_equal(coco.decode(runs).transpose(2, 0, 1), some_masks(2))
    assert [item['score'] for item in value['masks']] == [1.0, 0.875, 0.75, 0.625, 0.5]


@given(data=st.data(), flips=st.tuples(st.booleans(), st.booleans(), st.booleans()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_reading_a_box_equals_cropping_the_whole(store, data, flips):
    height, width = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 30))
    top, left = data.draw(st.integers(0, 20 - height)), data.draw(st.integers(0, 30 - width))
    geometry = ClipGeometry(top, left, height, width, *flips)
    reader = PriorStore(store)
    whole = reader.masks('000/00000000', 6)
    part = reader.masks('000/00000000', 6, geometry.box(), frame_size=(20, 30))
    reader.close()
    assert np.array_equal(part, whole[:, top : top + height, left : left + width])
    assert np.array_equal(geometry.flip(part, (1, 2)), geometry.apply(whole, axes=(1, 2)))


def read_in_process(reader: PriorStore, key: str, results) -> None:
    results.put(int(reader.masks(key).sum()))


@pytest.mark.parametrize('method', ['fork', pytest.param('spawn', marks=pytest.mark.slow)])
def test_readers_work_in_other_processes(store, method):
    """Also when the parent has read before, and the parent goes on reading afterwards."""
    context = multiprocessing.get_context(method)
    reader = PriorStore(store)
    expected = int(reader.masks('000/00000001').sum())
    results = context.Queue()
    child = context.Process(target=read_in_process, args=(reader, '000/00000001', results))
    child.start()
    assert results.get(timeout=120) == expected
    child.join()
    assert child.exitcode == 0
    assert int(reader.masks('000/00000001').sum()) == expected


def test_readers_of_one_store_share_and_threads_may_read(store):
    readers = [
        PriorStore(store),
        PriorStore(str(store) + '/.'),
        pickle.loads(pickle.dumps(PriorStore(store))),
    ]
    expected = readers[0].masks('000/00000002')
    found: list[bool] = []

    def work(reader: PriorStore) -> None:
        found.extend(bool(np.array_equal(reader.masks('000/00000002'), expected)) for _ in range(20))

    threads = [threading.Thread(target=work, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 60
    readers[0].close()
    assert np.array_equal(readers[1].masks('000/00000002'), expected)


def test_a_closed_store_can_be_written_and_read_again(store):
    reader = PriorStore(store)
    reader.masks('000/00000000')
    reader.close()
    with PriorStoreWriter(store, META) as writer:
        assert '000/00000000' in writer
        assert len(writer) == 3
        writer.put('000/00000000', some_masks(9))
        assert writer.keys() == {'000/00000000', '000/00000001', '000/00000002'}
    assert np.array_equal(reader.masks('000/00000000', 5), some_masks(9))


def test_the_map_grows_by_itself(tmp_path):
    with PriorStoreWriter(tmp_path / 's', META, batch_frames=7, map_size=1 << 15) as writer:
        for i in range(60):
            writer.put(f'{i}', np.random.default_rng(i).random((8, 40, 40)) > 0.5)
    assert (tmp_path / 's' / 'data.mdb').stat().st_size > 10 * (1 << 15)
    reader = PriorStore(tmp_path / 's')
    assert len(reader) == 60
    assert np.array_equal(reader.masks('33', 8), np.random.default_rng(33).random((8, 40, 40)) > 0.5)


def write_when_told(path: Path, go) -> None:
    go.wait(60)
    with PriorStoreWriter(path, META) as writer:
        for i in range(40):
            writer.put(f'b{i}', np.random.default_rng(i).random((8, 40, 40)) > 0.5)


def test_two_writers_share_a_store_and_its_growth(tmp_path):
    """Another process makes the map grow between two writes of this one."""
    context = multiprocessing.get_context('fork')
    go = context.Event()
    other = context.Process(target=write_when_told, args=(tmp_path / 's', go))
    other.start()
    with PriorStoreWriter(tmp_path / 's', META, batch_frames=1, map_size=1 << 15) as writer:
        writer.put('a0', some_masks(0))
        go.set()
        other.join(60)
        assert other.exitcode == 0
        writer.put('a1', some_masks(1))
        assert 'b39' in writer
    assert len(PriorStore(tmp_path / 's')) == 42


def die_while_writing(path: Path) -> None:
    writer = PriorStoreWriter(path, META, batch_frames=2, batch_seconds=1000)
    for i in range(5):
        writer.put(f'new/{i}', np.ones((1, 20, 30), bool))
    os._exit(9)


def test_batches_are_on_the_disk_when_flushed(store):
    """A process that dies without closing has lost only what it had not flushed."""
    child = multiprocessing.get_context('fork').Process(target=die_while_writing, args=(store,))
    child.start()
    child.join(60)
    assert child.exitcode == 9
    keys = PriorStore(store).keys()
    assert [key for key in keys if key.startswith('new')] == [f'new/{i}' for i in range(4)]


def test_an_exception_keeps_the_frames_that_are_complete(tmp_path):
    with pytest.raises(ZeroDivisionError), PriorStoreWriter(tmp_path / 's', META) as writer:
        writer.put('a', some_masks(0))
        raise ZeroDivisionError
    assert PriorStore(tmp_path / 's').keys() == ['a']


def test_slow_frames_are_written_without_waiting_for_a_full_batch(tmp_path):
    writer = PriorStoreWriter(tmp_path / 's', META, batch_seconds=0.0)
    writer.put('a', some_masks(0))
    assert not writer._pending
    writer.close()
    writer.close()


# ------------------------------------------------------------------------------------------------- what goes wrong


def test_a_missing_store(tmp_path):
    with pytest.raises(MissingError, match=r'none does not exist\.$') as caught:
        PriorStore(tmp_path / 'none')
    assert caught.value.what == 'priors' and caught.value.values == {'store': str(tmp_path / 'none')}


def test_a_folder_or_file_that_is_no_store(tmp_path):
    with pytest.raises(UserError, match=r'has no data.mdb, so it is not an LMDB'):
        PriorStore(tmp_path)
    (tmp_path / 'file').write_text('x')
    with pytest.raises(UserError, match=r'has no data.mdb'):
        PriorStore(tmp_path / 'file')


def test_an_lmdb_of_frames_is_no_store(tmp_path):
    with lmdb.open(str(tmp_path / 'lq.lmdb')) as env, env.begin(write=True) as transaction:
        transaction.put(b'000/00000000', b'png')
    for use in (PriorStore, lambda path: PriorStoreWriter(path, META)):
        with pytest.raises(MissingError, match=r'is an LMDB, but not a store of priors') as caught:
            use(tmp_path / 'lq.lmdb')
        assert caught.value.values == {'frames': str(tmp_path / 'lq.lmdb')}


def test_a_missing_frame(store):
    with pytest.raises(MissingError) as caught:
        PriorStore(store).masks('000/00000003')
    text = str(caught.value)
    assert "no masks for the frame '000/00000003'" in text
    assert "has 3 frames, the first is '000/00000000'" in text
    assert caught.value.what == 'priors' and caught.value.values == {'kind': 'regions', 'store': str(store)}


def test_an_empty_store_says_so(tmp_path):
    PriorStoreWriter(tmp_path / 's', META).close()
    assert len(PriorStore(tmp_path / 's')) == 0
    with pytest.raises(UserError, match='It is empty'):
        PriorStore(tmp_path / 's').masks('a')


def test_masks_of_another_frame_size(store):
    with pytest.raises(UserError, match='frame of 30x20, not 40x20'):
        PriorStore(store).masks('000/00000000', frame_size=(20, 40))
    with pytest.raises(UserError, match='does not fit the stored masks of 20 rows'):
        PriorStore(store).masks('000/00000000', box=(0, 0, 21, 30))


def test_the_frame_that_does_not_fit_the_others_is_named(store):
    with PriorStoreWriter(store, META) as writer:
        writer.put('000/00000001', some_masks(0)[:, :19])
    keys = [f'000/{i:08d}' for i in range(3)]
    with pytest.raises(UserError, match=r"frame '000/00000001' .* frame of 30x19, not 30x20"):
        PriorStore(store).clip_masks(keys)
    with pytest.raises(UserError, match=r"frame '000/00000000' .* frame of 30x20, not 30x19"):
        PriorStore(store).clip_masks(keys, frame_size=(19, 30))


def test_a_truncated_store(store):
    data = store / 'data.mdb'
    data.write_bytes(data.read_bytes()[:-4096])
    with pytest.raises(UserError, match=r'damaged: data.mdb has \d+ bytes where \d+ are expected'):
        PriorStore(store)
    with pytest.raises(UserError, match=r'damaged: data.mdb has \d+ bytes where \d+ are expected'):
        PriorStoreWriter(store, META)


def test_a_store_of_garbage(store):
    (store / 'data.mdb').write_bytes(b'no lmdb at all' * 1000)
    with pytest.raises(UserError, match='damaged or not an LMDB'):
        PriorStore(store)
    with pytest.raises(UserError, match='damaged or not an LMDB'):
        PriorStoreWriter(store, META)


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        (
            b'000/00000000',
            b'{"size":[20,30],"masks":[{"counts":"!"}]}',
            'masks of the frame .* cannot be used: the record is',
        ),
        (b'000/00000000', b'\x00\xff', 'the record is damaged'),
        (b'__meta__', b'\x00\xff', 'metadata of the store .* are damaged'),
        (b'__meta__', b'{"format":"basicsr_semantic.priors/9"}', "has the format 'basicsr_semantic.priors/9'"),
        (b'__meta__', b'[1]', 'metadata of the store .* are damaged'),
    ],
)
def test_damaged_values(store, key, value, message):
    with lmdb.open(str(store)) as env, env.begin(write=True) as transaction:
        transaction.put(key, value)
    with pytest.raises(UserError, match=message):
        PriorStore(store).masks('000/00000000')


NAN = float('nan')


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        *(('kind', value) for value in (None, 3, ['sam'])),
        *(('parameters', value) for value in (None, [1], 'a')),
        *(('order', value) for value in (None, 'size', 3, ['area'], {})),
        *(('max_masks', value) for value in (None, -1, 1e9, 10**30, NAN, '64', True, [])),
        *(('checkpoint', value) for value in (3, 'a', [], {}, {'sha256': 5})),
        *(('tokens', value) for value in (3, 'a', [], {}, {'num': 1, 'dim': 2}, {'num': 0, 'dim': 2, 'global_dim': 0})),
        *(('tokens', {'num': value, 'dim': 2, 'global_dim': 0}) for value in (-1, 10**9, 1.5, NAN, '1', True, None)),
        *(('features', {'dim': value, 'cell': 4}) for value in (0, -1, 10**9, 1.5, NAN, '1', True, None)),
        *(('features', value) for value in (3, [], {}, {'dim': 3}, {'dim': 3, 'cell': 8})),
        *(('seen', value) for value in (3, [], {}, {'key': 1, 'sha256': 'a'}, {'key': 'a'})),
    ],
    ids=str,
)
def test_metadata_of_another_form(store, name, value):
    with lmdb.open(str(store)) as env, env.begin(write=True) as transaction:
        transaction.put(b'__meta__', json.dumps(META | {name: value}).encode())
    for use in (PriorStore, lambda path: PriorStoreWriter(path, META)):
        with pytest.raises(
            UserError, match=rf'metadata of the store .*masks are damaged \({name} is .*, not '
        ) as caught:
            use(store)
        assert len(str(caught.value)) < 500


def test_metadata_of_old_stores_and_with_other_keys_are_read(store):
    old = {name: value for name, value in META.items() if name != 'tokens'} | {'note': [1, {}]}
    with lmdb.open(str(store)) as env, env.begin(write=True) as transaction:
        transaction.put(b'__meta__', json.dumps(old).encode())
    assert PriorStore(store).masks('000/00000000').shape == (64, 20, 30)


@pytest.mark.parametrize('value', [b'[' * 100_000, b'{"a":' * 100_000, b'null', b'NaN', b'', b'9' * 5000])
def test_metadata_that_are_no_object(store, value):
    with lmdb.open(str(store)) as env, env.begin(write=True) as transaction:
        transaction.put(b'__meta__', value)
    with pytest.raises(UserError, match=r'metadata of the store .* are damaged \('):
        PriorStore(store)


def test_a_key_that_is_no_text(store):
    with lmdb.open(str(store)) as env, env.begin(write=True) as transaction:
        transaction.put(b'\xff\xfe', b'')
    with pytest.raises(UserError, match=r"The LMDB .*masks has the key b'\\xff\\xfe', which is not text"):
        PriorStore(store).keys()
    with PriorStoreWriter(store, META) as writer, pytest.raises(UserError, match='which is not text'):
        writer.keys()


def record(size=(20, 30), counts='hb0') -> bytes:
    return json.dumps({'size': size, 'masks': [{'counts': counts}]}).encode()


@pytest.mark.parametrize(
    'value',
    [
        *(record(size=[side, 30]) for side in (0, -1, 1e9, 10**9, 10**30, 20.0, NAN, True, '20', None, [20])),
        *(record(size=size) for size in (None, 20, [20], [20, 30, 3], '20', {}, [65_535, 65_535])),
        *(record(counts=counts) for counts in (None, 3, [600], {}, '', '~~', 'd1', 'oooooo0', 'o' * 100_000, '\ud800')),
        *(json.dumps({'size': [20, 30], 'masks': masks}).encode() for masks in (None, 3, 'a', [None], [[]], [1])),
        *(b'null', b'3', b'"a"', b'[]', b'NaN', b'[' * 100_000, b'9' * 5000),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_records_of_another_form(store, value):
    with lmdb.open(str(store)) as env, env.begin(write=True) as transaction:
        transaction.put(b'000/00000001', value)
    with pytest.raises(UserError, match=r"frame '000/00000001' in the store .* the record is damaged") as caught:
        PriorStore(store).clip_masks([f'000/{i:08d}' for i in range(3)])
    assert len(str(caught.value)) < 600


def test_other_metadata_are_named(store):
    other = store_metadata('regions', {'scales': [50, 200], 'sigma': 1})
    with pytest.raises(UserError) as caught:
        PriorStoreWriter(store, other)
    text = str(caught.value)
    assert 'parameters.scales is [50, 150] in the store and [50, 200] now' in text
    assert 'parameters.sigma is null in the store and 1 now' in text
    with pytest.raises(UserError, match=r'kind is "regions" in the store and "sam" now. Use'):
        PriorStoreWriter(store, store_metadata('sam', {'a': 1}))
    PriorStoreWriter(store, META).close()


def test_a_checkpoint_is_known_by_its_content(tmp_path):
    def meta(file: str, sha256: str) -> dict:
        return store_metadata('sam', checkpoint={'file': file, 'sha256': sha256})

    with PriorStoreWriter(tmp_path / 's', meta('a.pth', '00')) as writer:
        writer.put('a', some_masks(0))
    PriorStoreWriter(tmp_path / 's', meta('b.pth', '00')).close()
    with pytest.raises(UserError, match=r'checkpoint.sha256 is "00" in the store and "11" now'):
        PriorStoreWriter(tmp_path / 's', meta('a.pth', '11'))


def test_metadata_must_make_sense():
    with pytest.raises(ValueError, match="not 'size'"):
        store_metadata('sam', order='size')
    with pytest.raises(ValueError, match='plain JSON'):
        store_metadata('sam', {'a': np.ones(2)})


def test_keys_and_masks_that_cannot_be_stored(tmp_path):
    with PriorStoreWriter(tmp_path / 's', META) as writer:
        for key in ('', 'x' * 512, '__meta__'):
            with pytest.raises(UserError, match='cannot be stored'):
                writer.put(key, some_masks(0))
        with pytest.raises(ValueError, match='at most 64'):
            writer.put('a', np.zeros((65, 2, 2), bool))
        for key in ('a/\ud800', 'a/\udcff'):  # the second is what a file name that is no UTF-8 becomes
            with pytest.raises(UserError, match=r'cannot be stored: the name of the file is not UTF-8'):
                writer.put(key, some_masks(0))
    assert len(PriorStore(tmp_path / 's')) == 0
    with pytest.raises(UserError, match=r"no masks for the frame 'a/\\udcff'"):
        PriorStore(tmp_path / 's').masks('a/\udcff')


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('x')
    with pytest.raises(UserError, match=r'Could not make the store .*file/store: .*Not a directory'):
        PriorStoreWriter(tmp_path / 'file' / 'store', META)


@pytest.mark.parametrize('error', [PermissionError(13, 'Permission denied'), OSError(30, 'Read-only file system')])
def test_a_read_only_place(tmp_path, monkeypatch, error):
    """Patched, because the tests may run as root, whom permissions do not stop."""

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(Path, 'mkdir', refuse)
    with pytest.raises(UserError, match=f'{error.strerror}.* Choose a folder that you may write to'):
        PriorStoreWriter(tmp_path / 'store', META)


def test_readers_need_no_permission_to_write(store):
    (store / 'lock.mdb').unlink()
    for path in (store / 'data.mdb', store):
        path.chmod(path.stat().st_mode & ~0o222)
    assert len(PriorStore(store)) == 3
    assert not (store / 'lock.mdb').exists()
    store.chmod(0o755)


def test_a_full_disk_is_a_sentence_and_harms_nothing(store):
    """A limit on the file size makes the write itself fail, as a full disk does."""
    size = (store / 'data.mdb').stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = PriorStoreWriter(store, META, batch_frames=100)
    for i in range(60):
        writer.put(f'more/{i}', np.random.default_rng(i).random((8, 40, 40)) > 0.5)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        with pytest.raises(UserError, match=r'Could not write to the store .*Free some space and run the same command'):
            writer.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.close()
    reader = PriorStore(store)
    assert len(reader) == 3
    assert np.array_equal(reader.masks('000/00000001', 5), some_masks(1))


def test_no_space_left(store, monkeypatch):
    writer = PriorStoreWriter(store, META)
    writer.put('a', some_masks(0))

    def full(*_):
        raise lmdb.Error('mdb_txn_commit: No space left on device')

    monkeypatch.setattr('basicsr_semantic.priors.store_writer._put_all', full)
    with pytest.raises(UserError, match=r'No space left on device\. Free some space'):
        writer.close()
