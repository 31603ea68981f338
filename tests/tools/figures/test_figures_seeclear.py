"""The figures of docs/seeclear.md: the experiments do what they say, and what the document claims is what they give."""

from __future__ import annotations

import json
import math

import figures_seeclear as figures
import numpy as np
import pytest
import seeclear_equations as equations
import seeclear_network_figures as network
import seeclear_pictures as pictures
import torch
from helpers.project import ROOT
from scipy.ndimage import gaussian_filter

from basicsr_semantic.diffusion import BlurringResShift
from basicsr_semantic.diffusion.posterior import step_back

#: The members of the posterior that keep the marginals.
KEEPS = ('markov', 'resshift', 'ddim')


@pytest.fixture(scope='module')
def written() -> dict:
    return json.loads((ROOT / 'docs' / 'results' / 'seeclear_equations.json').read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def frequencies() -> tuple[torch.Tensor, torch.Tensor]:
    """Of a patch and its base."""
    image, base = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 2 - 1
    return image * 4, base * 4


# ----------------------------------------------------------------------------------------------------- the experiments


@pytest.mark.parametrize('sigma_max', [0.0, 2**0.5])
def test_the_transition_keeps_the_marginal_only_where_repaired(frequencies, sigma_max):
    found = equations.transition(*frequencies, sigma_max, 20_000)
    for form, row in found.items():
        assert row['std_ratio_last'] == pytest.approx(row['std_ratio_last_sampled'], abs=0.02), form
        assert row['mean_error_last_sampled'] < 5, 'the mean of Eq. 28 is right in either'
    assert found['repaired']['std_ratio_flat'] == pytest.approx([1] * 15)
    assert found['repaired']['std_ratio_last'] == pytest.approx([1, 1])
    assert found['printed']['std_ratio_last'][1] < 0.41 and found['printed']['std_ratio_flat'][0] == 1


def test_one_step_by_bayes_rule():
    for row in equations.one_step(100_000):
        assert row['mean_error_sampled'] == pytest.approx(row['mean_error'], abs=0.02)
        assert abs(row['mean_error_sign_repaired_sampled']) < 0.02
        assert row['std_ratio_sampled'] == pytest.approx(1, abs=0.01), 'Eq. 35 holds for Eq. 31 and 32'


def test_with_the_sign_repaired_eq_34_is_the_product_of_eq_31_and_32():
    etas, exponents = equations.tables()
    back = equations.factors('paper_sign', etas, exponents)
    x, image, base = 0.7, -0.4, 0.2
    for t in range(2, 16):
        before, alpha = etas[t - 1], etas[t] - etas[t - 1]
        rate = (1 - etas[t]) / (1 - before) * (exponents[t] - exponents[t - 1]).exp()
        expected = (1 - before) * exponents[t - 1].exp() * image + before * base
        precision = rate**2 / alpha + 1 / before
        mean = (rate * (x - etas[t] * base + rate * before * base) / alpha + expected / before) / precision
        torch.testing.assert_close(back.state[t] * x + back.image[t] * image + back.base[t] * base, mean)
        torch.testing.assert_close(back.noise[t] ** 2, equations.KAPPA**2 / precision)


def test_a_grey_patch_that_is_its_own_base_stays_as_it_is():
    """u_0 = u_l = u_t = 1 at the flat frequency: nothing is left to do. The printed sign makes it darker."""
    etas, exponents = equations.tables()
    for way in ('paper_sign', *KEEPS):
        total = sum(equations.factors(way, etas, exponents)[:3])[2:, 0, 0]
        assert total.tolist() == pytest.approx([1] * 14), way
    printed = sum(equations.factors('paper', etas, exponents)[:3])[2:, 0, 0]
    assert (printed < 1).all() and printed[-1].item() == pytest.approx(1 - 1.54, abs=0.005)


@pytest.mark.parametrize('way', equations.WAYS)
def test_exact_and_sampled_ways_back_agree(frequencies, way):
    count = 20_000
    for row in equations.walk_back(way, *frequencies, count):
        std = equations.KAPPA * equations.tables()[0][row['t']].sqrt().item() * max(row['std_ratio'][1], 1)
        assert row['mean_error'] == pytest.approx(row['mean_error_sampled'], abs=6 * std / math.sqrt(count))
        assert row['std_ratio_sampled'] == pytest.approx(row['std_ratio'], rel=0.03)


def test_line_41_differs_from_the_step_by_its_two_factors():
    etas, exponents = equations.tables()
    printed, ours = equations.factors('line_41', etas, exponents), step_back(etas, exponents, 2.0, 'markov')
    alpha = etas[9] - etas[8]
    torch.testing.assert_close(printed.image[9], alpha * ours.image[9])
    assert torch.equal(printed.noise[9], etas[9].expand(4, 4))


def test_only_resshift_is_resshift_without_blur():
    found = equations.without_blur()
    assert found['resshift'] == pytest.approx(found['published'])
    assert abs(found['paper']['state'] - found['published']['state']) > 0.02 and found['paper']['base'] < -0.09


def test_the_printed_blur_is_gone_in_float32():
    for row in equations.division_by_blur():
        assert row['printed']['zero_in_float32'] > 0.04 and row['ours']['zero_in_float32'] == 0
        assert row['printed']['log10_gain'] > 70 and 4 < row['ours']['log10_gain'] < 10


def test_the_printed_start_gives_the_memory_no_gradient():
    found = {start: network.memory_learns(start, (40,)) for start in ('printed', 'semantics_zero', 'near_zero', 'unit')}
    printed, zero, *ours = found.values()
    assert printed['first_gradient_textures'] == 0 and printed['first_gradient_semantics'] < 1e-15
    assert all(one['first_gradient_textures'] > 1e-3 for one in (zero, *ours))
    # what little moves moves all items alike
    assert printed['trained'][0]['item_spread'] < 1e-6 and zero['trained'][0]['item_spread'] < 1e-6
    for one in ours:
        assert one['trained'][0]['item_spread'] > 0.1
        assert one['trained'][0]['loss'] < min(printed['trained'][0]['loss'], zero['trained'][0]['loss'])


def test_attention_without_a_residual_loses_the_pixels():
    assert network.kept_by_attention() < 0.01


# -------------------------------------------------------------------------------------------------------- the pictures


def test_the_blur_of_the_whole_image_is_a_gaussian():
    image, base = pictures.photograph(side=64)
    state = pictures.state('ihdm', image, base, 15, torch.zeros_like(image))
    wanted = gaussian_filter(image[0, 0].double().numpy(), 2**0.5, mode='reflect', truncate=8)
    assert np.abs(state[0, 0].numpy() - wanted).max() < 0.01


def test_processes_share_their_parts():
    image, base = pictures.photograph(side=64)
    nothing = torch.zeros_like(image)
    eta = BlurringResShift().etas[8]
    patch, shift, ours = (pictures.state(key, image, base, 8, nothing) for key in list(pictures.PROCESSES)[1:])
    torch.testing.assert_close(shift, (1 - eta) * image + eta * base)
    torch.testing.assert_close(ours, (1 - eta) * patch + eta * base)
    for key in pictures.PROCESSES:
        assert torch.equal(pictures.state(key, image, base, 0, nothing), image)


def test_noise_hides_the_blur_from_the_second_step_on():
    rows = pictures.blur_and_noise()
    assert rows[0]['noise'] < 2 * rows[0]['taken'] and all(row['noise'] > 3 * row['taken'] for row in rows[1:])


def test_the_spectrum_of_white_noise_is_its_variance_and_that_of_a_wave_a_peak():
    noise = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0)).expand(1, 3, 256, 256) * 2
    radii, power = pictures.power_spectrum(noise)
    assert radii[-1] == 0.5 and power[8:].mean() == pytest.approx(4, rel=0.05)
    wave = torch.cos(2 * math.pi * 0.25 * torch.arange(256))[None].expand(1, 3, 256, 256)
    radii, power = pictures.power_spectrum(wave)
    assert radii[power.argmax()] == 0.25


