"""Where priors come from: store and extractor agree, frozen networks stay out of training, mistakes are sentences."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers.clips import seeded
from helpers.semantics import TOKENS, WIDTH, checkpoints, save_network, tiny_instances

from basicsr_semantic.cli import main
from basicsr_semantic.data.semantic_clip_dataset import SemanticClipDataset
from basicsr_semantic.data.semantic_clip_test_dataset import SemanticClipTestDataset
from basicsr_semantic.engine.checkpoint import load_file
from basicsr_semantic.models import SemanticVSRModel
from basicsr_semantic.models.semantic_source import SemanticSource
from basicsr_semantic.priors import SemanticPriors
from basicsr_semantic.utils.errors import MissingError, UserError

LENS = {
    'type': 'SemanticLens', 'mid_channels': 8, 'embed_dim': 12, 'depths': [1, 1], 'num_heads': [2, 2],
    'window_size': [3, 4, 4], 'image_window': 5, 'token_dim': WIDTH, 'global_dim': WIDTH,
}  # fmt: skip
WANTED = ('masks', 'global_tokens', 'instance_tokens')
EXTRACTION = {'short_side': 32, 'score_threshold': 0.0}


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> dict[str, str]:
    return checkpoints(tmp_path_factory.mktemp('weights'))


@pytest.fixture(scope='module')
def store(tmp_path_factory, clips, files) -> str:
    """The store that the command makes of the fixture's clips."""
    out = tmp_path_factory.mktemp('priors') / 'store'
    flags = [f'--{name.replace("_", "-")}={value}' for name, value in {**files, **EXTRACTION}.items()]
    assert main(['extract', '--extractor', 'xdecoder', '--frames', str(clips / 'lq'), '--out', str(out), *flags]) == 0
    return str(out)


def section(files, mode: str, **changes) -> dict:
    return {'type': 'xdecoder', 'extract_mode': mode, **files, **EXTRACTION, **changes}


def source(files, mode: str, wanted=WANTED, **changes) -> SemanticSource:
    return SemanticSource(section(files, mode, **changes), wanted, torch.device('cpu'))


def dataset(options, clips, **changes) -> SemanticClipDataset:
    opt = options()['datasets']['train'] | {'num_frame': 7, 'interval_list': [1], 'scale': 4, 'num_masks': 10}
    for key in ('num_worker_per_gpu', 'batch_size_per_gpu', 'dataset_enlarge_ratio'):
        del opt[key]
    return SemanticClipDataset(opt | changes)


def make_model(options, tmp_path, is_train: bool = True, **sections) -> SemanticVSRModel:
    opt = options(**({'network_g': LENS} | sections))
    opt['path'] |= {'models': str(tmp_path / 'models'), 'training_states': str(tmp_path / 'states')}
    for folder in ('models', 'states'):
        (tmp_path / folder).mkdir(exist_ok=True)
    torch.manual_seed(0)
    return SemanticVSRModel(copy.deepcopy(opt) | {'is_train': is_train, 'dist': False, 'rank': 0, 'world_size': 1})


def training_data(store: str, mode: str) -> dict:
    """Further keys of section datasets:train."""
    return {'dataroot_priors': store, 'num_masks': 10} if mode == 'cached' else {'whole_frames': mode == 'online_full'}


def batch_of(data: SemanticClipDataset, seeds) -> dict:
    return data.collate([seeded(data, seed % len(data), seed) for seed in seeds])


def test_store_and_extractor_give_the_same_priors_for_the_same_frames(options, clips, store, files):
    """Whole clips of 7 frames, forwards (windows over time begin at the first frame), cropped and flipped."""
    cached = dataset(options, clips, dataroot_priors=store, random_reverse=False)
    online = dataset(options, clips, whole_frames=True, random_reverse=False)
    for seeds in ((0, 1, 2), (3, 4), (7, 8)):
        from_store = source(files, 'cached').priors(batch := batch_of(cached, seeds), batch['lq'])
        from_frames = source(files, 'online_full').priors(batch := batch_of(online, seeds), batch['lq'])
        assert from_store.keys() == from_frames.keys() == set(WANTED)
        assert from_store['masks'].any()
        assert torch.equal(from_store['masks'], from_frames['masks'])
        for name in ('global_tokens', 'instance_tokens'):
            torch.testing.assert_close(from_store[name], from_frames[name], atol=1e-5, rtol=1e-5)
        SemanticPriors(**from_store)


