"""The benchmark: its arithmetic, its table, and that it runs on tiny networks."""

from __future__ import annotations

import json
import subprocess
import sys

import benchmark_seem
import benchmark_seem_worker as worker
import benchmarking
import pytest
import torch
from helpers.project import ROOT
from torch import nn

TOOLS = ROOT / 'tools' / 'benchmarks'
CASE = benchmark_seem.Case('basicvsr_inference', 'with / without', 1.15, 1.12)


def test_both_files_name_the_same_cases():
    assert tuple(case.name for case in benchmark_seem.CASES) == worker.CASES


def test_the_ratio_of_times_is_the_median_over_the_pairs():
    seconds = {'reference': [1.0, 10.0, 1.0], 'measured': [1.1, 10.0, 9.0]}  # load during the second and third pair
    row = benchmark_seem.time_row(CASE, '5x8x8', seconds)
    assert (row.reference, row.measured, row.unit) == (1.0, 9.0, 's')
    assert row.ratio == pytest.approx(1.1) and row.verdict == 'reached'


def test_the_table_says_target_and_result():
    rows = [
        benchmark_seem.memory_row(CASE, '5x8x8', 100, 112),
        benchmark_seem.memory_row(CASE, '5x8x8', 100, 113),
        benchmark_seem.memory_row(benchmark_seem.Case('edvr_tuning', 'no target', None, None), '5x8x8', 2, 3),
    ]
    assert [row.verdict for row in rows] == ['reached', 'MISSED', '-']
    header, _, *lines = benchmarking.table(rows).splitlines()
    assert header.split() == ['comparison', 'input', 'reference', 'measured', 'ratio', 'target', 'result']
    assert '100.00 MiB' in lines[0] and '1.120' in lines[0] and '<= 1.12' in lines[0] and lines[0].endswith('reached')
    assert lines[2].endswith('1.500  -        -')


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

    run = worker.make_run(case, side, worker.QUICK, torch.device('cpu'))
    monkeypatch.setattr(nn.Module, '__call__', watch)
    run()
    ((count, names),) = seen
    assert count == inputs
    if trains == 'adapter':
        assert names == {'sam_embed', 'seem_align', 'seem_aggr', 'seem_recon'}
    if trains == 'all':
        assert {'sam_embed', 'pcd_align', 'conv_last'} < names


@pytest.mark.slow(40)
def test_quick_mode_runs_and_writes_its_figures(tmp_path):
    out = tmp_path / 'figures.json'
    command = [sys.executable, str(TOOLS / 'benchmark_seem.py'), '--quick', '--cases', 'edvr_inference']
    command += ['--pairs', '2', '--threads', '1', '--device', 'cpu', '--json', str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert 'EDVR-M + SEEM / EDVR-M' in done.stdout and '3x36x40' in done.stdout and 'only show that' in done.stdout
    figures = json.loads(out.read_text())
    assert [row['quantity'] for row in figures['rows']] == ['time', 'memory']
    assert len(figures['seconds']['edvr_inference']['measured']) == 2
    assert all(1 < peak < 1000 for peak in figures['mebibytes']['edvr_inference'].values())


@pytest.mark.slow
def test_a_measurement_that_fails_is_told(capsys, monkeypatch):
    monkeypatch.setattr(benchmark_seem, 'WORKER', TOOLS / 'absent.py')
    assert benchmark_seem.main(['--quick', '--cases', 'edvr_inference', '--pairs', '1']) == 2
    assert 'absent.py' in capsys.readouterr().err
