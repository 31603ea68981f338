"""Padding mirrors at the border, for frames and masks alike, and asks for no more than it needs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from basicsr_semantic.archs.layers.size_requirements import SizeRequirements
from basicsr_semantic.models.padding import pad_amount, pad_clip


@given(h=st.integers(1, 9), w=st.integers(1, 9), rows=st.integers(0, 20), columns=st.integers(0, 20))
def test_padding_equals_numpy_reflection(h, w, rows, columns):
    x = torch.arange(h * w, dtype=torch.uint8).view(1, 1, 1, h, w)
    expected = np.pad(x[0, 0, 0].numpy(), ((0, rows), (0, columns)), mode='reflect' if min(h, w) > 1 else 'symmetric')
    if min(h, w) > 1 or max(h, w) == 1:
        assert np.array_equal(pad_clip(x, rows, columns)[0, 0, 0].numpy(), expected)
    assert pad_clip(x, rows, columns).shape[-2:] == (h + rows, w + columns)


@pytest.mark.parametrize(('size', 'expected'), [((64, 64), (0, 0)), ((61, 30), (3, 2)), ((5, 64), (3, 0))])
def test_amount(size, expected):
    assert pad_amount(*size, SimpleNamespace(minimum=8, multiple_of=4)) == expected


def test_no_demand_no_padding():
    assert pad_amount(7, 9, SizeRequirements()) == (0, 0)


def test_enlarged_frames_go_on_as_the_frames_do():
    """With blocks, extending and enlarging by repetition change places."""
    x = torch.rand(1, 1, 3, 5, 7)
    enlarge = torch.nn.Upsample(scale_factor=(1, 4, 4))
    assert torch.equal(pad_clip(enlarge(x), 12, 4, 4), enlarge(pad_clip(x, 3, 1)))