def test_instance_tokens_follow_from_the_sampled_frames(options, clips, store, files):
    batch = batch_of(dataset(options, clips, dataroot_priors=store, num_frame=3, random_reverse=True), (5,))
    found = source(files, 'cached').priors(batch, batch['lq'])
    with torch.no_grad():
        expected = tiny_instances()(batch['frame_tokens']).tokens
    torch.testing.assert_close(found['instance_tokens'], expected)
    assert torch.equal(found['masks'], batch['masks'])
    assert torch.equal(found['global_tokens'], batch['global_tokens'])


def test_stored_tokens_are_what_the_name_of_the_extractor_gives(options, clips, store, files):
    batch = batch_of(dataset(options, clips, dataroot_priors=store), (1, 2))
    section = {'type': 'stored_tokens', 'instance_checkpoint': files['instance_checkpoint']}
    stored, named = SemanticSource(section, WANTED, torch.device('cpu')), source(files, 'cached')
    found, expected = (one.priors(batch, batch['lq']) for one in (stored, named))
    assert found.keys() == expected.keys() == set(WANTED)
    assert all(torch.equal(found[name], expected[name]) for name in WANTED)
    assert stored.identity == named.identity and stored.kind is None
    without = SemanticSource({'type': 'stored_tokens'}, WANTED, torch.device('cpu'))
    assert without.priors(batch, batch['lq']).keys() == {'masks', 'global_tokens'} and without.identity is None


@pytest.mark.parametrize(('kind', 'count'), [('mean_over_time', TOKENS), ('xdecoder_frame', 7 * TOKENS)])
def test_instances_without_an_instance_network(options, clips, store, files, kind, count):
    batch = batch_of(dataset(options, clips, dataroot_priors=store), (0,))
    found = source(files, 'cached', instance_source=kind, instance_checkpoint=None).priors(batch, batch['lq'])
    assert found['instance_tokens'].shape == (1, count, WIDTH)


def test_a_patch_is_described_by_itself(options, clips, files):
    batch = batch_of(dataset(options, clips), (0, 1))
    found = source(files, 'online_patch').priors(batch, batch['lq'])
    one = source(files, 'online_patch').extractor
    assert one is not None
    expected = one.describe(batch['lq'][1])
    assert torch.equal(found['masks'][1], expected.masks)
    assert torch.equal(found['global_tokens'][1], expected.global_tokens)


def test_whole_frames_of_a_test_need_no_crop(clips, files):
    data = {'name': 't', 'type': 'SemanticClipTestDataset', 'phase': 'val', 'dataroot_lq': str(clips / 'lq')}
    lq = SemanticClipTestDataset(data)[0]['lq'][None]
    found = source(files, 'online_full').priors({'lq': lq}, lq)
    assert found['masks'].shape == (1, 7, 10, 24, 24)


def test_only_what_is_wanted_is_made(options, clips, store, files):
    batch = batch_of(dataset(options, clips, dataroot_priors=store), (0,))
    without = {'instance_checkpoint': None}
    assert source(files, 'cached', ('masks',), **without).priors(batch, batch['lq']).keys() == {'masks'}
    online = batch_of(dataset(options, clips, whole_frames=True), (0,))
    assert source(files, 'online_full', ('global_tokens',)).priors(online, online['lq']).keys() == {'global_tokens'}


def test_a_clip_of_neutral_frames_has_neutral_instances(files):
    tokens = torch.randn(2, 3, TOKENS, WIDTH)
    tokens[0] = 0
    data = {'frame_tokens': tokens, 'global_tokens': torch.zeros(2, 3, WIDTH)}
    found = source(files, 'cached', ('global_tokens', 'instance_tokens')).priors(data, torch.zeros(2, 3, 3, 8, 8))
    assert not found['instance_tokens'][0].any() and found['instance_tokens'][1].any()


