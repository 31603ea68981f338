"""A small probe: from few iterations of a fixed seed, right priors help, and wrong ones harm.

The control is the same network without the module, trained as long in the same world. The command trains longer and
compares more: docs/results/probe.md.
"""

from __future__ import annotations

import probe_training
import pytest
from probe_arms import ARMS, MODULES
from probe_training import Run

ITERATIONS = {'seem': 60, 'gps': 60, 'pixels': 80}


@pytest.fixture(autouse=True)
def _few_clips(monkeypatch):
    monkeypatch.setattr(probe_training, 'HELD_OUT', (1, 8))


@pytest.mark.slow(40)
@pytest.mark.parametrize('name', ['seem.printed', 'gps.printed', 'isee.printed', 'pixels.printed'])
def test_right_priors_help_and_wrong_ones_harm(name, tmp_path):
    module = next(module for module in MODULES if name in module.arms)
    iterations = ITERATIONS.get(name.split('.')[0], 60)
    assert ARMS[name].start is None
    control = Run(module.without, 0, iterations, tmp_path).train()['neutral']['psnr']
    run = Run(name, 0, iterations, tmp_path)
    run.train()
    oracle, misled = (run.measure(mode)['psnr'] for mode in ('oracle', module.misled))
    print(f'{name}: oracle {oracle}, control {control}, {module.misled} {misled}')
    assert oracle > control + 1 > control > misled
