"""The benchmark of Semantic Lens: what each side runs, and the bridge to the released code of PSRT."""

from __future__ import annotations

from pathlib import Path

import pytest
import semantic_lens_runs as runs
import torch
from helpers.released_checkouts import imports_forgotten, write_checkout

CPU = torch.device('cpu')


@pytest.fixture
def released(tmp_path) -> Path:
    return write_checkout('psrt', tmp_path)


@pytest.fixture(autouse=True)
def imports():
    runs.released_modules.cache_clear()
    with imports_forgotten():
        yield
    runs.released_modules.cache_clear()


def test_our_side_gets_the_weights_of_the_other(released):
    setting = runs.Setting(runs.QUICK, CPU, released)
    theirs, ours = runs._same_networks(setting)
    assert type(theirs).__name__ == 'BasicRecurrentSwin' and type(ours).__name__ == 'PSRTRecurrent'
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())
    assert runs.difference(setting) < 1e-6


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
def test_each_side_runs_what_its_name_says(released, monkeypatch, case, side, name, parts, training):
    seen = []
    call = torch.nn.Module.__call__

    def watch(self, *args, **kwargs):
        if type(self).__name__ == name:
            seen.append(
                (self.training, torch.is_grad_enabled(), {n for n, m in self.named_children() if m is not None})
            )
        return call(self, *args, **kwargs)

    sizes = runs.Sizes((1, 8, 8), (3, 8, 8), (2, 8, 8), runs.QUICK.network, tokens=3, masks=2)
    run = runs.make_run(case, side, runs.Setting(sizes, CPU, released))
    monkeypatch.setattr(torch.nn.Module, '__call__', watch)
    run()
    ((is_training, with_gradients, children),) = seen
    assert is_training == with_gradients == training
    assert children & {'space', 'image', 'body', 'layers'} == parts


def test_a_folder_without_the_released_code_is_told(tmp_path):
    with pytest.raises(SystemExit, match='no checkout of PSRT'):
        runs.released_modules(tmp_path)
