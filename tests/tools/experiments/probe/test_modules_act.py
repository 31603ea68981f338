"""A small probe: from few iterations of a fixed seed, right priors help, and wrong ones harm.

The control is the same network without the module, trained as long in the same world. The command trains longer and
compares more: docs/results/probe.md. InCAM and CaTeGory show nothing before some hundred iterations, so of them the
rows of that page alone are looked at.
"""

from __future__ import annotations

import json

import probe_training
import pytest
from probe import RESULTS
from probe_arms import MODULES
from probe_training import Run


@pytest.fixture(autouse=True)
def _few_clips(monkeypatch):
    monkeypatch.setattr(probe_training, 'HELD_OUT', (1, 8))


CASES = {
    'SEEM': (120, ['seem.printed', 'tune.reconstruction']),
    'Semantic Lens': (50, ['gps.printed', 'isee.printed']),
    'SeeClear': (60, ['pixels.printed']),
}
"""Iterations, and arms; those of one case have one control, or one more behind a network that is trained first."""


@pytest.mark.slow(60)
@pytest.mark.parametrize('case', CASES)
def test_right_priors_help_and_wrong_ones_harm(case, tmp_path):
    """By PSNR against the control, and by the share of the true texture that is shown."""
    iterations, arms = CASES[case]
    (without, *_) = [module.without for module in MODULES for name in arms if name in module.arms]
    control = Run(without, 0, iterations, tmp_path).train()['neutral']
    for name in arms:
        run = Run(name, 0, iterations, tmp_path)
        row = run.train()
        oracle, wrong = row['oracle'], row['wrong']
        print(f'{name}: oracle {oracle}, control {control}, wrong {wrong}')
        assert oracle['psnr'] > max(control['psnr'], wrong['psnr']) + 1
        assert oracle['shown'] > max(0.1, 4 * wrong['shown'])


@pytest.mark.parametrize('module', MODULES, ids=lambda module: module.title)
def test_the_committed_rows_say_that_each_module_acts(module):
    """Of the arm with our defaults, 1 dB over the network without it and over wrong priors, for every seed."""
    rows = {(row['arm'], row['seed']): row for row in json.loads(RESULTS.read_text()) if row['iterations'] == 1000}
    seeds = [seed for arm, seed in rows if arm == module.chosen]
    assert 0 in seeds
    for seed in seeds:
        row, control = rows[module.chosen, seed], rows.get((module.without, seed), rows[module.without, 0])
        control = control.get('oracle', control['neutral'])
        assert row['oracle']['psnr'] > max(control['psnr'], row[module.misled]['psnr']) + 1