@pytest.mark.parametrize('mode', ['cached', 'online_full', 'online_patch'])
def test_frozen_networks_are_untouched_by_training_and_absent_from_checkpoints(
    options, clips, tmp_path, store, files, mode
):
    data = training_data(store, mode)
    sections = {'network_s': section(files, mode), 'datasets': {'train': options()['datasets']['train'] | data}}
    model = make_model(options, tmp_path, **sections)
    result = model.source
    assert result is not None
    frozen = [
        one.network for one in (result.instances, result.extractor, getattr(result.extractor, 'instances', None)) if one
    ]
    before = [{k: v.clone() for k, v in one.state_dict().items()} for one in frozen if one is not None]
    assert before
    batch = batch_of(dataset(options, clips, num_frame=3, **data), (0, 1))
    start = {k: v.clone() for k, v in model.net_g.state_dict().items()}
    for iteration in (1, 2):
        model.update_learning_rate(iteration)
        model.feed_data(batch)
        model.optimize_parameters(iteration)
    after = model.net_g.state_dict()
    changed = {k for k in after if not torch.equal(after[k], start[k])}
    # by step 2 every parameter has a gradient; that of a key's bias is zero or rounding, since a softmax ignores it
    assert {k for k, _ in model.net_g.named_parameters() if not k.endswith('key.bias')} <= changed
    for one, old in zip([one for one in frozen if one is not None], before, strict=True):
        assert not one.training and not any(p.requires_grad for p in one.parameters())
        assert all(torch.equal(v, old[k]) for k, v in one.state_dict().items())
    model.save(0, 2)
    saved = load_file(tmp_path / 'models' / 'net_g_2.pth')
    assert saved['params'].keys() == saved['params_ema'].keys() == start.keys()
    assert saved['prior_kind'] == 'xdecoder'
    trained = {id(p) for group in model.optimizer_g.param_groups for p in group['params']}
    assert trained == {id(p) for p in model.net_g.parameters()}


def test_accumulation_splits_the_priors_with_the_frames(options, clips, tmp_path, store, files):
    batch = batch_of(dataset(options, clips, num_frame=3, dataroot_priors=store), (0, 1, 2, 3))
    weights = []
    for parts in (1, 4):
        sections = {'network_g': LENS | {'drop_path_rate': 0.0}, 'train': {'accumulate': parts}}
        model = make_model(options, tmp_path, network_s=section(files, 'cached'), **sections)
        for p in model.net_g.parameters():
            p.data += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))  # no identities
        model.feed_data(batch)
        model.optimize_parameters(1)
        weights.append({k: p.grad.clone() for k, p in model.net_g.named_parameters()})
    for name, gradient in weights[0].items():
        torch.testing.assert_close(weights[1][name], gradient, rtol=1e-3, atol=1e-6)
    assert any(gradient.any() for name, gradient in weights[0].items() if name.startswith('compress'))


def test_mixed_precision_is_for_the_network_alone(options, clips, tmp_path, files):
    """Priors are made in float32 before the step; the step itself runs in bf16."""
    batch = batch_of(dataset(options, clips, num_frame=3, whole_frames=True), (0, 1))
    train = {'train': options()['datasets']['train'] | {'whole_frames': True}}
    sections = {'network_s': section(files, 'online_full'), 'datasets': train, 'train': {'amp': 'bf16'}}
    model = make_model(options, tmp_path, **sections)
    model.feed_data(batch)
    expected = source(files, 'online_full').priors(batch, batch['lq'])
    for name, tensor in expected.items():
        assert torch.equal(getattr(model.priors, name), tensor)
    before = {k: v.clone() for k, v in model.net_g.state_dict().items()}
    model.optimize_parameters(1)
    after = model.net_g.state_dict()
    assert any(not torch.equal(before[k], v) for k, v in after.items())
    assert all(v.isfinite().all() for v in after.values() if v.is_floating_point())


