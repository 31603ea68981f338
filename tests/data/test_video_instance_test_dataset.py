"""Whole videos for tests of instance segmentation: items, annotations, videos held out, files without annotations."""

from __future__ import annotations

import json
from pathlib import Path

import pycocotools.mask as coco
import pytest
import torch
from helpers.ytvis import LISTED, SIZES, STEP, box_mask, make_ytvis
from torch.utils.data import DataLoader

from basicsr_semantic.data import VideoInstanceTestDataset
from basicsr_semantic.data.prepare.ytvis import prepare_ytvis
from basicsr_semantic.utils.errors import UserError


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    return make_ytvis(tmp_path_factory.mktemp('ytvis'))


def options(root: Path, **keys) -> dict:
    opt = {'name': 'tiny', 'type': 'VideoInstanceTestDataset', 'phase': 'val', 'short_side': 32}
    opt |= {'dataroot_gt': str(root / 'train' / 'JPEGImages'), 'annotation_file': str(root / 'train.json')}
    return opt | keys


def test_items_are_whole_videos(root):
    dataset = VideoInstanceTestDataset(options(root))
    assert len(dataset) == 3 and dataset.num_classes == 2 and dataset.annotated
    assert [category['name'] for category in dataset.categories] == ['bird', 'cat']
    loader = DataLoader(dataset, batch_size=1, collate_fn=dataset.collate)
    for number, item in enumerate(loader):
        name = list(SIZES)[number]
        assert item['clip'] == name and item['size'] == SIZES[name] and item['video_id'] == 10 + number
        assert item['frame_names'] == [f'{STEP * i:05d}' for i in range(LISTED)]
        assert item['positions'] == list(range(LISTED)) and item['num_listed'] == LISTED
        assert item['frames'].shape[:2] == (LISTED, 3) and min(item['frames'].shape[2:]) == 32
        assert item['frames'].dtype == torch.float32
    assert VideoInstanceTestDataset(options(root, short_side=None))[1]['frames'].shape == (LISTED, 3, 90, 62)
    assert VideoInstanceTestDataset(options(root, max_long_side=40))[0]['frames'].shape == (LISTED, 3, 27, 40)


def test_what_was_annotated(root):
    dataset = VideoInstanceTestDataset(options(root))
    for number, name in enumerate(SIZES):
        found = dataset.annotations(number)
        assert found['labels'].tolist() == [1, 0] and found['labels'].dtype == torch.int64
        assert found['ids'].tolist() == [100 * (number + 1), 100 * (number + 1) + 1]
        assert found['size'] == SIZES[name]
        for instance in (0, 1):
            for position, code in enumerate(found['masks'][instance]):
                mask = box_mask(name, instance, STEP * position)
                assert (code is None) == (mask is None)
                assert mask is None or (coco.decode(code).astype(bool) == mask).all()


def test_crowds_are_kept_and_named(root, tmp_path):
    content = json.loads((root / 'train.json').read_text())
    content['annotations'][0]['iscrowd'] = 1
    (tmp_path / 'a.json').write_text(json.dumps(content))
    dataset = VideoInstanceTestDataset(options(root, annotation_file=str(tmp_path / 'a.json')))
    assert dataset.annotations(0)['crowd'].tolist() == [True, False]
    assert dataset.annotations(1)['crowd'].tolist() == [False, False]


def test_only_videos_held_out_are_tested(root):
    dataset = VideoInstanceTestDataset(options(root, val_every=2))
    assert [video.name for video in dataset.videos] == ['bee']
    with pytest.raises(UserError, match='has no videos left with val_every 20'):
        VideoInstanceTestDataset(options(root, val_every=20))


def test_files_without_annotations_do(root, tmp_path):
    content = json.loads((root / 'train.json').read_text())
    (tmp_path / 'valid.json').write_text(json.dumps(content | {'annotations': None}))
    dataset = VideoInstanceTestDataset(options(root, annotation_file=str(tmp_path / 'valid.json')))
    assert not dataset.annotated and len(dataset) == 3
    assert dataset.annotations(0)['masks'] == [] and dataset.annotations(0)['labels'].shape == (0,)


def test_places_of_frames_that_are_missing(tmp_path):
    make_ytvis(tmp_path)
    (tmp_path / 'train' / 'JPEGImages' / 'ant' / '00010.jpg').write_bytes(b'')
    prepare_ytvis(tmp_path, tmp_path / 'out')
    lmdb = {'dataroot_lq': str(tmp_path / 'out' / 'lq.lmdb'), 'dataroot_gt': None, 'io_backend': {'type': 'lmdb'}}
    dataset = VideoInstanceTestDataset(options(tmp_path, **lmdb))
    item = dataset[0]
    assert item['positions'] == [0, 1, 3, 4, 5] and item['num_listed'] == 6
    assert item['frame_names'] == ['00000', '00005', '00015', '00020', '00025'] and item['size'] == (64, 96)
    assert [code is None for code in dataset.annotations(0)['masks'][1]] == [False, False, True, False, False]


def test_sizes_that_make_no_sense(root):
    with pytest.raises(UserError, match='short_side: It is 0'):
        VideoInstanceTestDataset(options(root, short_side=0))


def test_the_loops_make_batches_by_collate(root):
    from basicsr_semantic.engine import pipeline
    from basicsr_semantic.engine.run import prepare_run

    item = next(iter(pipeline._val_loader(options(root), 'val')))
    assert item['clip'] == 'ant' and item['size'] == (64, 96) and item['frames'].ndim == 4
    data = options(root, type='VideoInstanceDataset', phase='train', batch_size_per_gpu=2, num_worker_per_gpu=0)
    opt = {'datasets': {'train': {k: v for k, v in data.items() if k != 'short_side'}}, 'dist': False, 'num_gpu': 0}
    opt |= {'name': 'x', 'world_size': 1, 'rank': 0, 'manual_seed': 0, 'train': {'total_iter': 1}}
    batch = next(iter(pipeline._train_loader(prepare_run(opt, root, True), 0)[0]))
    assert batch['frames'].shape[:3] == (2, 5, 3) and batch['sizes'].shape == (2, 2)
    assert len(batch['instances']) == len(batch['key']) == 2


@pytest.mark.parametrize('name', ['../ant/00000.jpg', '/etc/00000.jpg', 'a\\b/00000.jpg'])
def test_frames_outside_the_data_root_are_not_read(root, tmp_path, name):
    content = json.loads((root / 'train.json').read_text())
    content['videos'][2]['file_names'][0] = name
    (tmp_path / 'train.json').write_text(json.dumps(content))
    with pytest.raises(UserError, match=r'train\.json: video .* names the file .* It must be a path below'):
        VideoInstanceTestDataset(options(root, annotation_file=str(tmp_path / 'train.json')))
