"""Runs of SeeClear by the command: priors made, the stages trained in turn, resumed, distributed, sampled."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_archs  # noqa: F401  (registers TinyVSR)
import torch
from basicsr.archs import build_network
from helpers.openseed import TINY as OPENSEED
from helpers.openseed import openseed_files
from helpers.project import basicsr_in_two, write_options
from helpers.runs import equal
from helpers.seeclear import TINY, awake, build
from helpers.semantics import checkpoints

from basicsr_semantic.cli import main
from basicsr_semantic.engine.checkpoint import load_file

pytestmark = pytest.mark.slow

NET = {'type': 'SeeClear', **TINY, 'num_tokens': 4, 'feature_dim': OPENSEED['mask_dim']}
EXTRACTION = {'num_tokens': 4, 'short_side': 32}
FRAMES = {'condenser': 3, 'memory': 6, 'joint': 6}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    """Experiments and results are made in the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> dict[str, str]:
    """Weights and words of a tiny OpenSeeD."""
    return openseed_files(tmp_path_factory.mktemp('weights'))


@pytest.fixture(scope='module')
def store(tmp_path_factory, clips, files) -> str:
    """The store that the command makes with it."""
    out = tmp_path_factory.mktemp('priors') / 'store'
    flags = [f'--{name.replace("_", "-")}={value}' for name, value in {**files, **EXTRACTION}.items()]
    assert main(['extract', '--extractor', 'openseed', '--frames', str(clips / 'lq'), '--out', str(out), *flags]) == 0
    return str(out)


@pytest.fixture
def stage(options, store):
    """A function: the options of a stage, with the priors of the store."""

    def make(name: str, **sections) -> dict:
        train = {'total_iter': 4, 'stage': name, **sections.pop('train', {})}
        opt = options(name=f'tiny_{name}', model_type='SeeClearModel', network_g=NET, train=train, **sections)
        opt['diffusion'] = {'steps': 4}
        data = {'num_frame': FRAMES[name], 'gt_size': 32, 'interval_list': [1], 'dataroot_priors': store}
        opt['datasets']['train'] |= data | {'prior_kind': 'openseed', 'with_features': True}
        if name != 'condenser':
            torch.save({'params': awake(build(**tiny())).state_dict()}, 'c.pth')
            opt['path']['pretrain_network_g'] = 'c.pth'
        return opt

    return make


@pytest.fixture
def tested(options, clips, store):
    """A function: the options of a test of weights."""

    def make(name: str, weights: str, **data) -> dict:
        opt = options(name=name, model_type='SeeClearModel', network_g=NET)
        del opt['train'], opt['logger']
        opt |= {'val': {'save_img': True, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}}}
        opt |= {'diffusion': {'steps': 4}}
        opt['path']['pretrain_network_g'] = weights
        places = {'dataroot_gt': str(clips / 'gt'), 'dataroot_lq': str(clips / 'lq'), 'dataroot_priors': store, **data}
        places = {key: place for key, place in places.items() if place is not None}
        common = {'name': 'tiny', 'type': 'SemanticClipTestDataset', 'io_backend': {'type': 'disk'}}
        return opt | {'datasets': {'test_1': common | places}}

    return make


def tiny() -> dict:
    """The arguments of the network."""
    return {name: value for name, value in NET.items() if name != 'type'}


def sample(opt: dict, cwd: Path) -> None:
    """Test in this process."""
    assert main(['test', '-opt', str(write_options(opt, cwd / f'{opt["name"]}.yml'))]) == 0


def images(cwd: Path, name: str) -> list[bytes]:
    """The restored frames of a test, in the order of their names."""
    found = sorted((cwd / f'results/{name}/visualization/tiny').rglob('*.png'))
    return [image.read_bytes() for image in found]


def pixels(image: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR).astype(int)


def weights(cwd: Path, name: str) -> dict:
    return load_file(cwd / f'experiments/{name}/models/net_g_latest.pth')


def train(opt: dict, cwd: Path, *flags: str) -> str:
    """Train to the end in this process; gives the log."""
    file = write_options(opt, cwd / f'{opt["name"]}.yml')
    assert main(['train', '-opt', str(file), *flags]) == 0
    return max((cwd / f'experiments/{opt["name"]}').glob(f'train_{opt["name"]}_*.log')).read_text()


