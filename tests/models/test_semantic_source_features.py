"""Frame tokens and pixel features for a network: from a store, from whole frames, from the crop itself."""

from __future__ import annotations

import pytest
import torch
from helpers.clips import seeded
from helpers.openseed import TINY, openseed_files
from helpers.semantics import WIDTH, checkpoints

from basicsr_semantic.cli import main
from basicsr_semantic.data.semantic_clip_dataset import SemanticClipDataset
from basicsr_semantic.models.padding import pad_clip
from basicsr_semantic.models.semantic_source import SemanticSource, check_token_widths, missing_priors
from basicsr_semantic.priors import SemanticPriors
from basicsr_semantic.utils.errors import UserError

WANTED = ('frame_tokens', 'pixel_features')
EXTRACTION = {'num_tokens': 4, 'short_side': 32}


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> dict[str, str]:
    return openseed_files(tmp_path_factory.mktemp('weights'))


@pytest.fixture(scope='module')
def store(tmp_path_factory, clips, files) -> str:
    """The store that the command makes of the fixture's clips."""
    out = tmp_path_factory.mktemp('priors') / 'store'
    flags = [f'--{name.replace("_", "-")}={value}' for name, value in {**files, **EXTRACTION}.items()]
    assert main(['extract', '--extractor', 'openseed', '--frames', str(clips / 'lq'), '--out', str(out), *flags]) == 0
    return str(out)


def source(files, mode: str, wanted=WANTED, **changes) -> SemanticSource:
    section = {'type': 'openseed', 'extract_mode': mode, **files, **EXTRACTION, **changes}
    return SemanticSource(section, wanted, torch.device('cpu'))


def batch_of(clips, seeds=(3, 5), **changes) -> dict:
    opt = {
        'name': 'tiny',
        'type': 'SemanticClipDataset',
        'dataroot_gt': str(clips / 'gt'),
        'dataroot_lq': str(clips / 'lq'),
        'num_frame': 2,
        'gt_size': 64,
        'use_hflip': True,
        'use_rot': True,
    }
    data = SemanticClipDataset(opt | changes)
    return data.collate([seeded(data, seed % len(data), seed) for seed in seeds])


def test_store_and_extractor_give_the_same_for_the_same_crops(clips, store, files):
    cached, online = source(files, 'cached'), source(files, 'online_full')
    for seeds in ((0, 1), (2, 3), (4, 5)):
        from_store = cached.priors(batch := batch_of(clips, seeds, dataroot_priors=store), batch['lq'])
        again = batch_of(clips, seeds, whole_frames=True, with_features=True)
        assert torch.equal(again['lq'], batch['lq'])
        from_frames = online.priors(again, again['lq'])
        assert from_store.keys() == from_frames.keys() == set(WANTED)
        for name in WANTED:
            assert torch.equal(from_store[name], from_frames[name])
        assert from_store['pixel_features'].shape == (2, 2, TINY['mask_dim'], 4, 4)
        SemanticPriors(**from_store)


def test_a_patch_is_described_by_itself(clips, files):
    one = source(files, 'online_patch')
    found = one.priors(batch := batch_of(clips), batch['lq'])
    assert one.extractor is not None
    expected = one.extractor.describe(batch['lq'][1])
    assert torch.equal(found['pixel_features'][1], expected.pixel_features)
    assert torch.equal(found['frame_tokens'][1], expected.frame_tokens)
    assert one.kind == 'openseed' and one.identity is None


def test_only_what_is_wanted_is_given(clips, files):
    batch = batch_of(clips)
    assert source(files, 'online_patch', ('frame_tokens',)).priors(batch, batch['lq']).keys() == {'frame_tokens'}
    assert source(files, 'online_patch', ('masks', 'global_tokens')).priors(batch, batch['lq']) == {}


def test_x_decoder_gives_features_too(clips, tmp_path):
    section = {'type': 'xdecoder', 'extract_mode': 'online_full', 'short_side': 32, **checkpoints(tmp_path)}
    batch = batch_of(clips, whole_frames=True, with_features=True)
    wanted, cpu = ('masks', *WANTED), torch.device('cpu')
    found = SemanticSource(section | {'pixel_features': True}, wanted, cpu).priors(batch, batch['lq'])
    assert found['pixel_features'].shape == (2, 2, WIDTH, 4, 4) and found['masks'].shape == (2, 2, 10, 16, 16)
    without = SemanticSource(section, wanted, cpu).priors(batch, batch['lq'])
    assert without.keys() == {'masks', 'frame_tokens'}
    assert torch.equal(without['masks'], found['masks'])


def test_crops_must_not_divide_cells(files):
    data = {'gt_size': 64, 'whole_frames': True}
    with pytest.raises(
        UserError, match=r'Set datasets:train:with_features: true, so that they begin at multiples of 4'
    ):
        source(files, 'online_full').check_dataset(data, 'datasets:train')
    source(files, 'online_full').check_dataset(data | {'with_features': True}, 'datasets:train')
    source(files, 'online_full', ('frame_tokens',)).check_dataset(data, 'datasets:train')
    source(files, 'online_full').check_dataset({'phase': 'val'}, 'datasets:val')
    source(files, 'online_patch').check_dataset({'gt_size': 60}, 'datasets:train')


def test_missing_features_name_what_makes_them():
    error = missing_priors(torch.nn.Identity(), ['pixel_features'], True)
    assert error.what == 'features' and 'network_s' in str(error) and 'missing_priors: neutral' in str(error)


def test_widths_of_tokens_and_features_are_compared():
    class Net:
        token_dims = {'frame_tokens': 16, 'pixel_features': 12}

    check_token_widths(Net(), {'frame_tokens': torch.zeros(1, 2, 3, 16), 'pixel_features': torch.zeros(1, 2, 12, 5, 6)})
    with pytest.raises(
        UserError, match='network_g:feature_dim is 12, but the pixel_features of these priors have width 5'
    ):
        check_token_widths(Net(), {'pixel_features': torch.zeros(1, 2, 5, 12, 12)})
    with pytest.raises(UserError, match='network_g:token_dim is 16, but the frame_tokens of these priors have width 8'):
        check_token_widths(Net(), {'frame_tokens': torch.zeros(1, 2, 3, 8)})


def test_padding_leaves_features_as_they_are():
    priors = SemanticPriors(
        pixel_features=torch.rand(1, 2, 3, 4, 5), masks=torch.ones(1, 2, 1, 14, 18, dtype=torch.uint8)
    )
    padded = pad_clip(priors, 2, 6)
    assert padded.pixel_features is priors.pixel_features
    assert padded.masks is not None and padded.masks.shape == (1, 2, 1, 16, 24)
