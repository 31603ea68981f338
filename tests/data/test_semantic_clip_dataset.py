"""Training samples: frames, GT and masks are cut as one; folders and LMDBs agree; mistakes are sentences."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.utils import get_root_logger
from helpers.clips import (
    NUM_MASKS,
    SCALE,
    Seeded,
    coded_frame,
    make_coded_clips,
    places,
    places_of_masks,
    seeded,
    to_lmdb,
    write_png,
)
from torch.utils.data import DataLoader

from basicsr_semantic.data.degradations import degrade
from basicsr_semantic.data.frame_reader import FrameReader
from basicsr_semantic.data.prepare.clips import prepare_clips
from basicsr_semantic.data.semantic_clip_dataset import SemanticClipDataset
from basicsr_semantic.priors.store import PriorStoreWriter
from basicsr_semantic.priors.store_meta import store_metadata
from basicsr_semantic.utils.errors import MissingError, UserError

CLIPS = {'000': 7, '001': 9, '011': 6}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = make_coded_clips(tmp_path_factory.mktemp('coded'), CLIPS)
    to_lmdb(root / 'gt', root / 'gt.lmdb')
    to_lmdb(root / 'lq', root / 'lq.lmdb')
    return root


def options(root, **changes) -> dict:
    opt = {
        'name': 'coded',
        'type': 'SemanticClipDataset',
        'phase': 'train',
        'scale': SCALE,
        'dataroot_gt': str(root / 'gt'),
        'dataroot_lq': str(root / 'lq'),
        'dataroot_priors': str(root / 'priors'),
        'num_masks': NUM_MASKS,
        'io_backend': {'type': 'disk'},
        'num_frame': 5,
        'gt_size': 64,
        'interval_list': [1],
        'random_reverse': False,
        'use_hflip': True,
        'use_rot': True,
    } | changes
    return {key: value for key, value in opt.items() if value is not ...}


def on_lmdb(root) -> dict:
    roots = {'dataroot_gt': str(root / 'gt.lmdb'), 'dataroot_lq': str(root / 'lq.lmdb')}
    return roots | {'io_backend': {'type': 'lmdb'}}


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[key], b[key]) if torch.is_tensor(a[key]) else a[key] == b[key] for key in a
    )


def orientation(lq_places) -> tuple[bool, bool, bool]:
    """(hflip, vflip, transpose) of a crop, read off its pixels."""
    rows, columns = lq_places[0, 0], lq_places[0, 1]
    transposed = rows[0, 0] == rows[1, 0]
    rows, columns = (rows.T, columns.T) if transposed else (rows, columns)
    return bool(columns[0, 1] < columns[0, 0]), bool(rows[1, 0] < rows[0, 0]), bool(transposed)


def check_alignment(item):
    """Every GT and mask pixel belongs to the LQ pixel it lies over, and GT is turned the same way inside."""
    lq = places(item['lq'])
    assert np.array_equal(places_of_masks(item['masks']), lq)
    gt = (item['gt'].numpy() * 255).round().astype(int)
    t, _, height, width = gt.shape
    for channel in (0, 1):
        blocks = gt[:, channel].reshape(t, height // SCALE, SCALE, width // SCALE, SCALE)
        assert np.array_equal(blocks.mean((2, 4)), lq[:, channel] * SCALE + (SCALE - 1) / 2)
    assert orientation(gt[:, :2]) == orientation(lq)
    assert np.array_equal(gt[:, 2, ::SCALE, ::SCALE], lq[:, 2])


def test_frame_gt_and_masks_are_cut_alike_under_every_augmentation(root):
    dataset = SemanticClipDataset(options(root))
    seen = set()
    for seed in range(60):
        item = seeded(dataset, seed % len(dataset), seed)
        assert item['lq'].shape == (5, 3, 16, 16)
        assert item['gt'].shape == (5, 3, 64, 64)
        assert item['masks'].shape == (5, NUM_MASKS, 16, 16)
        assert item['masks'].dtype == torch.uint8
        assert item['prior_kind'] == 'regions'
        check_alignment(item)
        seen.add(orientation(places(item['lq'])))
    assert seen == set(itertools.product([False, True], repeat=3))


def test_whole_frames_need_no_crop(root):
    dataset = SemanticClipDataset(options(root, gt_size=None))
    shapes = set()
    for seed in range(8):
        item = seeded(dataset, 0, seed)
        check_alignment(item)
        shapes.add(tuple(item['lq'].shape[2:]))
    assert shapes == {(24, 40), (40, 24)}


def test_values_are_rgb_in_unit_range(root):
    item = SemanticClipDataset(options(root, gt_size=None, use_hflip=False, use_rot=False))[2]
    expected = np.stack([coded_frame(96, 160, number, 1)[..., ::-1] for number in range(2, 7)])
    assert torch.equal(item['gt'], torch.from_numpy(expected.transpose(0, 3, 1, 2).copy()).float() / 255)
    assert item['key'] == '000/00000002'


def test_there_is_one_item_a_window_and_time_runs_forward(root):
    dataset = SemanticClipDataset(options(root))
    assert len(dataset) == 3 + 5 + 2
    keys = [dataset[index]['key'] for index in range(len(dataset))]
    assert keys[:4] == ['000/00000000', '000/00000001', '000/00000002', '001/00000000']
    assert keys[-1] == '011/00000001'
    assert list(places(dataset[4]['lq'])[:, 2, 0, 0]) == [1, 2, 3, 4, 5]
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_intervals_and_reverse(root):
    dataset = SemanticClipDataset(options(root, num_frame=3, interval_list=[1, 2], random_reverse=True))
    seen = set()
    for seed in range(80):
        numbers = places(seeded(dataset, seed % len(dataset), seed)['lq'])[:, 2, 0, 0]
        steps = set(np.diff(numbers))
        assert len(steps) == 1
        seen |= steps
    assert seen == {1, 2, -1, -2}


def test_center_frame_only(root):
    dataset = SemanticClipDataset(options(root, center_frame_only=True, random_reverse=True))
    for seed in range(6):
        item = seeded(dataset, seed, seed)
        assert item['gt'].shape == (3, 64, 64)
        middle = {name: item[name][2:3] for name in ('lq', 'masks')} | {'gt': item['gt'][None]}
        check_alignment(middle)
        assert item['key'].endswith(f'{places(item["lq"])[2, 2, 0, 0]:08d}')


def test_center_frame_only_reads_only_that_gt(root, tmp_path):
    """BasicSR's LMDB of Vimeo-90K keeps the centre GT only."""
    for clip, number in (('000', 2), ('001', 2)):
        write_png(tmp_path / 'gt' / clip / f'{number:08d}.png', coded_frame(96, 160, number, 1))
    (tmp_path / 'list.txt').write_text('000 5\n001 5\n')
    to_lmdb(tmp_path / 'gt', tmp_path / 'gt.lmdb')
    roots = on_lmdb(root) | {'dataroot_gt': str(tmp_path / 'gt.lmdb'), 'meta_info_file': str(tmp_path / 'list.txt')}
    dataset = SemanticClipDataset(options(root, center_frame_only=True, **roots))
    assert [item['key'] for item in (dataset[0], dataset[1])] == ['000/00000002', '001/00000002']


