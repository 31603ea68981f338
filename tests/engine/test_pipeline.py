"""Runs of the whole command: killed, interrupted, resumed, distributed, extended by plugins."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.project import ROOT, basicsr, basicsr_in_two, basicsr_until, python, write_options
from helpers.runs import equal, torchrun
from helpers.seem import small_semantic_vsr_model

from basicsr_semantic.cli import main
from basicsr_semantic.engine import pipeline
from basicsr_semantic.engine.checkpoint import load_file
from basicsr_semantic.priors import PriorStoreWriter, store_metadata
from basicsr_semantic.utils.folder_lock import FolderLock

pytestmark = pytest.mark.slow
TRAIN = ['-m', 'basicsr_semantic', 'train', '--import', 'tiny_archs', '-opt']


def train(opt_file: Path, cwd: Path, *flags: str) -> subprocess.CompletedProcess:
    """Train to the end."""
    return basicsr(*TRAIN[2:], str(opt_file), *flags, cwd=cwd)


def train_until(line: str, opt_file: Path, cwd: Path, number: int, *flags: str) -> str:
    """Start a training, send a signal as soon as its log shows a line, and return the log."""
    return basicsr_until(line, number, *TRAIN[2:], opt_file, *flags, cwd=cwd)


def long_run(options, name: str) -> dict:
    opt = options(name=name, train={'total_iter': 40, 'fix_flow': 20})
    opt['datasets']['train'] |= {'num_worker_per_gpu': 2, 'batch_size_per_gpu': 3, 'dataset_enlarge_ratio': 2}
    opt['logger']['save_checkpoint_freq'] = 3
    opt['train']['scheduler']['periods'] = [40]
    return opt


@pytest.mark.slow(160)
def test_a_run_killed_again_and_again_ends_bit_identical(options, tmp_path):
    """SIGKILL in the first iterations, while saving, in a later epoch; two loader workers; EMA; augmentation on."""
    whole = train(write_options(long_run(options, 'whole'), tmp_path / 'whole.yml'), tmp_path)
    assert whole.returncode == 0, whole.stderr
    opt_file = write_options(long_run(options, 'killed'), tmp_path / 'killed.yml')
    for line in ('iter:       2,', 'Saving models', 'iter:      14,', 'Saving models', 'iter:      31,'):
        log = train_until(line, opt_file, tmp_path, signal.SIGKILL, '--auto_resume')
        assert line in log, log[-3000:]
    last = train(opt_file, tmp_path, '--auto_resume')
    assert last.returncode == 0, last.stderr
    resumed_after = int(re.search(r'Resuming after iteration (\d+)', last.stderr)[1])
    assert resumed_after >= 12
    for file in ('models/net_g_39.pth', 'models/net_g_latest.pth', 'training_states/39.state'):
        one, two = (load_file(tmp_path / 'experiments' / name / file) for name in ('whole', 'killed'))
        assert equal(one, two), file
    leftovers = [p.name for p in (tmp_path / 'experiments/killed').rglob('*.tmp')]
    assert leftovers == []


def test_runs_of_one_second_are_archived_under_names_of_their_own(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, 'get_time_str', lambda: '20260101_000000')
    opt_file = write_options(options(name='same', train={'total_iter': 1}), tmp_path / 'o.yml')
    for _ in range(4):
        assert main(['train', '-opt', str(opt_file), '--import', 'tiny_archs']) == 0
    names = sorted(folder.name for folder in (tmp_path / 'experiments').iterdir())
    stamp = 'same_archived_20260101_000000'
    assert names == ['same', stamp, f'{stamp}_2', f'{stamp}_3']


def test_a_dry_run_trains_once_and_keeps_nothing(options, tmp_path):
    opt = options(
        name='dry',
        logger={'print_freq': 1, 'use_tb_logger': True},
        val={'val_freq': 3, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}},
    )
    opt['datasets']['val'] = {k: v for k, v in opt['datasets']['train'].items() if k.startswith(('data', 'io'))}
    opt['datasets']['val'] |= {'name': 'held_out', 'type': 'SemanticClipTestDataset'}
    opt_file = write_options(opt, tmp_path / 'dry.yml')
    result = train(opt_file, tmp_path, '--dry-run')
    assert result.returncode == 0, result.stderr
    assert 'iter:       1,' in result.stderr and 'iter:       2,' not in result.stderr
    assert 'Validation held_out' in result.stderr and 'Nothing is kept' in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ['dry.yml']


BROKEN = """
from basicsr.utils.registry import ARCH_REGISTRY
from tiny_archs import TinyVSR

