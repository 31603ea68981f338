"""The tools that check other people's projects: miniature projects of the same shapes, and what the check printed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import basicsr
import check_clients
import clients
import pytest
import yaml

SCAN = """
import importlib
from os import path as osp
from basicsr.utils import scandir
names = [osp.splitext(osp.basename(v))[0] for v in scandir(osp.dirname(osp.abspath(__file__))) if v.endswith('_{0}.py')]
_modules = [importlib.import_module(f'{1}.{{name}}') for name in names]
"""
ARCH = """
from torch import nn
from basicsr.utils.registry import ARCH_REGISTRY

@ARCH_REGISTRY.register()
class {0}(nn.Module):
    def __init__(self, num_feat=8, upscale=4):
        super().__init__()
        self.body = nn.Conv2d(3, num_feat * upscale, 3)
"""
DATA = """
from torch.utils import data
from basicsr.utils.registry import DATASET_REGISTRY

@DATASET_REGISTRY.register()
class ToyDataset(data.Dataset):
    def __init__(self, opt):
        super().__init__()
        self.opt = opt
        self.folder = opt['dataroot_gt']
        self.io_backend_opt = opt['io_backend']
        self.use_hflip = opt.get('use_hflip', False)

    def __getitem__(self, index):
        return {'gt': self.opt['gt_size']}

    def __len__(self):
        return 1
"""
MODEL = """
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY

@MODEL_REGISTRY.register()
class ToyModel(SRModel):
    def init_training_settings(self):
        super().init_training_settings()
        self.queue_size = self.opt.get('queue_size', 4)
"""


@pytest.fixture(scope='module')
def tools():
    return check_clients


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files by their names relative to the folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def training_options(arch: str = 'ToyNet', **changes) -> dict:
    """Options of the shape that the clients' files have; a change ``a:b`` that is None takes the key out."""
    opt = {
        'name': 'toy',
        'model_type': 'ToyModel',
        'scale': 4,
        'num_gpu': 0,
        'manual_seed': 0,
        'queue_size': 8,
        'datasets': {
            'train': {
                'name': 'toy',
                'type': 'ToyDataset',
                'dataroot_gt': 'datasets/nowhere',
                'io_backend': {'type': 'disk'},
                'gt_size': 64,
                'use_hflip': True,
                'num_worker_per_gpu': 1,
                'batch_size_per_gpu': 1,
                'dataset_enlarge_ratio': 1,
                'prefetch_mode': None,
            }
        },
        'network_g': {'type': arch, 'num_feat': 4, 'upscale': 4},
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'train': {
            'ema_decay': 0.999,
            'optim_g': {'type': 'Adam', 'lr': 1e-4, 'weight_decay': 0, 'betas': [0.9, 0.99]},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [10], 'gamma': 0.5},
            'total_iter': 10,
            'warmup_iter': -1,
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
        },
        'logger': {
            'print_freq': 1,
            'save_checkpoint_freq': 10.0,
            'use_tb_logger': True,
            'wandb': {'project': None, 'resume_id': None},
        },
        'dist_params': {'backend': 'nccl', 'port': 29500},
    }
    for key, value in changes.items():
        section = opt
        *parents, last = key.split(':')
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return opt


# What option files of BasicSR said in these years and no version since has read. Each left a run as it was.
DROPPED = {
    'shuffle_2022.yml': {'datasets:train:use_shuffle': True},
    'top_level_2020.yml': {
        'use_tb_logger': True,
        'val_func': 'BasicSRValidation',
        'gpu_ids': [0],
        'dist': True,
        'set_CUDA_VISIBLE_DEVICES': True,
    },
    'train_2020.yml': {
        'train:manual_seed': 0,
        'train:val_freq': 5e3,
        'path:strict_load': True,
        'path:pretrain_model_g': None,
    },
}
# Keys of the same years that are arguments today's constructors do not have: these never start
WRONG = {
    'network_2021.yml': ({'network_g:syncbn': True}, 'syncbn'),
    'loss_2020.yml': (
        {'train:perceptual_opt': {'type': 'PerceptualLoss', 'layer_weights': {'conv5_4': 1}, 'norm_img': False}},
        'norm_img',
    ),
    'no_such_model.yml': ({'model_type': 'ToyGANModel'}, 'ToyGANModel'),
}


