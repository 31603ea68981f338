"""The Haar transform."""

from __future__ import annotations

import pytest
import torch

from basicsr_semantic.archs.layers.wavelets import haar, haar_packet, inverse_haar, inverse_haar_packet


def test_one_block():
    a, b, c, d = 1.0, 2.0, 4.0, 8.0
    bands = haar(torch.tensor([[[a, b], [c, d]]])).flatten().tolist()
    assert bands == [(a + b + c + d) / 2, (a + b - c - d) / 2, (a - b + c - d) / 2, (a - b - c + d) / 2]


def test_bands_come_one_after_the_other():
    x = torch.rand(2, 3, 4, 6)
    assert haar(x).shape == (2, 12, 2, 3)
    torch.testing.assert_close(haar(x)[:, :3], torch.nn.functional.avg_pool2d(x, 2) * 2)
    torch.testing.assert_close(haar(x)[:, 4:5], haar(x[:, 1:2])[:, 1:2])


@pytest.mark.parametrize('levels', [0, 1, 2, 3])
def test_packets_come_back_and_keep_energy(levels):
    x = torch.rand(2, 5, 3, 16, 24) * 2 - 1
    bands = haar_packet(x, levels)
    assert bands.shape == (2, 5, 3 * 4**levels, 16 >> levels, 24 >> levels)
    assert (inverse_haar_packet(bands, levels) - x).abs().max() < 1e-6
    torch.testing.assert_close(bands.square().sum(), x.square().sum())


def test_it_is_orthonormal():
    columns = haar_packet(torch.eye(16).view(16, 1, 4, 4), 2).flatten(1)
    torch.testing.assert_close(columns @ columns.T, torch.eye(16))


def test_gradients():
    x = torch.rand(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: haar_packet(z, 2), x)
    bands = torch.rand(1, 16, 1, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: inverse_haar_packet(z, 2), bands)


def test_sizes_that_cannot_be_are_named():
    with pytest.raises(ValueError, match='4x5 has an odd one'):
        haar(torch.rand(1, 3, 4, 5))
    with pytest.raises(ValueError, match='6 channels do not divide by four'):
        inverse_haar(torch.rand(1, 6, 4, 4))
