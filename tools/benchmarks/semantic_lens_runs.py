"""What benchmark.py runs of Semantic Lens and of PSRT's released code."""

from __future__ import annotations

import importlib
import sys
import types
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch
from released_code import package_of, stand_in
from torch import nn

import basicsr_semantic  # noqa: F401  (repairs BasicSR before it is imported)
from basicsr_semantic.archs.semantic_arch import arch_of

Run = Callable[[], None]


@dataclass(frozen=True)
class Sizes:
    """What is measured.

    Attributes:
        clip: Frames, height and width in inference, LR pixels.
        step: The same for one step of a branch.
        training: The same for the training of the whole network.
        network: Arguments that the released code and ours share.
        tokens: Instance tokens of a clip.
        masks: Instances with a mask.
    """

    clip: tuple[int, int, int]
    step: tuple[int, int, int]
    training: tuple[int, int, int]
    network: dict
    tokens: int = 100
    masks: int = 10


_FULL = {'embed_dim': 120, 'depths': [6, 6, 6], 'num_heads': [6, 6, 6], 'window_size': [3, 8, 8]}
_TINY = {'embed_dim': 12, 'depths': [1, 1], 'num_heads': [2, 2], 'window_size': [3, 8, 8]}
FULL = Sizes((3, 64, 64), (3, 64, 64), (5, 64, 64), _FULL)
QUICK = Sizes((2, 64, 64), (3, 16, 16), (2, 16, 16), _TINY, tokens=3, masks=2)


class Setting(NamedTuple):
    """What is measured, where, and the checkout of the released code, for the cases that compare with it."""

    sizes: Sizes
    device: torch.device
    released: Path | None = None


def setting_of(options: Namespace, device: torch.device) -> Setting:
    """The setting of a command line."""
    released = None if options.released is None else Path(options.released)
    return Setting(QUICK if options.quick else FULL, device, released)


def shape_of(case: str, setting: Setting) -> tuple[int, int, int]:
    """Frames, rows and columns of the input of a case."""
    sizes = setting.sizes
    return {'branch_training': sizes.step, 'network_training': sizes.training}.get(case, sizes.clip)


@lru_cache(maxsize=1)
def released_modules(folder: Path) -> tuple[types.ModuleType, types.ModuleType]:
    """Import PSRT's released code from a checkout, without changing a file of it.

    Where timm is not installed, its ``trunc_normal_``, the only thing used of it, is PyTorch's.

    Returns:
        The modules of the recurrent network and of its branches.
    """
    if not (folder / 'archs' / 'psrt_recurrent_arch.py').is_file():
        sys.exit(f'{folder} is no checkout of PSRT: it has no archs/psrt_recurrent_arch.py.')
    stand_in('timm.models.layers', trunc_normal_=nn.init.trunc_normal_)
    # under another name: it imports everything by the name `archs`
    package_of('released_psrt', folder / 'archs')
    names = ('psrt_recurrent_arch', 'psrt_sliding_arch')
    recurrent, branches = (importlib.import_module(f'released_psrt.{name}') for name in names)
    return recurrent, branches


def released_network(setting: Setting) -> nn.Module:
    """The released network; its constructor makes branches only where it sees a GPU, so it is told there is one."""
    assert setting.released is not None
    recurrent, _ = released_modules(setting.released)
    torch.manual_seed(0)
    with mock.patch('torch.cuda.is_available', return_value=True):
        return recurrent.BasicRecurrentSwin(**setting.sizes.network)


def released_branch(setting: Setting) -> nn.Module:
    """One branch of it, with what the recurrent network passes, except for checkpointing."""
    assert setting.released is not None
    _, branches = released_modules(setting.released)
    given = {'mlp_ratio': 2.0, 'use_checkpoint': False, 'upsampler': 'pixelshuffle', 'num_frames': 3}
    return branches.SwinIRFM(img_size=64, patch_size=1, in_chans=3, **setting.sizes.network, **given)


