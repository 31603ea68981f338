"""IMAGE, the implicit masked attention guided pre-alignment of Semantic Lens (Eq. 12 and 13)."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from .choices import check_choice
from .scaled_attention import scaled_attention
from .tiles import Tiles, window_of_tile
from .window_attention import attention_gradients

WINDOW_SIZES = (5, 7, 9, 11)
ImageStart = Literal['identity', 'random']

# Instances a label word holds; the sign bit stays free.
_BITS = 31


def instance_labels(masks: torch.Tensor) -> torch.Tensor:
    """What every pixel belongs to, as bits: the background (no instance), or some of the instances.

    Args:
        masks: Masks (b, n, h, w), 0 or 1, of n >= 0 instances, which may overlap.

    Returns:
        (b, words, h, w) int32; the background is the first bit of the first word.
    """
    inside = masks != 0
    channels = torch.cat([~inside.any(1, keepdim=True), inside], dim=1)
    words = []
    for group in channels.split(_BITS, dim=1):
        bits = torch.arange(group.size(1), device=masks.device, dtype=torch.int32)
        words.append((group.int() << bits[:, None, None]).sum(1, dtype=torch.int32))
    return torch.stack(words, dim=1)


def masked_local_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    labels_q: torch.Tensor,
    labels_k: torch.Tensor,
    window: int,
    heads: int,
) -> torch.Tensor:
    """Attention of every pixel over a window of another frame at the same place, within the same instances (Eq. 12).

    Queries are taken in tiles of 8x8 pixels. The windows of a tile are inside a square of ``8 + window - 1`` pixels,
    and one product gives all its scores; what is beyond a pixel's own window, beyond the frame, or of another instance
    is masked. Tiles are cut out and worked on a few at a time, in training too, where the backward pass works the
    attention out again: what is kept is q, k, v and the labels.

    Args:
        q: Queries (b, h, w, c).
        k: Keys (b, h, w, c).
        v: Values (b, h, w, c).
        labels_q: See :func:`instance_labels`, (b, words, h, w), of the frame of the queries.
        labels_k: The same of the frame of keys and values.
        window: Rows and columns of the window, odd.
        heads: Heads; must divide c.

    Returns:
        (b, h, w, c). A pixel that may look at nothing takes the value at its own place.
    """
    out: Any = _MaskedLocalAttention.apply(q, k, v, labels_q, labels_k, window, heads)
    return out


def _mask(
    tiles: Tiles, labels_q: torch.Tensor, labels_k: torch.Tensor, rows: slice, dtype: torch.dtype
) -> torch.Tensor:
    """0 where a pixel may look, minus infinity elsewhere (Eq. 13): (tiles, 1, 64, side * side).

    The paper tests both masks at one place (x, y), though a query and its key are at two places. Here a query may look
    at a key where some instance, or the background, contains both: "only between the same instances or backgrounds".
    Keys beyond the frame have no label, so nothing may look at them. Where a pixel could look at nothing, it looks at
    its place.
    """
    inside, centre = window_of_tile(tiles.radius, labels_q.device)
    words_q, words_k = tiles.queries(labels_q, rows), tiles.squares(labels_k, rows)
    shared = [(a[:, :, None] & b[:, None]) != 0 for a, b in zip(words_q.unbind(2), words_k.unbind(2), strict=True)]
    allowed = shared[0]
    for word in shared[1:]:
        allowed |= word
    allowed &= inside
    allowed |= centre & ~allowed.any(2, keepdim=True)
    return torch.where(allowed, 0.0, -math.inf).to(dtype)[:, None]


class _MaskedLocalAttention(torch.autograd.Function):
    """See :func:`masked_local_attention`. Keeps its inputs and nothing else."""

    @staticmethod
    def forward(ctx: Any, q, k, v, labels_q, labels_k, window: int, heads: int) -> torch.Tensor:
        ctx.save_for_backward(q, k, v, labels_q, labels_k)
        ctx.window, ctx.heads = window, heads
        tiles, (q, k, v, labels_q, labels_k) = _prepare(q, k, v, labels_q, labels_k, window, heads)
        out = torch.empty_like(q)
        for rows in tiles.portions(q.device):
            attended = scaled_attention(
                tiles.split_heads(tiles.queries(q, rows)),
                tiles.split_heads(tiles.squares(k, rows)),
                tiles.split_heads(tiles.squares(v, rows)),
                _mask(tiles, labels_q, labels_k, rows, q.dtype),
            )
            tiles.lay(tiles.join_heads(attended), out, rows)
        return tiles.crop(out, around=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, labels_q, labels_k = ctx.saved_tensors
        tiles, (q, k, v, labels_q, labels_k) = _prepare(q, k, v, labels_q, labels_k, ctx.window, ctx.heads)
        grad = tiles.pad(grad.to(q.dtype), around=False)
        grad_q, grad_k, grad_v = torch.empty_like(q), tiles.sums(k), tiles.sums(v)
        for rows in tiles.portions(q.device):
            of_q, of_k, of_v, _ = attention_gradients(
                tiles.split_heads(tiles.queries(q, rows)),
                tiles.split_heads(tiles.squares(k, rows)),
                tiles.split_heads(tiles.squares(v, rows)),
                _mask(tiles, labels_q, labels_k, rows, torch.promote_types(q.dtype, torch.float32)),
                tiles.split_heads(tiles.queries(grad, rows)),
            )
            tiles.lay(tiles.join_heads(of_q), grad_q, rows)
            tiles.add_squares(tiles.join_heads(of_k), grad_k, rows)
            tiles.add_squares(tiles.join_heads(of_v), grad_v, rows)
        grads = tiles.crop(grad_q, False), tiles.crop(grad_k, True), tiles.crop(grad_v, True)
        return *grads, None, None, None, None


def _prepare(q, k, v, labels_q, labels_k, window: int, heads: int) -> tuple[Tiles, tuple[torch.Tensor, ...]]:
    """Pad everything to whole tiles."""
    b, h, w, _ = q.shape
    tiles = Tiles((b, h, w), window, heads)
    around = ((q, False), (k, True), (v, True))
    labels = ((labels_q, False), (labels_k, True))
    return tiles, (
        *(tiles.pad(x, wide) for x, wide in around),
        *(tiles.pad(x.permute(0, 2, 3, 1), wide) for x, wide in labels),
    )


class ImageAlignment(nn.Module):
    """IMAGE: a coarse alignment of a supporting frame's feature to the current frame.

    Every pixel of the current frame attends to a window of the supporting frame at the same place, within the same
    instances. Eq. 12 has no 1 / sqrt(d); it is kept, which only rescales the learned projections. Heads and biases
    are ours, too. The paper names no window size: 9x9 reaches half a window of the self-attention that follows, 8x8,
    beyond the pixel.

    Args:
        dim: Channels C.
        window: Rows and columns of the window: 5, 7, 9 or 11.
        num_heads: Heads; must divide ``dim``.
        start: ``random``: as any linear layer, so that at first an untrained projection replaces what was propagated.
            ``identity``: query, key and value are the features themselves, so that at first a pixel gets the mean of
            what was propagated within its instance, weighted by likeness. The paper does not say.

    Raises:
        ValueError: Another window size or start.
    """

    def __init__(self, dim: int, window: int = 9, num_heads: int = 6, start: ImageStart = 'random') -> None:
        super().__init__()
        check_choice('image_window', window, WINDOW_SIZES)
        check_choice('image_start', start, get_args(ImageStart))
        self.window, self.num_heads = window, num_heads
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        for linear in (self.query, self.key, self.value) if start == 'identity' else ():
            nn.init.eye_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self, current: torch.Tensor, support: torch.Tensor, labels: torch.Tensor, support_labels: torch.Tensor
    ) -> torch.Tensor:
        """Align.

        Args:
            current: Feature of the current frame (b, h, w, c).
            support: Feature of the supporting frame (b, h, w, c).
            labels: See :func:`instance_labels`, of the current frame (b, words, h, w).
            support_labels: The same of the supporting frame.

        Returns:
            The aligned feature of the supporting frame (b, h, w, c), which takes its place.
        """
        q, k, v = self.query(current), self.key(support), self.value(support)
        return masked_local_attention(q, k, v, labels, support_labels, self.window, self.num_heads)
