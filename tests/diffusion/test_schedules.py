"""The schedules of shift and blur."""

from __future__ import annotations

import pytest
import torch

from basicsr_semantic.diffusion.schedules import blur_schedule, shift_schedule


def test_shift_schedule_has_the_values_of_resshift():
    expected = '.0200 .1172 .1763 .2336 .2916 .3510 .4124 .4759 .5417 .6099 .6807 .7540 .8300 .9086 .9900'
    etas = shift_schedule(15, 2.0, 0.04, 0.3, 0.99)
    assert etas.dtype == torch.float64 and etas[0] == 0
    assert etas[1:].sqrt().tolist() == pytest.approx([float(v) for v in expected.split()], abs=6e-5)


def test_a_small_kappa_is_bounded_by_the_noise_itself():
    assert shift_schedule(15, 0.5, 0.04, 0.3, 0.99)[1].sqrt().item() == pytest.approx(0.04)


def test_blur_schedule_is_spaced_in_equal_ratios():
    times = blur_schedule(15, 0.5, 2**0.5)
    sigmas = (2 * times[1:]).sqrt()
    assert times[0] == 0 and sigmas[0].item() == pytest.approx(0.5) and times[15].item() == pytest.approx(1.0)
    torch.testing.assert_close(sigmas[1:] / sigmas[:-1], (sigmas[1] / sigmas[0]).expand(14))


def test_the_sine_schedule_ends_at_its_maximum():
    times = blur_schedule(10, 0.5, 2.0, 'sine')
    assert times[10].item() == pytest.approx(2.0) and times[5].item() == pytest.approx(0.5)


@pytest.mark.parametrize('steps', [1, 2, 4, 15, 50])
@pytest.mark.parametrize('kind', ['log', 'sine'])
def test_both_grow_with_every_step_and_end_where_they_should(steps, kind):
    etas, times = shift_schedule(steps, 2.0, 0.04, 0.3, 0.99), blur_schedule(steps, 0.5, 2**0.5, kind)
    assert len(etas) == len(times) == steps + 1
    assert (etas.diff() > 0).all() and (times.diff() > 0).all()
    assert etas[-1].item() == pytest.approx(0.9801) and times[-1].item() == pytest.approx(1.0)


def test_no_blur():
    assert not blur_schedule(15, 0.5, 0.0).any()
