"""`basicsr_semantic.load`: from a checkpoint alone to the trained network, whichever model class wrote it."""

from __future__ import annotations

import copy
import re

import pytest
import tiny_archs  # noqa: F401  (registers TinyVSR)
import torch
from basicsr.archs import build_network
from basicsr.models import build_model
from helpers.seeclear import TINY
from helpers.seeclear import priors as tokens_and_features
from helpers.seem import randomise

import basicsr_semantic
from basicsr_semantic import load
from basicsr_semantic.engine import checkpoint
from basicsr_semantic.engine.checkpoint import load_file
from basicsr_semantic.engine.network_record import KEY
from basicsr_semantic.models.adapter_files import Tuning
from basicsr_semantic.priors import SemanticPriors
from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.torch_files import load_plain

SIZES = {'num_feat': 8, 'num_block': 1, 'num_masks': 4, 'reduction': 4}
WINDOW = {'num_feat': 8, 'num_frame': 3, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}
TRANSFORMER = {'mid_channels': 8, 'embed_dim': 12, 'depths': [1], 'num_heads': [2], 'window_size': [3, 8, 8]}
NETWORKS = {
    'BasicVSRSEEM': {**SIZES, 'zero_flow': True},
    'EDVRSEEM': {**WINDOW, 'num_masks': 4, 'reduction': 4},
    'PSRTRecurrent': TRANSFORMER,
    'SemanticLens': {**TRANSFORMER, 'token_dim': 8, 'global_dim': 8},
    'BasicVSR': {'num_feat': 8, 'num_block': 1},
    'EDVR': WINDOW,
    'TinyVSR': {},
}
IMAGE = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}


@pytest.fixture
def trained(options, tmp_path):
    """A function: a model of a class with a small network, away from its start, and the checkpoint that it wrote."""

    def make(model_type: str, network: dict, **sections):
        opt = options(model_type=model_type, network_g=network, **sections)
        opt['path'] |= {'models': str(tmp_path), 'training_states': str(tmp_path)}
        opt |= {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1}
        torch.manual_seed(0)
        model = build_model(copy.deepcopy(opt))
        randomise(model.net_g, 1)
        if hasattr(model, 'net_g_ema'):
            randomise(model.net_g_ema, 2)
        model.save(0, 3)
        return model, tmp_path / 'net_g_3.pth'

    return make


def clip(frames: int = 4, side: int = 36, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, frames, 3, side, side, generator=torch.Generator().manual_seed(5))


def priors_of(network, lq: torch.Tensor) -> SemanticPriors | None:
    """Priors of every field that a network reads."""
    b, t, _, h, w = lq.shape
    generator = torch.Generator().manual_seed(6)
    shapes = {'masks': (b, t, 4, h, w), 'global_tokens': (b, t, 8), 'instance_tokens': (b, 5, 8)}
    given = {name: torch.rand(shapes[name], generator=generator) for name in network.prior_fields}
    if 'masks' in given:
        given['masks'] = (given['masks'] > 0.5).to(torch.uint8)
    return SemanticPriors(**given, kind='regions') if given else None


@pytest.mark.parametrize('name', NETWORKS)
def test_the_loaded_network_is_the_trained_one(trained, name):
    model, path = trained('SemanticVSRModel', {'type': name, **NETWORKS[name]})
    network = load(path)
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    lq = clip(3)
    given = priors_of(network, lq)
    model.feed_data({'lq': lq, **({} if given is None else given.present())})
    model.test()
    restored = network(lq, given)
    assert network.scale in (4, None) or name == 'TinyVSR'
    # a network of windows restores each frame of the clip, the model the middle of the window that it got
    found = restored[:, 1] if model.output.dim() == 4 else restored
    assert restored.shape == (1, 3, 3, 144, 144) and torch.equal(found, model.output)


@pytest.mark.parametrize(
    ('model_type', 'network'),
    [
        ('VideoRecurrentModel', {'type': 'BasicVSR', 'num_feat': 8, 'num_block': 1}),
        ('EDVRModel', {'type': 'EDVR', **WINDOW}),
        ('SRModel', IMAGE),
    ],
)
def test_checkpoints_of_basicsrs_own_models_name_their_network(trained, model_type, network):
    model, path = trained(model_type, network)
    assert load_file(path)[KEY]['network'].items() >= network.items()
    loaded = load(path)
    lq = clip(3, side=36)
    restored = loaded(lq)
    with torch.no_grad():
        expected = model.net_g_ema.eval()(lq[0] if model_type == 'SRModel' else lq)
    found = restored[0] if model_type == 'SRModel' else restored[:, 1] if model_type == 'EDVRModel' else restored
    assert restored.shape == (1, 3, 3, 144, 144) and torch.equal(found, expected)


