"""Clips to LMDBs: what is written, what is skipped, and that interruptions leave no trace."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time

import cv2
import lmdb
import numpy as np
import pytest
from helpers.clips import write_png
from helpers.prepared import KilledError, content
from helpers.project import environment

from basicsr_semantic.data.clips import ClipIndex
from basicsr_semantic.data.degradations import degrade
from basicsr_semantic.data.frame_reader import FrameReader
from basicsr_semantic.data.images import decode
from basicsr_semantic.data.prepare import clips as module
from basicsr_semantic.data.prepare.clips import prepare_clips, verify_clips
from basicsr_semantic.data.prepare.input import find_source_clips
from basicsr_semantic.data.prepare.output import Prepared, PreparedClip, original_keys
from basicsr_semantic.priors import lmdb_env
from basicsr_semantic.utils.errors import UserError


def image(number: int, height: int = 42, width: int = 50) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def make_source(root, clips=(('a', 5), ('b/c', 3))):
    for clip, count in clips:
        for number in range(count):
            write_png(root / clip / f'frame{number}.png', image(number))
    return root


def make_video(path, count=12, height=48, width=64):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (width, height))
    for number in range(count):
        writer.write(cv2.GaussianBlur(image(number, height, width), (0, 0), 3))
    writer.release()
    return path


def test_what_is_written(tmp_path):
    prepared = prepare_clips(make_source(tmp_path / 'src'), tmp_path / 'dst')
    out = content(tmp_path / 'dst')
    assert set(out) == {'gt', 'lq', 'meta_info.txt', 'manifest.json', 'gt.lmdb/meta_info.txt', 'lq.lmdb/meta_info.txt'}
    assert out['meta_info.txt'] == 'a 5 (40,48,3)\nb/c 3 (40,48,3)\n'
    keys = [f'{clip}/{number:08d}' for clip, count in (('a', 5), ('b/c', 3)) for number in range(count)]
    assert out['gt'].keys() == out['lq'].keys() == {key.encode() for key in keys}
    assert out['lq.lmdb/meta_info.txt'] == ''.join(f'{key}.png (10,12,3) 1\n' for key in keys)
    for number in range(3):
        gt = image(number)[:40, :48]
        assert np.array_equal(decode(out['gt'][f'b/c/{number:08d}'.encode()]), gt)
        assert np.array_equal(decode(out['lq'][f'b/c/{number:08d}'.encode()]), degrade(gt, 'BI'))
    manifest = json.loads(out['manifest.json'])
    assert manifest['counts'] == {'clips': 2, 'frames': 8, 'skipped': 0}
    assert manifest['parameters'] == {'degradation': 'BI', 'scale': 4}
    assert manifest['clips']['b/c'] | {'gt_checksums': '', 'lq_checksums': ''} == {
        'frames': 3, 'source': 'b/c', 'first_frame': 0, 'gt_size': [40, 48], 'lq_size': [10, 12], 'gt_checksums': '',
        'lq_checksums': '', 'frame_names': 'frame0/frame1/frame2',
    }  # fmt: skip
    assert Prepared.from_json(tmp_path / 'dst' / 'manifest.json') == prepared


def test_the_data_sets_and_basicsr_read_it(tmp_path):
    prepare_clips(make_source(tmp_path / 'src'), tmp_path / 'dst', 'BD')
    by_list = ClipIndex.load(tmp_path / 'dst' / 'lq.lmdb', 'lmdb')
    by_meta_info = ClipIndex.load(tmp_path / 'dst' / 'lq.lmdb', 'lmdb', tmp_path / 'dst' / 'meta_info.txt')
    assert by_list.clips == by_meta_info.clips
    reader = FrameReader(tmp_path / 'dst' / 'lq.lmdb', {'type': 'lmdb'}, 'dataroot_lq')
    assert np.array_equal(reader.read('a/00000002'), degrade(image(2)[:40, :48], 'BD'))
    from basicsr.data.data_util import paths_from_lmdb

    assert paths_from_lmdb(str(tmp_path / 'dst' / 'gt.lmdb'))[:2] == ['a/00000000', 'a/00000001']


@pytest.mark.parametrize(('degradation', 'scale'), [('BI', 2), ('BI', 3), ('BD', 4), ('BD_DUF', 4)])
def test_scales_and_degradations(tmp_path, degradation, scale):
    prepare_clips(make_source(tmp_path / 'src', [('a', 1)]), tmp_path / 'dst', degradation, scale)
    lq = decode(content(tmp_path / 'dst')['lq'][b'a/00000000'])
    gt = image(0)[: 42 // scale * scale, : 50 // scale * scale]
    assert np.array_equal(lq, degrade(gt, degradation, scale))


def test_videos(tmp_path):
    video = make_video(tmp_path / 'src' / 'my dog.v2.avi')
    prepared = prepare_clips(tmp_path / 'src', tmp_path / 'dst')
    assert {name: len(clip) for name, clip in prepared.clips.items()} == {'my_dog_v2': 12}
    capture = cv2.VideoCapture(str(video))
    out = content(tmp_path / 'dst')
    for number in range(12):
        assert np.array_equal(decode(out['gt'][f'my_dog_v2/{number:08d}'.encode()]), capture.read()[1])
    alone = prepare_clips(video, tmp_path / 'alone')
    assert alone.clips['my_dog_v2'].gt_checksums == prepared.clips['my_dog_v2'].gt_checksums


def spoil(source):
    """One frame of each kind of damage in a source of three clips; gives what must be said of them."""
    make_source(source, [('a', 8), ('b', 3), ('c', 3)])
    truncated = source / 'a' / 'frame2.png'
    truncated.write_bytes(truncated.read_bytes()[:-30])
    write_png(source / 'a' / 'frame5.png', image(5, 30, 50))
    write_png(source / 'b' / 'frame0.png', image(0, 30, 50))  # the odd one is the first: the majority decides
    for number in range(3):
        (source / 'c' / f'frame{number}.png').write_bytes(b'no image')
    (source / 'nothing').mkdir()
    (source / 'fake.mp4').write_bytes(b'no video')
    return {
        'a/frame2.png': 'it is truncated',
        'a/frame5.png': 'it has 50x30 pixels, while most frames of the clip have 50x42',
        'b/frame0.png': 'it has 50x30 pixels, while most frames of the clip have 50x42',
        **{f'c/frame{number}.png': 'it is corrupt or not an image' for number in range(3)},
        'nothing': 'the folder is empty',
        'fake.mp4': 'it is not a video that OpenCV can decode',
    }


def test_clips_are_cut_at_frames_that_cannot_be_used(tmp_path):
    expected = spoil(tmp_path / 'src')
    prepared = prepare_clips(tmp_path / 'src', tmp_path / 'dst')
    assert {entry['source']: entry['reason'] for entry in prepared.skipped} == expected
    parts = {name: (clip.source, clip.first_frame, len(clip)) for name, clip in prepared.clips.items()}
    assert parts == {
        'a': ('a', 0, 2),
        'a_from_00003': ('a', 3, 2),
        'a_from_00006': ('a', 6, 2),
        'b_from_00001': ('b', 1, 2),
    }
    out = content(tmp_path / 'dst')
    assert np.array_equal(decode(out['gt'][b'a_from_00003/00000001']), image(4)[:40, :48])
    assert len(out['gt']) == len(out['lq']) == 8
    assert 'a_from_00003 2 (40,48,3)' in out['meta_info.txt']
    verify_clips(tmp_path / 'dst')


def test_strict_refuses_what_would_be_skipped(tmp_path):
    make_source(tmp_path / 'src')
    damaged = tmp_path / 'src' / 'b' / 'c' / 'frame1.png'
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-30])
    with pytest.raises(UserError, match=r'--strict: b/c/frame1\.png cannot be used: it is truncated'):
        prepare_clips(tmp_path / 'src', tmp_path / 'dst', strict=True)
    assert not (tmp_path / 'dst' / 'manifest.json').exists()
    damaged.write_bytes(whole)
    prepared = prepare_clips(tmp_path / 'src', tmp_path / 'dst', strict=True)  # continues with the repaired frame
    prepare_clips(tmp_path / 'src', tmp_path / 'fresh')
    assert content(tmp_path / 'dst') == content(tmp_path / 'fresh')
    assert prepared.frames == 8
    (tmp_path / 'src' / 'empty').mkdir()
    with pytest.raises(UserError, match=r"--strict: '.*empty': the folder is empty"):
        prepare_clips(tmp_path / 'src', tmp_path / 'dst', strict=True)


def test_memory_that_is_too_short_for_a_frame_cuts_no_clip(tmp_path, monkeypatch):
    make_source(tmp_path / 'src')

    def fail(*args, **kwargs):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(module, 'make_pair', fail)
    with pytest.raises(OSError, match='Cannot allocate memory'):
        prepare_clips(tmp_path / 'src', tmp_path / 'dst')


def test_two_calls_do_not_prepare_one_folder(tmp_path, monkeypatch):
    source, target = make_source(tmp_path / 'src'), tmp_path / 'dst'
    real = module.make_pair
    told = []

    def meanwhile(*args, **kwargs):
        if not told:
            told.append(None)
            with pytest.raises(UserError, match=r'dst is in use: .* or choose another folder') as caught:
                prepare_clips(source, target)
            told.append(caught.value)
        return real(*args, **kwargs)

    monkeypatch.setattr(module, 'make_pair', meanwhile)
    prepare_clips(source, target, workers=1)
    assert len(told) == 2
    assert not (target / '.prepare.lock').exists()
    verify_clips(target)


def test_strict_refuses_a_finished_target_with_gaps(tmp_path):
    make_source(tmp_path / 'src')
    (tmp_path / 'src' / 'a' / 'frame1.png').write_bytes(b'')
    before = prepare_clips(tmp_path / 'src', tmp_path / 'dst')
    with pytest.raises(UserError, match=r'without 1 that could not be used; the first is a/frame1\.png: it is empty'):
        prepare_clips(tmp_path / 'src', tmp_path / 'dst', strict=True)
    assert verify_clips(tmp_path / 'dst') == before


def test_nothing_is_done_twice(tmp_path, monkeypatch):
    source, target = make_source(tmp_path / 'src'), tmp_path / 'dst'
    result = []
    original = module.make_pair
    monkeypatch.setattr(module, 'make_pair', lambda frame, **k: result.append(frame.label) or original(frame, **k))
    prepare_clips(source, target)
    assert len(result) == 8
    result.clear()
    prepare_clips(source, target)
    assert result == []
    write_png(source / 'd' / '0.png', image(0))
    assert list(prepare_clips(source, target).clips) == ['a', 'b/c', 'd']
    assert result == ['d/0.png']
    verify_clips(target)


def test_clips_whose_files_changed_are_made_again(tmp_path):
    source, target = make_source(tmp_path / 'src'), tmp_path / 'dst'
    prepare_clips(source, target)
    write_png(source / 'a' / 'frame3.png', image(33, 44, 52))
    (source / 'a' / 'frame4.png').unlink()
    prepare_clips(source, target)
    prepare_clips(source, tmp_path / 'fresh')
    assert content(target) == content(tmp_path / 'fresh')


def test_a_run_stopped_after_any_frame_continues_to_the_same_result(tmp_path, monkeypatch):
    source = tmp_path / 'src'
    spoil(source)
    make_video(source / 'v.avi', 5)
    prepare_clips(source, tmp_path / 'whole')
    expected = content(tmp_path / 'whole')
    original = module.PairWriter.put
    for stop_after in (1, 3, 6, 9):
        target = tmp_path / f'stopped{stop_after}'
        done = []

        def put(writer, key, pair, done=done, stop_after=stop_after):
            if len(done) == stop_after:
                raise KilledError
            done.append(key)
            original(writer, key, pair)
            writer.flush()

        with monkeypatch.context() as patch:
            patch.setattr(module.PairWriter, 'put', put)
            with pytest.raises(KilledError):
                prepare_clips(source, target)
        assert (target / 'unfinished.json').exists()
        assert not (target / 'manifest.json').exists()
        with pytest.raises(UserError, match='is not finished'):
            verify_clips(target)
        prepare_clips(source, target, workers=2)
        assert content(target) == expected


def test_a_kill_between_the_two_lmdbs_is_repaired(tmp_path, monkeypatch):
    source, target = make_source(tmp_path / 'src'), tmp_path / 'dst'
    original = module.PairWriter._put_all

    def half(writer, transaction, side):
        if side == 1:
            raise KilledError
        original(writer, transaction, side)

    with monkeypatch.context() as patch:
        patch.setattr(module.PairWriter, '_put_all', half)
        with pytest.raises(KilledError):
            prepare_clips(source, target)
    prepare_clips(source, target)
    prepare_clips(source, tmp_path / 'fresh')
    assert content(target) == content(tmp_path / 'fresh')


def test_unfinished_files_of_killed_runs_are_removed_by_the_next(tmp_path):
    source, target = make_source(tmp_path / 'src'), tmp_path / 'dst'
    prepare_clips(source, target)
    left = [target / '.manifest.json.77.tmp', target / 'gt.lmdb' / '.meta_info.txt.77.tmp']
    for path in left:
        path.touch()
    prepare_clips(source, target)
    assert not any(path.exists() for path in left)


@pytest.mark.slow
def test_sigkill_and_rerun_equal_an_uninterrupted_run(tmp_path):
    source = tmp_path / 'src'
    for number in range(40):
        write_png(source / 'a' / f'{number}.png', image(number, 240, 320))
    (source / 'a' / '30.png').write_bytes(b'')
    command = [
        sys.executable, '-c',
        'import sys; from pathlib import Path; import basicsr_semantic\n'
        'from basicsr_semantic.data.prepare import output; output._BATCH_BYTES = 1 << 19\n'
        'from basicsr_semantic.data.prepare.clips import prepare_clips\n'
        'prepare_clips(Path(sys.argv[1]), Path(sys.argv[2]), workers=1)',
        str(source),
    ]  # fmt: skip
    target = tmp_path / 'dst'
    killed = 0
    for wanted_bytes in (1 << 20, 5 << 20):
        process = subprocess.Popen([*command, str(target)], env=environment(), stderr=subprocess.DEVNULL)
        data = target / 'gt.lmdb' / 'data.mdb'
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if data.is_file() and data.stat().st_size > wanted_bytes:
                process.send_signal(signal.SIGKILL)
                killed += 1
                break
            time.sleep(0.002)
        process.wait()
    assert killed == 2
    assert not (target / 'manifest.json').exists()
    prepare_clips(source, target)
    prepare_clips(source, tmp_path / 'whole')
    assert content(target) == content(tmp_path / 'whole')
    assert verify_clips(target).frames == 39


def test_the_map_grows_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(module.PairWriter, '__init__', tiny_writer(module.PairWriter.__init__))
    source = tmp_path / 'src'
    for number in range(12):
        write_png(source / 'a' / f'{number}.png', image(number, 120, 160))
    assert prepare_clips(source, tmp_path / 'dst').frames == 12
    assert (tmp_path / 'dst' / 'gt.lmdb' / 'data.mdb').stat().st_size > 5 << 16
    verify_clips(tmp_path / 'dst')


def tiny_writer(original):
    """Make a writer whose maps begin with 64 kB."""

    def init(writer, folder):
        original(writer, folder)
        for env in writer._envs:
            env._env.set_mapsize(1 << 16)

    return init


def test_a_full_disk_is_a_sentence_and_nothing_is_lost(tmp_path, monkeypatch):
    source, target = make_source(tmp_path / 'src'), tmp_path / 'dst'

    def full(writer, transaction, side):
        raise lmdb.DiskError('mdb_txn_commit: No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(module.PairWriter, '_put_all', full)
        with pytest.raises(UserError, match=r'gt\.lmdb: .*No space left.*run the same command again'):
            prepare_clips(source, target)
    assert prepare_clips(source, target).frames == 8
    verify_clips(target)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch):
    source = make_source(tmp_path / 'src')
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match=r'Could not write to .*file'):
        prepare_clips(source, tmp_path / 'file' / 'dst')

    def read_only(*_, **__):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(module.Path, 'mkdir', read_only)
    with pytest.raises(UserError, match=r'Permission denied.*Choose a folder that you may write to'):
        prepare_clips(source, tmp_path / 'dst')


def test_other_parameters_or_another_source_are_refused(tmp_path):
    source, target = make_source(tmp_path / 'src'), tmp_path / 'dst'
    prepare_clips(source, target)
    with pytest.raises(UserError, match='prepared with --degradation BI, not BD'):
        prepare_clips(source, target, 'BD')
    with pytest.raises(UserError, match='prepared with --scale 4, not 2'):
        prepare_clips(source, target, scale=2)
    other = make_source(tmp_path / 'other', [('a', 2), ('b/c', 3)])
    with pytest.raises(UserError, match=r"with the clip 'a'; in '.*other' it has other files"):
        prepare_clips(other, target)
    with pytest.raises(UserError, match=r"with the clip 'b/c'; in .* it is not there"):
        prepare_clips(make_source(tmp_path / 'third', [('a', 5)]), target)
    moved = source.rename(tmp_path / 'moved')
    assert prepare_clips(moved, target).frames == 8
    (target / 'manifest.json').unlink()
    with pytest.raises(UserError, match=r'has a gt\.lmdb but no manifest'):
        prepare_clips(moved, target)


@pytest.mark.parametrize('side', ['gt', 'lq'])
def test_verify_finds_every_kind_of_damage(tmp_path, side):
    target = tmp_path / 'dst'
    prepare_clips(make_source(tmp_path / 'src'), target)
    assert verify_clips(target).frames == 8
    with lmdb.open(str(target / f'{side}.lmdb'), map_size=1 << 26) as env, env.begin(write=True) as transaction:
        value = bytearray(transaction.get(b'a/00000001'))
        value[60] ^= 1
        transaction.put(b'a/00000001', bytes(value))
        transaction.delete(b'b/c/00000002')
    with pytest.raises(UserError, match='damaged in 2 places') as raised:
        verify_clips(target)
    assert f'{side}.lmdb: a/00000001 has another checksum' in str(raised.value)
    assert f'{side}.lmdb: b/c/00000002 is missing' in str(raised.value)


def test_verify_reads_lists_and_manifest_too(tmp_path):
    target = tmp_path / 'dst'
    with pytest.raises(UserError, match=r'has no manifest\.json'):
        verify_clips(target)
    prepare_clips(make_source(tmp_path / 'src'), target)
    (target / 'meta_info.txt').write_text('a 4 (40,48,3)\n')
    with pytest.raises(UserError, match=r'meta_info\.txt differs from the manifest'):
        verify_clips(target)
    (target / 'manifest.json').write_text('{"format"')
    with pytest.raises(UserError, match=r"manifest\.json' is damaged"):
        verify_clips(target)
    (target / 'manifest.json').write_text('{"format": "basicsr_semantic.clips/9"}')
    with pytest.raises(UserError, match='of the format basicsr_semantic'):
        prepare_clips(tmp_path / 'src', target)


def test_sources_that_hold_nothing_are_named(tmp_path):
    for make, message in (
        (lambda: tmp_path / 'gone', 'no folder or video'),
        (lambda: tmp_path, 'neither folders of images nor videos'),
        (lambda: make_source(tmp_path / 'flat', [('.', 2)]), 'Each clip needs a folder of its own'),
        (lambda: make_source(tmp_path / 'same', [('a b', 1), ('a_b', 1)]), "both become clip 'a_b'"),
        (lambda: make_source(tmp_path / 'f', [('a', 1)]) / 'a' / 'frame0.png', 'neither a folder nor a video'),
    ):
        with pytest.raises(UserError, match=message):
            find_source_clips(make())
    with pytest.raises(UserError, match='no degradation'):
        prepare_clips(tmp_path, tmp_path / 'dst', 'bicubic')
    source = tmp_path / 'bad'
    (source / 'a').mkdir(parents=True)
    (source / 'a' / '0.png').write_bytes(b'')
    with pytest.raises(UserError, match=r'No frame of .* can be used\. a/0\.png: it is empty'):
        prepare_clips(source, tmp_path / 'dst')


def test_a_source_without_a_usable_frame_leaves_the_folder_free(tmp_path):
    source, target = tmp_path / 'bad', tmp_path / 'dst'
    (source / 'a').mkdir(parents=True)
    (source / 'a' / '0.png').write_bytes(b'')
    target.mkdir()
    (target / 'notes.txt').write_text('mine')
    for _ in range(2):
        with pytest.raises(UserError, match='No frame of'):
            prepare_clips(source, target)
        assert [path.name for path in target.iterdir()] == ['notes.txt']
    (target / 'notes.txt').unlink()
    with pytest.raises(UserError, match='No frame of'):
        prepare_clips(source, target)
    assert not [*target.iterdir()]
    good = make_source(tmp_path / 'good', [('b', 2)])
    assert prepare_clips(good, target).frames == 2
    (good / 'b' / 'frame0.png').write_bytes(b'')
    (good / 'b' / 'frame1.png').write_bytes(b'')
    with pytest.raises(UserError, match='No frame of'):
        prepare_clips(good, target)
    assert (target / 'gt.lmdb').is_dir()  # of a preparation that was there before


def test_a_finished_folder_that_was_damaged_is_completed_or_told(tmp_path):
    source, target = make_source(tmp_path / 'src', [('a', 2), ('b', 2)]), tmp_path / 'dst'
    lists = {path: path.read_bytes() for path in (target / name for name in prepare_clips(source, target).lists())}
    for path in lists:
        path.write_text('rubbish')
        prepare_clips(source, target)
        path.unlink()
        prepare_clips(source, target)
    assert {path: path.read_bytes() for path in lists} == lists
    verify_clips(target)
    data = target / 'lq.lmdb' / 'data.mdb'
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    with pytest.raises(UserError, match=r'lq\.lmdb is damaged: data\.mdb has [0-9]+ bytes where [0-9]+ are expected'):
        prepare_clips(source, target)


def test_a_part_never_takes_the_name_of_another_clip(tmp_path):
    source = make_source(tmp_path / 'src', [('a', 3), ('a_from_00002', 1)])
    (source / 'a' / 'frame1.png').write_bytes(b'')
    with pytest.raises(UserError, match="would be called 'a_from_00002', as another clip is"):
        prepare_clips(source, tmp_path / 'dst')


def test_manifest_round_trip(tmp_path):
    clip = PreparedClip('a', 3, [8, 8], [2, 2], ['00ff', '11ee'], ['22dd', '33cc'], ['x 1', 'x 2'])
    prepared = Prepared('/src', {'scale': 4}, {'a': 'f'}, {'a_from_00003': clip}, [{'source': 'x', 'reason': 'y'}])
    (tmp_path / 'm.json').write_text(prepared.to_json())
    assert Prepared.from_json(tmp_path / 'm.json') == prepared
    assert list(prepared.keys()) == ['a_from_00003/00000000', 'a_from_00003/00000001']


@pytest.mark.slow
def test_a_really_full_disk(tmp_path):
    """On a file system of one megabyte, where the machine lets us mount one."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    mounted = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f'needs the right to mount a small file system: {mounted.stderr.decode().strip()}')
    try:
        source = tmp_path / 'src'
        for number in range(20):
            write_png(source / 'a' / f'{number}.png', image(number, 200, 200))
        with pytest.raises(UserError, match=r'No space left on device|Is the disk full\?'):
            prepare_clips(source, disk / 'dst')
        assert not (disk / 'dst' / 'manifest.json').exists()
    finally:
        lmdb_env.SharedReadEnv._open.clear()
        subprocess.run(['umount', str(disk)], check=True)


