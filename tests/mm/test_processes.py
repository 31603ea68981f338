"""Several processes, whole and in shards; and the maintained fork of MMEngine in place of the plain one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network
from helpers import mm_runs
from helpers.project import script, script_in_two
from helpers.runs import equal

from basicsr_semantic import load

pytest.importorskip('mmengine')
pytestmark = [pytest.mark.slow(30), pytest.mark.filterwarnings('ignore')]

LENS = {
    'type': 'SemanticLens', 'mid_channels': 8, 'embed_dim': 12, 'depths': [1], 'num_heads': [2],
    'window_size': [3, 4, 4], 'token_dim': 16, 'global_dim': 16, 'drop_path_rate': 0.0, 'gps': False, 'isee': False,
    'image': False,
}  # fmt: skip
SHARDS = """
runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    state_dict_cfg='full',
    model_wrapper=dict(type='MMFullyShardedDataParallel', use_orig_params=True, device_id='cpu'),
)
"""


@pytest.fixture
def lens(options, tmp_path) -> Path:
    """The configuration of three steps of Semantic Lens."""
    opt = options(name='lens', network_g=LENS)
    opt['datasets']['train'] |= {'batch_size_per_gpu': 1}
    opt['train']['total_iter'] = 3
    opt['train'].pop('ema_decay')
    torch.manual_seed(0)
    opt['path']['pretrain_network_g'] = mm_runs.start(build_network(dict(LENS)), tmp_path / 's.pth')
    return mm_runs.configuration(opt, tmp_path)


def write_script(folder: Path, *arguments: str, first: str = '') -> str:
    """A script that trains with these arguments, after some lines."""
    lines = ['import sys', first, 'from basicsr_semantic.mm.train import main', f'sys.exit(main({list(arguments)}))']
    (folder / 'run.py').write_text('\n'.join(lines) + '\n')
    return 'run.py'


def test_shards_of_a_network_end_as_whole_ones(lens, tmp_path):
    """Whole networks in two processes, and one network divided among them (FSDP)."""
    shards = tmp_path / 'shards.py'
    shards.write_text(lens.read_text() + SHARDS)
    for config in (lens, shards):
        arguments = (str(config), '--launcher', 'pytorch', '--work-dir', str(tmp_path / config.stem))
        for done in script_in_two(write_script(tmp_path, *arguments), cwd=tmp_path):
            assert done.returncode == 0, done.stderr[-3000:]
    whole, divided = (mm_runs.weights(tmp_path / name, 3) for name in ('lens', 'shards'))
    assert whole.keys() == divided.keys()
    for name, value in whole.items():
        torch.testing.assert_close(divided[name], value, rtol=0, atol=1e-5)
    restored = [load(tmp_path / name / 'iter_3.pth')(torch.rand(1, 2, 3, 16, 16)) for name in ('lens', 'shards')]
    assert all(one.shape == (1, 2, 3, 64, 64) for one in restored)


def test_the_maintained_fork_builds_trains_and_resumes(lens, tmp_path):
    """Same import name, installed in a folder of its own: never both in one environment."""
    command = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', 'fork', 'onedl-mmengine']
    done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False)
    if done.returncode and 'No matching distribution' in done.stderr:
        pytest.skip('no package index')
    assert done.returncode == 0, done.stderr
    first = f"sys.path.insert(0, {str(tmp_path / 'fork')!r}); import mmengine; print('FORK', mmengine.__file__)"

    def run(*flags: str) -> None:
        name = write_script(
            tmp_path, str(lens), *flags, '--cfg-options', 'default_hooks.checkpoint.interval=1', first=first
        )
        done = script(name, tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        assert f'FORK {tmp_path / "fork"}' in done.stdout

    run('--work-dir', str(tmp_path / 'whole'))
    run('--work-dir', str(tmp_path / 'again'), '--resume', str(tmp_path / 'whole/iter_1.pth'))
    whole = mm_runs.weights(tmp_path / 'whole', 3)
    assert equal(mm_runs.weights(tmp_path / 'again', 3), whole)
    mm_runs.train(lens, tmp_path / 'plain')
    for name, value in mm_runs.weights(tmp_path / 'plain', 3).items():
        torch.testing.assert_close(whole[name], value, rtol=0, atol=1e-6)
