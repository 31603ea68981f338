"""The benchmark of SEEM: what each side runs."""

from __future__ import annotations

import pytest
import seem_runs as runs
import torch
from torch import nn


@pytest.mark.parametrize(
    ('case', 'side', 'name', 'inputs', 'trains'),
    [
        ('basicvsr_inference', 'reference', 'BasicVSR', 1, None),
        ('basicvsr_inference', 'measured', 'BasicVSRSEEM', 2, None),
        ('edvr_tuning', 'reference', 'EDVRSEEM', 2, 'all'),
        ('edvr_tuning', 'measured', 'EDVRSEEM', 2, 'adapter'),
    ],
)
def test_each_side_runs_what_its_name_says(monkeypatch, case, side, name, inputs, trains):
    seen = []
    call = nn.Module.__call__

    def watch(self, *args, **kwargs):
        if type(self).__name__ == name:
            seen.append((len(args), {n.split('.')[0] for n, p in self.named_parameters() if p.requires_grad}))
        return call(self, *args, **kwargs)

    run = runs.make_run(case, side, runs.Setting(runs.QUICK, torch.device('cpu')))
    monkeypatch.setattr(nn.Module, '__call__', watch)
    run()
    ((count, names),) = seen
    assert count == inputs
    if trains == 'adapter':
        assert names == {'sam_embed', 'seem_align', 'seem_aggr', 'seem_recon'}
    if trains == 'all':
        assert {'sam_embed', 'pcd_align', 'conv_last'} < names
