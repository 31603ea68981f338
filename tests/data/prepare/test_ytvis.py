"""YouTube-VIS to LMDBs and annotations: layouts, cut frames and masks, resumption, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import lmdb
import numpy as np
import pytest
from helpers.prepared import KilledError, content
from helpers.project import REAL_CLIPS, needs_clips
from helpers.ytvis import LISTED, SIZES, STEP, box_mask, frame, make_ytvis, train_json

from basicsr_semantic.data import SemanticClipDataset
from basicsr_semantic.data.degradations import degrade
from basicsr_semantic.data.frame_reader import FrameReader
from basicsr_semantic.data.prepare import clips as machinery
from basicsr_semantic.data.prepare.clips import verify_clips
from basicsr_semantic.data.prepare.output import only_writer, original_keys
from basicsr_semantic.data.prepare.ytvis import prepare_ytvis
from basicsr_semantic.extractors import build_extractor
from basicsr_semantic.priors import lmdb_env
from basicsr_semantic.priors.youtube_vis import read_youtube_vis
from basicsr_semantic.utils.errors import UserError

DAVIS = REAL_CLIPS / 'davis320'


@pytest.fixture
def source(tmp_path) -> Path:
    return make_ytvis(tmp_path / 'ytvis')


def everything(target: Path) -> dict:
    return content(target) | {'instances.json': (target / 'instances.json').read_text()}


def test_frames_lists_and_annotations(source, tmp_path):
    prepared = prepare_ytvis(source, tmp_path / 'out')
    assert (tmp_path / 'out' / 'meta_info.txt').read_text() == 'ant 6 (64,96,3)\nbee 6 (88,60,3)\ncow 6 (48,48,3)\n'
    assert verify_clips(tmp_path / 'out') == prepared and list(prepared.clips) == list(SIZES)
    assert all(clip.frame_names == [f'{STEP * i:05d}' for i in range(LISTED)] for clip in prepared.clips.values())
    gt, lq = (FrameReader(tmp_path / 'out' / f'{side}.lmdb', {'type': 'lmdb'}, side) for side in ('gt', 'lq'))
    for video, (height, width) in SIZES.items():
        for number in range(LISTED):
            image = gt.read(f'{video}/{number:08d}')
            whole = frame(video, STEP * number)[: height // 4 * 4, : width // 4 * 4, ::-1]
            assert image.shape == whole.shape and np.abs(image.astype(int) - whole).mean() < 3  # it was a JPEG
            assert np.array_equal(lq.read(f'{video}/{number:08d}'), degrade(image, 'BI'))
    file = read_youtube_vis(tmp_path / 'out' / 'instances.json')
    assert [(v.id, v.name, v.height, v.width) for v in file.videos] == [
        (10, 'ant', 64, 96), (11, 'bee', 88, 60), (12, 'cow', 48, 48)
    ]  # fmt: skip
    for video in file.videos:
        for number, instance in enumerate(video.instances):
            for position in range(LISTED):
                mask = box_mask(video.name, number, STEP * position)
                stored = file.mask(video, instance, position)
                assert not stored.any() if mask is None else np.array_equal(stored, mask[: video.height, : video.width])


def test_boxes_and_areas_are_those_of_the_cut_masks(source, tmp_path):
    prepare_ytvis(source, tmp_path / 'out')
    written = json.loads((tmp_path / 'out' / 'instances.json').read_text())
    assert [one['id'] for one in written['categories']] == [3, 7]
    corner = next(one for one in written['annotations'] if one['id'] == 201)
    assert corner['category_id'] == 3 and (corner['height'], corner['width'], corner['length']) == (88, 60, LISTED)
    assert corner['bboxes'] == [[42.0, 70.0, 18.0, 18.0]] * 2 + [None] * 2 + [[42.0, 70.0, 18.0, 18.0]] * 2
    assert corner['areas'] == [324, 324, None, None, 324, 324]
    assert [code is None for code in corner['segmentations']] == [False, False, True, True, False, False]


def test_degradation_and_scale(source, tmp_path):
    prepare_ytvis(source, tmp_path / 'out', degradation='BI', scale=3)
    file = read_youtube_vis(tmp_path / 'out' / 'instances.json')
    assert [(video.height, video.width) for video in file.videos] == [(63, 96), (90, 60), (48, 48)]
    prepare_ytvis(source, tmp_path / 'bd', degradation='BD')
    image = FrameReader(tmp_path / 'bd' / 'gt.lmdb', {'type': 'lmdb'}, 'gt').read('bee/00000003')
    small = FrameReader(tmp_path / 'bd' / 'lq.lmdb', {'type': 'lmdb'}, 'lq').read('bee/00000003')
    assert np.array_equal(small, degrade(image, 'BD'))


@pytest.mark.parametrize(
    ('name', 'frames'),
    [
        ('train.json', 'train/JPEGImages'),  # 2019, and what most people make of the others
        ('train/instances.json', 'train/JPEGImages'),  # 2021
        ('annotations/train.json', 'train/JPEGImages'),
        ('train/train.json', 'train/frames'),
    ],
)
def test_layouts(source, tmp_path, name, frames):
    new = tmp_path / 'new'
    (new / frames).parent.mkdir(parents=True)
    (new / name).parent.mkdir(parents=True, exist_ok=True)
    (source / 'train' / 'JPEGImages').rename(new / frames)
    (source / 'train.json').rename(new / name)
    assert prepare_ytvis(new, tmp_path / 'out').frames == 18


def test_other_splits_and_places(tmp_path):
    """The long videos of 2022 have a list and a folder of their own; anything else is said by flags."""
    root = make_ytvis(tmp_path / 'ytvis', 'valid_long', videos=('cow',))
    assert list(prepare_ytvis(root, tmp_path / 'long', 'valid_long').clips) == ['cow']
    make_ytvis(root, 'valid')
    shutil.copy(root / 'valid_long.json', tmp_path / 'some.json')
    one = prepare_ytvis(root, tmp_path / 'one', 'valid', annotations=tmp_path / 'some.json')
    two = prepare_ytvis(root, tmp_path / 'two', 'x', tmp_path / 'some.json', root / 'valid' / 'JPEGImages')
    assert list(one.clips) == list(two.clips) == ['cow']


def test_valid_has_no_annotations(source, tmp_path):
    text = json.loads((source / 'train.json').read_text()) | {'annotations': None}
    (source / 'train.json').write_text(json.dumps(text))
    prepare_ytvis(source, tmp_path / 'out')
    file = read_youtube_vis(tmp_path / 'out' / 'instances.json')
    assert not file.annotated and [video.id for video in file.videos] == [10, 11, 12]


def test_a_byte_order_mark_and_annotations_that_are_damaged_since(source, tmp_path):
    (source / 'train.json').write_text((source / 'train.json').read_text(), encoding='utf-8-sig')
    prepare_ytvis(source, tmp_path / 'out')
    whole = (tmp_path / 'out' / 'instances.json').read_bytes()
    (tmp_path / 'out' / 'instances.json').write_bytes(b'\xff' + whole)
    prepare_ytvis(source, tmp_path / 'out')
    assert (tmp_path / 'out' / 'instances.json').read_bytes() == whole


def test_only_listed_frames_unless_all_are_asked_for(tmp_path):
    root = make_ytvis(tmp_path / 'ytvis', every=1)
    assert prepare_ytvis(root, tmp_path / 'listed').frames == 3 * LISTED
    whole = prepare_ytvis(root, tmp_path / 'all', all_frames=True)
    assert whole.frames == 3 * LISTED * STEP and whole.clips['ant'].frame_names[:2] == ['00000', '00001']
    file = read_youtube_vis(tmp_path / 'all' / 'instances.json')
    assert file.videos[0].frames == tuple(f'ant/{STEP * i:05d}' for i in range(LISTED))
    keys = {name: key for key, name in original_keys(tmp_path / 'all' / 'gt.lmdb').items()}
    assert keys['ant/00005'] == 'ant/00000005'
    # the releases have all frames in a folder of their own
    (root / 'train' / 'JPEGImages').rename(root / 'listed')
    (root / 'train').rmdir()
    (root / 'train_all_frames').mkdir()
    (root / 'listed').rename(root / 'train_all_frames' / 'JPEGImages')
    assert prepare_ytvis(root, tmp_path / 'third', all_frames=True).frames == whole.frames


def test_frames_that_cannot_be_used_are_cut_out_of_clips_and_annotations(source, tmp_path):
    (source / 'train' / 'JPEGImages' / 'ant' / '00010.jpg').write_bytes(b'no image')
    prepared = prepare_ytvis(source, tmp_path / 'out')
    assert list(prepared.clips) == ['ant', 'ant_from_00003', 'bee', 'cow']
    assert prepared.skipped == [{'source': 'ant/00010.jpg', 'reason': 'it is corrupt or not an image'}]
    video = read_youtube_vis(tmp_path / 'out' / 'instances.json').videos[0]
    assert video.frames == ('ant/00000', 'ant/00005', 'ant/00015', 'ant/00020', 'ant/00025')
    assert [one is None for one in video.instances[1].segmentations] == [False, False, True, False, False]
    with pytest.raises(UserError, match=r'--strict: .* was prepared without 1 that could not be used'):
        prepare_ytvis(source, tmp_path / 'out', strict=True)


def test_the_data_sets_and_the_annotations_extractor_read_it(source, tmp_path):
    prepare_ytvis(source, tmp_path / 'out')
    opt = {'name': 'x', 'type': 'SemanticClipDataset', 'io_backend': {'type': 'lmdb'}, 'num_frame': 5, 'gt_size': 48}
    opt |= {'dataroot_gt': str(tmp_path / 'out' / 'gt.lmdb'), 'dataroot_lq': str(tmp_path / 'out' / 'lq.lmdb')}
    dataset = SemanticClipDataset(opt)
    assert len(dataset) == 3 * 2 and dataset[2]['gt'].shape == (5, 3, 48, 48)
    names = original_keys(tmp_path / 'out' / 'lq.lmdb')
    extractor = build_extractor('annotations', annotations=str(tmp_path / 'out' / 'instances.json'))
    masks, _ = extractor(np.zeros((22, 15, 3), np.uint8), names['bee/00000000'])
    assert masks.shape == (2, 22, 15) and masks[1, 18:, 11:].all() and not masks[1, :17].any()


def test_a_run_that_was_stopped_continues_to_the_same_result(source, tmp_path, monkeypatch):
    (source / 'train' / 'JPEGImages' / 'bee' / '00005.jpg').write_bytes(b'')
    prepare_ytvis(source, tmp_path / 'whole')
    expected = everything(tmp_path / 'whole')
    original = machinery.PairWriter.put
    for stop_after in (1, 8, 16):
        target = tmp_path / f'stopped{stop_after}'
        done = []

        def put(writer, key, pair, done=done, stop_after=stop_after):
            if len(done) == stop_after:
                raise KilledError
            done.append(key)
            original(writer, key, pair)
            writer.flush()

        with monkeypatch.context() as patch:
            patch.setattr(machinery.PairWriter, 'put', put)
            with pytest.raises(KilledError):
                prepare_ytvis(source, target)
        assert not (target / 'manifest.json').exists() and not (target / 'instances.json').exists()
        prepare_ytvis(source, target)
        assert everything(target) == expected


def test_annotations_follow_their_source_without_new_frames(source, tmp_path, monkeypatch):
    prepare_ytvis(source, tmp_path / 'out')
    monkeypatch.setattr(machinery, 'make_pair', lambda *_, **__: pytest.fail('a frame was made again'))
    before = (tmp_path / 'out' / 'instances.json').stat().st_mtime_ns
    prepare_ytvis(source, tmp_path / 'out')
    assert (tmp_path / 'out' / 'instances.json').stat().st_mtime_ns == before
    text = json.loads((source / 'train.json').read_text())
    text['annotations'] = text['annotations'][1:]
    (source / 'train.json').write_text(json.dumps(text))
    prepare_ytvis(source, tmp_path / 'out')
    assert len(read_youtube_vis(tmp_path / 'out' / 'instances.json').videos[0].instances) == 1


def test_a_full_disk_is_one_sentence_and_costs_nothing(source, tmp_path, monkeypatch):
    def full(*_):
        raise lmdb.DiskError('mdb_txn_commit: No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(lmdb_env.GrowingEnv, 'write', lambda self, *_: _write_fails(self.path, full))
        with pytest.raises(
            UserError, match=r'No space left on device\. Free some space and run the same command again'
        ):
            prepare_ytvis(source, tmp_path / 'out')
    assert not (tmp_path / 'out' / 'instances.json').exists()
    assert prepare_ytvis(source, tmp_path / 'out').frames == 18


def _write_fails(path, fail):
    with lmdb_env.lmdb_errors(path, 'write to the store'):
        fail()


def damaged(change):
    """Changes the annotations of a source."""

    def apply(source):
        text = train_json()
        change(text)
        (source / 'train.json').write_text(json.dumps(text))

    return apply


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (
            lambda s: (s / 'train.json').unlink(),
            r"has no JSON file of the split 'train': .*train/instances\.json.*--json",
        ),
        (lambda s: shutil.rmtree(s / 'train'), r"has no folder of frames of the split 'train'.*--frames"),
        (lambda s: (s / 'train.json').write_text('{'), 'cannot be read as JSON'),
        (lambda s: (s / 'train.json').write_text('[]'), 'is not a YouTube-VIS file'),
        (
            lambda s: (s / 'train' / 'JPEGImages' / 'bee' / '00010.jpg').unlink(),
            r"1 of the 18 frames that .*train\.json' lists are not there; the first is '.*bee/00010\.jpg'",
        ),
        (lambda s: shutil.rmtree(s / 'train' / 'JPEGImages' / 'cow'), r"6 of the 18 frames .*cow/00000\.jpg'"),
        (damaged(lambda c: c['videos'][1].update(height=92)), r"bee/00000\.jpg' has 62x90 pixels, but .* says 62x92"),
        (damaged(lambda c: c.update(videos=[], annotations=[])), 'has no videos'),
        (
            damaged(lambda c: c['videos'][0]['file_names'].__setitem__(0, 'bee/1.jpg')),
            'frames of video 10 are not in one folder of their own',
        ),
        (
            damaged(lambda c: c['annotations'][0]['segmentations'][0].update(counts='oops')),
            'annotation 100 has no usable segmentation',
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(source, tmp_path, spoil, message):
    spoil(source)
    with pytest.raises(UserError, match=message):
        prepare_ytvis(source, tmp_path / 'out')


def test_two_calls_do_not_prepare_one_folder(source, tmp_path):
    with only_writer(tmp_path / 'dst'), pytest.raises(UserError, match='dst is in use: '):
        prepare_ytvis(source, tmp_path / 'dst')
    assert not (tmp_path / 'dst').exists()


def test_annotations_that_are_read_are_not_written_over(source, tmp_path):
    (source / 'train.json').rename(source / 'train' / 'instances.json')
    with pytest.raises(UserError, match='Write to another folder'):
        prepare_ytvis(source, source / 'train')
    with pytest.raises(UserError, match='There is no folder'):
        prepare_ytvis(tmp_path / 'gone', tmp_path / 'out')
    with pytest.raises(UserError, match='--json: there is no file'):
        prepare_ytvis(source, tmp_path / 'out', annotations=tmp_path / 'gone.json')
    with pytest.raises(UserError, match='--frames: there is no folder'):
        prepare_ytvis(source, tmp_path / 'out', frames=tmp_path / 'gone')


@pytest.mark.slow
@needs_clips('davis320')
def test_real_clips(tmp_path):
    """DAVIS clips in the layout of YouTube-VIS."""
    text = json.loads((DAVIS / 'val' / 'instances.json').read_text())
    (tmp_path / 'davis' / 'valid').mkdir(parents=True)
    (tmp_path / 'davis' / 'valid' / 'JPEGImages').symlink_to(DAVIS / 'val' / 'frames')
    (tmp_path / 'davis' / 'valid.json').write_text(json.dumps(text))
    prepared = prepare_ytvis(tmp_path / 'davis', tmp_path / 'out', 'valid')
    assert prepared.frames == 96 and not prepared.skipped
    before, after = (read_youtube_vis(p) for p in (DAVIS / 'val' / 'instances.json', tmp_path / 'out/instances.json'))
    for one, other in zip(before.videos, after.videos, strict=True):
        assert one.frames == other.frames and (other.height, other.width) == (320, 544)
        for mine, theirs in zip(one.instances, other.instances, strict=True):
            assert np.array_equal(before.mask(one, mine, 7), after.mask(other, theirs, 7))


@pytest.mark.parametrize(
    'name', ['../secret/00000.jpg', '{tmp}/secret/00000.jpg', 'ant/../../secret/00000.jpg', 'a\\b/c.jpg']
)
@pytest.mark.parametrize('all_frames', [False, True])
def test_no_file_outside_the_folder_of_frames_is_read(source, tmp_path, name, all_frames):
    shutil.copytree(source / 'train/JPEGImages/ant', tmp_path / 'secret')
    shutil.copytree(source / 'train/JPEGImages/ant', source / 'train/secret')
    content = train_json(('ant',))
    content['videos'][0]['file_names'] = [
        name.format(tmp=tmp_path).replace('00000', f'{STEP * i:05d}') for i in range(LISTED)
    ]
    if 'c.jpg' in name:
        content = train_json(('ant',)) | {'annotations': []}
        content['videos'][0]['file_names'] = [name]
    (source / 'train.json').write_text(json.dumps(content))
    with pytest.raises(UserError, match=r'train\.json: video .* names the file .* It must be a path below'):
        prepare_ytvis(source, tmp_path / 'out', all_frames=all_frames)
    assert not (tmp_path / 'out').exists()


def test_links_out_of_the_folder_of_frames_are_followed(source, tmp_path):
    (source / 'train/JPEGImages/ant').rename(tmp_path / 'elsewhere')
    (source / 'train/JPEGImages/ant').symlink_to(tmp_path / 'elsewhere')
    assert 'ant' in prepare_ytvis(source, tmp_path / 'out').clips