def test_what_a_checkpoint_says(trained):
    model, path = trained('SemanticVSRModel', {'type': 'BasicVSRSEEM', **SIZES, 'spynet_path': None})
    record = load_file(path)[KEY]
    assert record['version'] == basicsr_semantic.__version__ and record['scale'] == 4
    assert record['model_type'] == 'SemanticVSRModel'
    # defaults are written out, and of files to start from only that there are none
    assert record['network'].items() >= {'missing_priors': 'error', 'num_masks': 4, 'spynet_path': None}.items()
    network = load(path, param_key='params')
    lq = clip(2)
    given = priors_of(network, lq)
    with torch.no_grad():
        assert torch.equal(network(lq, given), model.net_g.eval()(lq, given))


@pytest.mark.parametrize('size', [(36, 36), (35, 37), (64, 40)])
@pytest.mark.parametrize('frames', [1, 2, 5, 7])
def test_clips_of_any_length_and_size(size, frames, trained):
    _, path = trained('EDVRModel', {'type': 'EDVR', **WINDOW, 'num_frame': 5}, datasets={'train': {'num_frame': 5}})
    restored = load(path)(torch.rand(2, frames, 3, *size))
    assert restored.shape == (2, frames, 3, 4 * size[0], 4 * size[1])


def test_priors_are_asked_for_and_compared(trained):
    model, path = trained('SemanticVSRModel', {'type': 'BasicVSRSEEM', **SIZES})
    lq = clip(2)
    model.feed_data({'lq': lq, 'masks': torch.zeros(1, 2, 4, 36, 36, dtype=torch.uint8), 'prior_kind': ['sam']})
    model.save(0, 4)
    network = load(path.with_name('net_g_4.pth'))
    assert network.prior_kind == 'sam' and network.prior_fields == ('masks',)
    with pytest.raises(UserError, match="trained with masks, of kind 'sam', which are not given"):
        network(lq)
    with pytest.raises(UserError, match="kind 'sam'; these are 'regions'"):
        network(lq, priors_of(network, lq))
    neutral = load(path.with_name('net_g_4.pth'), missing_priors='neutral')
    no_masks = SemanticPriors(masks=torch.zeros(1, 2, 4, 36, 36, dtype=torch.uint8))
    assert torch.equal(neutral(lq), network(lq, no_masks))


@pytest.mark.parametrize('wrong', [torch.rand(3, 36, 36), torch.rand(1, 2, 4, 8, 8), torch.zeros(1, 0, 3, 8, 8)])
def test_other_tensors_are_no_frames(trained, wrong):
    network = load(trained('SemanticVSRModel', {'type': 'TinyVSR'})[1])
    with pytest.raises(UserError, match='Frames are'):
        network(wrong)


# -------------------------------------------------------------------------------------------------------- SeeClear


@pytest.mark.parametrize('base', ['bicubic', 'TinyVSR'])
def test_seeclear_samples_as_in_its_test(trained, tmp_path, base):
    sections = {'train': {'stage': 'condenser'}, 'diffusion': {'steps': 3}}
    if base != 'bicubic':
        torch.save({'params': randomise(build_network({'type': base})).state_dict()}, tmp_path / 'base.pth')
        sections |= {'base_upsampler': {'type': base}, 'path': {'pretrain_base_upsampler': str(tmp_path / 'base.pth')}}
    model, path = trained('SeeClearModel', {'type': 'SeeClear', **TINY}, **sections)
    (tmp_path / 'base.pth').unlink(missing_ok=True)  # the checkpoint is enough
    lq, given = torch.rand(1, 5, 3, 16, 24), tokens_and_features(1, 5)
    model.feed_data({'lq': lq, **given.present(), 'clip': 'bear'})
    model.test()
    network = load(path)
    assert torch.equal(network(lq, given, names=['bear'], seed=model.val_options.seed), model.output)
    assert network(lq, given, steps=1).shape == (1, 5, 3, 64, 96)


