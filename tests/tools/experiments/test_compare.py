"""The comparisons on davis320: the same budget for every row, what is run, and the table."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import compare_seeclear_davis320 as seeclear
import davis320_runs as runs
import pytest

PARTS = ('dwt', 'semantic', 'mfsa', 'incam', 'category')


@pytest.fixture
def called(monkeypatch) -> list[tuple[str, str, dict[str, str]]]:
    """(what, name of the run, forced options) of every command, none of which is run."""
    calls: list[tuple[str, str, dict[str, str]]] = []

    def train(option: str, name: str, seed: int, *changes: str) -> Path:
        calls.append((option, name, dict(change.split('=', 1) for change in changes)))
        return Path('experiments') / name

    def test(option: str, name: str, *changes: str) -> dict[str, float]:
        calls.append((option, name, dict(change.split('=', 1) for change in changes)))
        return {'psnr_y': float(len(calls))}

    monkeypatch.setattr(seeclear, 'train', train)
    monkeypatch.setattr(seeclear, 'test', test)
    return calls


def test_every_row_of_seeclear_sees_as_many_clips(called):
    bar: Any = SimpleNamespace(update=lambda: None)
    results = seeclear.one_seed(2, clips=1000, memory=100, bar=bar)
    assert list(results) == list(seeclear.LABELS)
    seen: dict[str, int] = {}
    for option, name, forced in called:
        if 'train_' not in option:
            continue
        row, stage = re.fullmatch(r'davis320_seeclear_(.+)_(condenser|memory|joint)_seed2', name).groups()  # type: ignore[union-attr]
        seen[row] = seen.get(row, 0) + int(forced['train:total_iter']) * (1 if stage == 'condenser' else 2)
        wanted = {f'network_g:{part}': str(part in seeclear.ROWS[row][1]).lower() for part in PARTS}
        assert wanted.items() <= forced.items()
        assert ('path:pretrain_network_g' in forced) == (stage != 'condenser')
    assert seen == dict.fromkeys(seeclear.ROWS, 1000)


def test_posteriors_are_sampled_from_the_last_row(called):
    seeclear.one_seed(0, 1000, 100, SimpleNamespace(update=lambda: None))  # type: ignore[arg-type]
    tests = {name: forced for option, name, forced in called if 'test_' in option}
    last = tests['davis320_seeclear_full_seed0']['path:pretrain_network_g']
    assert 'full_joint' in last
    for posterior in ('resshift', 'ddim', 'paper'):
        forced = tests[f'davis320_seeclear_{posterior}_seed0']
        assert forced['diffusion:posterior'] == posterior and forced['path:pretrain_network_g'] == last


def test_the_table_has_means_spreads_and_differences_to_the_control():
    results = [{'a': {'psnr_y': 26.0, 'niqe': 5.0}, 'b': {'psnr_y': 27.0, 'niqe': 4.0}}]
    results.append({'a': {'psnr_y': 28.0, 'niqe': 7.0}, 'b': {'psnr_y': 27.5, 'niqe': 4.0}})
    columns = {'psnr_y': 'PSNR Y', 'niqe': 'NIQE'}
    lines = runs.table({'a': 'A', 'b': 'B'}, results, {'psnr_y': 25.0, 'niqe': 9.0}, 'a', columns).splitlines()
    assert lines[0] == '| method | PSNR Y | NIQE | PSNR Y minus control |'
    assert lines[2] == '| bicubic | 25.0000 | 9.0000 | |'
    assert lines[3] == '| A | 27.0000 ± 1.4142 | 6.0000 ± 1.4142 |  |'
    assert lines[4] == '| B | 27.2500 ± 0.3536 | 4.0000 ± 0.0000 | +1.0000, -0.5000 |'


@pytest.mark.parametrize('stopped', [KeyboardInterrupt, SystemExit])
def test_no_seed_begins_after_a_run_has_failed_or_was_interrupted(stopped):
    begun = []

    def one_seed(seed: int, bar: Any) -> runs.Results:
        begun.append(seed)
        raise stopped

    with pytest.raises(stopped):
        runs.run_seeds([0, 1, 2], 1, 1, one_seed)
    assert begun == [0]