@pytest.fixture(scope='module')
def toy(tools, tmp_path_factory):
    """The report on a package with archs, data and models, a version file to generate and files of many years."""
    checkouts = tmp_path_factory.mktemp('checkouts')
    folder = checkouts / 'Toy'
    write(
        folder,
        {
            'toy/__init__.py': 'from .archs import *\nfrom .version import __version__\n',
            'toy/archs/__init__.py': SCAN.format('arch', 'toy.archs'),
            'toy/archs/toy_arch.py': ARCH.format('ToyNet'),
            'toy/data/__init__.py': SCAN.format('dataset', 'toy.data'),
            'toy/data/toy_dataset.py': DATA,
            'toy/models/__init__.py': SCAN.format('model', 'toy.models'),
            'toy/models/toy_model.py': MODEL,
        },
    )
    (folder / 'options/train').mkdir(parents=True)
    files = {'good.yml': {}, **DROPPED, **{name: changes for name, (changes, _) in WRONG.items()}}
    for name, changes in files.items():
        (folder / 'options/train' / name).write_text(yaml.safe_dump(training_options(**changes), sort_keys=False))
    client = tools.Client(
        name='Toy',
        repository='someone/Toy',
        commit='0' * 40,
        folder='Toy',
        imports=('toy.archs', 'toy.data', 'toy.models'),
        option_files=('options/**/*.yml',),
        version_files=('toy/version.py',),
    )
    report = tools.check_client(client, checkouts)
    assert not (folder / 'toy/version.py').exists(), 'the checkout itself was changed'
    return report


def verdict(report, name: str):
    assert not report.failure
    return next(verdict for verdict in report.verdicts if verdict.file == f'options/train/{name}')


@pytest.mark.slow
def test_a_project_is_imported_and_its_file_accepted(toy):
    assert len(toy.verdicts) == 1 + len(DROPPED) + len(WRONG)
    assert verdict(toy, 'good.yml').accepted
    # nobody can tell what classes of the project's own read
    assert all('may read more than it declares' in warning for warning in verdict(toy, 'good.yml').warnings)


@pytest.mark.slow
@pytest.mark.parametrize('name', WRONG)
def test_what_cannot_work_is_refused_with_the_reason(toy, name):
    refused = verdict(toy, name)
    assert not refused.accepted
    assert any(WRONG[name][1] in error for error in refused.errors)


@pytest.mark.slow
@pytest.mark.parametrize('name', DROPPED)
def test_dropped_keys_are_warnings(toy, name):
    accepted = verdict(toy, name)
    assert accepted.accepted
    # `dist` may be told apart: BasicSR writes that key itself
    expected = {key for key in DROPPED[name] if key != 'dist'}
    message = ' '.join(accepted.warnings)
    assert [key for key in expected if key.split(':')[-1] not in message] == []


@pytest.mark.slow
def test_a_local_fork_of_basicsr_is_imported_in_place_of_the_release(tools, tmp_path):
    folder = tmp_path / 'Fork'
    ignore = shutil.ignore_patterns('__pycache__', 'version.py', '*.npz', '*.so')
    shutil.copytree(Path(basicsr.__file__).parent, folder / 'basicsr', ignore=ignore)
    write(
        folder,
        {
            'basicsr/archs/forked_arch.py': ARCH.format('ForkedNet'),
            'basicsr/data/forked_dataset.py': DATA,
            'basicsr/models/forked_model.py': MODEL,
        },
    )
    (folder / 'a.yml').write_text(yaml.safe_dump(training_options('ForkedNet'), sort_keys=False))
    (folder / 'b.yml').write_text(yaml.safe_dump(training_options('NoNet'), sort_keys=False))
    client = tools.Client(
        name='Fork',
        repository='someone/Fork',
        commit='0' * 40,
        folder='Fork',
        imports=('basicsr',),
        option_files=('*.yml',),
        version_files=('basicsr/version.py',),
    )
    report = tools.check_client(client, tmp_path)
    assert [(verdict.file, verdict.accepted) for verdict in report.verdicts] == [('a.yml', True), ('b.yml', False)]
    assert 'NoNet' in report.verdicts[1].errors[0]


