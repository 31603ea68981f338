"""Videos as clips: preparation, extraction and data sets see the same frames under the same keys."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle

import cv2
import numpy as np
import pytest
from helpers.clips import write_png
from helpers.videos import HEIGHT, WIDTH, cut_short, decoded, make_video, picture
from torch.utils.data import DataLoader

from basicsr_semantic.cli.extract import open_frames
from basicsr_semantic.data import SemanticClipDataset, SemanticClipTestDataset, videos
from basicsr_semantic.data.clips import ClipIndex
from basicsr_semantic.data.found_clips import find_clips
from basicsr_semantic.data.frame_reader import FrameReader
from basicsr_semantic.data.images import DamagedImageError
from basicsr_semantic.data.prepare.clips import prepare_clips
from basicsr_semantic.data.videos import read_video_frame, video_length
from basicsr_semantic.utils.errors import UserError

DISK = {'type': 'disk'}


@pytest.fixture
def opened(monkeypatch):
    """The videos that this process opens from now on, one entry each time; no decoder is left over."""
    videos.close_videos([*map(videos.Path, list(videos._decoders))])
    monkeypatch.setattr(videos, '_lengths', {})
    calls: list[str] = []
    original = videos.OpenVideo.__init__

    def count(self, path):
        calls.append(path.name)
        original(self, path)

    monkeypatch.setattr(videos.OpenVideo, '__init__', count)
    return calls


def options(root, **changes) -> dict:
    opt = {'name': 'v', 'type': 'SemanticClipTestDataset', 'phase': 'test', 'dataroot_lq': str(root)}
    return opt | changes


def numbers(lq, frames) -> list[int]:
    """Which of the decoded frames those of an item, (t, 3, h, w), are."""
    found = (lq.numpy() * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)[..., ::-1]
    return [next(k for k, frame in enumerate(frames) if np.array_equal(frame, one)) for one in found]


@pytest.fixture
def mixed(tmp_path):
    """A root with a video, a video deeper down, and a folder of images."""
    root = tmp_path / 'src'
    make_video(root / 'my dog.v2.mp4', 12)
    make_video(root / 'more' / 'cat.avi', 5)
    for number in range(4):
        write_png(root / 'bear' / f'{number:08d}.png', picture(number))
    return root


def test_preparation_extraction_and_data_sets_agree_on_a_mixed_folder(mixed, tmp_path):
    prepared = prepare_clips(mixed, tmp_path / 'dst')
    lengths = {'bear': 4, 'more/cat': 5, 'my_dog_v2': 12}
    assert {name: len(clip) for name, clip in prepared.clips.items()} == lengths
    index, lmdb = ClipIndex.load(mixed), ClipIndex.load(tmp_path / 'dst/gt.lmdb', 'lmdb')
    assert {clip.name: len(clip) for clip in index} == lengths and index.remarks == []
    assert [clip.keys for clip in index] == [clip.keys for clip in lmdb]
    keys, read = open_frames(mixed)
    assert keys == [*prepared.keys()]
    reader = FrameReader(tmp_path / 'dst/gt.lmdb', {'type': 'lmdb'}, 'dataroot_gt')
    assert all(np.array_equal(read(key)[..., ::-1], reader.read(key)) for key in keys)
    assert np.array_equal(read('my_dog_v2/00000007')[..., ::-1], decoded(mixed / 'my dog.v2.mp4')[7])
    dataset = SemanticClipTestDataset(options(mixed))
    assert [(item['clip'], len(item['lq'])) for item in map(dataset.__getitem__, range(3))] == [*lengths.items()]
    assert dataset[2]['frame_names'] == [f'{number:08d}' for number in range(12)]
    assert numbers(dataset[2]['lq'], decoded(mixed / 'my dog.v2.mp4')) == [*range(12)]


def test_one_video_is_a_root(mixed, tmp_path):
    video = mixed / 'my dog.v2.mp4'
    keys, read = open_frames(video)
    assert keys == [*prepare_clips(video, tmp_path / 'dst').keys()] == [f'my_dog_v2/{n:08d}' for n in range(12)]
    assert np.array_equal(read(keys[3])[..., ::-1], decoded(video)[3])
    dataset = SemanticClipTestDataset(options(video, num_frame=5))
    assert len(dataset) == 12 and not dataset.has_gt
    assert numbers(dataset[0]['lq'], decoded(video)) == [4, 3, 0, 1, 2]
    (tmp_path / 'notes.txt').touch()
    for root, backend, message in (
        (tmp_path / 'notes.txt', DISK, r"dataroot_lq: '.*notes\.txt' is neither a folder nor a video \(\.mp4"),
        (tmp_path / 'gone.mp4', DISK, "there is no folder '.*gone.mp4', nor a video"),
        (video, {'type': 'lmdb'}, 'is not an LMDB folder.*disk for a folder of images, or a video'),
    ):
        with pytest.raises(UserError, match=message):
            SemanticClipTestDataset(options(root, io_backend=backend))


def test_training_on_pairs_of_videos(tmp_path, opened):
    for name in ('a', 'b'):
        make_video(tmp_path / 'gt' / f'{name}.avi', 9, 4 * HEIGHT, 4 * WIDTH)
        make_video(tmp_path / 'lq' / f'{name}.avi', 9)
    opt = options(tmp_path / 'lq', type='SemanticClipDataset', phase='train', dataroot_gt=str(tmp_path / 'gt'))
    opt |= {'num_frame': 4, 'random_reverse': True}
    dataset = SemanticClipDataset(opt)
    assert [len(clip) for clip in dataset.clips] == [9, 9] and len(dataset) == 12
    for clip, name in enumerate('ab'):
        for start in range(6):
            item = dataset[6 * clip + start]
            places = numbers(item['lq'], decoded(tmp_path / 'lq' / f'{name}.avi'))
            assert sorted(places) == [*range(start, start + 4)]
            assert numbers(item['gt'], decoded(tmp_path / 'gt' / f'{name}.avi')) == places
    make_video(tmp_path / 'gt' / 'b.avi', 8, 4 * HEIGHT, 4 * WIDTH)
    with pytest.raises(UserError, match=r"Clip 'b' has 9 frames in .*lq but 8 in .*gt"):
        SemanticClipDataset(opt)


@pytest.mark.parametrize('suffix', ['.mp4', '.avi'])
def test_any_order_gives_the_frames_of_the_forward_order(tmp_path, suffix):
    path = make_video(tmp_path / f'v{suffix}')
    frames = decoded(path)
    assert len(frames) == 40 and len({frame.tobytes() for frame in frames}) == 40
    for number in np.random.default_rng(1).integers(0, 40, 60):
        assert np.array_equal(read_video_frame(path, int(number), 1), frames[number])


def test_reading_on_opens_nothing_again(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(videos, '_MOST_KEPT', 8)
    first, second = make_video(tmp_path / 'a.mp4'), make_video(tmp_path / 'b.mp4')
    for number in range(40):
        read_video_frame(first, number, 1)
        read_video_frame(second, number, 1)
    assert opened == ['a.mp4', 'b.mp4']
    for number in (39, 36, 34, 32):  # the last 8
        read_video_frame(first, number, 1)
    assert len(opened) == 2
    for number in range(31, 23, -1):  # backwards: one way from the start for every 8
        read_video_frame(first, number, 1)
    assert opened == ['a.mp4', 'b.mp4', 'a.mp4']
    assert all(len(decoder._frames) <= 8 for decoder in videos._decoders.values())


def test_frames_are_the_callers_own(tmp_path):
    path = make_video(tmp_path / 'v.mp4', 3)
    before = read_video_frame(path, 1, 1)
    expected = before.copy()
    before[:] = 0
    assert np.array_equal(read_video_frame(path, 1, 1), expected)


def test_few_decoders_are_open(tmp_path):
    paths = [make_video(tmp_path / f'{name}.avi', 2) for name in 'abcdef']
    for path in paths:
        read_video_frame(path, 1, 1)
    assert [*videos._decoders] == [os.path.realpath(path) for path in paths[-4:]]
    FrameReader(tmp_path, DISK, 'dataroot_lq').read('e/00000000')
    videos.close_videos(paths)
    assert not videos._decoders


def test_frames_are_counted_once_in_a_run(tmp_path, opened):
    grabs: list[int] = []
    path = make_video(tmp_path / 'v.mp4', 6)
    assert video_length(path, 1).frames == 6

    class Refusing:
        def grab(self):
            grabs.append(1)
            return False

        def release(self):
            pass

        get = staticmethod(lambda which: 1.0)

    videos.cv2, original = type('cv2', (), {**vars(cv2), 'VideoCapture': lambda path: Refusing()}), videos.cv2
    try:
        assert video_length(path, 1).frames == 6 and not grabs
        make_video(path, 9)
        with pytest.raises(DamagedImageError, match='not a video'):
            video_length(path, 1)  # the file has changed, so it is counted again
        assert grabs
    finally:
        videos.cv2 = original
    assert video_length(path, 1).frames == 9


def _read_there(path, number, answers):
    answers.put(read_video_frame(path, number, 1))


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_workers_open_their_own(mixed, method):
    """The decoder that this process holds is neither used nor closed by those that it starts."""
    video = mixed / 'my dog.v2.mp4'
    frames = decoded(video)
    dataset = SemanticClipTestDataset(options(video, max_frames=3))
    assert numbers(dataset[1]['lq'], frames) == [3, 4, 5]
    loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context=method)
    assert [numbers(item['lq'], frames) for item in loader] == [[3 * k, 3 * k + 1, 3 * k + 2] for k in range(4)]
    assert numbers(dataset[2]['lq'], frames) == [6, 7, 8]
    reader = pickle.loads(pickle.dumps(FrameReader(mixed, DISK, 'dataroot_lq')))
    assert np.array_equal(reader.read('my_dog_v2/00000002'), frames[2])


def test_a_fork_may_happen_while_another_thread_reads(tmp_path):
    path = make_video(tmp_path / 'v.mp4', 6)
    context = multiprocessing.get_context('fork')
    answers = context.Queue()
    with videos._lock:  # as a thread would hold it
        child = context.Process(target=_read_there, args=(path, 4, answers))
        child.start()
    try:
        assert np.array_equal(answers.get(timeout=60), decoded(path)[4])
    finally:
        child.kill()


def test_broken_and_empty_videos_are_sentences(tmp_path, mixed):
    for name, content in (('fake.mp4', b'no video'), ('empty.avi', b'')):
        (mixed / name).write_bytes(content)
        for load in (ClipIndex.load, open_frames, lambda root: SemanticClipTestDataset(options(root))):
            for root in (mixed, mixed / name):
                with pytest.raises(UserError, match=f'{name}. cannot be used: it is not a video that OpenCV'):
                    load(root)
        (mixed / name).unlink()
    make_video(mixed / 'none.avi', 0)
    with pytest.raises(UserError, match=r'none\.avi. cannot be used: it is not a video'):
        ClipIndex.load(mixed)
    (mixed / 'none.avi').unlink()
    (mixed / 'link.mp4').symlink_to('/nonexistent')
    with pytest.raises(UserError, match=r"link\.mp4. cannot be used: it is a link to '/nonexistent'"):
        ClipIndex.load(mixed)
    (mixed / 'link.mp4').unlink()
    os.mkfifo(mixed / 'pipe.mp4')
    with pytest.raises(UserError, match=r'pipe\.mp4. cannot be used: it is a pipe'):
        ClipIndex.load(mixed)
    (mixed / 'pipe.mp4').unlink()
    with pytest.raises(UserError, match=r'64x48 pixels, more than the 0\.001 megapixels of max_megapixels'):
        SemanticClipTestDataset(options(mixed, max_megapixels=0.001))


def test_a_truncated_video_has_the_frames_that_are_there(tmp_path, caplog, capsys):
    video = cut_short(make_video(tmp_path / 'src' / 'v.avi', 20))
    there = len(decoded(video))
    assert 5 < there < 20
    prepared = prepare_clips(tmp_path / 'src', tmp_path / 'dst')
    (skipped,) = prepared.skipped
    index = ClipIndex.load(tmp_path / 'src')
    assert [len(clip) for clip in index] == [there] == [len(clip) for clip in prepared.clips.values()]
    (remark,) = index.remarks
    assert skipped['reason'] in remark and f"v.avi', frame {there}: " in remark
    with caplog.at_level(logging.WARNING, 'basicsr'):
        logging.getLogger('basicsr').propagate = True
        assert len(SemanticClipTestDataset(options(tmp_path / 'src'))[0]['lq']) == there
    assert remark in caplog.text
    assert len(open_frames(tmp_path / 'src')[0]) == there
    assert remark in capsys.readouterr().err


def test_frames_that_a_video_has_not(tmp_path):
    video = make_video(tmp_path / 'v.mp4', 3)
    reader = FrameReader(tmp_path, DISK, 'dataroot_lq')
    for key, message in (
        ('v/00000003', r"dataroot_lq: frame '00000003' of '.*v\.mp4' cannot be read: it ends after 3 frames"),
        ('v/im1', r"v\.mp4' has no frame 'im1'. Frames of videos are called 00000000"),
        ('w/00000000', r'no frame .*w/00000000.*not even a folder'),
    ):
        with pytest.raises(UserError, match=message):
            reader.read(key)
    assert np.array_equal(reader.read('v/00000002'), decoded(video)[2])
    video.write_bytes(b'')
    reader.close()
    with pytest.raises(UserError, match='cannot be read: it is not a video'):
        reader.read('v/00000000')


def test_two_clips_of_one_name_are_refused_as_by_preparation(mixed, tmp_path):
    make_video(mixed / 'bear.mp4', 2)
    said = "'bear.mp4' and 'bear' would both become clip 'bear'. Rename one."
    loads = (ClipIndex.load, open_frames, lambda root: prepare_clips(root, tmp_path / 'dst'))
    for load in (*loads, lambda root: SemanticClipTestDataset(options(root))):
        with pytest.raises(UserError) as caught:
            load(mixed)
        assert str(caught.value) == said
    (mixed / 'bear.mp4').rename(mixed / 'more' / 'cat.mp4')
    with pytest.raises(UserError, match=r"'more/cat.avi' and 'more/cat.mp4' would both become clip 'more/cat'"):
        ClipIndex.load(mixed)


def test_lists_of_clips_name_videos(mixed, tmp_path):
    def load(text: str) -> SemanticClipTestDataset:
        (tmp_path / 'list.txt').write_text(text)
        return SemanticClipTestDataset(options(mixed, meta_info_file=str(tmp_path / 'list.txt')))

    assert load('my_dog_v2\nbear\n').clip_lengths == {'my_dog_v2': 12, 'bear': 4}
    shorter = load('more/cat 3 (48,64,3)\nbear 2 (48,64,3)\n')
    assert shorter.clip_lengths == {'more/cat': 3, 'bear': 2}
    assert numbers(shorter[0]['lq'], decoded(mixed / 'more' / 'cat.avi')) == [0, 1, 2]
    with pytest.raises(UserError, match=r"gives the clip 'more/cat' 6 frames, but '.*cat\.avi' has 5"):
        load('more/cat 6\n')
    with pytest.raises(UserError, match=r"names the clip 'dog', but there is no folder '.*dog'"):
        load('more/cat\ndog\n')
    make_video(mixed / 'more.avi', 2)  # next to a folder that has no images itself
    assert load('more\nmore/cat\n').clip_lengths == {'more': 2, 'more/cat': 5}


def test_what_is_found_has_the_names_of_preparation_and_of_keys(mixed):
    clips, left_out = find_clips(mixed)
    found = {clip.source: (clip.name, clip.key, clip.video is not None) for clip in clips}
    assert found == {
        'bear': ('bear', 'bear', False),
        'more/cat.avi': ('more/cat', 'more/cat', True),
        'my dog.v2.mp4': ('my_dog_v2', 'my_dog_v2', True),
    }
    assert left_out == []