# ----------------------------------------------------------------------------------------------------------- files


def test_trainings_by_folder_and_by_name(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, path = trained('SemanticVSRModel', {'type': 'TinyVSR'})
    models = tmp_path / 'experiments' / 'mine' / 'models'
    models.mkdir(parents=True)
    for number in (3, 20):
        (models / f'net_g_{number}.pth').write_bytes(path.read_bytes())
    lq = clip(2)
    expected = load(path)(lq)
    for name in ('mine', 'experiments/mine', models):
        assert torch.equal(load(name)(lq), expected)
    with pytest.raises(UserError, match=r'no training mime under experiments/\. Did you mean mine\?'):
        load('mime')
    (models / 'net_g_20.pth').write_bytes(b'')
    with pytest.raises(UserError, match=r'net_g_20\.pth'):  # the newest is meant, damaged or not
        load('mine')


def test_older_files_are_given_their_network(tmp_path):
    section = {'type': 'BasicVSR', 'num_feat': 8, 'num_block': 1}
    net = randomise(build_network(section))
    torch.save({'params': net.state_dict()}, tmp_path / 'net.pth')
    with pytest.raises(UserError, match=re.escape("network={'type': 'BasicVSR', 'num_feat': 8, 'num_block': 1}")):
        load(tmp_path / 'net.pth')
    (tmp_path / 'train.yml').write_text('network_g: {type: BasicVSR, num_feat: 8, num_block: 1}\n')
    lq = clip(2)
    with torch.no_grad():
        expected = net.eval()(lq)
    for network in (section, tmp_path / 'train.yml'):
        assert torch.equal(load(tmp_path / 'net.pth', network=network)(lq), expected)


@pytest.mark.parametrize(
    ('network', 'message'),
    [
        ({'type': 'BasicVSRSEM'}, "'BasicVSRSEM', which is not registered. Did you mean BasicVSRSEEM?"),
        ({'type': 'Qqqq'}, 'Import the module that registers it first'),
        ({'type': ['BasicVSR']}, 'which is not registered'),
        ({'type': 'BasicVSR', 'num_feat': 10**6}, 'more than the file can hold'),
        ({'type': 'BasicVSR', 'num_feat': 'many'}, 'cannot be built'),
        ({'type': 'BasicVSR', 'colour': 'red'}, 'cannot be built'),
        ({'type': 'BasicVSR', 'num_feat': 16, 'num_block': 1}, 'differ'),
        ({'num_feat': 8}, 'which is not registered'),
        ('BasicVSR', 'does not say which network'),
        ({'type': 'InstanceTransformer'}, 'makes tokens of instances'),
    ],
)
def test_what_a_file_says_may_be_anything(tmp_path, network, message):
    state = build_network({'type': 'BasicVSR', 'num_feat': 8, 'num_block': 1}).state_dict()
    state['weight'] = torch.zeros(10**7)  # the size of a large file
    torch.save({'params': state, KEY: {'network': network}}, tmp_path / 'net.pth')
    with pytest.raises(UserError, match=re.escape(message)):
        load(tmp_path / 'net.pth')


@pytest.mark.parametrize('field', ['keys', 'overwrites', 'base_file', 'base_sha256', 'base_key'])
def test_a_record_of_tuning_that_is_none_is_left_alone(tmp_path, field):
    record = {'keys': ['a'], 'overwrites': [], 'base_file': None, 'base_sha256': None, 'base_key': None}
    assert Tuning.read({'tuned': record}) == Tuning(**record)
    assert Tuning.read({'tuned': record | {field: [['a']]}}) is None
    assert Tuning.read({'tuned': {name: value for name, value in record.items() if name != field}}) is None


def test_a_file_is_read_once(trained, monkeypatch):
    _, path = trained('SemanticVSRModel', {'type': 'BasicVSRSEEM', **SIZES})
    read = []
    monkeypatch.setattr(checkpoint, 'load_plain', lambda path: read.append(path) or load_plain(path))
    load(path)
    assert read == [path]
    load(path)
    assert read == [path, path]  # and is not kept


def test_a_name_that_is_longer_than_names_may_be(tmp_path):
    with pytest.raises(UserError, match=r'^There is no checkpoint a+\.\.\.a+: File name too long\.$') as error:
        load('a' * 5000)
    assert len(str(error.value)) < 600
