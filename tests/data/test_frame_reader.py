"""Frames by key from folders and LMDB: damage, absence, and two readers of one LMDB."""

from __future__ import annotations

import pickle

import cv2
import lmdb
import numpy as np
import pytest
from helpers.clips import coded_frame, make_coded_clips, to_lmdb, write_png

from basicsr_semantic.data.frame_reader import FrameReader
from basicsr_semantic.data.images import DamagedImageError, decode, encode_png, png_size
from basicsr_semantic.priors.lmdb_env import GrowingEnv, SharedReadEnv
from basicsr_semantic.utils.errors import UserError

DISK, LMDB = {'type': 'disk'}, {'type': 'lmdb'}
KEY = '000/00000001'


@pytest.fixture
def roots(tmp_path):
    make_coded_clips(tmp_path, {'000': 2}, 8, 10)
    return tmp_path / 'lq', to_lmdb(tmp_path / 'lq', tmp_path / 'lq.lmdb')


def test_folder_and_lmdb_give_the_same(roots):
    expected = coded_frame(8, 10, 1, 4)
    for root, backend in zip(roots, (DISK, LMDB), strict=True):
        assert np.array_equal(FrameReader(root, backend, 'dataroot_lq').read(KEY), expected)
    assert DISK == {'type': 'disk'}  # BasicSR pops the type; ours is a copy


def test_two_readers_share_one_lmdb_and_survive_pickling(roots):
    first = FrameReader(roots[1], LMDB, 'dataroot_lq')
    second = FrameReader(roots[1], {'type': 'lmdb', 'readahead': True}, 'dataroot_gt')
    assert np.array_equal(first.read(KEY), second.read(KEY))
    assert np.array_equal(pickle.loads(pickle.dumps(first)).read(KEY), second.read(KEY))
    first.close()
    assert second.read(KEY).shape == (8, 10, 3)


def test_other_suffixes_are_found(tmp_path):
    write_png(tmp_path / 'a' / '0.jpg', coded_frame(8, 8, 0, 1))
    write_png(tmp_path / 'a' / '1.PNG', coded_frame(8, 8, 1, 1))
    reader = FrameReader(tmp_path, DISK, 'dataroot_gt')
    assert reader.read('a/0').shape == (8, 8, 3)
    assert np.array_equal(reader.read('a/1'), coded_frame(8, 8, 1, 1))


def test_missing_frames_are_named(roots):
    with pytest.raises(UserError, match=r'no frame .*000/00000009.* holds 2 images, 00000000\.png to 00000001\.png'):
        FrameReader(roots[0], DISK, 'dataroot_lq').read('000/00000009')
    with pytest.raises(UserError, match=r"not even a folder '.*lq/001'"):
        FrameReader(roots[0], DISK, 'dataroot_lq').read('001/00000000')
    with pytest.raises(UserError, match=r"LMDB '.*lq\.lmdb' has no key '000/00000009'"):
        FrameReader(roots[1], LMDB, 'dataroot_lq').read('000/00000009')


def test_truncated_files_are_named(roots):
    path = roots[0] / '000' / '00000001.png'
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r'dataroot_lq: .*00000001\.png cannot be used: it is truncated'):
        FrameReader(roots[0], DISK, 'dataroot_lq').read(KEY)


def test_damaged_lmdb_values_are_named(roots):
    with lmdb.open(str(roots[1]), map_size=1 << 26) as env, env.begin(write=True) as transaction:
        transaction.put(KEY.encode(), b'no image')
    with pytest.raises(UserError, match=f"key '{KEY}' of the LMDB .* corrupt or not an image"):
        FrameReader(roots[1], LMDB, 'dataroot_gt').read(KEY)


@pytest.mark.parametrize('damage', ['noise', 'empty', 'truncated'])
def test_damaged_lmdbs_are_named_and_never_kill_the_process(roots, damage):
    data = roots[1] / 'data.mdb'
    content = data.read_bytes()
    data.write_bytes({'noise': b'\x5a' * 9000, 'empty': b'', 'truncated': content[: len(content) // 2]}[damage])
    with pytest.raises(UserError, match=r'lq\.lmdb'):
        FrameReader(roots[1], LMDB, 'dataroot_lq').read(KEY)


@pytest.mark.parametrize(
    ('error', 'again'),
    [(lmdb.MemoryError('mdb_env_open: Cannot allocate memory'), False), (lmdb.CorruptedError('mdb_get'), True)],
)
def test_an_lmdb_that_memory_is_too_short_for_is_not_to_be_made_again(roots, monkeypatch, error, again):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(lmdb, 'open', fail)
    for read in (
        lambda: FrameReader(roots[1], LMDB, 'dataroot_gt').read(KEY),
        lambda: SharedReadEnv(roots[1]).get(),
        lambda: GrowingEnv(roots[1]),
    ):
        with pytest.raises(UserError, match=r'lq\.lmdb') as caught:
            read()
        assert ('again' in str(caught.value)) == again


def test_memory_that_is_too_short_for_an_image_is_no_damage(roots, monkeypatch):
    def fail(*args):
        error = cv2.error('OutOfMemoryError')
        error.code, error.err = cv2.Error.StsNoMem, 'Failed to allocate 9 bytes'
        raise error

    monkeypatch.setattr(cv2, 'imdecode', fail)
    with pytest.raises(MemoryError, match='Failed to allocate 9 bytes'):
        FrameReader(roots[0], DISK, 'dataroot_lq').read(KEY)


def test_roots_that_do_not_fit_are_explained(roots, tmp_path):
    folder, store = roots
    for root, backend, message in (
        (tmp_path / 'gone', DISK, "dataroot_gt: there is no folder '.*gone'"),
        (folder, LMDB, 'is not an LMDB folder.*set io_backend: type to disk'),
        (store, DISK, 'is an LMDB folder. Set io_backend: type to lmdb'),
        (folder, {'type': 'memcached'}, 'Choose disk'),
        (folder, {'type': 'disk', 'readahead': True}, "takes no 'readahead'"),
    ):
        with pytest.raises(UserError, match=message):
            FrameReader(root, backend, 'dataroot_gt')


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_every_truncation_is_noticed(suffix):
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    content = cv2.imencode(suffix, image)[1].tobytes()
    assert decode(content).shape == image.shape
    assert decode(content + b'\0\0\0').shape == image.shape  # some cameras pad their files
    for kept in (0, 3, 20, len(content) // 2, len(content) - 20, len(content) - 1):
        with pytest.raises(DamagedImageError):
            decode(content[:kept])


def test_png_round_trip_and_conversions():
    image = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    assert np.array_equal(decode(encode_png(image)), image)
    assert png_size(encode_png(image)) == (6, 9)
    assert encode_png(image) == encode_png(image[..., ::-1][..., ::-1])
    grey = cv2.imencode('.png', image[..., 0])[1].tobytes()
    assert np.array_equal(decode(grey), np.repeat(image[..., :1], 3, -1))
    deep = cv2.imencode('.png', image[..., 0].astype(np.uint16) * 257)[1].tobytes()
    assert np.array_equal(decode(deep), np.repeat(image[..., :1], 3, -1))
    with pytest.raises(DamagedImageError):
        png_size(b'\x89PNG')
