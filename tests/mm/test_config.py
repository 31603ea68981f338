"""`basicsr mm-config`: from every option file, the same networks, data, optimiser and schedule, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from helpers.project import ROOT

from basicsr_semantic.cli import main
from basicsr_semantic.config import sections
from basicsr_semantic.config.option_file import load_yaml
from basicsr_semantic.utils.errors import UserError

pytest.importorskip('mmengine')

from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from basicsr_semantic.mm import config as mm_config

OPTIONS = ROOT / 'options'
FILES = sorted(path.relative_to(OPTIONS).as_posix() for path in OPTIONS.rglob('*.yml'))
LOADER = set(sections.LoaderOptions.model_fields) - {'name', 'type', 'phase', 'scale', 'io_backend'}
COMMITTED = sorted((OPTIONS / 'mm').glob('*.py'))


@pytest.fixture(autouse=True)
def here(monkeypatch) -> None:
    """Paths in option files are relative to the checkout."""
    monkeypatch.chdir(ROOT)


def unscoped(section: dict) -> dict:
    return {k: v.removeprefix('basicsr_semantic.') if k == 'type' else v for k, v in section.items()}


@pytest.mark.parametrize('name', FILES)
def test_every_option_file_has_a_configuration_that_builds_the_same(name):
    opt = load_yaml(OPTIONS / name)
    text = mm_config.config_text(OPTIONS / name)
    config = Config.fromstring(text, '.py').to_dict()
    expected, remarks = mm_config.config_of(OPTIONS / name)
    assert {key: config[key] for key in expected} == expected, 'the text does not say what was made'
    assert all(f'# {remark}' in text for remark in remarks)

    model, train = config['model'], opt.get('train')
    assert model['generator'] == opt['network_g']
    pairs = {'extractor': 'network_s', 'diffusion': 'diffusion', 'base_upsampler': 'base_upsampler'}
    assert all(model.get(ours) == opt.get(theirs) for ours, theirs in pairs.items())
    assert model.get('frame_decoder') == opt.get('frame_decoder')
    assert ('train_dataloader' in config) == (train is not None)
    if train is not None:
        losses = {'pixel_loss': 'pixel_opt', 'perceptual_loss': 'perceptual_opt'}
        assert all(model.get(ours) == train.get(theirs) for ours, theirs in losses.items())
        check_training(config, opt, train)
    phase = 'val' if train is not None else 'test'
    wanted = [data for key, data in opt['datasets'].items() if key.split('_')[0] == phase]
    if wanted and not (train is not None and opt.get('val') is None):
        tested = config[f'{phase}_dataloader']['dataset']['dataset']
        assert unscoped(tested) == without_loader(wanted[0], opt, phase)
        metrics = (opt.get('val') or {}).get('metrics') or {}
        if opt['model_type'] != 'VideoInstanceModel':
            found = {one['label']: one for one in config[f'{phase}_evaluator']}
            added = ('label', 'prefix')
            assert {
                key: unscoped({k: v for k, v in one.items() if k not in added}) for key, one in found.items()
            } == metrics


def without_loader(data: dict, opt: dict, phase: str) -> dict:
    scale = {} if opt.get('scale') is None else {'scale': opt['scale']}
    return {key: value for key, value in data.items() if key not in LOADER} | {'phase': phase} | scale


def check_training(config: dict, opt: dict, train: dict) -> None:
    data, loader = opt['datasets']['train'], config['train_dataloader']
    assert unscoped(loader['dataset']['dataset']) == without_loader(data, opt, 'train')
    assert loader['batch_size'] == loader['sampler']['batch_size'] == data.get('batch_size_per_gpu', 1)
    assert loader['sampler']['ratio'] == data.get('dataset_enlarge_ratio', 1)
    assert config['train_cfg']['max_iters'] == loader['sampler']['total_iter'] == train['total_iter']
    wrapper = config['optim_wrapper']
    assert wrapper['optimizer'] == {key: value for key, value in train['optim_g'].items() if key != 'groups'}
    assert (wrapper.get('clip_grad') or {}).get('max_norm') == train.get('grad_clip')
    assert config['model'].get('train_cfg', {}).get('trainable') == train.get('trainable')
    assert loader['dataset']['seed'] == config['model']['seed'] == opt['manual_seed']
    hooks = {hook['type'].removeprefix('basicsr_semantic.'): hook for hook in config['custom_hooks']}
    assert {'SeedHook', 'PlainCheckpoint'} <= hooks.keys()
    assert ('EMAHook' in hooks) == bool(train.get('ema_decay'))
    if train.get('ema_decay'):
        assert hooks['EMAHook']['momentum'] == 1 - train['ema_decay']
    if train.get('warmup_iter', -1) > 0:
        assert hooks['WarmUpHook']['warmup_iter'] == train['warmup_iter']
    scheduler = config['param_scheduler'][0]
    for key in ('periods', 'eta_min', 'milestones', 'gamma'):
        assert scheduler.get(key, 0) == train['scheduler'].get(key, 0)


@pytest.mark.parametrize(
    'scheduler',
    [
        {'type': 'CosineAnnealingRestartLR', 'periods': [40], 'restart_weights': [1], 'eta_min': 1e-7},
        {'type': 'CosineAnnealingRestartLR', 'periods': [20, 15, 5], 'restart_weights': [1, 0.5, 0.2]},
        {'type': 'MultiStepLR', 'milestones': [10, 30], 'gamma': 0.5},
    ],
)
def test_the_schedule_has_the_rates_of_basicsr(scheduler):
    def optimizer() -> torch.optim.Optimizer:
        return torch.optim.Adam([{'params': [torch.nn.Parameter(torch.zeros(1))], 'lr': lr} for lr in (2e-4, 5e-5)])

    theirs, ours = optimizer(), optimizer()
    arguments = {key: value for key, value in scheduler.items() if key != 'type'}
    kind = CosineAnnealingRestartLR if 'periods' in arguments else MultiStepRestartLR
    wanted = kind(theirs, **arguments)
    found = PARAM_SCHEDULERS.build(mm_config._schedule(dict(scheduler)) | {'optimizer': ours})
    for _ in range(39):
        for a, b in zip(theirs.param_groups, ours.param_groups, strict=True):
            assert b['lr'] == pytest.approx(a['lr'], rel=1e-9)
        for one in (theirs, ours):
            one.step()
        wanted.step()
        found.step()


@pytest.mark.parametrize('file', COMMITTED, ids=lambda path: path.stem)
def test_a_committed_configuration_is_current(file):
    (source,) = [path for path in OPTIONS.rglob('*.yml') if path.stem == file.stem]
    assert file.read_text() == mm_config.config_text(source.relative_to(ROOT)), 'make it again: basicsr mm-config'


def test_there_are_a_training_and_a_test_of_each_method():
    assert len(COMMITTED) == 6
    kinds = [re.search(r"type='basicsr_semantic\.(\w+)',", file.read_text())[1] for file in COMMITTED]  # type: ignore
    assert sorted(kinds) == ['SeeClearRestorer'] * 2 + ['SemanticRestorer'] * 4


def changed(tmp_path: Path, name: str, **changes) -> Path:
    opt = load_yaml(OPTIONS / name)
    for path, value in changes.items():
        *parents, key = path.split('__')
        section = opt
        for parent in parents:
            section = section[parent]
        section[key] = value
    (tmp_path / 'a.yml').write_text(yaml.safe_dump(opt))
    return tmp_path / 'a.yml'


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'train__accumulate': 2, 'datasets__train__batch_size_per_gpu': 2}, 'accumulative_counts'),
        ({'model_type': 'VideoRecurrentModel'}, 'SemanticVSRModel'),
        ({'network_g__num_feet': 64}, 'num_feat'),
    ],
)
def test_what_has_no_counterpart_is_one_sentence(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        mm_config.config_of(changed(tmp_path, 'demo/train_BasicVSR_demo.yml', **changes))


def test_the_command_writes_prints_and_replaces_nothing(tmp_path, capsys):
    source, out = str(OPTIONS / 'demo/train_BasicVSR_demo.yml'), tmp_path / 'a.py'
    assert main(['mm-config', source]) == 0
    printed = capsys.readouterr().out
    assert main(['mm-config', source, '-o', str(out)]) == 0 and out.read_text() == printed
    assert f'python -m basicsr_semantic.mm.train {out}' in capsys.readouterr().out
    assert main(['mm-config', str(OPTIONS / 'demo/test_BasicVSR_demo.yml'), '-o', str(tmp_path / 'b.py')]) == 0
    assert f'python -m basicsr_semantic.mm.test {tmp_path / "b.py"}' in capsys.readouterr().out
    assert main(['mm-config', source, '-o', str(out)]) == 2
    assert '--force' in capsys.readouterr().err
    assert main(['mm-config', source, '-o', str(out), '--force']) == 0
