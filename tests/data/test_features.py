"""Pixel features in the items of both data sets: cut, flipped and transposed with the frames, cell by cell."""

from __future__ import annotations

import helpers.clips
import numpy as np
import pytest
import torch
from helpers.clips import make_coded_clips, places, seeded
from torch.utils.data import DataLoader

from basicsr_semantic.priors import ClipGeometry, PriorStoreWriter, store_metadata
from basicsr_semantic.utils.errors import MissingError, UserError

CLIPS = {'000': 5, '001': 4}
HEIGHT, WIDTH = 22, 39  # 6 x 10 cells
FRAMES = [(clip, number) for clip, count in CLIPS.items() for number in range(count)]


def coded_features(number: int, rows: int = 6, columns: int = 10) -> np.ndarray:
    """(3, 6, 10): row and column of a cell, and the number of its frame."""
    row, column = np.mgrid[:rows, :columns].astype(np.float32)
    return np.stack([row, column, np.full_like(row, number)])


def make_store(path, frames=FRAMES, tokens=None, **size):
    tokens = tokens or {'num': 2, 'dim': 4, 'global_dim': 0}
    meta = store_metadata('openseed', order='id', max_masks=0, tokens=tokens, features={'dim': 3, 'cell': 4})
    with PriorStoreWriter(path, meta) as store:
        for clip, number in frames:
            key = f'{clip}/{number:08d}'
            store.put_features(key, coded_features(number, **size))
            store.put_tokens(key, np.full((2, 4), number + 0.5), np.full(tokens['global_dim'], number + 0.25))
            store.put(key, np.zeros((0, HEIGHT, WIDTH), bool))
    return path


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = make_coded_clips(tmp_path_factory.mktemp('coded'), CLIPS, HEIGHT, WIDTH)
    make_store(root / 'features')
    return root


def training(root, **changes):
    return helpers.clips.training(root, 'features', **changes)


def whole_clips(root, **changes):
    return helpers.clips.whole_clips(root, 'features', **changes)