def test_annotations_find_the_frames_of_prepared_clips(tmp_path):
    """Keys are numbered again and clips may be cut; annotations name the files."""
    from basicsr_semantic.cli import main
    from basicsr_semantic.priors.store import PriorStore

    for number in range(4):
        write_png(tmp_path / 'src' / 'big dog' / f'{5 * number:05d}.png', image(number, 40, 48))
    (tmp_path / 'src' / 'big dog' / '00005.png').write_bytes(b'')
    make_video(tmp_path / 'src' / 'v.avi', 2)
    boxes = [{'size': [40, 48], 'counts': [40 * number, 40 * (48 - number)]} for number in (4, 8, 12, 16)]
    annotations = {
        'videos': [{'id': 1, 'height': 40, 'width': 48, 'file_names': [f'big dog/{5 * n:05d}.jpg' for n in range(4)]}],
        'annotations': [{'id': 1, 'video_id': 1, 'category_id': 1, 'segmentations': boxes}],
    }
    (tmp_path / 'a.json').write_text(json.dumps(annotations))
    prepare_clips(tmp_path / 'src', tmp_path / 'dst')
    names = original_keys(tmp_path / 'dst' / 'lq.lmdb')
    assert names == {
        'big_dog/00000000': 'big dog/00000',
        'big_dog_from_00002/00000000': 'big dog/00010',
        'big_dog_from_00002/00000001': 'big dog/00015',
    }
    assert original_keys(tmp_path / 'elsewhere' / 'lq.lmdb') == {}
    (tmp_path / 'src' / 'v.avi').unlink()
    prepare_clips(tmp_path / 'src', tmp_path / 'frames only')
    frames, out = str(tmp_path / 'frames only' / 'lq.lmdb'), str(tmp_path / 'masks')
    command = ['extract', '--extractor', 'annotations', '--annotations', str(tmp_path / 'a.json')]
    assert main([*command, '--frames', frames, '--out', out]) == 0
    store = PriorStore(tmp_path / 'masks')
    result = store.keys()
    empty_columns = {key: int((store.masks(key, 1)[0].max(0) == 0).sum()) for key in result}
    assert empty_columns == {  # a quarter of the columns before the instance begins
        'big_dog/00000000': 1,
        'big_dog_from_00002/00000000': 3,
        'big_dog_from_00002/00000001': 4,
    }


