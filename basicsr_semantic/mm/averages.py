"""The moving average of ``basicsr train`` for MMEngine's ``EMAHook``."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import ExponentialMovingAverage

from .registry import MODELS


@MODELS.register_module()
class AverageFromStart(ExponentialMovingAverage):
    """An exponential moving average that begins with the weights before the first step.

    MMEngine's begins with those after it. ``momentum`` is 1 - ``ema_decay``.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.steps: torch.Tensor
        self.steps.fill_(1)
