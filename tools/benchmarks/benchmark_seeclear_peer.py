"""ResShift's released U-Net, autoencoder and diffusion, imported from a checkout as they are, with random weights.

The other packages that it needs may be missing; then they are replaced:

- timm: ``trunc_normal_`` is PyTorch's and ``to_2tuple`` a pair; ``DropPath`` is never made, since its rate is 0.
- einops: ``rearrange`` is written below; ``repeat`` is not called.
- xformers, which the autoencoder takes for its attention over all pixels: PyTorch's fused attention. Without either it
  would keep a matrix of 16384 x 16384 for a frame of 512 x 512 and be slower.
"""

from __future__ import annotations

import importlib
import itertools
import math
import re
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from benchmarking_released import package_of, stand_in
from torch import nn
from torch.nn import functional as F

#: The configuration of its NeurIPS paper: 15 steps, kappa 2, VQ-f4. Others in the checkout have 4 steps.
CONFIGURATION = Path('configs') / 'realsr_swinunet_realesrgan256.yaml'

_TINY = {
    'model': {'model_channels': 32, 'swin_embed_dim': 32, 'num_res_blocks': [1, 1, 1, 1]},
    'autoencoder': {'n_embed': 16},
    'ddconfig': {'ch': 32, 'num_res_blocks': 1},
}


class ResShift:
    """What a sampler of ResShift is made of.

    Args:
        folder: Checkout of zsyOAOA/ResShift.
        steps: Steps of its diffusion.
        tiny: Narrow networks, to see that it works.
        device: Where it runs.
    """

    def __init__(self, folder: Path, steps: int, tiny: bool, device: torch.device) -> None:
        parts = released_parts(folder)
        torch.manual_seed(0)
        self.unet, self.autoencoder = (
            make(folder, part, name, tiny).to(device).eval()
            for part, name in ((parts['unet'], 'model'), (parts['autoencoder'], 'autoencoder'))
        )
        settings = yaml.safe_load((folder / CONFIGURATION).read_text())['diffusion']['params'] | {'steps': steps}
        self.diffusion = parts['diffusion'](**settings)
        self.steps = steps

    @torch.no_grad()
    def sample(self, lq: torch.Tensor) -> torch.Tensor:
        """Restore frames (n, 3, h, w) in [-1, 1] with its own loop, as its sampler calls it."""
        given: dict[str, Any] = {'first_stage_model': self.autoencoder, 'clip_denoised': False}
        return self.diffusion.p_sample_loop(lq, self.unet, model_kwargs={'lq': lq}, **given).clamp(-1, 1)

    @torch.no_grad()
    def encode(self, lq: torch.Tensor) -> torch.Tensor:
        """Latents (n, 3, h, w) of the enlarged frames."""
        return self.diffusion.encode_first_stage(lq, self.autoencoder, up_sample=True)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Frames (n, 3, 4h, 4w) of latents."""
        return self.diffusion.decode_first_stage(latents, self.autoencoder).clamp(-1, 1)

    @torch.no_grad()
    def step(self, state: torch.Tensor, latents: torch.Tensor, lq: torch.Tensor, t: int) -> torch.Tensor:
        """One step back, t from 1; only the U-Net and the posterior."""
        index = torch.full((len(lq),), t - 1, device=lq.device)
        given: dict[str, Any] = {'clip_denoised': False, 'model_kwargs': {'lq': lq}}
        return self.diffusion.p_sample(self.unet, state, latents, index, **given)['sample']

    @torch.no_grad()
    def latent_steps(self, latents: torch.Tensor, lq: torch.Tensor) -> torch.Tensor:
        """All steps between the two halves of the autoencoder."""
        state = self.diffusion.prior_sample(latents, torch.randn_like(latents))
        for t in range(self.steps, 0, -1):
            state = self.step(state, latents, lq, t)
        return state


def make(folder: Path, kind: type[nn.Module], name: str, tiny: bool) -> nn.Module:
    """Build a network of the configuration, 'model' or 'autoencoder'."""
    arguments = yaml.safe_load((folder / CONFIGURATION).read_text())[name]['params']
    if tiny:
        arguments |= _TINY[name]
        if 'ddconfig' in arguments:
            arguments['ddconfig'] |= _TINY['ddconfig']
    return kind(**arguments)


def released_parts(folder: Path) -> dict[str, Any]:
    """Import the U-Net, the autoencoder and what makes the diffusion."""
    if not (folder / 'models' / 'unet.py').is_file() or not (folder / CONFIGURATION).is_file():
        sys.exit(f'{folder} is not a checkout of ResShift: it has no models/unet.py, or no {CONFIGURATION}.')
    stand_in('timm.models.layers', trunc_normal_=nn.init.trunc_normal_, to_2tuple=_pair, DropPath=None)
    stand_in('einops', rearrange=rearrange, repeat=None)
    stand_in('xformers.ops', memory_efficient_attention=_fused_attention)
    for name in ('models', 'ldm'):  # absolute names: its modules import each other by them
        package_of(name, folder / name)
    names = {
        'unet': ('models.unet', 'UNetModelSwin'),
        'autoencoder': ('ldm.models.autoencoder', 'VQModelTorch'),
        'diffusion': ('models.script_util', 'create_gaussian_diffusion'),
    }
    return {key: getattr(importlib.import_module(module), name) for key, (module, name) in names.items()}


def rearrange(x: torch.Tensor, pattern: str, **sizes: int) -> torch.Tensor:
    """Reorder, split and join axes as the pattern says ('b c h w -> b (h w) c'); at most one size may be unknown."""
    before, after = ([g.strip('()').split() for g in re.findall(r'\(.*?\)|\S+', s)] for s in pattern.split('->'))
    sizes |= {group[0]: size for group, size in zip(before, x.shape, strict=True) if len(group) == 1}
    names = list(itertools.chain(*before))
    x = x.reshape([sizes.get(name, -1) for name in names])
    sizes = dict(zip(names, x.shape, strict=True))
    x = x.permute([names.index(name) for name in itertools.chain(*after)])
    return x.reshape([math.prod(sizes[name] for name in group) for group in after])


def _pair(value: Any) -> tuple[Any, Any]:
    return value if isinstance(value, tuple) else (value, value)


def _fused_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, attn_bias=None, op=None) -> torch.Tensor:
    """One head: (n, tokens, C)."""
    assert q.dim() == 3 and attn_bias is None and op is None
    return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
