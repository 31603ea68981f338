"""Tokens and whole frames in the items of both data sets: by frame, through reversal and mirroring in time."""

from __future__ import annotations

import helpers.clips
import numpy as np
import pytest
import torch
from basicsr.utils import get_root_logger
from helpers.clips import NUM_MASKS, SCALE, coded_masks, make_coded_clips, places, seeded, write_png
from torch.utils.data import DataLoader

from basicsr_semantic.priors import ClipGeometry, PriorStoreWriter, store_metadata
from basicsr_semantic.utils.errors import MissingError, UserError

CLIPS = {'000': 7, '001': 6}
SIZES = {'num': 3, 'dim': 4, 'global_dim': 2}


def tokens_of(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens that say which frame they belong to."""
    return np.full((3, 4), number + 0.5), np.full(2, number + 0.25)


def make_store(path, frames: list[tuple[str, int]]):
    meta = store_metadata('xdecoder', order='id', max_masks=NUM_MASKS, tokens=SIZES)
    with PriorStoreWriter(path, meta) as store:
        for clip, number in frames:
            store.put(f'{clip}/{number:08d}', coded_masks(24, 40, number))
            store.put_tokens(f'{clip}/{number:08d}', *tokens_of(number))
    return path


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = make_coded_clips(tmp_path_factory.mktemp('coded'), CLIPS)
    make_store(root / 'tokens', [(clip, number) for clip, count in CLIPS.items() for number in range(count)])
    return root


def training(root, **changes):
    return helpers.clips.training(root, 'tokens', **changes)


def whole_clips(root, **changes):
    return helpers.clips.whole_clips(root, 'tokens', **changes)


def numbers(item) -> list[int]:
    """Frame numbers as the pixels say."""
    return places(item['lq'])[:, 2, 0, 0].tolist()


def check_tokens(item, shown: list[int]) -> None:
    """The tokens are those of the frames shown."""
    assert item['frame_tokens'].shape == (len(shown), 3, 4)
    assert item['global_tokens'].shape == (len(shown), 2)
    assert item['frame_tokens'].dtype == item['global_tokens'].dtype == torch.float32
    assert item['frame_tokens'][:, 1, 2].tolist() == [number + 0.5 for number in shown]
    assert item['global_tokens'][:, 1].tolist() == [number + 0.25 for number in shown]


def test_tokens_follow_the_frames_in_both_directions(root):
    dataset = training(root, random_reverse=True, interval_list=[1, 2])
    steps = set()
    for seed in range(40):
        item = seeded(dataset, seed % len(dataset), seed)
        check_tokens(item, numbers(item))
        steps.add(numbers(item)[1] - numbers(item)[0])
    assert steps == {1, 2, -1, -2}


def test_tokens_go_forth_and_back_with_flip_sequence(root):
    item = training(root, flip_sequence=True)[1]
    assert numbers(item) == [1, 2, 3, 3, 2, 1]
    check_tokens(item, numbers(item))


def test_all_frames_have_tokens_where_only_the_centre_has_masks(root):
    item = training(root, center_frame_only=True, center_masks_only=True)[0]
    assert item['masks'].shape[0] == 1
    check_tokens(item, [0, 1, 2])


def test_a_store_of_masks_alone_gives_no_tokens(root):
    item = training(root, dataroot_priors=str(root / 'priors'))[0]
    assert set(item) == {'lq', 'gt', 'masks', 'prior_kind', 'key'}


def test_frames_without_priors_have_zero_tokens_where_neutral_ones_are_allowed(root, tmp_path, monkeypatch):
    make_store(tmp_path / 'some', [('000', 1)])
    roots = {'dataroot_priors': str(tmp_path / 'some')}
    with pytest.raises(MissingError, match=r"lacks 12 of 13 frames, for example '000/00000000'"):
        training(root, **roots)
    messages: list[str] = []
    monkeypatch.setattr(get_root_logger(), 'warning', messages.append)
    dataset = training(root, missing_priors='neutral', **roots)
    assert len(messages) == 1 and 'lacks 12 of 13 frames' in messages[0] and 'Neutral priors are used' in messages[0]
    item = dataset[0]
    assert item['frame_tokens'][1].eq(1.5).all() and item['global_tokens'][1].eq(1.25).all()
    for number in (0, 2):
        assert not item['frame_tokens'][number].any() and not item['global_tokens'][number].any()
        assert not item['masks'][number].any()
    nothing = dataset[4]
    assert nothing['frame_tokens'].shape == (3, 3, 4) and not nothing['frame_tokens'].any()


def test_items_say_which_weights_and_which_vocabulary_made_their_tokens(root, tmp_path):
    result = {'parameters': {'text_sha256': 'b' * 64}, 'checkpoint': {'file': 'x.pt', 'sha256': 'a' * 64}}
    meta = store_metadata('openseed', order='id', max_masks=0, tokens=SIZES, **result)
    with PriorStoreWriter(tmp_path / 'made', meta) as store:
        for clip, count in CLIPS.items():
            for number in range(count):
                store.put(f'{clip}/{number:08d}', np.zeros((0, 24, 40), bool))
                store.put_tokens(f'{clip}/{number:08d}', *tokens_of(number))
    for item in (one(root, dataroot_priors=str(tmp_path / 'made'))[0] for one in (training, whole_clips)):
        assert item['prior_origin'] == f'weights with the SHA-256 {"a" * 12}, vocabulary with the SHA-256 {"b" * 12}'


def test_neutral_priors_without_a_store_have_no_tokens(root):
    item = training(root, dataroot_priors=None, missing_priors='neutral')[0]
    assert set(item) == {'lq', 'gt', 'masks', 'prior_kind', 'key'}


def test_whole_frames_and_the_crop_give_the_crop(root):
    dataset = training(root, whole_frames=True, random_reverse=True)
    seen = set()
    for seed in range(30):
        item = seeded(dataset, seed % len(dataset), seed)
        assert item['lq_whole'].shape == (3, 3, 24, 40)
        assert item['crop'].shape == (8,) and item['crop'].dtype == torch.int64
        top, left, height, width, *flips, rest = item['crop'].tolist()
        assert rest == 0 and (height, width) == (16, 16)
        geometry = ClipGeometry(top, left, height, width, *map(bool, flips))
        assert np.array_equal(geometry.apply(item['lq_whole'].numpy(), axes=(2, 3)), item['lq'].numpy())
        seen.add(tuple(flips))
    assert len(seen) == 8


def test_whole_frames_change_nothing_else(root):
    plain, more = training(root), training(root, whole_frames=True)
    for seed in range(5):
        item = seeded(more, seed, seed)
        expected = seeded(plain, seed, seed)
        assert set(item) - set(expected) == {'lq_whole', 'crop'}
        assert all(torch.equal(item[key], value) for key, value in expected.items() if torch.is_tensor(value))


def test_whole_frames_made_on_the_fly_are_those_that_the_crop_is_of(root):
    roots = {'dataroot_lq': None, 'degradation': 'BI', 'dataroot_priors': None}
    item = seeded(training(root, whole_frames=True, **roots), 2, 5)
    plain = seeded(training(root, **roots), 2, 5)
    top, left, height, width, *flips, _ = item['crop'].tolist()
    geometry = ClipGeometry(top, left, height, width, *map(bool, flips))
    assert np.array_equal(geometry.apply(item['lq_whole'].numpy(), axes=(2, 3)), item['lq'].numpy())
    assert torch.equal(item['lq'], plain['lq'])


def test_whole_frames_go_forth_and_back_too(root):
    item = training(root, whole_frames=True, flip_sequence=True)[0]
    assert torch.equal(item['lq_whole'], item['lq_whole'].flip(0))
    assert item['lq_whole'].shape[0] == 6 and item['crop'].shape == (8,)


def test_a_batch_of_frames_of_one_size(root):
    dataset = training(root, whole_frames=True)
    batch = next(iter(DataLoader(dataset, batch_size=2, collate_fn=dataset.collate)))
    assert batch['lq_whole'].shape == (2, 3, 3, 24, 40)
    assert batch['frame_tokens'].shape == (2, 3, 3, 4)
    assert batch['crop'].shape == (2, 8)
    assert batch['prior_kind'] == ['xdecoder', 'xdecoder']


def test_a_batch_of_frames_of_several_sizes_is_a_sentence(root, tmp_path):
    for clip, height, width in (('a', 24, 40), ('b', 20, 28)):
        for side, factor in (('lq', 1), ('gt', SCALE)):
            for number in range(3):
                frame = np.zeros((height * factor, width * factor, 3), np.uint8)
                write_png(tmp_path / side / clip / f'{number:08d}.png', frame)
    roots = {'dataroot_gt': str(tmp_path / 'gt'), 'dataroot_lq': str(tmp_path / 'lq'), 'dataroot_priors': None}
    dataset = training(root, whole_frames=True, **roots)
    with pytest.raises(
        UserError, match=r"40x24 \('a/00000000'\) and 28x20 \('b/.*batch_size_per_gpu: 1, or use priors"
    ):
        dataset.collate([dataset[0], dataset[1]])
    uncut = training(root, gt_size=None, use_rot=False, **roots)
    with pytest.raises(UserError, match='batch_size_per_gpu: 1, or give gt_size'):
        uncut.collate([uncut[0], uncut[1]])
    cut = training(root, **roots)
    assert cut.collate([cut[0], cut[1]])['lq'].shape == (2, 3, 3, 16, 16)


def test_clips_and_segments_for_tests_carry_their_tokens(root):
    for changes in ({}, {'max_frames': 3}, {'num_frame': 3}):
        dataset = whole_clips(root, **changes)
        for index in range(len(dataset)):
            item = dataset[index]
            check_tokens(item, numbers(item))
    assert 'frame_tokens' not in whole_clips(root, dataroot_priors=str(root / 'priors'))[0]


def test_a_shifted_last_segment_has_full_length_and_names_its_new_frames(root):
    dataset = whole_clips(root, max_frames=4, shift_last=True)
    items = [dataset[index] for index in range(len(dataset))]
    assert [numbers(item) for item in items] == [[0, 1, 2, 3], [3, 4, 5, 6], [0, 1, 2, 3], [2, 3, 4, 5]]
    assert [item['frame_indices'] for item in items] == [[0, 1, 2, 3], [4, 5, 6], [0, 1, 2, 3], [4, 5]]
    assert items[1]['frame_names'] == ['00000004', '00000005', '00000006']
    check_tokens(items[1], [3, 4, 5, 6])
    truth = [dataset.read_gt(1, k) for k in range(3)]
    assert [round(gt[2, 0, 0].item() * 255) for gt in truth if gt is not None] == [4, 5, 6]


def test_a_clip_shorter_than_a_segment_stays_as_it_is(root):
    item = whole_clips(root, max_frames=100, shift_last=True)[1]
    assert numbers(item) == item['frame_indices'] == list(range(6))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [({}, 'shift_last needs max_frames'), ({'num_frame': 3}, 'shift_last cuts clips for recurrent networks')],
)
def test_where_shift_last_has_no_meaning(root, changes, message):
    with pytest.raises(UserError, match=message):
        whole_clips(root, shift_last=True, **changes)


@pytest.mark.parametrize('missing_priors', ['error', 'neutral'])
def test_a_store_of_other_clips_is_refused_at_once(root, tmp_path, missing_priors):
    make_store(tmp_path / 'other', [('elsewhere', 1)])
    with pytest.raises(UserError, match=r"holds 'elsewhere/.*none of the 13 frames .* example '000/00000000'"):
        training(root, dataroot_priors=str(tmp_path / 'other'), missing_priors=missing_priors)