# ------------------------------------------------------------------------------------------- manifests of another form

MANIFEST = {
    'format': 'basicsr_semantic.clips/1',
    'source': '/src',
    'parameters': {'degradation': 'BI', 'scale': 4},
    'skipped': [{'source': 'a/1.png', 'reason': 'it is corrupt'}],
    'clips': {
        'a': {
            'frames': 2,
            'source': 'a',
            'first_frame': 0,
            'gt_size': [8, 12],
            'lq_size': [2, 3],
            'gt_checksums': '00 11',
            'lq_checksums': '22 33',
            'frame_names': '0/1',
        }
    },
    'fingerprints': {'a': 'ff'},
}


def test_a_manifest_with_a_byte_order_mark(tmp_path):
    path = tmp_path / 'manifest.json'
    path.write_text(json.dumps(MANIFEST), encoding='utf-8-sig')
    assert Prepared.from_json(path).frames == 2


@pytest.mark.parametrize(
    ('place', 'value'),
    [
        *((('source',), value) for value in (None, 3, [], '\ud800')),
        (('format',), '\ud800'),
        (('clips', '\ud800'), MANIFEST['clips']['a']),
        *(((key,), value) for key in ('parameters', 'fingerprints', 'clips') for value in (None, 3, 'a', [])),
        *((('skipped',), value) for value in (3, {}, [3], [None], [{}], [{'source': 3, 'reason': 'a'}])),
        (('fingerprints', 'a'), 3),
        *((('clips', 'a'), value) for value in (None, 3, [], {})),
        *((('clips', 'a', 'frames'), value) for value in (1, -2, 10**30, 2.0, '2', None, True)),
        *((('clips', 'a', 'first_frame'), value) for value in (-1, 10**30, 1.5, float('nan'), '0', None, True)),
        *((('clips', 'a', 'gt_size'), [8, value]) for value in (0, -1, 1e9, 10**9, 12.0, '12', None, True, [12])),
        *((('clips', 'a', 'lq_size'), value) for value in (None, 3, [], [2], [2, 3, 3], 'ab', {})),
        *((('clips', 'a', key), value) for key in ('gt_checksums', 'frame_names') for value in (None, 3, [], 'a', '')),
    ],
    ids=ascii,
)
def test_manifests_of_another_form(tmp_path, place, value):
    content = json.loads(json.dumps(MANIFEST))
    owner = content
    for key in place[:-1]:
        owner = owner[key]
    owner[place[-1]] = value
    path = tmp_path / 'manifest.json'
    path.write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=r"manifest\.json' is damaged \(.+\)\. Delete .* prepare the clips again"
    ) as caught:
        Prepared.from_json(path)
    assert len(str(caught.value).encode()) < 500


@pytest.mark.parametrize('text', ['', 'null', '3', '[]', 'NaN', '[' * 100_000, '9' * 5000, '{}', '\xff'])
def test_manifests_that_are_none(tmp_path, text):
    (tmp_path / 'manifest.json').write_text(text, encoding='latin-1')
    with pytest.raises(UserError, match=r"manifest\.json' is damaged"):
        Prepared.from_json(tmp_path / 'manifest.json')


def test_an_lmdb_with_keys_that_are_no_text(tmp_path):
    with lmdb.open(str(tmp_path / 'gt.lmdb')) as env, env.begin(write=True) as transaction:
        transaction.put(b'\xff', b'')
    with pytest.raises(UserError, match=r'gt\.lmdb has the key .*, which is not text'):
        module.PairWriter(tmp_path)