@pytest.mark.slow
def test_the_command_writes_figures_and_pictures(tmp_path, capsys):
    assert figures.main(['--samples', '2000', '--out', str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.rglob('*.*')) == [
        'seeclear_equations.json',
        'seeclear_forward.png',
        'seeclear_spectra.png',
    ]
    out = capsys.readouterr().out
    assert 'way back, paper ' in out and 'parameters, dim 120' in out
    assert figures.main(['--samples', '1', '--out', str(tmp_path)]) == 2
    assert 'for a deviation' in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------- the written ones


def test_the_written_figures_are_those_of_the_code(written):
    for row, again in zip(written['parameters'], figures.rounded(network.parameters()), strict=True):
        assert row == again
    assert written['distiller_parameters'] == figures.rounded(network.distiller_parameters())
    assert written['division_by_blur'] == figures.rounded(equations.division_by_blur())
    assert written['without_blur'] == figures.rounded(equations.without_blur())


def test_the_written_figures_bear_the_claims_out(written):
    assert written['transition_without_blur']['printed']['std_ratio_last'] == pytest.approx([0.40, 0.40], abs=0.01)
    for way, rows in written['way_back'].items():
        errors = [row['mean_error_sampled'] for row in rows]
        ratios = [value for row in rows for value in row['std_ratio_sampled']]
        if way in KEEPS:
            assert max(errors) < 0.02 and min(ratios) > 0.99 and max(ratios) < 1.01, way
        elif way == 'paper_sign':
            assert max(errors) < 0.02 and max(ratios) > 1.5
        else:
            assert max(errors) > 0.2 and max(abs(ratio - 1) for ratio in ratios) > 0.5, way


def test_a_memory_that_starts_at_zero_stays_one_of_a_single_item_for_long(written):
    for start in ('printed', 'semantics_zero'):
        row = written['memory'][start]
        assert row['trained'][0]['loss'] == pytest.approx(row['loss_of_one_item'], abs=1e-3)
    for start in ('near_zero', 'unit'):
        row = written['memory'][start]
        assert row['trained'][0]['loss'] < 0.5 * row['loss_of_one_item']


def test_the_document_gives_the_written_parameter_counts(written):
    text = (ROOT / 'docs' / 'seeclear.md').read_text(encoding='utf-8')
    for row in written['parameters']:
        assert f'| {row["dim"]} | {row["net"]:.1f} M | {row["instances"]:.1f} M | {row["total"]:.1f} M |' in text