@ARCH_REGISTRY.register()
class BrokenVSR(TinyVSR):
    def forward(self, lq):
        raise ValueError('not these frames')
"""


def test_a_dry_run_finds_what_only_a_step_shows(options, tmp_path):
    (tmp_path / 'broken.py').write_text(BROKEN)
    opt_file = write_options(options(network_g={'type': 'BrokenVSR'}), tmp_path / 'bad.yml')
    result = basicsr('train', '--import', 'broken', '-opt', str(opt_file), '--dry-run', cwd=tmp_path)
    assert result.returncode == 2
    assert 'The training with SemanticVSRModel ended: ValueError: not these frames' in result.stderr


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'train': {'accumulate': 3}}, 'train:accumulate: It is 3, which does not divide the batch of 2.'),
        ({'logger': {'wandb': {'project': 'x'}, 'use_tb_logger': False}}, 'logger:wandb follows TensorBoard'),
        ({'logger': {'wandb': {'project': 'x'}, 'use_tb_logger': True}}, 'logger:wandb needs the package wandb'),
    ],
    ids=['accumulate', 'no TensorBoard', 'no wandb'],
)
def test_what_cannot_begin_moves_no_earlier_run(options, tmp_path, monkeypatch, capsys, changes, said):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *rest: None if name == 'wandb' else real(name, *rest))
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'experiments' / 'tiny').mkdir(parents=True)
    (tmp_path / 'experiments' / 'tiny' / 'mine.txt').touch()
    opt_file = write_options(options(name='tiny', **changes), tmp_path / 'a.yml')
    assert main(['train', '-opt', str(opt_file), '--import', 'tiny_archs']) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in (tmp_path / 'experiments').iterdir() if path.name[0] != '.'] == ['tiny']
    assert [path.name for path in (tmp_path / 'experiments' / 'tiny').iterdir()] == ['mine.txt']


def test_what_code_of_others_raises_over_the_options_is_a_sentence(options, tmp_path):
    """ForeignData of tests/tiny_archs.py reads a key that nobody else knows of."""
    opt = options()
    opt['datasets']['train'] = {'name': 'x', 'type': 'ForeignData'}
    result = train(write_options(opt, tmp_path / 'foreign.yml'), tmp_path)
    assert result.returncode == 2 and 'Traceback' not in result.stderr
    message = result.stderr.splitlines()[-1]
    assert "basicsr: datasets:train cannot be built: KeyError: it needs the key 'secret' (" in message
    assert not (tmp_path / 'experiments').exists()


def test_an_interrupt_saves_the_running_iteration(options, tmp_path):
    opt_file = write_options(long_run(options, 'stopped'), tmp_path / 'stopped.yml')
    log = train_until('iter:       4,', opt_file, tmp_path, signal.SIGTERM)
    saved = int(re.search(r'Interrupted; iteration (\d+) is saved', log)[1])
    assert (tmp_path / f'experiments/stopped/training_states/{saved}.state').is_file()
    assert 'Traceback' not in log
    script = (
        'import sys, torch\n'
        'from basicsr_semantic.cli import main\n'
        'load = torch.load\n'
        "torch.load = lambda path, **options: print('reads', path) or load(path, **options)\n"
        f"sys.exit(main(['train', '--import', 'tiny_archs', '--auto_resume', '-opt', {str(opt_file)!r}]))\n"
    )
    done = python('-c', script, cwd=tmp_path)
    assert f'Resuming after iteration {saved}.' in done.stderr
    read = [line.rpartition('/')[2] for line in done.stdout.splitlines() if line.startswith('reads ')]
    assert read == [f'{saved}.state', f'net_g_{saved}.pth']  # judged, then loaded into the network and its average


def test_two_processes_with_half_the_batch_equal_one_with_all(options, tmp_path):
    """To 1e-5 after 5 steps, without augmentation; gradients of a mean loss are averaged over processes."""
    weights = []
    for name, processes, batch in (('one', 1, 2), ('two', 2, 1)):
        opt = options(name=name, train={'total_iter': 5})
        opt['datasets']['train'] |= {'batch_size_per_gpu': batch, 'use_hflip': False, 'use_rot': False}
        opt['dist_params'] = {'backend': 'nccl'}
        opt_file = write_options(opt, tmp_path / f'{name}.yml')
        if processes == 1:
            done = train(opt_file, tmp_path)
        else:
            done = python(*torchrun(processes), *TRAIN, str(opt_file), '--launcher', 'pytorch', cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        weights.append(load_file(tmp_path / f'experiments/{name}/models/net_g_latest.pth'))
    for key in ('params', 'params_ema'):
        for k, v in weights[0][key].items():
            torch.testing.assert_close(weights[1][key][k], v, rtol=0, atol=1e-5)
    assert not equal(load_file(tmp_path / 'experiments/one/models/net_g_2.pth'), weights[0])


@pytest.mark.slow(50)
def test_validation_of_two_processes_equals_that_of_one(options, tmp_path, clips):
    results = []
    for name, run in (('v1', lambda *args, cwd: [basicsr(*args, cwd=cwd)]), ('v2', basicsr_in_two)):
        opt = options(name=name, train=None)
        opt['datasets'] = {
            'test': {
                'name': 'held_out',
                'type': 'SemanticClipTestDataset',
                'dataroot_gt': str(clips / 'gt'),
                'dataroot_lq': str(clips / 'lq'),
                'io_backend': {'type': 'disk'},
                'max_frames': 4,
            }
        }
        psnr = {'type': 'calculate_psnr', 'crop_border': 0}
        warp = {'type': 'calculate_warping_error', 'device': 'cpu'}
        opt['val'] = {'save_img': True, 'metrics': {'psnr': psnr, 'warp': warp}}
        del opt['train'], opt['logger']
        opt_file = write_options(opt, tmp_path / f'{name}.yml')
        for done in run('test', '--import', 'tiny_archs', '-opt', opt_file, cwd=tmp_path):
            assert done.returncode == 0, done.stderr
        results.append(json.loads((tmp_path / f'results/{name}/validation/held_out_{name}.json').read_text()))
        frames = sorted(p.name for p in (tmp_path / f'results/{name}/visualization/held_out/001').iterdir())
        assert frames == [f'{i:08d}_{name}.png' for i in range(7)]
    assert results[0] == results[1]
    assert [len([r for r in results[0]['frames'] if r['clip'] == c]) for c in ('000', '001', '002')] == [7, 7, 7]
    assert [r['index'] for r in results[0]['frames'] if 'warp' not in r] == [0, 4] * 3  # segments of 4 and 3 frames


def test_a_network_of_a_metric_comes_from_the_option_file(options, tmp_path, clips):
    """LPIPS through a backbone of random weights: the report has what the function gives for the frames saved."""
    pytest.importorskip('lpips')
    from torchvision.models import squeezenet1_1

    from basicsr_semantic.metrics import calculate_lpips

    torch.manual_seed(0)
    torch.save(squeezenet1_1(weights=None).state_dict(), tmp_path / 'backbone.pth')
    opt = options(name='deep', train=None)
    del opt['train'], opt['logger']
    data = {'name': 'clips', 'type': 'SemanticClipTestDataset', 'io_backend': {'type': 'disk'}}
    opt['datasets'] = {'test': data | {'dataroot_gt': str(clips / 'gt'), 'dataroot_lq': str(clips / 'lq')}}
    lpips = {'type': 'calculate_lpips', 'net': 'squeeze', 'weights': str(tmp_path / 'backbone.pth'), 'device': 'cpu'}
    opt['val'] = {'save_img': True, 'metrics': {'lpips': lpips}}
    opt_file = write_options(opt, tmp_path / 'deep.yml')
    done = basicsr('test', '--import', 'tiny_archs', '-opt', str(opt_file), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    frames = json.loads((tmp_path / 'results/deep/validation/clips_deep.json').read_text())['frames']
    saved = cv2.imread(str(tmp_path / 'results/deep/visualization/clips/001/00000003_deep.png'))
    gt = cv2.imread(str(clips / 'gt/001/00000003.png'))
    expected = calculate_lpips(saved, gt, **{key: lpips[key] for key in ('net', 'weights', 'device')})
    (row,) = (row for row in frames if (row['clip'], row['index']) == ('001', 3))
    assert row['lpips'] == pytest.approx(expected, rel=1e-5) and expected > 0


def test_a_metric_without_its_weights_ends_a_run_before_it_begins(options, tmp_path):
    opt = options(name='early', val={'val_freq': 6, 'metrics': {'flicker': {'type': 'calculate_warping_error'}}})
    opt['val']['metrics']['flicker']['flow'] = {'type': 'SpyNet'}
    opt_file = write_options(opt, tmp_path / 'early.yml')
    done = train(opt_file, tmp_path)
    assert done.returncode != 0 and 'SpyNet has weights and no load_path names them' in done.stderr
    assert 'Traceback' not in done.stderr and not (tmp_path / 'experiments').exists()


@pytest.mark.slow(40)
def test_a_refused_run_leaves_an_older_one_of_its_name_where_it_is(options, tmp_path):
    """Refused while it is built, after the check: nothing is renamed, and what was said is not lost for the next."""
    opt_file = write_options(options(name='same'), tmp_path / 'same.yml')
    assert train(opt_file, tmp_path).returncode == 0
    before = sorted((tmp_path / 'experiments').rglob('*'))
    network = {'type': 'TinyVSR', 'num_feat': 12}
    weights = {'pretrain_network_g': str(tmp_path / 'experiments/same/models/net_g_6.pth')}
    done = train(write_options(options(name='same', network_g=network, path=weights), opt_file), tmp_path)
    assert done.returncode == 2 and 'net_g_6.pth and TinyVSR differ' in done.stderr
    assert sorted((tmp_path / 'experiments').rglob('*')) == before
    # and a run that starts from its own older weights finds them
    done = train(write_options(options(name='same', path=weights), opt_file), tmp_path)
    assert done.returncode == 0, done.stderr
    (log,) = (tmp_path / 'experiments/same').glob('train_same_*.log')
    message = log.read_text()
    assert 'Version Information' in message and 'Loaded TinyVSR' in message and 'iter:       6' in message
    assert len(list((tmp_path / 'experiments').glob('same_archived_*'))) == 1


def test_a_validation_that_fails_loses_no_iteration(options, tmp_path, clips):
    """Its clips have one damaged frame, which nobody reads before the fourth iteration."""
    shutil.copytree(clips, tmp_path / 'clips')
    frame = tmp_path / 'clips/lq/002/00000005.png'
    frame.write_bytes(frame.read_bytes()[:60])
    opt = options(name='held', val={'val_freq': 4, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}})
    opt['datasets']['val'] = {
        'name': 'held_out',
        'type': 'SemanticClipTestDataset',
        'dataroot_gt': str(tmp_path / 'clips/gt'),
        'dataroot_lq': str(tmp_path / 'clips/lq'),
        'io_backend': {'type': 'disk'},
    }
    opt['logger']['save_checkpoint_freq'] = 100
    opt_file = write_options(opt, tmp_path / 'held.yml')
    done = train(opt_file, tmp_path)
    assert done.returncode == 2 and '002/00000005' in done.stderr and 'iteration 4 is saved' in done.stderr
    shutil.copy(clips / 'lq/002/00000005.png', frame)
    done = train(opt_file, tmp_path, '--auto_resume')
    assert done.returncode == 0, done.stderr
    assert 'Resuming after iteration 4.' in done.stderr


def test_validation_data_without_priors_are_refused_before_anything_is_made(options, tmp_path, clips):
    network = {'type': 'EDVRSEEM', 'num_feat': 8, 'num_frame': 3, 'num_masks': 4, 'reduction': 4}
    network |= {'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}
    opt = options(name='late', network_g=network, val={'val_freq': 4})
    opt['datasets']['train'] |= {'missing_priors': 'neutral', 'num_masks': 4}
    opt['datasets']['val'] = {
        'name': 'held_out',
        'type': 'SemanticClipTestDataset',
        'dataroot_gt': str(clips / 'gt'),
        'dataroot_lq': str(clips / 'lq'),
        'num_frame': 3,
        'padding': 'reflection',
    }
    done = train(write_options(opt, tmp_path / 'late.yml'), tmp_path)
    assert done.returncode == 2 and 'EDVRSEEM needs masks, but the data set gives none' in done.stderr
    assert not (tmp_path / 'experiments').exists()


def test_data_are_held_to_the_priors_of_training_before_anything_is_made(tmp_path, monkeypatch, capsys):
    """Those of the training data, whichever data set stands first; and the training data need some themselves."""
    opt = small_semantic_vsr_model(tmp_path, monkeypatch)
    with PriorStoreWriter(tmp_path / 'others', store_metadata('sam')) as store:
        for frame in ('c/00000000', *(f'd/{number:08d}' for number in range(4))):
            store.put(frame, np.ones((1, 38, 42), bool))
    monkeypatch.chdir(tmp_path)
    mismatch = "was trained with priors of kind 'regions', but dataroot_priors holds 'sam'"
    for phase, priors, said in (
        ('val', 'others', mismatch),
        ('train', None, 'needs masks, but the data set gives none'),
    ):
        changed = {phase: opt['datasets'][phase] | {'dataroot_priors': priors}}
        file = write_options(opt | {'datasets': opt['datasets'] | changed}, tmp_path / f'{phase}.yml')
        assert main(['train', '-opt', str(file)]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / 'experiments').exists()


def test_an_installed_plugin_trains(options, tmp_path):
    """A package with an entry point in ``basicsr.plugins``: installing it is all that its user does."""
    source = tmp_path / 'plugin_source'
    (source / 'their_archs').mkdir(parents=True)
    (source / 'their_archs' / '__init__.py').write_text('from . import their_arch\n')
    arch = (ROOT / 'tests/toys/tiny_archs.py').read_text().replace('TinyVSR', 'TheirVSR')
    (source / 'their_archs' / 'their_arch.py').write_text(arch)
    (source / 'setup.py').write_text(
        "from setuptools import setup\nsetup(name='their-archs', version='1', packages=['their_archs'],\n"
        "      entry_points={'basicsr.plugins': ['their_archs = their_archs']})\n"
    )
    site = tmp_path / 'site'
    quiet = ['-q', '--no-index', '--no-deps', '--no-build-isolation', '--target', str(site)]
    installed = python('-m', 'pip', 'install', *quiet, str(source), cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr
    opt = options(name='theirs', network_g={'type': 'TheirVSR', 'num_feat': 2}, train={'total_iter': 2})
    opt_file = write_options(opt, tmp_path / 'theirs.yml')
    done = python('-m', 'basicsr_semantic', 'train', '-opt', str(opt_file), cwd=tmp_path, path=site)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'experiments/theirs/models/net_g_2.pth').is_file()


def test_a_broken_frame_in_a_worker_is_one_sentence(options, tmp_path, clips):
    shutil.copytree(clips, tmp_path / 'clips')
    for file in (tmp_path / 'clips/lq/001').iterdir():
        file.write_bytes(file.read_bytes()[:60])
    opt = long_run(options, 'broken')
    for key in ('dataroot_gt', 'dataroot_lq'):
        opt['datasets']['train'][key] = opt['datasets']['train'][key].replace(str(clips), str(tmp_path / 'clips'))
    done = train(write_options(opt, tmp_path / 'b.yml'), tmp_path)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('basicsr: ') and '001' in last and 'Traceback' not in done.stderr


def test_a_misspelt_option_stops_before_anything_is_made(options, tmp_path):
    opt = options(train={'total_itr': 6, 'total_iter': ...})
    done = train(write_options(opt, tmp_path / 'm.yml'), tmp_path)
    assert done.returncode == 2
    assert 'total_itr' in done.stderr and 'total_iter' in done.stderr and 'm.yml' in done.stderr
    assert not (tmp_path / 'experiments').exists()


def test_an_unwritable_checkpoint_folder_stops_with_a_sentence_and_keeps_what_is_there(options, tmp_path):
    opt = long_run(options, 'full') | {'network_g': {'type': 'TinyVSR', 'num_feat': 64}}
    opt['datasets']['train']['num_worker_per_gpu'] = 0  # the limit would hit the workers' shared memory too
    opt_file = write_options(opt, tmp_path / 'full.yml')
    train_until('iter:       7,', opt_file, tmp_path, signal.SIGKILL)
    states = sorted((tmp_path / 'experiments/full/training_states').iterdir())
    script = (
        'import resource, sys\n'
        'from basicsr_semantic.cli import main\n'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n'
        f"sys.exit(main(['train', '--import', 'tiny_archs', '--auto_resume', '-opt', {str(opt_file)!r}]))\n"
    )
    done = python('-c', script, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert 'could not be written' in done.stderr.strip().splitlines()[-1]
    assert states and all(load_file(s)['iter'] for s in states)


@pytest.fixture
def image_run(options, clips, tmp_path):
    """A function that writes the options of a run of BasicSR's own model, data set and metric, four iterations long."""
    frames = {f'dataroot_{kind}': str(clips / kind / '000') for kind in ('gt', 'lq')}
    common = {'type': 'PairedImageDataset', 'io_backend': {'type': 'disk'}} | frames

    def write(name: str, **path) -> Path:
        opt = options(name=name, model_type='SRModel', path=path, train={'total_iter': 4})
        opt['datasets']['train'] = common | {
            'name': 'tiny',
            'gt_size': 32,
            'use_hflip': True,
            'use_rot': True,
            'num_worker_per_gpu': 0,
            'batch_size_per_gpu': 2,
            'dataset_enlarge_ratio': 1,
        }
        opt['datasets']['val'] = common | {'name': 'held_out'}
        opt['network_g'] = {'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1, 'upscale': 4}
        opt['train']['scheduler'] = {'type': 'MultiStepLR', 'milestones': [1, 3], 'gamma': 0.5}
        opt['val'] = {'val_freq': 2, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}}
        return write_options(opt, tmp_path / f'{name}.yml')

    return write


