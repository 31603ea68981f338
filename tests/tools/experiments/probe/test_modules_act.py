"""A small probe: from few iterations of a fixed seed, right priors help, and wrong ones harm.

The control is the same network without the module, trained as long in the same world. The command trains longer and
compares more: docs/results/probe.md.
"""

from __future__ import annotations

import probe_training
import pytest
from probe_arms import MODULES
from probe_training import Run


@pytest.fixture(autouse=True)
def _few_clips(monkeypatch):
    monkeypatch.setattr(probe_training, 'HELD_OUT', (1, 8))


CASES = {
    'SEEM': (60, ['seem.printed', 'tune.reconstruction']),
    'Semantic Lens': (50, ['gps.printed', 'isee.printed']),
    'SeeClear': (60, ['pixels.printed']),
}
"""Iterations, and arms; those of one case have one control, or one more behind a network that is trained first."""


@pytest.mark.slow(60)
@pytest.mark.parametrize('case', CASES)
def test_right_priors_help_and_wrong_ones_harm(case, tmp_path):
    """By PSNR against the control, and by the share of the true texture, which a wrong class makes negative."""
    iterations, arms = CASES[case]
    (without, *_) = [module.without for module in MODULES for name in arms if name in module.arms]
    control = Run(without, 0, iterations, tmp_path).train()['neutral']
    for name in arms:
        run = Run(name, 0, iterations, tmp_path)
        row = run.train()
        oracle, wrong = row['oracle'], row['wrong']
        print(f'{name}: oracle {oracle}, control {control}, wrong {wrong}')
        assert oracle['psnr'] > max(control['psnr'], wrong['psnr']) + 1
        assert oracle['shown'] > 0.1 and wrong['shown'] < 0.02
