"""The benchmark: its table of cases, its arithmetic, what it prints, and that every case runs on tiny networks."""

from __future__ import annotations

import json
import subprocess
import sys

import benchmark
import pytest
from cases import CASES, METHODS, SIDES, cases_of
from helpers.project import ROOT, python
from helpers.released_checkouts import write_checkout
from rows import frame_seconds, memory_row, rows_of, table, time_row

TOOLS = ROOT / 'tools' / 'benchmarks'
SAMPLING = next(case for case in CASES if case.name == 'sampling')


def test_every_case_has_its_targets():
    targets = {(case.method, case.name): (case.time_target, case.memory_target) for case in CASES}
    assert targets == {
        ('seem', 'basicvsr_inference'): (1.15, 1.12),
        ('seem', 'edvr_inference'): (1.20, 1.20),
        ('seem', 'basicvsr_tuning'): (0.80, 0.95),
        ('seem', 'edvr_tuning'): (None, None),
        ('semantic_lens', 'inference'): (1 / 1.8, None),
        ('semantic_lens', 'branch_training'): (None, 0.65),
        ('semantic_lens', 'network_training'): (None, 1.0),
        ('semantic_lens', 'semantics'): (1.35, None),
        ('seeclear', 'sampling'): (1.0, None),
        ('seeclear', 'unet'): (None, None),
        ('seeclear', 'core'): (None, None),
        ('seeclear', 'condition'): (None, None),
        ('seeclear', 'training'): (None, 1.0),
    }
    assert len(CASES) == len(targets)
    budgets = {case.name: case.budget * 2**20 for case in CASES if case.budget}
    assert budgets == pytest.approx({'network_training': 6e9, 'training': 24e9})
    assert [case.name for case in CASES if case.whole_process] == ['network_training']


def test_memory_of_a_training_is_that_of_two_steps_and_parts_are_measured_once():
    found = benchmark.measurements_of(cases_of('seeclear'), 3, whole=False)
    assert [(one['what'], one['case'], one['runs']) for one in found] == [
        *[('time', case, 8) for case in ('once', 'step', 'core', 'condition', 'training')],
        *[('memory', 'training', 2)] * 2,
    ]
    others = [one for name in ('seem', 'semantic_lens') for one in benchmark.measurements_of(cases_of(name), 1, True)]
    assert [one['runs'] for one in others if one['what'] == 'memory'] == [1] * 4 + [2] * 7


def test_the_ratio_of_times_is_the_median_over_the_pairs():
    seconds = {'reference': [1.0, 10.0, 1.0], 'measured': [1.1, 10.0, 9.0]}  # load during the second and third pair
    row = time_row('with / without', '5x8x8', seconds, 1.15)
    assert (row.reference, row.measured, row.unit) == (1.0, 9.0, 's')
    assert row.ratio == pytest.approx(1.1) and row.verdict == 'reached'


def test_the_table_says_target_and_result():
    rows = [
        memory_row('with / without', '5x8x8', 100, 112, 1.12),
        memory_row('with / without', '5x8x8', 100, 113, 1.12),
        memory_row('no target', '5x8x8', 2, 3, None),
    ]
    assert [row.verdict for row in rows] == ['reached', 'MISSED', '-']
    header, _, *lines = table(rows).splitlines()
    assert header.split() == ['comparison', 'input', 'reference', 'measured', 'ratio', 'target', 'result']
    assert '100.00 MiB' in lines[0] and '1.120' in lines[0] and '<= 1.12' in lines[0] and lines[0].endswith('reached')
    assert lines[2].endswith('1.500  -        -')


def test_a_frame_is_worked_out_from_its_parts():
    seconds = {
        'once': {'reference': [2.0, 3.0], 'measured': [10.0, 20.0]},
        'step': {'reference': [1.0, 2.0], 'measured': [5.0, 10.0]},
    }
    whole = frame_seconds(SAMPLING, seconds, 15, 5)
    assert whole == {'reference': [17.0, 33.0], 'measured': [17.0, 34.0]}
    unet = next(case for case in CASES if case.name == 'unet')
    assert frame_seconds(unet, seconds, 15, 5) == {'reference': [15.0, 30.0], 'measured': [17.0, 34.0]}
    clip = {'sampling': {'reference': [10.0], 'measured': [5.0]}}
    assert frame_seconds(SAMPLING, clip, 15, 5) == {'reference': [2.0], 'measured': [1.0]}


@pytest.mark.parametrize(('on_gpu', 'verdicts'), [(True, ['MISSED', '-', '-', 'MISSED']), (False, ['-'] * 4)])
def test_what_seeclear_must_reach_it_must_reach_on_a_gpu(on_gpu, verdicts):
    seconds = {name: {'reference': [5.0], 'measured': [6.0]} for name in ('sampling', 'training')}
    record = {'seconds': seconds, 'mebibytes': {'training': {'reference': 20000.0, 'measured': 30000.0}}}
    cases = [case for case in cases_of('seeclear') if case.name in seconds]
    rows = rows_of(cases, record, dict.fromkeys(seconds, '5x64x64'), 15, on_gpu)
    assert [row.verdict for row in rows] == verdicts
    assert rows[2].ratio == 1.5 and rows[3].ratio == pytest.approx(30000 * 2**20 / 24e9)
    assert rows[3].case == 'training step with checkpointing, peak / 24 GB'


