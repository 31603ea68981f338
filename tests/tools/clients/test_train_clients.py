"""tools/clients/train_clients.py on a project of one option file, and what it runs and makes."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import runs
import synthetic
import torch
import train_clients
import yaml
from clients import CLIENTS, Client


def test_every_run_is_of_a_client():
    names = {client.name for client in CLIENTS}
    assert {run.client for run in (*runs.TRAININGS, *runs.TESTINGS)} <= names


def test_changes_are_entries_of_the_command_line():
    for run in runs.TRAININGS:
        assert all('=' in change for change in run.changes), run.options
        assert run.cannot or run.changes


def test_tensors_are_compared_by_their_bits():
    nan = torch.tensor([float('nan'), 1.0])
    assert train_clients._same(nan, nan.clone())
    assert not train_clients._same(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not train_clients._same(torch.zeros(1), torch.zeros(1, 1))
    assert not train_clients._same(torch.zeros(1), None)


def test_data_are_those_that_the_lists_name(tmp_path):
    synthetic.make_all(tmp_path)
    clip, frames, size = (tmp_path / 'meta_reds.txt').read_text().split()
    for kind, scale in (('gt', 1), ('lq', 4)):
        found = sorted((tmp_path / 'reds' / kind / clip).iterdir())
        assert len(found) == int(frames)
        height = int(size.strip('()').split(',')[0]) // scale
        assert cv2.imread(str(found[0])).shape == (height, height, 3)
    for line in (tmp_path / 'meta_pairs.txt').read_text().splitlines():
        gt, lq = (cv2.imread(str(tmp_path / name)) for name in line.split(', '))
        assert gt.shape[0] == 4 * lq.shape[0]
    assert len(torch.load(tmp_path / 'landmarks.pth', weights_only=False)) == len(
        list((tmp_path / 'faces_gt').iterdir())
    )


@pytest.fixture
def project(tmp_path) -> tuple[Client, Path]:
    """A project with a network of its own, and its option file."""
    root = tmp_path / 'theirs'
    root.mkdir()
    (root / 'their_arch.py').write_text(
        'from basicsr.utils.registry import ARCH_REGISTRY\n'
        'from torch import nn\n'
        '@ARCH_REGISTRY.register()\n'
        'class Theirs(nn.Sequential):\n'
        '    def __init__(self, width=4):\n'
        '        super().__init__(nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 48, 1), nn.PixelShuffle(4))\n'
    )
    pairs = {'type': 'PairedImageDataset', 'io_backend': {'type': 'disk'}}
    train = pairs | {'name': 'a', 'gt_size': 32, 'use_hflip': True, 'use_rot': True, 'batch_size_per_gpu': 2}
    options = {
        'name': 'theirs',
        'model_type': 'SRModel',
        'scale': 4,
        'num_gpu': 0,
        'manual_seed': 1,
        'datasets': {'train': train, 'val': pairs | {'name': 'b'}},
        'network_g': {'type': 'Theirs'},
        'path': {},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 0.001},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [9]},
            'pixel_opt': {'type': 'L1Loss'},
        },
        'val': {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}},
        'logger': {'print_freq': 1, 'use_tb_logger': False},
    }
    (root / 'options.yml').write_text(yaml.safe_dump(options))
    for name, size in (('train_gt', 64), ('train_x4', 16), ('val_gt', 64), ('val_x4', 16)):
        for i in range(4):
            picture = cv2.randu(cv2.UMat(size, size, cv2.CV_8UC3), (0, 0, 0), (255, 255, 255)).get()
            synthetic._write(root / 'made' / name / f'{i}.png', picture)
    return Client('theirs', 'a/b', 'c' * 40, 'theirs', ('their_arch',), ('*.yml',)), root


CHANGES = (*runs._images('train', kind='train'), *runs._images('val'), 'network_g:width=8')


@pytest.mark.slow
def test_a_project_is_trained_stopped_and_resumed(project):
    client, root = project
    result = train_clients.record(runs.Training('theirs', 'options.yml', CHANGES), client, root)
    assert result['identical'], result['reason']
    assert (result['iterations'], result['resumed_after'], result['validated']) == (4, 2, True)
    assert 'identical' in train_clients._row(result)


@pytest.mark.slow
def test_a_run_that_fails_says_why(project):
    client, root = project
    broken = runs.Training('theirs', 'options.yml', (*CHANGES, 'network_g:type=NoSuch'))
    result = train_clients.record(broken, client, root)
    assert not result['works']
    assert 'NoSuch' in result['reason']


def test_what_a_client_makes_impossible_is_not_run(project):
    client, root = project
    result = train_clients.record(runs.Training('theirs', 'options.yml', cannot='their line 3'), client, root)
    assert result['impossible'] and result['reason'] == 'their line 3'
    assert 'impossible' in train_clients._row(result)