def test_center_masks_only_are_those_of_the_centre_frame(root):
    whole = SemanticClipDataset(options(root, num_frame=3, center_frame_only=True))
    centre = SemanticClipDataset(options(root, num_frame=3, center_frame_only=True, center_masks_only=True))
    random.seed(4)
    expected = whole[0]['masks'][1:2]
    random.seed(4)
    assert expected.any() and torch.equal(centre[0]['masks'], expected)


def test_flip_sequence_goes_forth_and_back(root):
    item = SemanticClipDataset(options(root, flip_sequence=True))[0]
    assert list(places(item['lq'])[:, 2, 0, 0]) == [0, 1, 2, 3, 4, 4, 3, 2, 1, 0]
    check_alignment(item)


def test_folder_and_lmdb_give_identical_samples(root):
    folder = SemanticClipDataset(options(root, random_reverse=True, interval_list=[1]))
    lmdb = SemanticClipDataset(options(root, random_reverse=True, interval_list=[1], **on_lmdb(root)))
    assert len(folder) == len(lmdb)
    for index in range(len(folder)):
        assert equal(seeded(folder, index, index), seeded(lmdb, index, index))


def natural_clips(root, size=(100, 132)):
    """Smooth noise that is no multiple of 4 wide or high when ``size`` is not."""
    generator = np.random.default_rng(1)
    for clip in ('a', 'b'):
        for number in range(3):
            write_png(root / clip / f'{number:08d}.png', generator.integers(0, 256, (*size, 3), np.uint8))
    return root


