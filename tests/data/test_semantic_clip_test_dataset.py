"""Whole clips, segments and windows for validation and test, with and without GT."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.data.data_util import generate_frame_indices
from helpers.clips import (
    NUM_MASKS,
    SCALE,
    Seeded,
    coded_frame,
    make_coded_clips,
    places,
    places_of_masks,
    to_lmdb,
    write_png,
)
from torch.utils.data import DataLoader

from basicsr_semantic.data.degradations import degrade
from basicsr_semantic.data.semantic_clip_test_dataset import PADDINGS, SemanticClipTestDataset
from basicsr_semantic.utils.errors import UserError

CLIPS = {'000': 7, '001': 6, '011': 9}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = make_coded_clips(tmp_path_factory.mktemp('coded'), CLIPS)
    to_lmdb(root / 'gt', root / 'gt.lmdb')
    to_lmdb(root / 'lq', root / 'lq.lmdb')
    return root


def options(root, **changes) -> dict:
    opt = {
        'name': 'coded',
        'type': 'SemanticClipTestDataset',
        'phase': 'val',
        'scale': SCALE,
        'dataroot_gt': str(root / 'gt'),
        'dataroot_lq': str(root / 'lq'),
        'dataroot_priors': str(root / 'priors'),
        'num_masks': NUM_MASKS,
    }
    return opt | changes


def numbers(item) -> list[int]:
    """Frame numbers as the pixels say."""
    return places(item['lq'])[:, 2, 0, 0].tolist()


def gt_number(gt) -> int:
    return round(gt[2, 0, 0].item() * 255)


@pytest.mark.parametrize('lmdb', [False, True])
def test_a_clip_is_cut_where_the_numbers_of_its_frames_jump(tmp_path, lmdb):
    make_coded_clips(tmp_path, {'bear': 7})
    changes: dict = {'io_backend': {'type': 'lmdb' if lmdb else 'disk'}}
    for side in ('gt', 'lq'):
        (tmp_path / side / 'bear' / '00000003.png').unlink()
        if lmdb:
            changes[f'dataroot_{side}'] = str(to_lmdb(tmp_path / side, tmp_path / f'{side}.lmdb'))
    dataset = SemanticClipTestDataset(options(tmp_path, **changes))
    assert dataset.clip_lengths == {'bear': 3, 'bear_from_00004': 3}
    assert [item['clip'] for item in dataset] == list(dataset.clip_lengths)
    assert [numbers(item) for item in dataset] == [[0, 1, 2], [4, 5, 6]]
    assert places_of_masks(dataset[1]['masks'])[:, 2, 0, 0].tolist() == [4, 5, 6]
    assert dataset[1]['frame_names'] == ['00000004', '00000005', '00000006']
    assert dataset[1]['frame_indices'] == [0, 1, 2]
    assert gt_number(dataset.read_gt(1, 2)) == 6
    assert dataset.source.lr_sizes(dataset.source.index.clips) == dict.fromkeys(dataset.clip_lengths, (24, 40))


def test_a_clip_is_an_item(root):
    dataset = SemanticClipTestDataset(options(root))
    assert len(dataset) == 3
    assert dataset.clip_lengths == CLIPS
    assert (dataset.prior_kind, dataset.has_gt) == ('regions', True)
    for index, (clip, count) in enumerate(CLIPS.items()):
        item = dataset[index]
        assert set(item) == {'lq', 'masks', 'prior_kind', 'clip', 'frame_names', 'frame_indices'}
        assert item['lq'].shape == (count, 3, 24, 40)
        assert item['clip'] == clip
        assert item['frame_names'] == [f'{number:08d}' for number in range(count)]
        assert numbers(item) == item['frame_indices'] == list(range(count))
        assert np.array_equal(places_of_masks(item['masks']), places(item['lq']))


def test_gt_is_streamed(root):
    dataset = SemanticClipTestDataset(options(root, max_frames=4))
    for index in range(len(dataset)):
        for place, position in enumerate(dataset[index]['frame_indices']):
            gt = dataset.read_gt(index, place)
            assert gt.shape == (3, 96, 160)
            assert gt.dtype == torch.float32
            assert gt_number(gt) == position
    with pytest.raises(IndexError):
        dataset.read_gt(0, 4)


@pytest.mark.parametrize('longest', [1, 3, 6, 100])
def test_segments_cover_every_frame_once_and_in_order(root, longest):
    dataset = SemanticClipTestDataset(options(root, max_frames=longest))
    seen = {clip: [] for clip in CLIPS}
    for index in range(len(dataset)):
        item = dataset[index]
        assert 1 <= len(item['frame_indices']) <= longest
        assert numbers(item) == item['frame_indices']
        seen[item['clip']] += item['frame_indices']
    assert seen == {clip: list(range(count)) for clip, count in CLIPS.items()}


@pytest.mark.parametrize('padding', PADDINGS)
@pytest.mark.parametrize('num_frame', [1, 3, 5])
def test_windows_are_those_of_basicsr(root, padding, num_frame):
    dataset = SemanticClipTestDataset(options(root, num_frame=num_frame, padding=padding, dataroot_priors=None))
    assert len(dataset) == sum(CLIPS.values())
    expected = [(clip, centre) for clip, count in CLIPS.items() for centre in range(count)]
    for index, (clip, centre) in enumerate(expected):
        item = dataset[index]
        assert numbers(item) == generate_frame_indices(centre, CLIPS[clip], num_frame, padding)
        assert (item['clip'], item['frame_indices']) == (clip, [centre])
        assert item['frame_names'] == [f'{centre:08d}']
        assert gt_number(item['gt']) == centre
        assert torch.equal(dataset.read_gt(index, 0), item['gt'])


def test_the_beginning_of_each_clip(root):
    whole, beginning = SemanticClipTestDataset(options(root)), SemanticClipTestDataset(options(root, first_frames=6))
    assert beginning.clip_lengths == {'000': 6, '001': 6, '011': 6}
    assert torch.equal(beginning[2]['lq'], whole[2]['lq'][:6]) and beginning[2]['frame_indices'] == list(range(6))
    assert len(SemanticClipTestDataset(options(root, first_frames=5, num_frame=3))) == 15


def test_windows_carry_their_masks(root):
    item = SemanticClipTestDataset(options(root, num_frame=5))[0]
    assert np.array_equal(places_of_masks(item['masks']), places(item['lq']))


def test_windows_may_carry_the_masks_of_their_centre_alone(root):
    whole = SemanticClipTestDataset(options(root, num_frame=3))[1]['masks']
    centre = SemanticClipTestDataset(options(root, num_frame=3, center_masks_only=True))[1]['masks']
    assert whole.any() and torch.equal(centre, whole[1:2])


def test_only_the_centre_frame_as_for_vimeo(root):
    dataset = SemanticClipTestDataset(options(root, num_frame=5, center_frame_only=True))
    assert [dataset[index]['frame_indices'] for index in range(len(dataset))] == [[3], [3], [4]]


def test_vimeo_layout(tmp_path):
    for number in range(1, 8):
        write_png(tmp_path / 'lq' / '00001' / '0266' / f'im{number}.png', coded_frame(8, 8, number, SCALE))
    (tmp_path / 'sep_testlist.txt').write_text('00001/0266\n')
    opt = options(
        tmp_path, dataroot_gt=None, dataroot_priors=None, meta_info_file=str(tmp_path / 'sep_testlist.txt'), num_frame=7
    )
    dataset = SemanticClipTestDataset(opt | {'center_frame_only': True})
    assert len(dataset) == 1
    assert dataset[0]['frame_names'] == ['im4']
    assert numbers(dataset[0]) == list(range(1, 8))
    assert dataset[0]['clip'] == '00001/0266'


def test_gt_is_optional(root):
    for num_frame in (None, 3):
        dataset = SemanticClipTestDataset(options(root, dataroot_gt=None, num_frame=num_frame))
        assert not dataset.has_gt
        assert 'gt' not in dataset[0]
        assert dataset.read_gt(0, 0) is None


def test_lq_can_be_made_from_gt(tmp_path):
    frame = np.random.default_rng(0).integers(0, 256, (42, 55, 3), np.uint8)
    for number in range(3):
        write_png(tmp_path / 'gt' / 'a' / f'{number}.png', frame)
    opt = options(tmp_path, dataroot_lq=None, degradation='BD', dataroot_priors=None)
    for num_frame in (None, 3):
        dataset = SemanticClipTestDataset(opt | {'num_frame': num_frame})
        lq = degrade(frame[:40, :52, ::-1], 'BD').transpose(2, 0, 1).copy()
        assert torch.equal(dataset[0]['lq'][1], torch.from_numpy(lq).float() / 255)
        assert dataset.read_gt(0, 0).shape == (3, 40, 52)


def test_lmdb_gives_what_the_folder_gives(root):
    roots = {'dataroot_gt': str(root / 'gt.lmdb'), 'dataroot_lq': str(root / 'lq.lmdb'), 'io_backend': {'type': 'lmdb'}}
    folder, lmdb = SemanticClipTestDataset(options(root)), SemanticClipTestDataset(options(root, **roots))
    assert folder.clip_lengths == lmdb.clip_lengths
    for index in range(3):
        assert torch.equal(folder[index]['lq'], lmdb[index]['lq'])
        assert torch.equal(folder.read_gt(index, 2), lmdb.read_gt(index, 2))


def test_neutral_priors(root):
    item = SemanticClipTestDataset(options(root, dataroot_priors=None, missing_priors='neutral', num_masks=2))[0]
    assert item['masks'].shape == (7, 2, 24, 40)
    assert not item['masks'].any()
    assert item['prior_kind'] == 'neutral'


def test_partition_keeps_the_validation_clips(root):
    assert list(SemanticClipTestDataset(options(root, val_partition='REDS4')).clip_lengths) == ['000', '011']


def test_built_by_basicsr_with_its_name(root):
    dataset = build_dataset(options(root))
    assert isinstance(dataset, SemanticClipTestDataset)
    assert dataset.opt['name'] == 'coded'


def test_every_option_has_a_description():
    fields = SemanticClipTestDataset.Options.model_fields
    assert {name for name, one in fields.items() if not one.description} == set()


@pytest.mark.slow
@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_workers_give_what_the_main_process_gives(root, method):
    roots = {'dataroot_gt': str(root / 'gt.lmdb'), 'dataroot_lq': str(root / 'lq.lmdb'), 'io_backend': {'type': 'lmdb'}}
    dataset = SemanticClipTestDataset(options(root, num_frame=3, **roots))
    alone = [dataset[index] for index in range(len(dataset))]
    loader = DataLoader(Seeded(dataset), batch_size=None, num_workers=2, multiprocessing_context=method)
    for expected, got in zip(alone, loader, strict=True):
        assert expected['clip'] == got['clip']
        assert all(torch.equal(expected[key], got[key]) for key in ('lq', 'gt', 'masks'))


BAD_OPTIONS = {
    'nothing': ({'dataroot_gt': None, 'dataroot_lq': None}, 'neither dataroot_gt nor dataroot_lq'),
    'no degradation': ({'dataroot_lq': None}, 'degradation: BI, BD or BD_DUF'),
    'centre masks of clips': ({'center_masks_only': True}, 'needs num_frame'),
    'even window': ({'num_frame': 4}, 'odd number'),
    'padding': (
        {'num_frame': 5, 'padding': 'zero'},
        'One of reflection_circle, reflection, replicate, circle is expected',
    ),
    'short clip': ({'num_frame': 15, 'padding': 'reflection'}, "Clip '000' has 7 frames, too few for windows of 15"),
    'segments of windows': ({'num_frame': 5, 'max_frames': 3}, 'cannot be combined with num_frame'),
    'no segments': ({'max_frames': 0}, 'at least 1'),
    'no beginning': ({'first_frames': 0}, 'at least 1'),
    'centre of clips': ({'center_frame_only': True}, 'set it below val'),
    'training key': ({'gt_size': 64}, "takes no 'gt_size'"),
}


@pytest.mark.parametrize('name', BAD_OPTIONS)
def test_bad_options_are_sentences(root, name):
    changes, message = BAD_OPTIONS[name]
    with pytest.raises(UserError, match=message):
        SemanticClipTestDataset(options(root, **changes))


def test_other_frame_counts_and_sizes_are_named(tmp_path):
    root = make_coded_clips(tmp_path, {'a': 3})
    write_png(root / 'lq' / 'a' / '00000001.png', coded_frame(20, 40, 1, SCALE))
    with pytest.raises(UserError, match=r"Frame 'a/00000001' has 40x20"):
        SemanticClipTestDataset(options(root))[0]
    (root / 'gt' / 'a' / '00000002.png').unlink()
    with pytest.raises(UserError, match=r"'a' has 3 frames in .*lq but 2 in"):
        SemanticClipTestDataset(options(root))