def test_flip_seq_and_padding_take_the_priors_along(options, clips, tmp_path, store, files, monkeypatch):
    data = {'name': 't', 'type': 'SemanticClipTestDataset', 'phase': 'val', 'dataroot_priors': store, 'num_masks': 10}
    item = SemanticClipTestDataset(data | {'dataroot_lq': str(clips / 'lq')})[0]
    batch = {k: v[None] if torch.is_tensor(v) else v for k, v in item.items()}
    sections = {'train': None, 'network_s': section(files, 'cached')}
    plain = make_model(options, tmp_path, is_train=False, **sections)
    plain.feed_data(batch)
    plain.test()
    assert plain.output.shape == (1, 7, 3, 96, 96)
    seen: list[SemanticPriors] = []
    flipping = make_model(options, tmp_path, is_train=False, val={'flip_seq': True}, **sections)
    forward = type(flipping.net_g).forward
    monkeypatch.setattr(
        type(flipping.net_g), 'forward', lambda self, lq, priors: seen.append(priors) or forward(self, lq, priors)
    )
    monkeypatch.setattr(type(flipping.net_g), 'size_requirements', SizeOf32())
    flipping.feed_data(batch)
    flipping.test()
    (priors,) = seen
    assert priors.masks is not None and priors.global_tokens is not None
    assert priors.masks.shape == (1, 14, 10, 32, 32)
    assert torch.equal(priors.masks[:, :7, :, :24, :24], item['masks'][None])
    assert torch.equal(priors.masks[:, 7:], priors.masks[:, :7].flip(1))
    assert torch.equal(priors.masks[..., 24:, :], priors.masks[..., 15:23, :].flip(-2))
    assert torch.equal(priors.global_tokens[:, 7:], priors.global_tokens[:, :7].flip(1))
    assert priors.instance_tokens is not None and priors.instance_tokens.shape == (1, 5, WIDTH)
    assert flipping.output.shape == (1, 7, 3, 96, 96)


class SizeOf32:
    minimum = 32
    multiple_of = 32


@pytest.mark.parametrize(
    ('data', 'sections', 'message'),
    [
        ({}, {}, r'needs masks, global_tokens, instance_tokens, .*missing_priors: neutral'),
        ({'dataroot_priors'}, {}, r'needs instance_tokens, .*network_s: \{type: stored_tokens, instance_checkpoint: '),
        ({}, {'network_s'}, r'needs masks, global_tokens, instance_tokens, '),
    ],
)
def test_missing_priors_name_what_makes_them(options, clips, tmp_path, store, files, data, sections, message):
    roots = {'dataroot_priors': store} if data else {}
    model = make_model(options, tmp_path, **({'network_s': section(files, 'cached')} if sections else {}))
    with pytest.raises(UserError, match=message) as caught:
        model.feed_data(batch_of(dataset(options, clips, num_frame=3, **roots), (0,)))
    assert getattr(caught.value, 'what', None) == (
        None if data else 'tokens'
    )  # of which a store with tokens needs none


def test_neutral_priors_are_the_networks_own(options, clips, tmp_path):
    model = make_model(options, tmp_path, network_g=LENS | {'missing_priors': 'neutral'})
    batch = batch_of(dataset(options, clips, num_frame=3, missing_priors='neutral'), (0,))
    model.feed_data(batch)
    model.test()
    with torch.no_grad():
        torch.testing.assert_close(model.output, model.net_g_ema(batch['lq']))


def test_tokens_of_another_width_are_named(options, clips, tmp_path, store, files):
    model = make_model(options, tmp_path, network_g=LENS | {'token_dim': 24}, network_s=section(files, 'cached'))
    with pytest.raises(
        UserError, match='network_g:token_dim is 24, but the instance_tokens of these priors have width'
    ):
        model.feed_data(batch_of(dataset(options, clips, num_frame=3, dataroot_priors=store), (0,)))


