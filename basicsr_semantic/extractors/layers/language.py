"""Where images meet texts: vectors of length 1, and the scale of their cosine similarities, as in CLIP (ICML 2021)."""

from __future__ import annotations

import math

import torch
from torch import nn

#: Scale of the cosine similarity to texts before any training: that of CLIP, 1 / 0.07.
LOGIT_SCALE = math.log(1 / 0.07)
_EPSILON = 1e-7  # added to norms, as released


def unit(x: torch.Tensor) -> torch.Tensor:
    """Vectors (..., C) scaled to length 1."""
    return x / (x.norm(dim=-1, keepdim=True) + _EPSILON)


class LanguagePart(nn.Module):
    """The part of the text branch that is used: the logarithm of the scale of cosine similarities, not trained here."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale: torch.Tensor
        self.register_buffer('logit_scale', torch.tensor(LOGIT_SCALE))