@pytest.mark.parametrize('kind', ['BI', 'BD', 'BD_DUF'])
def test_lq_on_the_fly_is_the_crop_of_the_degraded_frame(tmp_path, kind):
    gt = natural_clips(tmp_path / 'gt', (101, 134))
    result = options(tmp_path, dataroot_lq=None, degradation=kind, dataroot_priors=None, num_frame=3, gt_size=64)
    prepare_clips(gt, tmp_path / 'out', kind, workers=1)
    stored_roots = {side: str(tmp_path / 'out' / f'{side[9:]}.lmdb') for side in ('dataroot_gt', 'dataroot_lq')}
    stored = result | stored_roots | {'degradation': None, 'io_backend': {'type': 'lmdb'}}
    on_the_fly, from_store = SemanticClipDataset(result), SemanticClipDataset(stored)
    for seed in range(10):
        assert equal(seeded(on_the_fly, seed % 2, seed), seeded(from_store, seed % 2, seed))
    whole = SemanticClipDataset(result | {'gt_size': None, 'use_rot': False, 'use_hflip': False})[1]
    frame = FrameReader(gt, {'type': 'disk'}, 'dataroot_gt').read('b/00000000')[:100, :132, ::-1]
    assert torch.equal(whole['lq'][0], torch.from_numpy(degrade(frame, kind).transpose(2, 0, 1).copy()).float() / 255)


def test_neutral_priors_are_zeros(root, tmp_path):
    dataset = SemanticClipDataset(options(root, dataroot_priors=None, missing_priors='neutral', num_masks=3))
    item = dataset[0]
    assert dataset.prior_kind == item['prior_kind'] == 'neutral'
    assert item['masks'].shape == (5, 3, 16, 16)
    assert not item['masks'].any()
    with PriorStoreWriter(tmp_path / 'some', store_metadata('sam')) as store:
        store.put('000/00000001', np.ones((1, 24, 40), bool))
    item = SemanticClipDataset(options(root, dataroot_priors=str(tmp_path / 'some'), missing_priors='neutral'))[0]
    assert item['prior_kind'] == 'sam'
    assert [bool(masks.any()) for masks in item['masks']] == [False, True, False, False, False]


def test_without_priors_there_are_no_masks(root):
    dataset = SemanticClipDataset(options(root, dataroot_priors=None))
    assert dataset.prior_kind is None
    assert set(dataset[0]) == {'lq', 'gt', 'key'}


def test_masks_are_read_for_the_needed_frames_only(root, monkeypatch):
    dataset = SemanticClipDataset(options(root))
    asked = []
    store = dataset.source.priors.store
    original = store.clip_masks
    monkeypatch.setattr(store, 'clip_masks', lambda keys, *a, **k: asked.append((keys, a)) or original(keys, *a, **k))
    dataset[4]
    ((keys, (_, box)),) = asked
    assert keys == [f'001/{number:08d}' for number in range(1, 6)]
    assert box[2:] == (16, 16)


def test_validation_clips_and_excluded_clips_are_left_out(root):
    names = [clip.name for clip in SemanticClipDataset(options(root, val_partition='REDS4')).clips]
    assert names == ['001']
    assert len(SemanticClipDataset(options(root, exclude_clips=['001'])).clips) == 2


def test_no_window_has_a_jump_in_time(tmp_path, monkeypatch):
    make_coded_clips(tmp_path, {'bear': 9, 'cow': 4})
    for side in ('gt', 'lq'):
        (tmp_path / side / 'bear' / '00000003.png').unlink()
    told = []
    monkeypatch.setattr(get_root_logger(), 'warning', told.append)
    dataset = SemanticClipDataset(options(tmp_path, num_frame=2, val_partition=None))
    assert len(dataset) == 2 + 4 + 3
    for index in range(len(dataset)):
        item = seeded(dataset, index, index)
        first, second = places(item['lq'])[:, 2, 0, 0]
        assert second == first + 1
        assert (places_of_masks(item['masks'])[:, 2, 0, 0] == (first, second)).all()
    assert told == [
        "Data set 'coded': the numbers of the frames jump in 1 of its clips, and they are cut there: 'bear', for "
        "example, goes on as 'bear_from_00004' with frame '00000004'."
    ]
    assert len(SemanticClipDataset(options(tmp_path, num_frame=2, exclude_clips=['bear']))) == 3


def test_built_by_basicsr_and_the_dict_is_left_alone(root):
    opt = options(root, **on_lmdb(root))
    before = {key: dict(value) if isinstance(value, dict) else value for key, value in opt.items()}
    dataset = build_dataset(opt)
    dataset[0]
    assert isinstance(dataset, SemanticClipDataset)
    assert opt == before == dataset.opt


def test_every_option_has_a_description():
    fields = SemanticClipDataset.Options.model_fields
    assert {name for name, one in fields.items() if not one.description} == set()