@pytest.mark.slow
def test_a_missing_package_is_a_failure_that_names_it(tools, tmp_path):
    write(tmp_path / 'Needy', {'archs/__init__.py': 'import package_that_nobody_has\n'})
    (tmp_path / 'Needy/a.yml').write_text(yaml.safe_dump(training_options()))
    client = tools.Client(
        name='Needy',
        repository='someone/Needy',
        commit='0' * 40,
        folder='Needy',
        imports=('archs',),
        option_files=('*.yml',),
        packages=('package-that-nobody-has',),
    )
    report = tools.check_client(client, tmp_path)
    assert 'package_that_nobody_has' in report.failure
    assert report.failure.endswith('Needy needs: pip install package-that-nobody-has')
    assert tools.summary(report)['refused'] == 'not checked'
    assert tools.refusals([report])[0]['check'] == report.failure


@pytest.fixture
def paper(tools):
    """A client that exists on paper alone, with one file known to be wrong."""
    return tools.Client(
        name='Paper',
        repository='someone/Paper',
        commit='0123456' + '0' * 33,
        folder='Paper',
        imports=('paper',),
        option_files=('*.yml',),
        packages=('einops',),
        wrong_files=(clients.WrongFile('b.yml', "KeyError: 'val'"),),
    )


def test_what_the_check_prints_is_sorted_by_file(tools, paper):
    printed = (
        'a.yml:12: datasets:train:use_shuffle: warning: nothing reads it.\n'
        'a.yml: OK. Training: 3 keys. 2 files or folders are not there yet.\n'
        'b.yml:7: network_g:ema_decay: EDVR has no key: really.\n'
        'b.yml: 1 problem. 1 warning.\n'
        'c/a.yml: OK. Test: 3 keys.\n'
        '2 of 3 option files are in order.\n'
    )
    report = tools.read_report(paper, ['a.yml', 'b.yml', 'c/a.yml'], 1, printed, '')
    first, second, third = report.verdicts
    assert first.accepted and first.warnings == ('datasets:train:use_shuffle: nothing reads it.',)
    assert not second.accepted and second.errors == ('network_g:ema_decay: EDVR has no key: really.',)
    assert third.accepted and not third.errors + third.warnings
    assert report.surprises() == []
    row = tools.summary(report)
    assert (row['files'], row['accepted'], row['refused'], row['warnings']) == (3, 2, 1, 1)
    assert tools.refusals([report])[0]['BasicSR'] == "KeyError: 'val'"


def test_wrong_verdicts_are_surprises(tools, paper):
    report = tools.read_report(paper, ['a.yml', 'b.yml'], 1, 'a.yml: not YAML at all\nb.yml: OK. Test: 1 key.\n', '')
    assert len(report.surprises()) == 2
    assert 'a.yml is refused: not YAML at all' in report.surprises()
    gone = tools.read_report(paper, ['a.yml'], 0, 'a.yml: OK. Test: 1 key.\n', '')
    assert gone.surprises() == ['b.yml is not there.']


