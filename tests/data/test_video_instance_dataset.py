"""Training samples of instances: what is in an item and a batch, which videos, and what is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.project import REAL_CLIPS, needs_clips
from helpers.ytvis import LISTED, STEP, box_mask, make_ytvis
from torch.utils.data import DataLoader

from basicsr_semantic.data import VideoInstanceDataset
from basicsr_semantic.data.prepare.ytvis import prepare_ytvis
from basicsr_semantic.data.video_instance_dataset import sample_frames
from basicsr_semantic.engine.seeding import SeededDataset
from basicsr_semantic.utils.errors import UserError

PLAIN = {'short_sides': [64], 'max_long_side': None, 'crop_range': None, 'use_hflip': False}


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    return make_ytvis(tmp_path_factory.mktemp('ytvis'))


@pytest.fixture(scope='module')
def prepared(root, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp('prepared') / 'train'
    prepare_ytvis(root, target)
    return target


def options(root: Path, **keys) -> dict:
    opt = {
        'name': 'tiny',
        'type': 'VideoInstanceDataset',
        'dataroot_gt': str(root / 'train' / 'JPEGImages'),
        'annotation_file': str(root / 'train.json'),
        'num_frame': 3,
    }
    return {key: value for key, value in (opt | keys).items() if value is not ...}


def lmdb_options(prepared: Path, **keys) -> dict:
    root = {'dataroot_gt': str(prepared / 'gt.lmdb'), 'annotation_file': str(prepared / 'instances.json')}
    return options(prepared, **root, io_backend={'type': 'lmdb'}, **keys)


def seen(frames: torch.Tensor, instance: int) -> np.ndarray:
    """(t, h, w) bool: where the frames have the colour of an instance."""
    return (frames[:, instance] > 0.5).numpy()


@pytest.mark.parametrize('source', ['folder', 'lmdb', 'lq.lmdb', 'BI', 'BD'])
def test_frames_masks_labels_and_ids_belong_together(root, prepared, source):
    if source == 'folder':
        opt = options(root)
    elif source == 'lmdb':
        opt = lmdb_options(prepared)
    elif source == 'lq.lmdb':
        opt = lmdb_options(prepared, dataroot_lq=str(prepared / 'lq.lmdb')) | {'dataroot_gt': None}
    else:
        opt = lmdb_options(prepared, degradation=source)
    dataset = VideoInstanceDataset(opt | {'short_sides': [64, 96], 'crop_range': [60, 90], 'crop_sides': [64, 96]})
    assert len(dataset) == 3 and dataset.num_classes == 2
    found = set()
    for seed in range(12):
        random.seed(seed)
        number = seed % 3
        item = dataset[number]
        frames, instances = item['frames'], item['instances']
        t, channels, height, width = frames.shape
        assert (t, channels) == (3, 3) and frames.dtype == torch.float32 and 0 <= frames.min() <= frames.max() <= 1
        assert instances['masks'].dtype == torch.bool and instances['labels'].dtype == torch.int64
        assert instances['masks'].shape == (len(instances['labels']), 3, height, width)
        for label, identity, masks in zip(*(instances[key] for key in ('labels', 'ids', 'masks')), strict=True):
            which = int(identity) % 100
            assert int(identity) // 100 == number + 1
            assert int(label) == (1, 0)[which]  # category 7 is class 1, category 3 is class 0
            assert masks.any()
            wrong = (masks.numpy() != seen(frames, which)).mean()
            assert wrong < (0.03 if source in ('folder', 'lmdb') else 0.12)
            found.add(which)
        for which in {0, 1} - {int(identity) % 100 for identity in instances['ids']}:
            assert seen(frames, which).mean() < 0.02
    assert found == {0, 1}


def test_an_instance_may_be_away(root):
    dataset = VideoInstanceDataset(options(root, num_frame=LISTED, **PLAIN))
    masks = dataset[0]['instances']['masks']
    assert masks[1].flatten(1).any(1).tolist() == [True, True, False, False, True, True]
    assert np.array_equal(masks[0, 1].numpy(), box_mask('ant', 0, STEP))


def test_no_instance_may_be_left(root):
    """Cut to a corner without boxes."""
    dataset = VideoInstanceDataset(options(root, num_frame=1, crop_range=[8, 8], crop_sides=[64], short_sides=[16]))
    for seed in range(100):
        random.seed(seed)
        instances = dataset[0]['instances']
        if not len(instances['labels']):
            assert instances['masks'].shape == (0, 1, 16, 16)
            assert instances['ids'].shape == (0,) and instances['ids'].dtype == torch.int64
            break
    else:
        pytest.fail('every sample showed an instance')


def test_a_batch_is_padded_to_multiples_of_32(root):
    dataset = VideoInstanceDataset(options(root, **PLAIN))
    random.seed(0)
    items = [dataset[i] for i in range(3)]
    batch = dataset.collate(items)
    assert batch['sizes'].tolist() == [[64, 96], [93, 64], [64, 64]] and batch['sizes'].dtype == torch.int64
    assert batch['frames'].shape == (3, 3, 3, 96, 96)
    assert batch['key'] == [item['key'] for item in items] and batch['key'][1].startswith('bee/')
    for frames, item in zip(batch['frames'], items, strict=True):
        height, width = item['frames'].shape[-2:]
        assert torch.equal(frames[..., :height, :width], item['frames'])
        assert frames.sum() == pytest.approx(float(item['frames'].sum()), rel=1e-5)  # zeros elsewhere
    assert batch['instances'][1]['masks'].shape[-2:] == (93, 64)


def test_samples_of_the_training_loop_depend_on_their_place_only(prepared):
    dataset = VideoInstanceDataset(lmdb_options(prepared, short_sides=[32, 48], crop_range=[30, 40], crop_sides=[48]))
    places = [(0, position, position % 3) for position in range(6)]
    batches = []
    for workers in (0, 2):
        loader = DataLoader(
            SeededDataset(dataset, 5), 2, sampler=places, num_workers=workers, collate_fn=dataset.collate
        )
        batches.append(list(loader))
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one['frames'], other['frames']) and one['key'] == other['key']
        for mine, theirs in zip(one['instances'], other['instances'], strict=True):
            assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_sampled_frames_are_near_each_other():
    random.seed(0)
    for _ in range(300):
        numbers = sample_frames(100, 5, 20)
        assert numbers == sorted(set(numbers)) and len(numbers) == 5 and numbers[-1] - numbers[0] <= 40
        assert numbers[0] >= 0 and numbers[-1] < 100
    for _ in range(50):
        few = sample_frames(3, 5, 20)
        assert few == sorted(few) and len(few) == 5 and set(few) == {0, 1, 2}  # all there are, some of them again
    assert sample_frames(1, 3, 20) == [0, 0, 0]
    assert len(set(sample_frames(50, 5, 0))) == 1


def test_videos_held_out_for_tests_are_not_trained_on(root):
    names = [video.name for video in VideoInstanceDataset(options(root, val_every=2)).videos]
    assert names == ['ant', 'cow']
    with pytest.raises(UserError, match='val_every: It is 1, but must be at least 2'):
        VideoInstanceDataset(options(root, val_every=1))


def test_videos_without_instances_and_crowds_are_left_out(root, tmp_path):
    content = json.loads((root / 'train.json').read_text())
    content['annotations'] = [one for one in content['annotations'] if one['video_id'] != 10]
    content['annotations'][0]['iscrowd'] = 1
    (tmp_path / 'a.json').write_text(json.dumps(content))
    dataset = VideoInstanceDataset(options(root, annotation_file=str(tmp_path / 'a.json')))
    assert [video.name for video in dataset.videos] == ['bee', 'cow']
    assert [instance.id for instance in dataset.videos[0].instances] == [201]


def test_frames_that_are_not_in_the_lmdb_are_left_out(root, tmp_path):
    make_ytvis(tmp_path)
    (tmp_path / 'train' / 'JPEGImages' / 'ant' / '00010.jpg').write_bytes(b'')
    prepare_ytvis(tmp_path, tmp_path / 'out')
    for annotation_file in (tmp_path / 'train.json', tmp_path / 'out' / 'instances.json'):
        opt = lmdb_options(tmp_path / 'out', num_frame=5, **PLAIN) | {'annotation_file': str(annotation_file)}
        dataset = VideoInstanceDataset(opt)
        video = dataset.videos[0]
        assert video.keys == ('ant/00000000', 'ant/00000001', 'ant_from_00003/00000000', 'ant_from_00003/00000001',
                              'ant_from_00003/00000002')  # fmt: skip
        instances = dataset[0]['instances']
        assert instances['masks'][1].flatten(1).any(1).tolist() == [True, True, False, True, True]
        for place, number in enumerate((0, 1, 3, 4, 5)):
            assert np.array_equal(instances['masks'][0, place].numpy(), box_mask('ant', 0, STEP * number))


@pytest.mark.parametrize(
    ('keys', 'message'),
    [
        ({'annotation_file': 'gone.json', 'prepare': 'basicsr prepare ytvis A {folder}'},
         r"annotation_file: there is no file 'gone.json'. Make it with: basicsr prepare ytvis A \."),
        ({'dataroot_gt': None}, 'needs one of dataroot_gt'),
        ({'dataroot_lq': 'x'}, 'needs one of dataroot_gt'),
        ({'num_classes': 1}, 'num_classes is 1, but .* has 2 categories'),
        ({'num_frame': 0}, 'num_frame: It is 0, but must be at least 1'),
        ({'short_sides': []}, 'short_sides is'),
        ({'crop_range': [5]}, 'crop_range is'),
        ({'crop_sides': [0]}, 'crop_sides:0: It is 0'),
        ({'degradation': 'BD', 'scale': 3}, 'defined for scale 4'),
        ({'annotation_file': ...}, "needs the key 'annotation_file'"),
        ({'shortsides': [3]}, "Did you mean 'short_sides'"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit(root, keys, message):
    with pytest.raises(UserError, match=message):
        VideoInstanceDataset(options(root, **keys))


def test_data_that_do_not_fit(root, prepared, tmp_path):
    content = json.loads((root / 'train.json').read_text())
    empty = tmp_path / 'valid.json'
    empty.write_text(json.dumps(content | {'annotations': None}))
    with pytest.raises(UserError, match=r'has no annotations to train on'):
        VideoInstanceDataset(options(root, annotation_file=str(empty)))
    with pytest.raises(UserError, match=r"begins with the video 'ant', but there is no folder"):
        VideoInstanceDataset(options(root, dataroot_gt=str(root / 'train')))
    other = tmp_path / 'other.json'
    other.write_text(json.dumps(content).replace('ant/', 'elk/').replace('bee/', 'b/').replace('cow/', 'c/'))
    with pytest.raises(UserError, match=r"has none of the frames .* as 'elk/00000'; its first is 'ant/00000'"):
        VideoInstanceDataset(lmdb_options(prepared) | {'annotation_file': str(other)})
    wrong = json.loads((root / 'train.json').read_text())
    wrong['videos'][0]['height'] = 80
    other.write_text(json.dumps(wrong))
    with pytest.raises(UserError, match=r"frame 'ant/\d+' has 96x64 pixels, but .* says 96x80"):
        _ = VideoInstanceDataset(options(root, annotation_file=str(other)))[0]
    wrong = json.loads((root / 'train.json').read_text())
    wrong['annotations'][0]['category_id'] = 99
    other.write_text(json.dumps(wrong))
    with pytest.raises(UserError, match='annotation 100 has the category 99'):
        VideoInstanceDataset(options(root, annotation_file=str(other)))


@needs_clips('davis320')
def test_real_clips():
    train = REAL_CLIPS / 'davis320' / 'train'
    opt = {'name': 'davis320', 'type': 'VideoInstanceDataset', 'dataroot_gt': str(train / 'frames')}
    dataset = VideoInstanceDataset(opt | {'annotation_file': str(train / 'instances.json'), 'val_every': 4})
    assert len(dataset) == 9 and dataset.num_classes == 10
    random.seed(0)
    batch = dataset.collate([dataset[0], dataset[5]])
    assert batch['frames'].shape[:3] == (2, 5, 3)
    assert all(0.002 < float(one['masks'].float().mean()) < 0.9 for one in batch['instances'])
