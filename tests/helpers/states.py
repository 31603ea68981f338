"""Training states as BasicSR writes them."""

from __future__ import annotations

import numpy as np
import torch
from basicsr.models.lr_scheduler import MultiStepRestartLR
from torch import nn


def basicsr_state(iteration: int) -> dict:
    """A state as BasicSR writes it, with its scheduler's Counter, and with best results as its metrics give them."""
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight], lr=0.1)
    scheduler = MultiStepRestartLR(optimizer, [2, 2, 4])
    weight.sum().backward()
    optimizer.step()
    state = {'epoch': 0, 'iter': iteration, 'optimizers': [optimizer.state_dict()]}
    state['schedulers'] = [scheduler.state_dict()]
    best = {'better': 'higher', 'val': np.float64(31.25), 'iter': 2}
    return state | {'best_metric_results': {'held_out': {'psnr': best}}}
