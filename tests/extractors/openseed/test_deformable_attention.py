"""Deformable attention, compared with loops over queries, heads, levels and places."""

from __future__ import annotations

import math

import pytest
import torch

from basicsr_semantic.extractors.openseed.deformable_attention import DeformableAttention, pixel_centres

SIZES = [(3, 4), (2, 1)]


def bilinear(plane: torch.Tensor, x: float, y: float) -> torch.Tensor:
    """Value of plane (h, w, d) at a place in pixels, pixel centres at halves; zero beyond the frame."""
    h, w, d = plane.shape
    left, top = math.floor(x - 0.5), math.floor(y - 0.5)
    value = torch.zeros(d)
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < h and 0 <= column < w:
                value += (1 - abs(x - 0.5 - column)) * (1 - abs(y - 0.5 - row)) * plane[row, column]
    return value


@torch.no_grad()
@pytest.mark.parametrize('numbers', [2, 4])
def test_every_query_reads_the_places_that_it_names(numbers):
    torch.manual_seed(0)
    heads, points, dim, queries = 2, 3, 8, 5
    layer = DeformableAttention(dim, len(SIZES), heads, points)
    for parameter in layer.parameters():
        parameter.normal_(std=0.7)
    query, memory = torch.randn(2, queries, dim), torch.randn(2, 14, dim)
    reference = torch.rand(2, queries, numbers)
    expected = torch.zeros(2, queries, dim)
    values = layer.value_proj(memory)
    for n in range(2):
        planes = [part.view(*size, heads, -1) for part, size in zip(values[n].split([12, 2]), SIZES, strict=True)]
        for q in range(queries):
            offsets = layer.sampling_offsets(query[n, q]).view(heads, 2, points, 2)
            weights = layer.attention_weights(query[n, q]).view(heads, -1).softmax(-1).view(heads, 2, points)
            read = torch.zeros(heads, dim // heads)
            for k in range(heads):
                for level, (h, w) in enumerate(SIZES):
                    for p in range(points):
                        x, y = offsets[k, level, p]
                        if numbers == 2:  # offsets in pixels of the level
                            x, y = reference[n, q, 0] * w + x, reference[n, q, 1] * h + y
                        else:  # in parts of the box
                            x = (reference[n, q, 0] + x * reference[n, q, 2] / 2 / points) * w
                            y = (reference[n, q, 1] + y * reference[n, q, 3] / 2 / points) * h
                        read[k] += weights[k, level, p] * bilinear(planes[level][:, :, k], float(x), float(y))
            expected[n, q] = layer.output_proj(read.flatten())
    assert torch.allclose(layer(query, reference, memory, SIZES), expected, atol=1e-4)


@torch.no_grad()
def test_at_first_heads_look_in_different_directions():
    layer = DeformableAttention(8, 2, 4, 3)
    offsets = layer.sampling_offsets(torch.randn(8)).view(4, 2, 3, 2)
    for head, direction in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        for point in range(3):
            wanted = (point + 1) * torch.tensor(direction, dtype=torch.float32)
            assert torch.allclose(offsets[head, :, point], wanted.expand(2, 2), atol=1e-6)


def test_pixel_centres():
    found = pixel_centres(SIZES)
    assert tuple(found.shape) == (14, 2)
    assert found[0].tolist() == pytest.approx([1 / 8, 1 / 6]) and found[1].tolist() == pytest.approx([3 / 8, 1 / 6])
    assert found[12:].tolist() == [[0.5, 0.25], [0.5, 0.75]]


def test_gradients_reach_queries_memory_and_references():
    torch.manual_seed(0)
    layer = DeformableAttention(8, 2, 2, 3)
    inputs = [torch.randn(1, 5, 8), torch.rand(1, 5, 4), torch.randn(1, 14, 8)]
    for each in inputs:
        each.requires_grad_()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    layer(*inputs, SIZES).square().sum().backward()
    assert all(each.grad.abs().sum() > 0 for each in inputs)