@pytest.mark.parametrize(
    ('mode', 'data', 'message'),
    [
        ('online_full', {}, 'online_full looks at whole frames, but datasets:train gives crops alone'),
        ('online_full', {'whole_frames': True, 'dataroot_priors': 'S'}, 'datasets:train:dataroot_priors names a store'),
        ('online_patch', {'dataroot_priors': 'S'}, 'online_patch makes the priors in the run'),
    ],
)
def test_training_data_that_do_not_go_with_the_mode(options, tmp_path, files, mode, data, message):
    train = options()['datasets']['train'] | data
    with pytest.raises(UserError, match=message):
        make_model(options, tmp_path, network_s=section(files, mode), datasets={'train': train})


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'type': 'sam'}, "network_s:type is 'sam'. sam gives masks alone, no tokens"),
        ({'type': None}, 'network_s:type is ~. It must be xdecoder or openseed or stored_tokens'),
        (
            {'type': 'stored_tokens', 'extract_mode': 'online_full'},
            'its only mode is cached; for online_full name xdec',
        ),
        ({'extract_mode': 'online'}, 'choose one of cached, online_full, online_patch'),
        ({'extract_mode': 'online_full', 'short_sid': 3}, "takes no argument 'short_sid'"),
        ({'extract_mode': 'cached', 'instance_checkpoint': None}, 'vita needs instance_checkpoint'),
    ],
)
def test_sections_that_make_no_source(files, changes, message):
    with pytest.raises(UserError, match=message):
        SemanticSource(section(files, 'cached') | changes, WANTED, torch.device('cpu'))


def test_a_network_remembers_what_made_its_instance_tokens(options, clips, tmp_path, store, files):
    model = make_model(options, tmp_path, network_s=section(files, 'cached'))
    model.save(0, 1)
    path = {'pretrain_network_g': str(tmp_path / 'models' / 'net_g_1.pth')}
    message = load_file(path['pretrain_network_g'])['instances']
    assert message['source'] == 'vita' and len(message['sha256']) == 64
    for mode in ('cached', 'online_patch'):
        same = make_model(options, tmp_path, network_s=section(files, mode), path=path)
        assert same.checkpoint_metadata() == {'instances': message}
    other = section(files, 'cached', instance_source='mean_over_time', instance_checkpoint=None)
    with pytest.raises(
        UserError, match=r'trained with instance tokens of another origin \(vita, SHA.*than .*\(mean_over'
    ):
        make_model(options, tmp_path, network_s=other, path=path)
    allowed = make_model(options, tmp_path, network_s=other, path=path | {'allow_prior_mismatch': True})
    assert allowed.checkpoint_metadata()['instances'] == {'source': 'mean_over_time', 'sha256': None}
    without = make_model(options, tmp_path, is_train=False, network_g=LENS | {'missing_priors': 'neutral'}, path=path)
    assert without.checkpoint_metadata() == {'instances': message}
    no_isee = make_model(options, tmp_path, network_g=LENS | {'isee': False}, network_s=section(files, 'cached'))
    assert no_isee.checkpoint_metadata() == {}


def test_a_store_of_another_instance_network_is_a_warning(files, store, tmp_path, caplog):
    other = save_network(tiny_instances(seed=9), tmp_path / 'other.pth')
    with caplog.at_level('WARNING'):
        source(files, 'cached').check_dataset({'dataroot_priors': store}, 'datasets:train')
        assert not caplog.records
        source(files, 'cached', instance_checkpoint=other).check_dataset({'dataroot_priors': store}, 'datasets:val')
    assert 'datasets:val: the masks in' in caplog.text and 'of another instance network' in caplog.text


def test_one_object_cannot_be_divided_between_gpus_by_data_parallel(options, tmp_path, monkeypatch):
    monkeypatch.setattr(SemanticVSRModel, 'model_to_device', lambda self, net: torch.nn.DataParallel(net))
    with pytest.raises(MissingError, match='start one process a GPU') as caught:
        make_model(options, tmp_path)
    assert caught.value.what == 'processes'