def make_run(case: str, side: str, setting: Setting) -> Run:
    """Build a network and its input, and return what is measured.

    Args:
        case: 'inference' and 'branch_training' compare the released code (reference) with ours; 'semantics' compares
            our network without and with IMAGE and SPACE, in inference; 'network_training' has no reference, it is a
            training step of all of Semantic Lens.
        side: 'reference' or 'measured'.
        setting: What is measured, and where.
    """
    theirs = side == 'reference'
    if case == 'inference':
        return _restore(_same_networks(setting)[0 if theirs else 1], setting)
    if case == 'branch_training':
        return _branch_step(theirs, setting)
    torch.manual_seed(0)
    if case == 'semantics':
        return _restore(_semantic_lens(setting, not theirs), setting)
    return _training_step(_semantic_lens(setting, True, checkpointing=True), setting)


def _same_networks(setting: Setting) -> tuple[nn.Module, nn.Module]:
    """The released network and ours with its weights."""
    from basicsr_semantic.archs import PSRTRecurrent

    theirs, ours = released_network(setting), PSRTRecurrent(**setting.sizes.network)
    ours.load_state_dict(ours.filter_checkpoint(theirs.state_dict())[0])
    return theirs.eval(), ours.eval()


def _semantic_lens(setting: Setting, whole: bool, checkpointing: bool = False) -> nn.Module:
    from basicsr_semantic.archs import SemanticLens

    parts = {'gps': whole, 'isee': whole, 'image': whole}
    return SemanticLens(**setting.sizes.network, **parts, checkpointing=checkpointing)


def _clip(shape: tuple[int, int, int], device: torch.device) -> torch.Tensor:
    frames, height, width = shape
    return torch.rand(1, frames, 3, height, width, generator=torch.Generator().manual_seed(1)).to(device)


def _inputs(net: nn.Module, shape: tuple[int, int, int], setting: Setting) -> tuple:
    """A clip and, for a network that takes them, priors."""
    sizes, device, _ = setting
    lq = _clip(shape, device)
    if not arch_of(net).prior_fields:
        return (lq,)
    from basicsr_semantic.priors import SemanticPriors

    frames, height, width = shape
    masks = torch.zeros(1, frames, sizes.masks, height, width, dtype=torch.uint8)
    for i in range(sizes.masks):
        masks[..., i, i % height :: 3, i % width :: 2] = 1
    tokens = torch.randn(1, frames, 512), torch.randn(1, sizes.tokens, 512)
    return lq, SemanticPriors(masks=masks, global_tokens=tokens[0], instance_tokens=tokens[1]).to(device)


def _restore(net: nn.Module, setting: Setting) -> Run:
    """Inference of one clip."""
    net = net.to(setting.device).eval()
    inputs = _inputs(net, setting.sizes.clip, setting)

    def restore() -> None:
        with torch.no_grad():
            net(*inputs)

    return restore


def _branch_step(theirs: bool, setting: Setting) -> Run:
    """Forward and backward of one branch without checkpointing, in training mode."""
    from basicsr_semantic.archs.layers.mfsa import PropagationBranch

    sizes, device, _ = setting
    shape = (1, *sizes.step, sizes.network['embed_dim'])
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1)).to(device)
    torch.manual_seed(0)
    if theirs:
        net, x = released_branch(setting), x.permute(0, 1, 4, 2, 3).contiguous()
    else:
        net = PropagationBranch(
            shape[-1], *(sizes.network[k] for k in ('depths', 'num_heads', 'window_size')), 2.0, 0.1
        )
    net = net.to(device).train()
    x.requires_grad_()

    def step() -> None:
        net.zero_grad(set_to_none=True)
        x.grad = None
        net(x).square().mean().backward()

    return step


def _training_step(net: nn.Module, setting: Setting) -> Run:
    """Forward, backward and AdamW of the whole network."""
    net = net.to(setting.device).train()
    inputs = _inputs(net, setting.sizes.training, setting)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        net(*inputs).square().mean().backward()
        optimizer.step()

    return step


def difference(setting: Setting) -> float:
    """Largest difference between the released network and ours with its weights, on the clip of the measurement."""
    theirs, ours = (net.to(setting.device) for net in _same_networks(setting))
    lq = _clip(setting.sizes.clip, setting.device)
    with torch.no_grad():
        return float((theirs(lq) - ours(lq)).abs().max())
