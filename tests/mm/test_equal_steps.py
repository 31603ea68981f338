"""The same start, the same data: MMEngine's runner ends where `basicsr train` does, for every method, and resumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from helpers import mm_runs
from helpers.instances import BOTH, frozen_weights, make_options
from helpers.openseed import TINY as OPENSEED
from helpers.project import write_options
from helpers.runs import equal
from helpers.seeclear import TINY as SEECLEAR
from helpers.seeclear import awake
from helpers.semantics import WIDTH, checkpoints

from basicsr_semantic.cli import main
from basicsr_semantic.engine.checkpoint import load_file
from basicsr_semantic.priors import PriorStoreWriter, store_metadata

pytest.importorskip('mmengine')
pytestmark = [pytest.mark.slow(20), pytest.mark.filterwarnings('ignore')]

SEEM = {
    'type': 'EDVRSEEM', 'num_feat': 8, 'num_frame': 3, 'deformable_groups': 2, 'num_extract_block': 1,
    'num_reconstruct_block': 1, 'num_masks': 4, 'reduction': 2,
}  # fmt: skip
LENS = {
    'type': 'SemanticLens', 'mid_channels': 8, 'embed_dim': 12, 'depths': [2], 'num_heads': [2],
    'window_size': [3, 4, 4], 'image_window': 5, 'token_dim': WIDTH, 'global_dim': WIDTH, 'drop_path_rate': 0.1,
}  # fmt: skip
EXTRACTION = {'short_side': 32, 'score_threshold': 0.0, 'max_instances': 4}
CLEAR = {'type': 'SeeClear', **SEECLEAR, 'num_tokens': 4, 'feature_dim': OPENSEED['mask_dim']}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    """Experiments are made in the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope='module')
def masks(clips, tmp_path_factory) -> str:
    """Random masks of the tiny clips."""
    folder = tmp_path_factory.mktemp('priors') / 'masks'
    drawn = np.random.default_rng(0)
    with PriorStoreWriter(folder, store_metadata('regions', order='id', max_masks=4)) as writer:
        for frame in sorted((clips / 'lq').rglob('*.png')):
            writer.put(frame.relative_to(clips / 'lq').with_suffix('').as_posix(), drawn.random((4, 24, 24)) > 0.5)
    return str(folder)


@pytest.fixture(scope='module')
def tokens(clips, tmp_path_factory) -> str:
    """Random tokens and features of the tiny clips, as OpenSeeD's."""
    folder = tmp_path_factory.mktemp('priors') / 'tokens'
    drawn = np.random.default_rng(0)
    sizes = {'num': 4, 'dim': SEECLEAR['token_dim'], 'global_dim': 0}
    features = {'dim': OPENSEED['mask_dim'], 'cell': 4}
    meta = store_metadata('openseed', order='id', max_masks=0, tokens=sizes, features=features)
    with PriorStoreWriter(folder, meta) as writer:
        for frame in sorted((clips / 'lq').rglob('*.png')):
            key = frame.relative_to(clips / 'lq').with_suffix('').as_posix()
            writer.put_features(key, drawn.standard_normal((features['dim'], 6, 6)).astype(np.float32))
            writer.put_tokens(key, drawn.standard_normal((4, sizes['dim'])).astype(np.float32), np.zeros(0, np.float32))
            writer.put(key, np.zeros((0, 24, 24), bool))
    return str(folder)


@pytest.fixture(scope='module')
def instances(clips, tmp_path_factory) -> dict[str, str]:
    """Weights of a tiny stage 1, and the store that it makes of the tiny clips."""
    root = tmp_path_factory.mktemp('stage_one')
    files = checkpoints(root)
    flags = [f'--{name.replace("_", "-")}={value}' for name, value in {**files, **EXTRACTION}.items()]
    out = str(root / 'store')
    assert main(['extract', '--extractor', 'xdecoder', '--frames', str(clips / 'lq'), '--out', out, *flags]) == 0
    return {**files, 'store': out}


