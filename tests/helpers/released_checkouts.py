"""Small stand-ins for checkouts of released code: they import what it imports, and answer to the same names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# PSRT: needs timm and a GPU where the released code does, and computes what ours computes.
_RECURRENT = """
import torch
from basicsr_semantic.archs import PSRTRecurrent
from .psrt_sliding_arch import SwinIRFM

class BasicRecurrentSwin(PSRTRecurrent):
    def __init__(self, **options):
        super().__init__(**options)
        assert torch.cuda.is_available(), 'without a GPU there are no branches'
        for name in self.patch_align:
            self.patch_align[name].conv_first = torch.nn.Conv2d(3, 4, 1)

    def filter_checkpoint(self, state):
        raise AssertionError('this is the other side')
"""
_SLIDING = """
import torch
from basicsr_semantic.archs.layers.mfsa import PropagationBranch
from timm.models.layers import trunc_normal_

class SwinIRFM(torch.nn.Module):
    def __init__(self, embed_dim, depths, num_heads, window_size, mlp_ratio, use_checkpoint, num_frames, **rest):
        super().__init__()
        assert not use_checkpoint and num_frames == 3
        self.body = PropagationBranch(embed_dim, depths, num_heads, window_size, mlp_ratio, 0.1)
        trunc_normal_(self.body.norm.weight, std=0.02)

    def forward(self, x):
        assert x.shape[1:3] == (3, 12), 'frames, channels, rows, columns'
        return self.body(x.permute(0, 1, 3, 4, 2))
"""

# ResShift
_CONFIGURATION = """
model:
  target: models.unet.UNetModelSwin
  params: {image_size: 64, model_channels: 160, swin_embed_dim: 192, num_res_blocks: [2, 2, 2, 2]}
diffusion:
  params: {steps: 15, kappa: 2.0}
autoencoder:
  params: {embed_dim: 3, n_embed: 8192, ddconfig: {ch: 128, num_res_blocks: 2}}
train: {val_freq: "${train.save_freq}"}
"""
_UNET = """
import torch
from .basic_ops import scale
from timm.models.layers import DropPath, to_2tuple, trunc_normal_

class UNetModelSwin(torch.nn.Module):
    def __init__(self, image_size, model_channels, swin_embed_dim, num_res_blocks):
        super().__init__()
        self.width = model_channels, swin_embed_dim, sum(num_res_blocks)
        self.weight = torch.nn.Parameter(torch.empty(to_2tuple(3)))
        trunc_normal_(self.weight, std=0.02)

    def forward(self, x, timesteps, lq=None):
        assert x.shape == lq.shape and timesteps.shape == x.shape[:1]
        return scale * x
"""
_AUTOENCODER = """
import torch
import torch.nn.functional as F
import xformers
import xformers.ops
from einops import rearrange, repeat

class VQModelTorch(torch.nn.Module):
    def __init__(self, embed_dim, n_embed, ddconfig):
        super().__init__()
        self.width = n_embed, ddconfig['ch'], ddconfig['num_res_blocks']
        self.weight = torch.nn.Parameter(torch.ones(()))

    def encode(self, x):
        return F.avg_pool2d(x, 4)

    def decode(self, z):
        tokens = rearrange(z, 'b c h w -> b (h w) c')
        mixed = xformers.ops.memory_efficient_attention(tokens, tokens, tokens, attn_bias=None, op=None)
        return F.interpolate(rearrange(mixed, 'b (h w) c -> b c h w', h=z.size(2)), scale_factor=4)
"""
_DIFFUSION = """
import torch
import torch.nn.functional as F
from ldm.models.autoencoder import VQModelTorch

class Diffusion:
    def __init__(self, steps, kappa):
        self.steps = steps

    def encode_first_stage(self, y, first_stage_model, up_sample=False):
        assert up_sample
        return first_stage_model.encode(F.interpolate(y, scale_factor=4, mode='bicubic'))

    def decode_first_stage(self, z, first_stage_model=None):
        return first_stage_model.decode(z)

    def prior_sample(self, y, noise=None):
        return y + noise

    def p_sample(self, model, x, y, t, clip_denoised=True, model_kwargs=None):
        assert not clip_denoised and 0 <= int(t[0]) < self.steps
        return {'sample': model(x, t, **model_kwargs)}

    def p_sample_loop(self, y, model, first_stage_model=None, clip_denoised=True, model_kwargs=None):
        z = self.encode_first_stage(y, first_stage_model, up_sample=True)
        for t in reversed(range(self.steps)):
            z = self.p_sample(model, z, y, torch.full((len(y),), t), clip_denoised, model_kwargs)['sample']
        return self.decode_first_stage(z, first_stage_model)

create_gaussian_diffusion = Diffusion
"""

_FILES = {
    'psrt': {
        'archs/__init__.py': 'raise ImportError("finds archs only in its own folder")',
        'archs/psrt_recurrent_arch.py': _RECURRENT,
        'archs/psrt_sliding_arch.py': _SLIDING,
    },
    'resshift': {
        'configs/realsr_swinunet_realesrgan256.yaml': _CONFIGURATION,
        'models/__init__.py': 'raise ImportError("is not run")',
        'models/basic_ops.py': 'scale = 0.5',
        'models/unet.py': _UNET,
        'models/script_util.py': _DIFFUSION,
        'ldm/models/autoencoder.py': _AUTOENCODER,
        'basicsr/__init__.py': 'raise ImportError("hides the real one")',
    },
}


def write_checkout(name: str, folder: Path) -> Path:
    """Write the stand-in for 'psrt' or 'resshift', and say where it is."""
    for file, text in _FILES[name].items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    return folder


@contextmanager
def imports_forgotten() -> Iterator[None]:
    """Forget at the end what was imported by the names that released code uses."""
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        if name.split('.')[0] in ('timm', 'einops', 'xformers', 'models', 'ldm', 'released_psrt'):
            del sys.modules[name]