def stop_after_2(tmp_path: Path, whole: str, name: str) -> Path:
    """A run that ended after two iterations, of one that ended after four."""
    folder = tmp_path / 'experiments' / name
    shutil.copytree(tmp_path / 'experiments' / whole, folder)
    for file in ('models/net_g_4.pth', 'models/net_g_latest.pth', 'training_states/4.state'):
        (folder / file).unlink()
    return folder


@pytest.mark.slow(60)
def test_basicsrs_own_model_resumes_bit_identical_from_its_states_and_from_basicsrs(image_run, tmp_path):
    """Its metrics give numpy's floats; BasicSR's own states lack the seed and the names of the weights."""
    whole = train(image_run('whole'), tmp_path)
    assert whole.returncode == 0, whole.stderr
    expected = load_file(tmp_path / 'experiments/whole/models/net_g_latest.pth')
    best = load_file(tmp_path / 'experiments/whole/training_states/4.state')['best_metric_results']['held_out']['psnr']
    assert type(best['val']) is float and best['val'] > 5
    for name in ('ours', 'theirs', 'named'):
        folder = stop_after_2(tmp_path, 'whole', name)
        file, flags = folder / 'training_states/2.state', ['--auto_resume']
        path: dict[str, str] = {}
        if name != 'ours':
            state = load_file(file)
            state['best_metric_results']['held_out']['psnr']['val'] = np.float64(best['val'])
            torch.save({key: value for key, value in state.items() if key not in ('weights', 'manual_seed')}, file)
            path['param_key_g'] = 'params_ema'  # of other weights: those of the run are not averaged ones
        if name == 'named':
            path['resume_state'], flags = str(file), []
        done = train(image_run(name, **path), tmp_path, *flags)
        assert done.returncode == 0, done.stderr
        assert 'Resuming after iteration 2.' in done.stderr and 'iter:       3' in done.stderr
        assert 'iter:       2' not in done.stderr
        assert equal(load_file(folder / 'models/net_g_latest.pth'), expected)
        assert not list((tmp_path / 'experiments').glob('*_archived_*'))


