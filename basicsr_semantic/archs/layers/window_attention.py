"""Window attention with relative position bias, the only one of this package: fused forward, lean backward.

PyTorch's fused `scaled_dot_product_attention` has no gradient for the bias on a CPU. When the bias needs one, it falls
back to the plain kernel, which keeps every attention matrix. :func:`window_attention` keeps queries, keys and values
only: its backward pass works the attention matrices out again, a few windows at a time. The same code runs on every
device; FlexAttention, which has no backward pass on a CPU, is not used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from .scaled_attention import scaled_attention

#: Added to the score of a pair of tokens that the shift of a window brought together from two ends of the frame. Not
#: minus infinity: published weights of Swin networks were trained with this number.
MASKED_SCORE = -100.0

# Attention scores that the backward pass has in memory at once.
_SCORES_AT_ONCE = {'cpu': 2**21, 'cuda': 2**27}


def window_attention(
    qkv: torch.Tensor, bias: torch.Tensor, mask: torch.Tensor | None = None, counts: Sequence[int] | None = None
) -> torch.Tensor:
    """Self-attention of every window for itself, softmax(q k' / sqrt(d) + bias + mask) v.

    Args:
        qkv: Queries, keys and values (windows, n, 3, heads, d) of n tokens a window.
        bias: Relative position bias (heads, n, n); gets a gradient.
        mask: Scores to add for each kind of window (kinds, n, n); None is one kind and nothing to add. No gradient.
        counts: How many windows of each kind there are; windows of a kind follow one another, in the order of ``mask``.

    Returns:
        (windows, n, heads * d).
    """
    counts = (qkv.size(0),) if counts is None else tuple(counts)
    if torch.is_grad_enabled() and (qkv.requires_grad or bias.requires_grad):
        out: Any = _WindowAttention.apply(qkv, bias, mask, counts)
        return out
    return fused_attention(qkv, add_mask(bias, mask), counts)


def add_mask(bias: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Sum of bias (heads, n, n) and mask (kinds, n, n) or None: (kinds, heads, n, n)."""
    return bias[None] if mask is None else bias[None] + mask[:, None].to(bias)


def fused_attention(qkv: torch.Tensor, biases: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """The forward pass of :func:`window_attention`, without gradients.

    Args:
        qkv: (windows, n, 3, heads, d).
        biases: Bias and mask together, for each kind of window (kinds, heads, n, n).
        counts: Windows of each kind.

    Returns:
        (windows, n, heads * d).
    """
    parts = [
        scaled_attention(*_heads_first(part), added[None].to(qkv.dtype)).transpose(1, 2)
        for part, added in zip(qkv.split(list(counts)), biases, strict=True)
        if len(part)
    ]
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).flatten(2)


def attention_gradients(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, added: torch.Tensor, grad: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of softmax(q k' / sqrt(d) + added) v, with the attention matrix worked out again.

    Args:
        q: Queries (..., n, d).
        k: Keys (..., m, d).
        v: Values (..., m, d).
        added: What is added to the scores, in a shape that broadcasts to (..., n, m).
        grad: Gradient of the result (..., n, d).

    Returns:
        Gradients of q, k, v and of the scores (..., n, m); the last in at least single precision.
    """
    scale = 1 / math.sqrt(q.size(-1))
    wide = torch.promote_types(q.dtype, torch.float32)
    attention = torch.matmul(q * scale, k.transpose(-2, -1)).to(wide)
    attention = attention.add_(added).softmax(-1)
    grad_v = torch.matmul(attention.to(q.dtype).transpose(-2, -1), grad)
    grad_scores = torch.matmul(grad, v.transpose(-2, -1)).to(wide).mul_(attention)
    # softmax: dS = A * (dA - sum(A * dA)), and A * dA is what grad_scores holds
    grad_scores.addcmul_(attention, grad_scores.sum(-1, keepdim=True), value=-1)
    narrow = grad_scores.to(q.dtype)
    grad_q = torch.matmul(narrow, k).mul_(scale)
    grad_k = torch.matmul(narrow.transpose(-2, -1), q).mul_(scale)
    return grad_q, grad_k, grad_v, grad_scores


def scores_at_once(device: torch.device) -> int:
    """How many attention scores a backward pass may have in memory at once."""
    return _SCORES_AT_ONCE['cpu' if device.type == 'cpu' else 'cuda']


def _heads_first(qkv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Views (windows, heads, n, d) of queries, keys and values."""
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v


class _WindowAttention(torch.autograd.Function):
    """See :func:`window_attention`. Keeps its inputs and nothing else."""

    @staticmethod
    def forward(ctx: Any, qkv: torch.Tensor, bias: torch.Tensor, mask: torch.Tensor | None, counts: tuple[int, ...]):
        ctx.save_for_backward(qkv, bias, mask)
        ctx.counts = counts
        return fused_attention(qkv, add_mask(bias, mask), counts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        qkv, bias, mask = ctx.saved_tensors
        heads, n, _ = bias.shape
        grad_qkv = torch.empty_like(qkv)
        wide = torch.promote_types(qkv.dtype, torch.float32)
        grad_bias = torch.zeros_like(bias, dtype=torch.promote_types(bias.dtype, wide))
        grad = grad.unflatten(2, (heads, -1)).transpose(1, 2)
        step = max(1, scores_at_once(qkv.device) // (heads * n * n))
        biases, start = add_mask(bias, mask).to(wide), 0
        for added, count in zip(biases, ctx.counts, strict=True):
            for first in range(start, start + count, step):
                part = slice(first, min(first + step, start + count))
                q, k, v = _heads_first(qkv[part])
                *grads, grad_scores = attention_gradients(q, k, v, added, grad[part].to(q.dtype))
                for target, value in zip(_heads_first(grad_qkv[part]), grads, strict=True):
                    target.copy_(value)
                grad_bias += grad_scores.sum(0)
            start += count
        return grad_qkv, grad_bias.to(bias.dtype), None, None


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a learned bias for every relative position (Swin).

    In inference the bias is gathered once and kept, together with the masks, until the weights change or ``train`` or
    ``eval`` is called.

    Args:
        dim: Channels C.
        window_size: Frames, rows and columns of a window.
        num_heads: Heads; must divide ``dim``.

    Raises:
        ValueError: ``num_heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int, window_size: Sequence[int], num_heads: int) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ValueError(f'The number of heads must divide the channels; {num_heads} does not divide {dim}.')
        self.window_size = tuple(window_size)
        self.num_heads = num_heads
        positions = math.prod(2 * size - 1 for size in self.window_size)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(positions, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)
        self._kept: tuple[tuple, torch.Tensor] | None = None

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, counts: Sequence[int] | None = None
    ) -> torch.Tensor:
        """Attend.

        Args:
            x: Tokens (windows, n, C), n in the order frames, rows, columns.
            mask: See :func:`window_attention`.
            counts: See :func:`window_attention`.

        Returns:
            (windows, n, C).
        """
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1))
        if torch.is_grad_enabled():
            self._kept = None
            return self.proj(window_attention(qkv, self.bias(), mask, counts))
        return self.proj(fused_attention(qkv, self._biases(mask, qkv), counts or (len(x),)))

    def train(self, mode: bool = True) -> WindowAttention:
        """Forget the kept bias: an update through ``.data``, as BasicSR averages weights, leaves no trace."""
        self._kept = None
        return super().train(mode)

    def bias(self) -> torch.Tensor:
        """The relative position bias (heads, n, n)."""
        index = relative_positions(self.window_size, self.relative_position_bias_table.device)
        n = math.prod(self.window_size)
        return self.relative_position_bias_table.index_select(0, index).view(n, n, -1).permute(2, 0, 1).contiguous()

    def _biases(self, mask: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
        """Bias and mask for each kind of window, kept until the table changes."""
        table = self.relative_position_bias_table
        if torch.compiler.is_compiling():  # whether a tensor has changed is no question for a graph
            return add_mask(self.bias(), mask).to(like.dtype)
        version = None if table.is_inference() else table._version
        key = (table.data_ptr(), version, like.dtype, like.device, None if mask is None else mask.data_ptr())
        if self._kept is None or self._kept[0] != key or version is None:
            self._kept = key, add_mask(self.bias(), mask).to(like.dtype)
        return self._kept[1]


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept here must serve training too
def relative_positions(window_size: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Row of the bias table for every pair of tokens of a window, query first: (n * n,) int64.

    The rows count the differences of positions from the most negative one up, the last axis fastest.
    """
    places = torch.cartesian_prod(*(torch.arange(size) for size in window_size)).view(-1, len(window_size))
    row = torch.zeros(len(places), len(places), dtype=torch.long)
    for axis, size in enumerate(window_size):
        place = places[:, axis]
        row = row * (2 * size - 1) + (place[:, None] - place[None, :] + size - 1)
    return row.flatten().to(device)
