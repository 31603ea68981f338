"""Self-attention among the tokens of neighbouring frames: windows over time that may be short at both ends."""

from __future__ import annotations

from typing import NamedTuple

import torch

from .query_blocks import SelfAttentionBlock


class Span(NamedTuple):
    """``count`` windows of ``frames`` frames each, from frame ``start`` on."""

    start: int
    frames: int
    count: int


def window_spans(frames: int, window: int, shifted: bool) -> list[Span]:
    """Divide the frames of a clip into windows.

    The last window may be short. Padding it and masking what was padded, as is usual, gives the same numbers.

    Args:
        frames: Frames T of the clip, at least 1.
        window: Frames of a whole window.
        shifted: The first window has only ``window // 2`` frames, so that later borders are half a window further.

    Returns:
        Spans that cover frames 0 to T - 1 once, in order.
    """
    first = min(window // 2, frames) if shifted else 0
    whole, rest = divmod(frames - first, window)
    spans = [Span(0, first, 1), Span(first, window, whole), Span(first + whole * window, rest, 1)]
    return [span for span in spans if span.frames and span.count]


class WindowSelfAttention(SelfAttentionBlock):
    """Self-attention among all tokens of the frames of a window; no positions, neither in the frame nor in time."""

    def forward(self, x: torch.Tensor, spans: list[Span], valid: torch.Tensor | None = None) -> torch.Tensor:
        """Attend within windows.

        Args:
            x: Tokens (n, T, K, C).
            spans: The windows.
            valid: (n, T) bool, False for frames that must not be attended to; None: all are valid.

        Returns:
            (n, T, K, C).
        """
        tokens = x.size(2)
        query, key, value = self.self_attn.project(x, slice(0, 3)).chunk(3, dim=-1)
        parts = []
        for start, frames, count in spans:
            taken = slice(start, start + frames * count)
            shape = (-1, frames * tokens, x.size(-1))
            q, k, v = (part[:, taken].reshape(shape) for part in (query, key, value))
            mask = None
            if valid is not None:
                mask = valid[:, taken].reshape(-1, frames)
                mask = mask | ~mask.any(dim=1, keepdim=True)  # a softmax over nothing would be NaN
                mask = mask.repeat_interleave(tokens, dim=1)[:, None, None]
            parts.append(self.self_attn.attend(q, k, v, mask).view(x.size(0), frames * count, tokens, -1))
        attended = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return self.norm(x + self.self_attn.out_proj(attended))
