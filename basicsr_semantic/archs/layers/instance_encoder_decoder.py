"""The instance encoder and decoder over time, without heads: object tokens of frames in, tokens of instances out.

The form is that of VITA (Heo et al., "VITA: Video Instance Segmentation via Object Token Association", NeurIPS 2022),
which Semantic Lens (AAAI 2024, Eq. 4) and SeeClear (NeurIPS 2024, Eq. 14) take over.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import nn

from .query_blocks import CrossAttentionBlock, FeedForwardBlock, SelfAttentionBlock
from .window_in_time import WindowSelfAttention, window_spans

Shift = Literal['eval', 'always', 'never', 'vita']


class InstanceEncoderDecoder(nn.Module):
    """Encode frame tokens over time in windows, then let video queries gather the instances of the clip.

    Parameters have VITA's names.

    Args:
        hidden_dim: Width C of tokens and layers.
        num_heads: Attention heads.
        feedforward_dim: Width inside the feed-forward layers.
        encoder_layers: Layers of window attention over time; 0: none.
        decoder_layers: Layers D of the video queries, at least 1.
        window: Frames of a window.
        num_queries: Video queries N, the most instances a clip can have.
        num_frame_queries: Tokens K of a frame; each has a learned position for the decoder.
        shift: When the windows of every second encoder layer are shifted by half a window. ``eval``: in evaluation
            only, as released, but not where one window holds all frames, which training has seen whole; ``always``:
            in training too; ``never``; ``vita``: the released rule to the letter, which in evaluation divides even a
            single window.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        encoder_layers: int = 6,
        decoder_layers: int = 3,
        window: int = 6,
        num_queries: int = 100,
        num_frame_queries: int = 100,
        shift: Shift = 'eval',
    ) -> None:
        super().__init__()
        if shift not in get_args(Shift):
            raise ValueError(f'shift is {shift!r}; it must be one of {", ".join(get_args(Shift))}.')
        if num_queries < 1 or num_frame_queries < 1:
            raise ValueError(
                f'num_queries is {num_queries} and num_frame_queries {num_frame_queries}; they must be at least 1.'
            )
        if decoder_layers < 1 or window < 2:
            raise ValueError(
                f'decoder_layers is {decoder_layers} and window {window}; they must be at least 1 and 2 frames.'
            )
        self.window, self.shift = window, shift
        attention, feedforward = (hidden_dim, num_heads), (hidden_dim, feedforward_dim)
        self.input_proj_dec = nn.Linear(hidden_dim, hidden_dim)
        self.enc_self_attn = nn.ModuleList(WindowSelfAttention(*attention) for _ in range(encoder_layers))
        self.enc_ffn = nn.ModuleList(FeedForwardBlock(*feedforward) for _ in range(encoder_layers))
        layers = range(decoder_layers)
        self.transformer_cross_attention_layers = nn.ModuleList(CrossAttentionBlock(*attention) for _ in layers)
        self.transformer_self_attention_layers = nn.ModuleList(SelfAttentionBlock(*attention) for _ in layers)
        self.transformer_ffn_layers = nn.ModuleList(FeedForwardBlock(*feedforward) for _ in layers)
        self.decoder_norm = nn.LayerNorm(hidden_dim)
        self.query_feat = nn.Embedding(num_queries, hidden_dim)
        self.query_embed = nn.Embedding(num_queries, hidden_dim)
        self.fq_pos = nn.Embedding(num_frame_queries, hidden_dim)

    def associate(
        self, frame_tokens: torch.Tensor, valid: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Exchange over time, and gather.

        Args:
            frame_tokens: (b, T, K, C) object tokens of T frames, T at least 1; or (L, b, T, K, C) those of the last L
                layers of the frame decoder, each treated as a clip of its own.
            valid: (b, T) bool, False for frames that only fill up a batch of clips of differing length; they have no
                effect on the rest. Every clip needs one valid frame. None: all frames are valid.

        Returns:
            The video queries after each of the D layers and the norm (D, ..., b, N, C), and the encoded frame tokens,
            of the shape that was given. The last queries are the tokens of the instances.

        Raises:
            ValueError: Tokens of another shape than the network was built for.
        """
        tokens, width = self.fq_pos.weight.shape
        if frame_tokens.dim() not in (4, 5) or frame_tokens.shape[-2:] != (tokens, width) or 0 in frame_tokens.shape:
            raise ValueError(
                f'{type(self).__name__} takes tokens of shape (batch, frames, {tokens}, {width}), with an axis of '
                f'layers before the batch if there are several; these have {tuple(frame_tokens.shape)}.'
            )
        lead = frame_tokens.shape[:-3]
        frames = frame_tokens.size(-3)
        if valid is not None:
            if valid.shape != frame_tokens.shape[-4:-2] or not bool(valid.any(dim=1).all()):
                raise ValueError(
                    f'valid must have shape {tuple(frame_tokens.shape[-4:-2])} with a valid frame in every clip; '
                    f'it has {tuple(valid.shape)}.'
                )
            valid = valid.expand(*lead, frames).reshape(-1, frames)
        memory = self._encode(frame_tokens.reshape(-1, frames, tokens, width), valid)
        outputs = torch.stack(self._decode(memory, valid)).unflatten(1, lead)
        return outputs, memory.unflatten(0, lead)

    def _encode(self, x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        """Frame tokens (n, T, K, C), after exchange over time."""
        x = self.input_proj_dec(x)
        frames = x.size(1)
        plain = window_spans(frames, self.window, shifted=False)
        shifted = window_spans(frames, self.window, shifted=True) if self._shifts(frames) else plain
        for i, (attention, feedforward) in enumerate(zip(self.enc_self_attn, self.enc_ffn, strict=True)):
            x = feedforward(attention(x, shifted if i % 2 else plain, valid))
        return x

    def _shifts(self, frames: int) -> bool:
        if self.shift == 'vita':
            return not self.training
        wanted = self.shift == 'always' or (self.shift == 'eval' and not self.training)
        return wanted and frames > self.window

    def _decode(self, memory: torch.Tensor, valid: torch.Tensor | None) -> list[torch.Tensor]:
        """Video queries (n, N, C) after each layer and the norm; the position of a key is that of its frame query."""
        value = memory.flatten(1, 2)
        key = (memory + self.fq_pos.weight).flatten(1, 2)
        mask = None if valid is None else valid.repeat_interleave(memory.size(2), dim=1)[:, None, None]
        position = self.query_embed.weight
        x = self.query_feat.weight.expand(memory.size(0), -1, -1)
        outputs = []
        for cross, own, feedforward in zip(
            self.transformer_cross_attention_layers,
            self.transformer_self_attention_layers,
            self.transformer_ffn_layers,
            strict=True,
        ):
            x = feedforward(own(cross(x, position, key, value, mask), position))
            outputs.append(self.decoder_norm(x))
        return outputs
