"""The cosine transform of patches, in which a blur is a multiplication."""

from __future__ import annotations

import math

import torch


def dct_matrix(patch: int) -> torch.Tensor:
    """Orthonormal DCT-II of a signal of ``patch`` values: row i is frequency i; (patch, patch) float64."""
    frequency = torch.arange(patch, dtype=torch.float64)[:, None]
    place = torch.arange(patch, dtype=torch.float64)[None] + 0.5
    matrix = torch.cos(math.pi / patch * frequency * place) * math.sqrt(2 / patch)
    matrix[0] /= math.sqrt(2)
    return matrix


def squared_frequencies(patch: int) -> torch.Tensor:
    """omega^2 = pi^2 (i^2 + j^2) / patch^2, which is -Lambda in SeeClear (below Eq. 2); (patch, patch) float64."""
    square = torch.arange(patch, dtype=torch.float64) ** 2
    return (square[:, None] + square[None]) * (math.pi / patch) ** 2


def to_frequencies(images: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Patches of (..., h, w) images, transformed.

    Args:
        images: (..., h, w); h and w are multiples of the patch.
        matrix: (p, p) of :func:`dct_matrix`, of the images' dtype and device.

    Returns:
        (..., h / p, w / p, p, p).

    Raises:
        ValueError: A side is no multiple of the patch.
    """
    patch = matrix.size(0)
    height, width = images.shape[-2:]
    if height % patch or width % patch:
        raise ValueError(f'Images of {height}x{width} do not divide into patches of {patch}x{patch}.')
    patches = images.unflatten(-1, (-1, patch)).unflatten(-3, (-1, patch)).transpose(-3, -2)
    return matrix @ patches @ matrix.mT


def to_images(frequencies: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Undo :func:`to_frequencies`."""
    patches = matrix.mT @ frequencies @ matrix
    return patches.transpose(-3, -2).flatten(-4, -3).flatten(-2, -1)
