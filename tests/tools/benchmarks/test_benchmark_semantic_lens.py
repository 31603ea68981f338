"""The benchmark of Semantic Lens: what each side runs, and that it runs on tiny networks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import benchmark_semantic_lens
import benchmark_semantic_lens_worker as worker
import pytest
import torch
from helpers.project import ROOT

TOOLS = ROOT / 'tools' / 'benchmarks'

# A stand-in for the checkout: it needs timm and a GPU where the released code does, and computes what ours computes.
RECURRENT = """
import torch
from basicsr_semantic.archs import PSRTRecurrent
from .psrt_sliding_arch import SwinIRFM

class BasicRecurrentSwin(PSRTRecurrent):
    def __init__(self, **options):
        super().__init__(**options)
        assert torch.cuda.is_available(), 'without a GPU there are no branches'
        for name in self.patch_align:
            self.patch_align[name].conv_first = torch.nn.Conv2d(3, 4, 1)

    def filter_checkpoint(self, state):
        raise AssertionError('this is the other side')
"""
SLIDING = """
import torch
from basicsr_semantic.archs.layers.mfsa import PropagationBranch
from timm.models.layers import trunc_normal_

class SwinIRFM(torch.nn.Module):
    def __init__(self, embed_dim, depths, num_heads, window_size, mlp_ratio, use_checkpoint, num_frames, **rest):
        super().__init__()
        assert not use_checkpoint and num_frames == 3
        self.body = PropagationBranch(embed_dim, depths, num_heads, window_size, mlp_ratio, 0.1)
        trunc_normal_(self.body.norm.weight, std=0.02)

    def forward(self, x):
        assert x.shape[1:3] == (3, 12), 'frames, channels, rows, columns'
        return self.body(x.permute(0, 1, 3, 4, 2))
"""


@pytest.fixture
def released(tmp_path) -> Path:
    (tmp_path / 'archs').mkdir()
    (tmp_path / 'archs' / '__init__.py').write_text('raise ImportError("finds archs only in its own folder")')
    (tmp_path / 'archs' / 'psrt_recurrent_arch.py').write_text(RECURRENT)
    (tmp_path / 'archs' / 'psrt_sliding_arch.py').write_text(SLIDING)
    return tmp_path


@pytest.fixture
def imports():
    """Forget what a test imported by other names."""
    known = set(sys.modules)
    worker.released_modules.cache_clear()
    yield
    worker.released_modules.cache_clear()
    for name in set(sys.modules) - known:
        if name.split('.')[0] in ('timm', 'released_psrt'):
            del sys.modules[name]


def test_both_files_name_the_same_cases():
    assert tuple(case.name for case in benchmark_semantic_lens.CASES) == worker.CASES
    targets = {case.name: (case.time_target, case.memory_target) for case in benchmark_semantic_lens.CASES}
    assert targets['inference'] == (1 / 1.8, None) and targets['semantics'] == (1.35, None)
    assert targets['branch_training'] == (None, 0.65) and targets['network_training'] == (None, 1.0)


def test_our_side_gets_the_weights_of_the_other(released, imports):
    theirs, ours = worker._same_networks(released, worker.QUICK)
    assert type(theirs).__name__ == 'BasicRecurrentSwin' and type(ours).__name__ == 'PSRTRecurrent'
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())
    assert worker.difference(released, worker.QUICK, torch.device('cpu')) < 1e-6


@pytest.mark.parametrize(
    ('case', 'side', 'name', 'parts', 'training'),
    [
        ('semantics', 'reference', 'SemanticLens', set(), False),
        ('semantics', 'measured', 'SemanticLens', {'space', 'image'}, False),
        ('network_training', 'measured', 'SemanticLens', {'space', 'image'}, True),
        ('branch_training', 'reference', 'SwinIRFM', {'body'}, True),
        ('branch_training', 'measured', 'PropagationBranch', {'layers'}, True),
    ],
)
def test_each_side_runs_what_its_name_says(released, imports, monkeypatch, case, side, name, parts, training):
    seen = []
    call = torch.nn.Module.__call__

    def watch(self, *args, **kwargs):
        if type(self).__name__ == name:
            seen.append(
                (self.training, torch.is_grad_enabled(), {n for n, m in self.named_children() if m is not None})
            )
        return call(self, *args, **kwargs)

    sizes = worker.Sizes((1, 8, 8), (3, 8, 8), (2, 8, 8), worker.QUICK.network, tokens=3, masks=2)
    run = worker.make_run(case, side, sizes, torch.device('cpu'), released)
    monkeypatch.setattr(torch.nn.Module, '__call__', watch)
    run()
    ((is_training, with_gradients, children),) = seen
    assert is_training == with_gradients == training
    assert children & {'space', 'image', 'body', 'layers'} == parts


def test_a_folder_without_the_released_code_is_told(tmp_path):
    with pytest.raises(SystemExit, match='not a checkout of PSRT'):
        worker.released_modules(tmp_path)


def test_the_released_code_must_be_named(capsys):
    with pytest.raises(SystemExit):
        benchmark_semantic_lens.main(['--cases', 'inference'])
    assert 'RethinkVSRAlignment' in capsys.readouterr().err


@pytest.mark.slow(110)
def test_quick_mode_runs_and_writes_its_figures(tmp_path, released):
    out = tmp_path / 'figures.json'
    command = [sys.executable, str(TOOLS / 'benchmark_semantic_lens.py'), '--quick', '--released', str(released)]
    command += ['--pairs', '1', '--threads', '1', '--device', 'cpu', '--json', str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert 'Largest difference from the released code' in done.stdout and 'only show that' in done.stdout
    figures = json.loads(out.read_text())
    assert [(row['input'], row['quantity']) for row in figures['rows']] == [
        ('2x64x64', 'time'),
        ('3x16x16', 'time'),
        ('3x16x16', 'memory'),
        ('2x16x16', 'memory'),
        ('2x64x64', 'time'),
    ]
    assert figures['difference'] < 1e-5 and figures['rows'][3]['reference'] == pytest.approx(6e9 / 2**20)