def cells_shown(lq: torch.Tensor) -> np.ndarray:
    """(t, 3, h / 4, w / 4): row and column of the cell that each 4x4 pixels show, and the frame's number."""
    shown = places(lq)
    shown[:, :2] //= 4
    blocks = shown.reshape(*shown.shape[:2], shown.shape[2] // 4, 4, shown.shape[3] // 4, 4)
    assert (blocks == blocks[:, :, :, :1, :, :1]).all(), 'the crop divides cells'
    return blocks[:, :, :, 0, :, 0]


def test_features_go_through_the_geometry_of_the_frames(root):
    dataset = training(root, whole_frames=True, random_reverse=True)
    seen = set()
    for seed in range(60):
        item = seeded(dataset, seed % len(dataset), seed)
        assert item['pixel_features'].shape == (3, 3, 4, 4) and item['pixel_features'].dtype == torch.float32
        assert np.array_equal(item['pixel_features'].numpy(), cells_shown(item['lq']))
        top, left, height, width, *flips, _ = item['crop'].tolist()
        numbers = places(item['lq'])[:, 2, 0, 0]
        whole = np.stack([coded_features(number) for number in numbers])
        geometry = ClipGeometry(top // 4, left // 4, height // 4, width // 4, *map(bool, flips))
        assert np.array_equal(item['pixel_features'].numpy(), geometry.apply(whole, axes=(2, 3)))
        seen.add((top, left, *flips))
    assert {one[:2] for one in seen} == {(top, left) for top in (0, 4) for left in (0, 4, 8, 12, 16, 20)}
    assert len({one[2:] for one in seen}) == 8


def test_features_go_forth_and_back_with_flip_sequence(root):
    item = training(root, flip_sequence=True)[1]
    assert item['pixel_features'].shape == (6, 3, 4, 4)
    assert np.array_equal(item['pixel_features'].numpy(), cells_shown(item['lq']))


def test_an_item_of_an_extractor_without_masks_and_global_tokens(root):
    item = training(root)[0]
    assert set(item) == {'lq', 'gt', 'frame_tokens', 'pixel_features', 'prior_kind', 'key'}
    assert item['prior_kind'] == 'openseed'
    assert item['frame_tokens'][:, 0, 0].tolist() == [0.5, 1.5, 2.5]


def test_whole_frames_of_a_test_have_all_cells(root):
    item = whole_clips(root)[0]
    assert set(item) == {'lq', 'frame_tokens', 'pixel_features', 'prior_kind', 'clip', 'frame_names', 'frame_indices'}
    assert item['lq'].shape == (5, 3, HEIGHT, WIDTH)
    assert np.array_equal(item['pixel_features'].numpy(), np.stack([coded_features(number) for number in range(5)]))
    window = whole_clips(root, num_frame=3)[0]  # the frame before the first is a mirrored one
    assert np.array_equal(window['pixel_features'][:, 2, 0, 0].numpy(), places(window['lq'])[:, 2, 0, 0])


def test_whole_frames_of_training_whose_sides_divide_no_cell(root):
    item = training(root, gt_size=None, use_hflip=False, use_rot=False)[0]
    assert item['pixel_features'].shape == (3, 3, 6, 10)
    with pytest.raises(UserError, match=r"'000' has 39x22 low-resolution pixels, no multiples of 4, .* Give gt_size"):
        training(root, gt_size=None, use_rot=False)[0]


def test_features_may_be_left_out_and_crops_then_begin_anywhere(root):
    dataset = training(root, with_features=False, whole_frames=True, gt_size=72)
    items = [seeded(dataset, 0, seed) for seed in range(20)]
    assert all('pixel_features' not in item and 'frame_tokens' in item for item in items)
    assert any(item['crop'][1] % 4 for item in items)
    assert 'pixel_features' not in whole_clips(root, with_features=False)[0]


def test_crops_for_features_that_are_made_in_the_run_begin_at_multiples_of_four(root):
    dataset = training(root, dataroot_priors=None, with_features=True, whole_frames=True)
    for seed in range(20):
        item = seeded(dataset, 0, seed)
        assert 'pixel_features' not in item
        assert not (item['crop'][:2] % 4).any()


def test_a_global_token_is_given_where_there_is_one(root, tmp_path):
    store = make_store(tmp_path / 's', tokens={'num': 2, 'dim': 4, 'global_dim': 2})
    item = training(root, dataroot_priors=str(store))[0]
    assert item['global_tokens'][:, 1].tolist() == [0.25, 1.25, 2.25]


def test_frames_without_priors_have_zero_features_where_neutral_ones_are_allowed(root, tmp_path):
    store = make_store(tmp_path / 's', [('000', 1)])
    with pytest.raises(MissingError, match=r"lacks 8 of 9 frames, for example '000/00000000'"):
        training(root, dataroot_priors=str(store))
    dataset = training(root, dataroot_priors=str(store), missing_priors='neutral')
    item = dataset[0]
    assert not item['pixel_features'][[0, 2]].any() and item['pixel_features'][1, 2].eq(1).all()
    assert not dataset[len(dataset) - 1]['pixel_features'].any()


def test_features_of_frames_of_another_size_are_named(root, tmp_path):
    store = make_store(tmp_path / 's', columns=9)
    with pytest.raises(
        UserError,
        match=r"features of the frame '000/00000000' .* holds 9x6 cells of 4x4 pixels where the frame has 10x6",
    ):
        training(root, dataroot_priors=str(store))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'dataroot_priors': 'masks', 'with_features': True},
            r"store '.*' \(extractor 'regions'\) has no pixel features",
        ),
        ({'dataroot_priors': None, 'with_features': True}, 'with_features is true, but there is no store'),
        (
            {'dataroot_priors': None, 'with_features': True, 'missing_priors': 'neutral'},
            'with_features is true, but there is no store',
        ),
        ({'gt_size': 72}, r'gt_size is 72, 18 low-resolution pixels, but .* Choose a multiple of 16'),
    ],
)
def test_options_that_do_not_fit(root, changes, message):
    if changes.get('dataroot_priors'):
        changes = changes | {'dataroot_priors': str(root / 'priors')}
    with pytest.raises(UserError, match=message):
        training(root, **changes)


def test_workers_read_features(root):
    dataset = training(root)
    loader = DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=dataset.collate)
    shapes = {batch['pixel_features'].shape[1:] for batch in loader}
    assert shapes == {(3, 3, 4, 4)}