@pytest.mark.parametrize(
    ('code', 'printed', 'stderr', 'failure'),
    [
        (2, '', 'basicsr: --import paper failed: no.\n', '--import paper failed: no.'),
        (1, 'a.yml: OK. Test.\n', 'Traceback\nValueError: bug\n', 'said nothing about b.yml. ValueError: bug'),
        (0, 'a.yml: OK. Test.\nb.yml:1: name: missing.\n', '', 'exit code 0, which contradicts'),
        (1, 'a.yml: OK. Test.\nb.yml: OK. Test.\n', '', 'exit code 1, which contradicts'),
        (-9, '', '', 'exit code -9 and no message'),
    ],
)
def test_a_check_that_went_wrong_is_a_failure(tools, paper, code, printed, stderr, failure):
    report = tools.read_report(paper, ['a.yml', 'b.yml'], code, printed, stderr)
    assert failure in report.failure
    assert report.surprises() == [report.failure]


def test_a_client_that_is_not_there_is_a_failure(tools, paper, tmp_path):
    assert 'no checkout' in tools.check_client(paper, tmp_path).failure
    (tmp_path / 'Paper').mkdir()
    assert 'No option file' in tools.check_client(paper, tmp_path).failure


def test_results_fill_the_document(tools, tmp_path):
    results, trainings, document = tmp_path / 'r.json', tmp_path / 't.json', tmp_path / 'd.md'
    marks = [f'<!-- {name} -->\nold\n<!-- /{name} -->\n' for name in ('check', 'refused', 'trainings')]
    document.write_text('\n'.join(['# Title\n', *marks]))
    results.write_text(json.dumps({'check': [{'client': 'HAT', 'files': 35}], 'refused': []}))
    tools.fill_document(document, tools.read_tables(results, trainings))
    first = document.read_text()
    assert '| HAT | 35 |' in first and 'old' not in first and '<!-- trainings -->\n<!-- /trainings -->' in first
    run = {'client': 'HAT', 'file': 'a.yml', 'kind': 'train', 'works': True, 'impossible': False, 'iterations': 4}
    records = [
        {**run, 'reason': '', 'changed_beyond_sizes': 'one | two'},
        {**run, 'works': False, 'reason': '3 tensors differ.'},
        {**run, 'works': False, 'iterations': None, 'reason': 'KeyError'},
        {**run, 'works': False, 'impossible': True, 'reason': 'needs what nobody has'},
        {**run, 'kind': 'test', 'reason': '', 'changed_beyond_sizes': ''},
    ]
    trainings.write_text(json.dumps(records))
    for _ in range(2):  # a second time changes nothing
        tools.fill_document(document, tools.read_tables(results, trainings))
    rows = document.read_text().splitlines()
    assert '| HAT | `a.yml` | trains, and resumes to the same bits | one \\| two |' in rows
    assert '| HAT | `a.yml` | resumes to other weights | 3 tensors differ. |' in rows
    assert '| HAT | `a.yml` | fails | KeyError |' in rows
    assert '| HAT | `a.yml` | impossible | needs what nobody has |' in rows
    assert '| HAT | `a.yml` | runs | |' in rows
    document.write_text('# no marks\n')
    with pytest.raises(ValueError, match='no place for the table'):
        tools.fill_document(document, tools.read_tables(results, trainings))


def test_the_list_of_clients_is_whole(tools):
    assert len({client.name for client in tools.CLIENTS}) == len({client.folder for client in tools.CLIENTS}) == 10
    for client in tools.CLIENTS:
        assert re.fullmatch(r'[\w.-]+/[\w.-]+', client.repository) and re.fullmatch(r'[0-9a-f]{40}', client.commit)


def test_the_document_has_the_results(tools, tmp_path):
    copy = tmp_path / 'compatibility.md'
    shutil.copy(tools.DOCUMENT, copy)
    tools.fill_document(copy, tools.read_tables(tools.RESULTS, tools.TRAININGS))
    assert copy.read_text(encoding='utf-8') == tools.DOCUMENT.read_text(encoding='utf-8')
    for client in tools.CLIENTS:
        assert f'github.com/{client.repository}' in copy.read_text(encoding='utf-8')
