"""Launchers say what they miss; Slurm's variables become torch's. Real processes are in engine/test_pipeline.py."""

from __future__ import annotations

import subprocess

import pytest
import torch.distributed as dist

from basicsr_semantic.engine import distributed
from basicsr_semantic.utils.errors import UserError


@pytest.fixture
def clean(monkeypatch):
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'LOCAL_RANK', 'SLURM_PROCID'):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_one_process_needs_nothing(clean):
    assert distributed.init_distributed('none') == (0, 1)
    assert distributed.gather_lists([1, 2]) == [1, 2]


def test_pytorch_without_torchrun_says_how_to_start(clean):
    with pytest.raises(UserError, match=r'needs the environment variable RANK.*torchrun'):
        distributed.init_distributed('pytorch')


def test_slurm_without_srun_says_so(clean):
    with pytest.raises(UserError, match=r'SLURM_PROCID.*srun'):
        distributed.init_distributed('slurm')


def test_slurm_variables_are_translated_and_nccl_becomes_gloo_on_a_cpu(clean):
    joined = {}
    clean.setattr(dist, 'init_process_group', lambda **kwargs: joined.update(kwargs))
    clean.setattr(dist, 'get_rank', lambda: 3)
    clean.setattr(dist, 'get_world_size', lambda: 8)
    clean.setattr(distributed.torch.cuda, 'is_available', lambda: False)
    shown = subprocess.CompletedProcess([], 0, stdout='node7\nnode8\n', stderr='')
    clean.setattr(subprocess, 'run', lambda *args, **kwargs: shown)
    for name, value in (('PROCID', '3'), ('NTASKS', '8'), ('NODELIST', 'node[7-8]'), ('LOCALID', '1')):
        clean.setenv(f'SLURM_{name}', value)
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        clean.setenv(name, '')  # so that what the translation sets is undone after the test
    clean.delenv('MASTER_ADDR')
    clean.delenv('MASTER_PORT')
    assert distributed.init_distributed('slurm', backend='nccl', port=29511) == (3, 8)
    environ = distributed.os.environ
    assert [environ[k] for k in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')] == ['3', '8', '1']
    assert (environ['MASTER_ADDR'], environ['MASTER_PORT']) == ('node7', '29511')
    assert joined == {'backend': 'gloo'}
