"""From checked options to a run: what BasicSR derives, typed sections, one default a key."""

from __future__ import annotations

import copy
import logging

import pytest
from helpers.options import make_data, stock_options

from basicsr_semantic.config import files
from basicsr_semantic.config.check import check_options
from basicsr_semantic.config.files import shipped_meta_info
from basicsr_semantic.config.option_file import OptionFile, load_yaml
from basicsr_semantic.engine.run import prepare_run
from basicsr_semantic.utils.errors import UserError


@pytest.fixture
def stock(tmp_path):
    """The options of a small BasicVSR training file."""
    path = tmp_path / 'o.yml'
    path.write_text(stock_options(make_data(tmp_path))['basicvsr'])
    return checked(load_yaml(path))


def checked(opt: dict, is_train: bool = True) -> dict:
    """The values that the check leaves."""
    return check_options(OptionFile(opt), is_train).values


def prepare(*args, **kwargs) -> dict:
    """The dict for BasicSR's classes."""
    return prepare_run(*args, **kwargs).opt


def test_what_basicsr_derives_is_there(stock, tmp_path):
    before = copy.deepcopy(stock)
    opt = prepare(stock, tmp_path, True, auto_resume=True, rank=1, world_size=2, dist=True)
    assert stock == before
    home = str(tmp_path / 'experiments' / 'basicvsr')
    expected = {'experiments_root': home, 'models': f'{home}/models', 'training_states': f'{home}/training_states'}
    expected |= {'log': home, 'visualization': f'{home}/visualization'}
    assert opt['path'].items() >= expected.items()
    assert (opt['is_train'], opt['auto_resume'], opt['dist'], opt['rank'], opt['world_size']) == (
        True,
        True,
        True,
        1,
        2,
    )
    assert opt['root_path'] == str(tmp_path)
    assert [d['phase'] for d in opt['datasets'].values()] == ['train', 'val']
    assert all(d['scale'] == 4 for d in opt['datasets'].values())
    assert opt['val']['val_freq'] == 5000 and type(opt['val']['val_freq']) is int
    assert opt['val']['suffix'] is None


def test_a_test_gets_a_results_folder(stock, tmp_path):
    stock['path']['results_root'] = str(tmp_path / 'mine')
    stock['datasets'] = {'test_1': stock['datasets']['val']}
    opt = prepare(checked(stock, False), tmp_path, False)
    assert opt['path']['results_root'] == opt['path']['log'] == str(tmp_path / 'mine' / 'basicvsr')
    assert opt['datasets']['test_1']['phase'] == 'test'
    assert 'models' not in opt['path']


def test_debug_shortens_the_intervals(stock, tmp_path):
    opt = prepare(stock, tmp_path, True, debug=True)
    assert opt['name'] == 'debug_basicvsr'
    assert (opt['val']['val_freq'], opt['logger']['print_freq'], opt['logger']['save_checkpoint_freq']) == (8, 1, 8)
    stock['name'] = 'debug_mine'
    assert prepare(stock, tmp_path, True, debug=True)['name'] == 'debug_mine'


def test_the_better_value_follows_from_the_metric(stock, tmp_path):
    """BasicSR would call the highest LPIPS the best one."""
    metrics = {name: {'type': f'calculate_{name}'} for name in ('psnr', 'niqe', 'lpips', 'clip_iqa', 'warping_error')}
    metrics['own'] = {'type': 'calculate_lpips', 'better': 'higher'}
    metrics['unknown'] = {'type': 'calculate_nothing'}
    prepared = prepare(stock | {'val': {'metrics': metrics}}, tmp_path, True)['val']['metrics']
    lower = {name for name, one in prepared.items() if one.get('better') == 'lower'}
    assert lower == {'niqe', 'lpips', 'warping_error'} and prepared['own']['better'] == 'higher'
    assert 'better' not in metrics['lpips']


