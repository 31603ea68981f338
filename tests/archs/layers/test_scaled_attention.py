"""Fused attention for heads of any width: what CUDA needs changes no value."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from basicsr_semantic.archs.layers.scaled_attention import scaled_attention

MODULE = 'basicsr_semantic.archs.layers.scaled_attention'


@pytest.mark.parametrize('width', [20, 30, 32])
@pytest.mark.parametrize('masked', [False, True])
def test_filled_up_heads_give_the_same(width, masked, monkeypatch):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, width, dtype=torch.float64) for n in (7, 5, 5))
    mask = torch.randn(1, 3, 7, 5, dtype=torch.float64) if masked else None
    plain = scaled_attention(q, k, v, mask)
    widths, attend = [], F.scaled_dot_product_attention
    monkeypatch.setattr(f'{MODULE}._WIDTH', {'cpu': 8})
    monkeypatch.setattr(
        F,
        'scaled_dot_product_attention',
        lambda q, *rest, **more: widths.append(q.size(-1)) or attend(q, *rest, **more),
    )
    torch.testing.assert_close(scaled_attention(q, k, v, mask), plain, rtol=0, atol=1e-14)
    assert widths == [-(-width // 8) * 8]


def test_gradients_pass_through_the_filling(monkeypatch):
    monkeypatch.setattr(f'{MODULE}._WIDTH', {'cpu': 8})
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 4, 6, dtype=torch.float64, requires_grad=True) for _ in range(3))
    assert torch.autograd.gradcheck(scaled_attention, (q, k, v))