@pytest.fixture
def training(request, options, tmp_path):
    """A function: the options of a training by the name of its case."""

    def make(case: str) -> dict:
        if case.startswith('stage 1'):
            opt = make_options(tmp_path, BOTH if case.endswith('frames') else ['instance'], total_iter=5)
            opt['train'] |= {'grad_clip': 0.5}
            opt['datasets'].pop('val')
            opt |= {'val': None}
            opt['path'] = {'pretrain_frame_decoder': frozen_weights(tmp_path)}
        elif case == 'SEEM':
            opt = options(name='seem', network_g=SEEM)
            store = request.getfixturevalue('masks')
            opt['datasets']['train'] |= {'dataroot_priors': store, 'prior_kind': 'regions', 'num_masks': 4}
            opt['datasets']['train'] |= {'center_frame_only': True, 'center_masks_only': True}
            opt['train'] |= {'trainable': ['sam_embed', 'seem_'], 'prior_dropout': 0.3, 'warmup_iter': 3}
            opt['train']['optim_g']['groups'] = [{'prefixes': ['seem_'], 'lr_scale': 2}]
        elif case.startswith('Semantic Lens'):
            made = request.getfixturevalue('instances')
            opt = options(name='lens', network_g=LENS)
            cached = {'dataroot_priors': made['store'], 'prior_kind': 'xdecoder', 'num_masks': 4}
            in_the_run = case.endswith('in the run')
            opt['datasets']['train'] |= {'whole_frames': True} if in_the_run else cached
            mode = 'online_full' if in_the_run else 'cached'
            opt['network_s'] = {'type': 'xdecoder', 'extract_mode': mode, **EXTRACTION}
            opt['network_s'] |= {name: made[name] for name in ('checkpoint', 'instance_checkpoint')}
            opt['train'] |= {'grad_clip': 0.1}
        else:
            opt = options(name='clear', model_type='SeeClearModel', network_g=CLEAR, diffusion={'steps': 4})
            data = {'dataroot_priors': request.getfixturevalue('tokens'), 'prior_kind': 'openseed', 'num_frame': 6}
            opt['datasets']['train'] |= {**data, 'gt_size': 32, 'interval_list': [1], 'with_features': True}
            opt['train'] |= {'stage': 'joint'}
        opt['train']['total_iter'] = 5
        torch.manual_seed(1)
        net = build_network(opt['network_g'])
        opt['path']['pretrain_network_g'] = mm_runs.start(awake(net) if case == 'SeeClear' else net, tmp_path / 's.pth')
        return opt

    return make


CASES = ['SEEM', 'Semantic Lens', 'Semantic Lens, priors made in the run', 'SeeClear', 'stage 1', 'stage 1 with frames']


@pytest.mark.parametrize('case', CASES)
def test_five_steps_end_alike_and_a_resumed_run_too(training, tmp_path, case):
    opt = training(case)
    assert main(['train', '-opt', str(write_options(opt, tmp_path / 'a.yml'))]) == 0
    wanted = load_file(tmp_path / f'experiments/{opt["name"]}/models/net_g_latest.pth')

    config = mm_runs.configuration(opt, tmp_path)
    saved = ('default_hooks.checkpoint.interval=2',)
    mm_runs.train(config, tmp_path / 'whole', changes=saved)
    key = 'params_ema' if 'params_ema' in wanted else 'params'  # EMAHook saves the average as the weights
    for name, value in (whole := mm_runs.weights(tmp_path / 'whole', 5)).items():
        if not name.startswith('frame_decoder.'):
            torch.testing.assert_close(value, wanted[key][name], rtol=0, atol=1e-6)
    assert wanted[key].keys() <= whole.keys()

    resumed = tmp_path / 'whole/iter_2.pth'
    mm_runs.train(config, tmp_path / 'again', '--resume', str(resumed), changes=saved)
    assert equal(mm_runs.weights(tmp_path / 'again', 5), whole)