def test_home_is_written_out(stock, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', '/somewhere')
    stock['datasets']['train']['dataroot_gt'] = '~/gt'
    stock['path']['pretrain_network_g'] = '~/net.pth'
    opt = prepare(stock, tmp_path, True)
    assert opt['datasets']['train']['dataroot_gt'] == '/somewhere/gt'
    assert opt['path']['pretrain_network_g'] == '/somewhere/net.pth'


@pytest.mark.parametrize(
    ('wanted', 'present', 'dist', 'taken', 'warns'),
    [
        ('auto', 3, False, 3, False),
        (8, 2, False, 2, True),
        (1, 0, False, 0, True),
        (2, 2, False, 2, False),
        (0, 2, False, 0, False),
        (8, 2, True, 8, False),
        (8, 0, True, 0, True),
    ],
)
def test_num_gpu_is_what_is_present(stock, tmp_path, monkeypatch, caplog, wanted, present, dist, taken, warns):
    monkeypatch.setattr('torch.cuda.device_count', lambda: present)
    stock['num_gpu'] = wanted
    with caplog.at_level(logging.WARNING, 'basicsr_semantic'):
        assert prepare(stock, tmp_path, True, dist=dist)['num_gpu'] == taken
    assert bool(caplog.records) is warns


def test_a_seed_is_drawn_once_and_shared(stock, tmp_path):
    stock['manual_seed'] = None
    assert prepare(stock, tmp_path, True)['manual_seed'] > 0
    assert prepare(stock, tmp_path, True, world_size=2, manual_seed=5)['manual_seed'] == 5
    with pytest.raises(UserError, match='manual_seed'):
        prepare(stock, tmp_path, True, world_size=2)
    stock['manual_seed'] = 0
    assert prepare(stock, tmp_path, True, manual_seed=5)['manual_seed'] == 0


def test_nothing_is_written(stock, tmp_path):
    before = sorted(tmp_path.rglob('*'))
    prepare(stock, tmp_path / 'new', True)
    assert sorted(tmp_path.rglob('*')) == before


def test_basicsr_lists_of_clips_come_with_us(stock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, 'META_INFO_FOLDER', tmp_path / 'ours')
    (tmp_path / 'ours').mkdir()
    ours = tmp_path / 'ours' / 'meta_info_X.txt'
    ours.write_text('000 100\n')
    asked = 'basicsr/data/meta_info/meta_info_X.txt'
    stock['datasets']['train']['meta_info_file'] = asked
    assert prepare(checked(stock), tmp_path, True)['datasets']['train']['meta_info_file'] == str(ours)
    assert shipped_meta_info('basicsr/data/meta_info/other.txt') is None
    assert shipped_meta_info('elsewhere/meta_info_X.txt') is None
    stored = tmp_path / asked
    stored.parent.mkdir(parents=True)
    stored.write_text('001 100\n')
    assert prepare(checked(stock), tmp_path, True)['datasets']['train']['meta_info_file'] == asked


# -------------------------------------------------------------------------------------- one default a key, typed values


def test_the_loop_reads_typed_sections(stock, tmp_path):
    stock['train']['total_iter'], stock['val']['val_freq'] = 300000.0, 5e3
    run = prepare_run(checked(stock), tmp_path, True)
    assert (run.train.total_iter, run.train.warmup_iter, run.val.val_freq) == (300000, -1, 5000)
    assert (run.val.pbar, run.val.save_img, run.logger.use_tb_logger) == (True, False, True)
    assert run.loaders['train'].batch_size_per_gpu == 4 and run.loaders['train'].persistent_workers is False


def test_defaults_of_the_loops_are_filled_in(stock, tmp_path):
    for key in ('num_worker_per_gpu', 'batch_size_per_gpu', 'dataset_enlarge_ratio'):
        del stock['datasets']['train'][key]
    opt = prepare(checked(stock), tmp_path, True)
    taken = [opt['datasets']['train'][k] for k in ('num_worker_per_gpu', 'batch_size_per_gpu', 'dataset_enlarge_ratio')]
    assert taken == [0, 1, 1] and opt['val']['pbar'] is True


def test_what_is_built_gets_the_validated_values():
    """Lists for tuples, whole numbers for floats, '2e-4' in quotes."""
    opt = {'name': 'x', 'type': 'SemanticClipDataset', 'dataroot_gt': '.', 'degradation': 'BI', 'num_frame': 3.0}
    opt = {'name': 'x', 'model_type': 'SemanticVSRModel', 'scale': 4, 'datasets': {'train': opt}, 'train': {}}
    opt['train'] = {
        'total_iter': 3e2,
        'ema_decay': '9e-1',
        'optim_g': {'type': 'Adam', 'lr': '2e-4', 'betas': [0, 0.9]},
    }
    opt['train']['scheduler'] = {'type': 'MultiStepLR', 'milestones': [200]}
    opt['network_g'] = {'type': 'BasicVSR'}
    values = checked(opt)
    assert values['datasets']['train']['num_frame'] == 3 and type(values['datasets']['train']['num_frame']) is int
    assert values['train']['ema_decay'] == 0.9 and type(values['train']['total_iter']) is int
    assert values['train']['optim_g']['lr'] == 2e-4 and values['train']['optim_g']['betas'] == (0.0, 0.9)


def test_a_test_of_an_image_model_needs_no_section_val(stock, tmp_path):
    """BasicSR's SRModel reads it in every test, and its own test_RCAN.yml has none."""
    del stock['val']
    assert prepare(stock, tmp_path, False)['val']['suffix'] is None
