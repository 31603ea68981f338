"""A tiny SeeClear and what it takes."""

from __future__ import annotations

from typing import Any

import torch

from basicsr_semantic.archs import SeeClear
from basicsr_semantic.priors import SemanticPriors

TINY: dict[str, Any] = {
    'dim': 24, 'head_dim': 12, 'window': 4, 'clip_length': 3, 'hidden_dim': 16, 'token_dim': 16, 'feature_dim': 8,
    'num_tokens': 5, 'num_queries': 6, 'instance_heads': 2, 'feedforward_dim': 32, 'encoder_layers': 1,
    'decoder_layers': 1, 'groups': 2,
}  # fmt: skip


def build(**changes) -> SeeClear:
    torch.manual_seed(0)
    return SeeClear(**(TINY | changes))


def awake(net: SeeClear) -> SeeClear:
    """The same with numbers in the layers that start at zero."""
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    return net


def priors(batch: int = 1, frames: int = 3, tokens: int = 5, cells: tuple[int, int] = (4, 6)) -> SemanticPriors:
    generator = torch.Generator().manual_seed(5)
    return SemanticPriors(
        frame_tokens=torch.randn(batch, frames, tokens, 16, generator=generator),
        pixel_features=torch.randn(batch, frames, 8, *cells, generator=generator),
    )