@pytest.mark.slow(60)
def test_a_run_whose_states_cannot_be_read_and_one_that_is_running_stay_where_they_are(options, tmp_path):
    opt_file = write_options(options(name='kept'), tmp_path / 'kept.yml')
    states = tmp_path / 'experiments/kept/training_states'
    states.mkdir(parents=True)
    (states / '2.state').write_bytes(b'half a state')
    before = sorted((tmp_path / 'experiments').rglob('*'))
    done = train(opt_file, tmp_path, '--auto_resume')
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    assert 'has 1 training state and none to go on from' in done.stderr and '2.state could not be read' in done.stderr
    assert sorted((tmp_path / 'experiments').rglob('*')) == before
    with FolderLock(tmp_path / 'experiments/kept'):
        done = train(opt_file, tmp_path, '--auto_resume')
        assert done.returncode == 2 and 'Traceback' not in done.stderr
        refused = [done.stderr.splitlines()[-1]]
        # neither is left waiting for the other
        for done in basicsr_in_two(*TRAIN[2:], opt_file, '--auto_resume', cwd=tmp_path):
            refused.append(done.stderr.splitlines()[-1])
            assert done.returncode == 2
    assert len(set(refused)) == 1 and refused[0].startswith(f'basicsr: {tmp_path}/experiments/kept is in use: ')
    assert sorted((tmp_path / 'experiments').rglob('*')) == before
