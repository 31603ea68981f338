"""PyTorch's fused attention with a mask, for heads of any width."""

from __future__ import annotations

import torch
from torch.nn import functional as F

# CUDA's fused kernels that take a mask want rows of 16 bytes, which are eight numbers of half precision; with any other
# width PyTorch falls back, without a word, to the plain kernel, which keeps every attention matrix.
_WIDTH = {'cuda': 8}


def scaled_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """softmax(q k' / sqrt(d) + mask) v; on CUDA, heads are filled up with zeros to a width that the fused kernels take.

    Zeros add nothing to a score, and the columns that they make of ``v`` are cut off again.

    Args:
        q: Queries (..., n, d).
        k: Keys (..., m, d).
        v: Values (..., m, d).
        mask: Scores to add, which broadcast to (..., n, m), or bool, True where attention is allowed.

    Returns:
        (..., n, d).
    """
    width = q.size(-1)
    lacking = -width % _WIDTH.get(q.device.type, 1)
    if not lacking:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    q, k, v = (F.pad(part, (0, lacking)) for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=width**-0.5)[..., :width]