@pytest.mark.slow
@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_workers_give_what_the_main_process_gives(root, method):
    dataset = Seeded(SemanticClipDataset(options(root, random_reverse=True, **on_lmdb(root))))
    alone = [dataset[index] for index in range(len(dataset))]  # opens LMDB and store here, before the workers start
    loader = DataLoader(dataset, batch_size=1, num_workers=2, multiprocessing_context=method)
    for expected, batch in zip(alone, loader, strict=True):
        got = {key: value[0] for key, value in batch.items()}
        assert equal(expected, got)
    assert equal(dataset[0], alone[0])


def test_two_data_sets_share_an_lmdb_in_one_process(root):
    first, second = (SemanticClipDataset(options(root, **on_lmdb(root))) for _ in range(2))
    assert equal(seeded(first, 0, 1), seeded(second, 0, 1))


BAD_OPTIONS = {
    'misspelt': ({'num_frames': 5}, "takes no 'num_frames'. Did you mean 'num_frame'"),
    'missing': ({'num_frame': ...}, "needs the key 'num_frame'"),
    'no gt': ({'dataroot_gt': None}, 'needs dataroot_gt'),
    'no lq': ({'dataroot_lq': None}, 'degradation: BI, BD or BD_DUF'),
    'lq and degradation': ({'degradation': 'BI'}, 'Remove one of them'),
    'degradation': ({'dataroot_lq': None, 'degradation': 'bicubic'}, 'One of BI, BD, BD_DUF is expected'),
    'degradation scale': ({'dataroot_lq': None, 'degradation': 'BD', 'scale': 2}, 'defined for scale 4'),
    'gt_size': ({'gt_size': 66}, 'no multiple of the scale 4'),
    'num_frame': ({'num_frame': 0}, 'at least 1'),
    'interval': ({'interval_list': [0]}, 'interval_list:0: It is 0, but must be at least 1'),
    'even centre': ({'num_frame': 4, 'center_frame_only': True}, 'odd num_frame, not 4'),
    'centre of flipped': ({'flip_sequence': True, 'center_frame_only': True}, 'no single centre frame'),
    'too few frames': ({'num_frame': 8}, r'2 of 3 are shorter: 000, 011 \(000 has 7\)'),
    'too few for interval': ({'interval_list': [1, 2]}, 'at interval 2 needs clips of 9 frames'),
    'excluded': ({'exclude_clips': ['0000']}, "has no clip '0000'. Did you mean '000'"),
    'all left out': ({'exclude_clips': list(CLIPS)}, 'has no clips'),
    'partition': ({'val_partition': 'REDS'}, 'One of REDS4, official is expected'),
    'masks': ({'num_masks': 0}, 'at least 1'),
    'missing_priors': ({'missing_priors': 'zero'}, 'One of error, neutral is expected'),
    'centre masks': ({'center_masks_only': True}, 'needs center_frame_only'),
    'no store': ({'dataroot_priors': '/nowhere/priors'}, 'dataroot_priors: The store /nowhere/priors does not exist'),
    'kind': ({'prior_kind': 'sam'}, "holds priors of kind 'regions', but prior_kind asks for 'sam'"),
    'backend': ({'io_backend': {'type': 'lmdb'}}, 'is not an LMDB folder'),
}


@pytest.mark.parametrize('name', BAD_OPTIONS)
def test_bad_options_are_sentences(root, name):
    changes, message = BAD_OPTIONS[name]
    with pytest.raises(UserError, match=message):
        SemanticClipDataset(options(root, **changes))


@pytest.fixture
def own(tmp_path):
    """Clips to break."""
    return make_coded_clips(tmp_path, {'a': 3, 'b': 3})


def test_crops_larger_than_the_frame_are_named(own):
    with pytest.raises(UserError, match=r"gt_size 128 does not fit into clip 'a', .* 160x96 pixels"):
        SemanticClipDataset(options(own, num_frame=3, gt_size=128))
    for number in range(3):
        write_png(own / 'lq' / 'b' / f'{number:08d}.png', coded_frame(12, 20, number, SCALE))
        write_png(own / 'gt' / 'b' / f'{number:08d}.png', coded_frame(48, 80, number, 1))
    dataset = SemanticClipDataset(options(own, num_frame=3, gt_size=96))
    with pytest.raises(UserError, match=r"gt_size 96 does not fit into clip 'b', .* 80x48 pixels"):
        dataset[len(dataset) - 1]