@pytest.mark.parametrize(('quick', 'code'), [([], 1), (['--quick'], 0)])
def test_the_exit_code_says_whether_a_target_was_missed(monkeypatch, capsys, quick, code):
    def worker(measurement, progress):
        slower = {side: [2.0 if side == 'measured' else 1.0] for side in SIDES}
        result = slower if measurement['what'] == 'time' else 1.0
        return {'result': result, 'input': '5x8x8', 'machine': 'abacus', 'torch': '3'}

    monkeypatch.setattr(benchmark, 'run_worker', worker)
    assert benchmark.main(['seem', '--cases', 'edvr_inference', *quick]) == code
    assert 'abacus, PyTorch 3, median of 5 alternated pairs' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['seem', '--pairs', '0'], '--pairs and --threads must be at least 1'),
        (['seem', '--threads', '0'], '--pairs and --threads must be at least 1'),
        (['semantic_lens', '--cases', 'inference'], 'XPixelGroup/RethinkVSRAlignment'),
        (['seeclear', '--cases', 'sampling'], 'zsyOAOA/ResShift'),
        (['seeclear', '--cases', 'core', '--size', '100'], 'multiple of 64'),
        (['seeclear', '--cases', 'core', '--steps', '0'], '--steps at least 1'),
        (['seem', '--cases', 'core'], "invalid choice: 'core'"),
    ],
)
def test_wrong_arguments_are_sentences(capsys, arguments, says):
    with pytest.raises(SystemExit):
        benchmark.main([*arguments, '--device', 'cpu'])
    assert says in capsys.readouterr().err


def test_the_help_lists_methods_and_cases(capsys):
    with pytest.raises(SystemExit, match='0'):
        benchmark.main(['--help'])
    said = capsys.readouterr().out
    assert all(method in said for method in METHODS) and all(f'  {case.name} ' in said for case in CASES)


TIME, MEMORY = 'time', 'memory'
QUICK = {
    'seem': ('seem', [], [('3x36x40', TIME), ('3x36x40', MEMORY)] * 2 + [('3x36x36', TIME), ('3x36x36', MEMORY)] * 2),
    'semantic_lens': (
        'semantic_lens',
        [],
        [('2x64x64', TIME), ('3x16x16', TIME), ('3x16x16', MEMORY), ('2x16x16', MEMORY), ('2x64x64', TIME)],
    ),
    'seeclear': (
        'seeclear',
        ['--steps', '2'],
        [('5x64x64', TIME)] * 2 + [('5x16x16', TIME)] * 3 + [('5x16x16', MEMORY)] * 2,
    ),
    'seeclear in full': (
        'seeclear',
        ['--steps', '2', '--full', '--cases', 'sampling', 'unet'],
        [('5x64x64', TIME)] * 2,
    ),
}


@pytest.mark.slow(15)
@pytest.mark.parametrize('what', QUICK)
def test_quick_mode_measures_every_case_and_writes_its_figures(tmp_path, monkeypatch, what):
    method, flags, rows = QUICK[what]
    for name, value in benchmark.MEMORY_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    checkout = {'semantic_lens': 'psrt', 'seeclear': 'resshift'}.get(method)
    if checkout:
        flags = [*flags, '--released', str(write_checkout(checkout, tmp_path / 'released'))]
    flags = [method, '--quick', '--pairs', '1', '--threads', '1', '--device', 'cpu', '--json', 'out.json', *flags]
    done = python('-m', 'helpers.forked_benchmark', *flags, cwd=tmp_path, path=TOOLS)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / 'out.json').read_text())
    assert [(row['input'], row['quantity']) for row in figures['rows']] == rows
    assert 'say only that' in done.stdout and figures['quick'] is True
    assert all(second > 0 for case in figures['seconds'].values() for side in SIDES for second in case[side])
    assert all(0 < peak < 6000 for peaks in figures['mebibytes'].values() for peak in peaks.values())
    chosen = [case for case in cases_of(method) if '--full' not in flags or case.parts]
    assert set(figures['mebibytes']) == {case.name for case in chosen if case.weighed}
    names = {case.name for case in chosen if case.timed}
    if method == 'semantic_lens':
        assert figures['difference'] < 1e-5 and figures['rows'][3]['reference'] == pytest.approx(6e9 / 2**20)
        assert 'Largest difference from the released code' in done.stdout
    if method == 'seeclear':
        full = '--full' in flags
        names = names if full else names - {'sampling', 'unet'} | {'once', 'step'}
        assert figures['precision'] == 'float32' and figures['steps'] == 2 and set(figures['inputs']) == names
        assert figures['computed'] is not full and ('(computed)' in done.stdout) is not full
        assert ('Computed: what is done once + 2 x a step' in done.stdout) is not full
    assert set(figures['seconds']) == names


@pytest.mark.slow(15)
def test_each_measurement_is_a_process_of_its_own(tmp_path):
    command = [sys.executable, str(TOOLS / 'benchmark.py'), 'semantic_lens', '--quick', '--pairs', '2']
    command += ['--cases', 'network_training', 'semantics', '--device', 'cpu', '--threads', '1']
    command += ['--json', str(tmp_path / 'figures.json')]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert 'with / without IMAGE and SPACE' in done.stdout and '2x16x16' in done.stdout and 'say only' in done.stdout
    figures = json.loads((tmp_path / 'figures.json').read_text())
    assert [row['quantity'] for row in figures['rows']] == ['memory', 'time'] and figures['difference'] is None
    assert len(figures['seconds']['semantics']['measured']) == 2
    assert 100 < figures['mebibytes']['network_training']['measured'] < 3000


@pytest.mark.slow
def test_a_measurement_that_fails_is_told(capsys, monkeypatch):
    monkeypatch.setattr(benchmark, 'WORKER', TOOLS / 'absent.py')
    assert benchmark.main(['seem', '--quick', '--cases', 'edvr_inference', '--pairs', '1']) == 2
    assert 'absent.py' in capsys.readouterr().err
