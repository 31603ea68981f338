"""The cosine transform of patches."""

from __future__ import annotations

import pytest
import torch
from scipy.fft import dctn

from basicsr_semantic.diffusion.patch_dct import dct_matrix, squared_frequencies, to_frequencies, to_images


@pytest.mark.parametrize('patch', [1, 4, 8, 16])
def test_it_is_orthonormal_and_comes_back(patch):
    matrix = dct_matrix(patch)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(patch, dtype=torch.float64))
    images = torch.rand(2, 3, 2 * patch, 3 * patch, dtype=torch.float64)
    frequencies = to_frequencies(images, matrix)
    assert frequencies.shape == (2, 3, 2, 3, patch, patch)
    torch.testing.assert_close(to_images(frequencies, matrix), images)
    torch.testing.assert_close(frequencies.square().sum(), images.square().sum())


def test_it_is_scipys():
    image = torch.rand(8, 8, dtype=torch.float64)
    expected = torch.from_numpy(dctn(image[:4, 4:].numpy(), norm='ortho'))
    torch.testing.assert_close(to_frequencies(image, dct_matrix(4))[0, 1], expected)


def test_a_strong_blur_leaves_the_mean_of_the_patch():
    images = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    matrix = dct_matrix(4)
    blurred = to_images(to_frequencies(images, matrix) * (-squared_frequencies(4) * 1e3).exp(), matrix)
    means = torch.nn.functional.avg_pool2d(images, 4)
    torch.testing.assert_close(blurred, means.repeat_interleave(4, 2).repeat_interleave(4, 3))