@pytest.mark.slow(40)
def test_the_stages_follow_one_another_and_the_result_is_sampled(stage, tested, files, tmp_path):
    log = train(stage('condenser'), tmp_path)
    assert re.search(r'Stage condenser trains [\d,]+ parameters, in .*encoder.*middle', log)
    for name, before in (('memory', 'condenser'), ('joint', 'memory')):
        opt = stage(name)
        opt['path']['pretrain_network_g'] = f'experiments/tiny_{before}/models/net_g_latest.pth'
        assert f'Stage {name} trains' in train(opt, tmp_path)
    found = weights(tmp_path, 'tiny_joint')
    assert found['prior_kind'] == 'openseed' and found['diffusion']['steps'] == 4
    assert re.fullmatch(r'weights with the SHA-256 \w{12}, vocabulary with the SHA-256 \w{12}', found['prior_origin'])
    assert found['params'].keys() == found['params_ema'].keys() == build(**tiny()).state_dict().keys()
    result = str(tmp_path / 'experiments/tiny_joint/models/net_g_latest.pth')
    sample(tested('one', result), tmp_path)
    one = images(tmp_path, 'one')
    assert len(one) == 21

    opt_file = write_options(tested('two', result), tmp_path / 'two.yml')
    for done in basicsr_in_two('test', '-opt', opt_file, cwd=tmp_path):
        assert done.returncode == 0, done.stderr
    assert images(tmp_path, 'two') == one, 'the frames depend on the number of processes'

    opt = tested('online', result, dataroot_priors=None, dataroot_gt=None)
    opt['network_s'] = {'type': 'openseed', 'extract_mode': 'online_full', **files, **EXTRACTION}
    sample(opt, tmp_path)
    # frames of a clip are described together there, which rounds otherwise
    pairs = zip(map(pixels, images(tmp_path, 'online')), map(pixels, one), strict=True)
    apart = np.stack([np.abs(ours - theirs) for ours, theirs in pairs])
    assert apart.max() <= 1 and (apart > 0).mean() < 1e-3, 'priors made in the run are others than those of the store'


@pytest.mark.parametrize('name', FRAMES)
def test_a_resumed_stage_ends_as_an_uninterrupted_one(stage, tmp_path, name):
    opt = stage(name)
    train(opt, tmp_path)
    whole = weights(tmp_path, opt['name'])
    half = stage(name) | {'name': 'half'}
    half['train'] = opt['train'] | {'total_iter': 2}
    train(half, tmp_path)
    half['train'] = opt['train']
    train(half, tmp_path, '--auto_resume')
    for key in ('params', 'params_ema'):
        assert equal(weights(tmp_path, 'half')[key], whole[key])


@pytest.mark.parametrize('name', FRAMES)
def test_every_stage_trains_in_two_processes(stage, tmp_path, name):
    """Every parameter that trains takes part in the step, or DistributedDataParallel would stop at the second one."""
    opt = stage(name, train={'total_iter': 3})
    opt['datasets']['train']['batch_size_per_gpu'] = 1
    for done in basicsr_in_two('train', '-opt', write_options(opt, tmp_path / 'two.yml'), cwd=tmp_path):
        assert done.returncode == 0, done.stderr[-2000:]
    assert 'params_ema' in weights(tmp_path, opt['name'])


@pytest.mark.parametrize('phase', ['train', 'test_1'])
def test_a_store_without_features_is_one_sentence(stage, tested, clips, files, tmp_path, capsys, phase):
    """As Semantic Lens uses them."""
    flags = ['--frames', str(clips / 'lq'), '--out', 'plain', '--instance-source', 'mean_over_time']
    decoder = checkpoints(tmp_path)['checkpoint']
    assert main(['extract', '--extractor', 'xdecoder', '--checkpoint', decoder, '--short-side=32', *flags]) == 0
    opt = stage('condenser') if phase == 'train' else tested('t', 'c.pth', with_features=True)
    opt['datasets'][phase] |= {'dataroot_priors': 'plain', 'prior_kind': 'xdecoder'}
    torch.save({'params': build(**tiny()).state_dict()}, 'c.pth')
    verb = 'train' if phase == 'train' else 'test'
    assert main([verb, '-opt', str(write_options(opt, tmp_path / 'o.yml'))]) != 0
    assert 'with_features is true, but the store' in capsys.readouterr().err


def test_a_resumed_run_keeps_which_weights_make_the_base(stage, tmp_path):
    """BasicSR turns every params_ema into params on resume, also those of networks that do not train."""
    torch.save({'params': {}, 'params_ema': build_network({'type': 'TinyVSR'}).state_dict()}, 'base.pth')
    opt = stage('condenser', train={'total_iter': 2}) | {'base_upsampler': {'type': 'TinyVSR'}}
    opt['path'] |= {'pretrain_base_upsampler': 'base.pth', 'param_key_base_upsampler': 'params_ema'}
    train(opt, tmp_path)
    opt['train']['total_iter'] = 4
    train(opt, tmp_path, '--auto_resume')  # 'params' of the file would not fit
    assert weights(tmp_path, opt['name'])['base_upsampler'] == 'TinyVSR'
