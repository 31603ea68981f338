"""tools/experiments/probe: the command, stopped runs, the table; and, in a few minutes, that modules act."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import probe
import probe_training
import pytest
import torch
from probe_arms import ARMS, MODULES, is_semantic
from probe_training import Run

from basicsr_semantic.archs.semantic_arch import arch_of


@pytest.fixture(autouse=True)
def _few_clips(monkeypatch):
    monkeypatch.setattr(probe_training, 'HELD_OUT', (1, 2))


def test_every_module_has_its_controls_and_all_arms_belong_to_one():
    used = {name for module in MODULES for name in (module.without, module.neutral, *module.arms)}
    starts = {arm.start for arm in ARMS.values()} - {None}
    assert used | starts == set(ARMS)
    for module in MODULES:
        assert ARMS[module.neutral].neutral and not any(ARMS[arm].neutral for arm in module.arms)
        without = ARMS[module.without]
        assert not any(is_semantic(name) for name, _ in without.network(**without.arguments).named_parameters()) or (
            module.without == 'incam.without'  # which has the semantics of frames
        )


@pytest.mark.parametrize('module', MODULES, ids=lambda module: module.arms[0])
def test_a_control_has_the_parameters_of_the_last_arm(module):
    def sizes(name):
        arm = ARMS[name]
        return {key: value.shape for key, value in arm.network(**arm.arguments).state_dict().items()}

    wanted = sizes(module.neutral)
    assert any(sizes(arm) == wanted for arm in module.arms)
    net = ARMS[module.arms[0]].network(**ARMS[module.arms[0]].arguments)
    assert arch_of(net).prior_fields and arch_of(net).missing_priors == 'neutral'


def test_arms_train_in_processes_of_their_own_after_a_backward_pass_too(tmp_path):
    torch.ones(2, requires_grad=True).sum().backward()
    with probe.workers(1) as pool:
        row = pool.submit(probe.train, 'seem.without', 0, 1, tmp_path).result()
    assert row['arm'] == 'seem.without' and row['iterations'] == 1


def test_the_command_trains_what_an_arm_starts_from_and_does_nothing_twice(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(probe, 'workers', ThreadPoolExecutor)  # this process' clips, which are few
    place = ['--iterations', '2', '--results', str(tmp_path / 'rows.json'), '--folder', str(tmp_path / 'runs')]
    probe.main(['tune.printed', *place])
    rows = json.loads((tmp_path / 'rows.json').read_text())
    assert [row['arm'] for row in rows] == ['seem.without', 'tune.printed']
    assert rows[1].keys() >= {'oracle', 'wrong', 'other', 'neutral'} and rows[0].keys().isdisjoint({'oracle', 'wrong'})
    assert '| SEEM, tuned on a frozen network: printed | 0 | - |' in capsys.readouterr().out
    weights = (tmp_path / 'runs' / 'tune.printed_2_seed0_weights.pth').stat().st_mtime_ns
    probe.main(['tune.printed', *place])
    assert (tmp_path / 'runs' / 'tune.printed_2_seed0_weights.pth').stat().st_mtime_ns == weights
    with pytest.raises(SystemExit, match='No arm begins with'):
        probe.main(['seen', *place])


def test_a_tuned_arm_trains_what_it_names_alone(tmp_path):
    Run('seem.without', 0, 1, tmp_path).train()
    run = Run('tune.printed', 0, 1, tmp_path)
    before = {key: value.clone() for key, value in run.net.state_dict().items()}
    run.train()
    changed = {key for key, value in run.net.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and all(key.startswith(('sam_embed', 'seem_')) for key in changed)


def test_a_stopped_run_ends_like_one_that_was_not(tmp_path, monkeypatch):
    monkeypatch.setattr(probe_training, 'SAVED_EVERY', 2)
    whole = Run('seem.dropout', 0, 5, tmp_path / 'whole')
    whole.folder.mkdir()
    expected = whole.train()

    class StoppedError(Exception):
        pass

    def stop(done: int) -> None:
        stop.left -= done
        if stop.left == 0:
            raise StoppedError

    stop.left = 3
    folder = tmp_path / 'stopped'
    folder.mkdir()
    with pytest.raises(StoppedError):
        Run('seem.dropout', 0, 5, folder).train(stop)
    again = Run('seem.dropout', 0, 5, folder)
    row = again.train()
    assert {**row, 'cpu_seconds': 0} == {**expected, 'cpu_seconds': 0}
    for key, value in whole.net.state_dict().items():
        assert torch.equal(value, again.net.state_dict()[key]), key
    assert [file.name for file in folder.iterdir()] == ['seem.dropout_5_seed0_weights.pth']


def test_the_page_has_the_table_of_the_rows_that_are_committed():
    rows = json.loads(probe.RESULTS.read_text())
    page = probe.RESULTS.with_suffix('.md').read_text()
    assert probe.table(rows, 1000) in page
    assert all(row['arm'] in ARMS for row in rows)
