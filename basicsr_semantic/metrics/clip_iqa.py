"""CLIP-IQA: how much closer a frame is to "Good photo." than to "Bad photo.", over the package piq."""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY
from torch import nn

from .frames import chosen_device, optional_package, prepared_by, to_tensor
from .weights import Official, does_not_fit, read_weights

_RN50_DIGITS = 'afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762'
_RN50 = Official(
    'RN50.pt',
    f'https://openaipublic.azureedge.net/clip/models/{_RN50_DIGITS}/RN50.pt',
    _RN50_DIGITS,
    'weights',
)
_PROMPTS = ((49406, 886, 1125, 269, 49407), (49406, 2103, 1125, 269, 49407))
"""CLIP's byte pairs of "Good photo." and "Bad photo.", each between begin and end."""


@functools.lru_cache(maxsize=2)
def _clip_iqa(weights: str | None, device: torch.device) -> nn.Module:
    piq = optional_package('piq.clip_iqa', 'calculate_clip_iqa')
    state = read_weights(weights, _RN50, 'calculate_clip_iqa')
    try:
        if 'visual.layer1.0.conv1.weight' not in state:
            raise KeyError('visual.layer1.0.conv1.weight')  # CLIPs with a transformer do not have them
        with torch.random.fork_rng(devices=[]):
            clip = piq.clip.build_model(dict(state)).float()
        tokens = torch.zeros(2, clip.context_length, dtype=torch.long)
        tokens[:, : len(_PROMPTS[0])] = torch.tensor(_PROMPTS)
        with torch.no_grad():
            anchors = clip.encode_text(tokens).float()
    except (KeyError, RuntimeError, AssertionError, IndexError) as error:
        raise does_not_fit(weights, _RN50, 'calculate_clip_iqa', error) from error

    class ClipIqa(piq.CLIPIQA):
        """piq's metric with weights from a file; its own constructor can only download them."""

        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.feature_extractor = clip
            self.data_range = 1.0
            self.logit_scale = clip.logit_scale.exp().detach()
            self.register_buffer('anchors', anchors / anchors.norm(dim=-1, keepdim=True))
            self.register_buffer('default_mean', torch.tensor(piq.OPENAI_CLIP_MEAN).view(1, 3, 1, 1))
            self.register_buffer('default_std', torch.tensor(piq.OPENAI_CLIP_STD).view(1, 3, 1, 1))

    network: Any = ClipIqa()
    return network.eval().requires_grad_(False).to(device)


def _prepare(weights: str | None = None, device: str | None = None) -> nn.Module:
    return _clip_iqa(weights, chosen_device(device))


@METRIC_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
@prepared_by(_prepare)
def calculate_clip_iqa(
    img: np.ndarray,
    img2: np.ndarray | None = None,
    weights: str | None = None,
    device: str | None = None,
    crop_border: int = 0,
    better: Literal['higher', 'lower'] = 'higher',
) -> float:
    """CLIP-IQA (Wang et al., AAAI 2023), CLIP RN50, "Good photo." against "Bad photo.", by the package piq; without GT.

    Args:
        img: (H, W, 3) uint8, BGR, at least 64x64.
        img2: Not looked at; BasicSR's loops give the GT to every metric.
        weights: Local copy of OpenAI's RN50.pt, or its state dict; ~ downloads it once.
        device: cpu, cuda, cuda:1, ...; ~ takes the GPU if there is one.
        crop_border: Pixels left out at each side.
        better: Which value the log calls best.

    Returns:
        Between 0 and 1.

    Raises:
        UserError: The package or the weights are missing, or the frame is too small.
    """
    where = chosen_device(device)
    network = _clip_iqa(weights, where)
    with torch.no_grad():
        return float(network(to_tensor(img, where, crop_border, 64, 'calculate_clip_iqa')))