def test_frames_of_other_sizes_are_named(own):
    write_png(own / 'lq' / 'a' / '00000001.png', coded_frame(20, 40, 1, SCALE))
    write_png(own / 'gt' / 'a' / '00000001.png', coded_frame(80, 160, 1, 1))
    with pytest.raises(UserError, match=r"Frame 'a/00000001' has 40x20 .* 'a/00000000' of its clip 40x24"):
        SemanticClipDataset(options(own, num_frame=3))[0]
    write_png(own / 'gt' / 'b' / '00000000.png', coded_frame(72, 120, 0, 1))
    with pytest.raises(UserError, match="Frame 'b/00000000': LQ has 40x24 pixels and GT 120x72"):
        SemanticClipDataset(options(own, num_frame=3))[1]


def test_frames_that_are_missing_or_damaged_are_named(own):
    (own / 'lq' / 'a' / '00000002.png').unlink()
    with pytest.raises(UserError, match=r"Clip 'a' has 2 frames in .*lq but 3 in .*gt"):
        SemanticClipDataset(options(own, num_frame=3))
    (own / 'list.txt').write_text('a 3\nb 3\n')
    with pytest.raises(
        UserError, match=r"gives the clip 'a' 3 frames, but .*lq/a', with 2 images, has no frame 0000000"
    ):
        SemanticClipDataset(options(own, num_frame=3, meta_info_file=str(own / 'list.txt')))
    (own / 'list.txt').write_text('a 2\nb 3\n')
    listed = SemanticClipDataset(options(own, num_frame=3, meta_info_file=str(own / 'list.txt'), exclude_clips=['a']))
    (own / 'lq' / 'b' / '00000000.png').rename(own / 'lq' / 'b' / 'gone')
    with pytest.raises(UserError, match=r'dataroot_lq: there is no frame .*b/00000000'):
        listed[0]
    (own / 'lq' / 'b' / 'gone').rename(own / 'lq' / 'b' / '00000000.png')
    path = own / 'gt' / 'b' / '00000001.png'
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match=r'dataroot_gt: .*b/00000001\.png cannot be used: it is truncated'):
        listed[0]


def test_missing_and_misfitting_masks_are_named(own, tmp_path):
    with PriorStoreWriter(tmp_path / 'other', store_metadata('sam')) as store:
        for number in range(3):
            store.put(f'a/{number:08d}', np.ones((1, 12, 20), bool))
    given = options(own, num_frame=3, dataroot_priors=str(tmp_path / 'other'))
    with pytest.raises(MissingError, match=r"lacks 3 of 6 frames, for example 'b/00000000'"):
        SemanticClipDataset(given)
    with pytest.raises(UserError, match=r'other.*a frame of 20x12, not 40x24'):
        SemanticClipDataset(given | {'exclude_clips': ['b']})


@pytest.mark.parametrize('way', ['lq.lmdb', 'lmdb', 'disk'])
def test_unfit_clips_may_be_left_out(tmp_path, way):
    """Of clips of all sizes and lengths: by the list of an LMDB, or by looking at the first frames."""
    for name, count, (height, width) in (
        ('a', 6, (64, 96)),
        ('b', 4, (64, 96)),
        ('c', 6, (90, 62)),
        ('d', 6, (40, 96)),
    ):
        for number in range(count):
            write_png(tmp_path / 'src' / name / f'{number}.png', coded_frame(height, width, number, 1))
    prepare_clips(tmp_path / 'src', tmp_path / 'out')
    opt = {'name': 'x', 'type': 'SemanticClipDataset', 'num_frame': 5, 'gt_size': 60, 'scale': 4}
    if way == 'disk':
        opt |= {'dataroot_gt': str(tmp_path / 'src'), 'degradation': 'BI'}
    else:
        opt |= {'dataroot_gt': str(tmp_path / 'out' / 'gt.lmdb'), 'io_backend': {'type': 'lmdb'}}
        opt |= {'dataroot_lq': str(tmp_path / 'out' / 'lq.lmdb')} if way == 'lq.lmdb' else {'degradation': 'BI'}
    with pytest.raises(UserError, match=r'1 of 4 are shorter: b .* unfit_clips: leave_out'):
        SemanticClipDataset(opt)
    dataset = SemanticClipDataset(opt | {'unfit_clips': 'leave_out'})
    assert [clip.name for clip in dataset.clips] == ['a', 'c'] and len(dataset) == 4
    assert all(dataset[index]['gt'].shape == (5, 3, 60, 60) for index in range(4))
    with pytest.raises(UserError, match='none of its 4 clips has 5 frames of at least 100x100 pixels'):
        SemanticClipDataset(opt | {'unfit_clips': 'leave_out', 'gt_size': 100})
