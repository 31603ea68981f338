#!/usr/bin/env python3
"""One measurement of benchmark_semantic_lens.py, in a process of its own: JSON a line, the result last."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from unittest import mock

import torch
from benchmarking_released import package_of, stand_in
from benchmarking_worker import describe, device_of, make_parser, measure_memory, measure_time, say
from torch import nn

import basicsr_semantic  # noqa: F401  (repairs BasicSR before it is imported)
from basicsr_semantic.archs.semantic_arch import arch_of

CASES = ('inference', 'branch_training', 'network_training', 'semantics')

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

    def of(self, case: str) -> tuple[int, int, int]:
        """The input of a case."""
        return {'branch_training': self.step, 'network_training': self.training}.get(case, self.clip)


_FULL = {'embed_dim': 120, 'depths': [6, 6, 6], 'num_heads': [6, 6, 6], 'window_size': [3, 8, 8]}
_TINY = {'embed_dim': 12, 'depths': [1, 1], 'num_heads': [2, 2], 'window_size': [3, 8, 8]}
FULL = Sizes((3, 64, 64), (3, 64, 64), (5, 64, 64), _FULL)
QUICK = Sizes((2, 64, 64), (3, 16, 16), (2, 16, 16), _TINY, tokens=3, masks=2)


@lru_cache(maxsize=1)
def released_modules(folder: Path) -> tuple[types.ModuleType, types.ModuleType]:
    """Import PSRT's released code from a checkout, without changing a file of it.

    Where timm is not installed, its ``trunc_normal_``, the only thing used of it, is PyTorch's.

    Returns:
        The modules of the recurrent network and of its branches.
    """
    if not (folder / 'archs' / 'psrt_recurrent_arch.py').is_file():
        sys.exit(f'{folder} is not a checkout of PSRT: it has no archs/psrt_recurrent_arch.py.')
    stand_in('timm.models.layers', trunc_normal_=nn.init.trunc_normal_)
    # under another name: it imports everything by the name `archs`
    package_of('released_psrt', folder / 'archs')
    names = ('psrt_recurrent_arch', 'psrt_sliding_arch')
    recurrent, branches = (importlib.import_module(f'released_psrt.{name}') for name in names)
    return recurrent, branches


def released_network(folder: Path, sizes: Sizes) -> nn.Module:
    """The released network; its constructor makes branches only where there is a GPU, so one is simulated."""
    recurrent, _ = released_modules(folder)
    torch.manual_seed(0)
    with mock.patch('torch.cuda.is_available', return_value=True):
        return recurrent.BasicRecurrentSwin(**sizes.network)


def released_branch(folder: Path, sizes: Sizes) -> nn.Module:
    """One branch of it, with what the recurrent network passes, except for checkpointing."""
    _, branches = released_modules(folder)
    given = {'mlp_ratio': 2.0, 'use_checkpoint': False, 'upsampler': 'pixelshuffle', 'num_frames': 3}
    return branches.SwinIRFM(img_size=64, patch_size=1, in_chans=3, **sizes.network, **given)


def make_run(case: str, side: str, sizes: Sizes, device: torch.device, released: Path | None) -> Run:
    """Build a network and its input, and return what is measured.

    Args:
        case: One of CASES. 'inference' and 'branch_training' compare the released code (reference) with ours;
            'semantics' compares our network without and with IMAGE and SPACE, in inference; 'network_training' has no
            reference, it is a training step of all of Semantic Lens.
        side: 'reference' or 'measured'.
        sizes: FULL or QUICK.
        device: Where to run.
        released: Checkout of the released code, for the first two.
    """
    theirs = side == 'reference'
    if case == 'inference':
        assert released is not None
        return _restore(_same_networks(released, sizes)[0 if theirs else 1], sizes, device)
    if case == 'branch_training':
        return _branch_step(theirs, sizes, device, released)
    torch.manual_seed(0)
    if case == 'semantics':
        return _restore(_semantic_lens(sizes, not theirs), sizes, device)
    return _training_step(_semantic_lens(sizes, True, checkpointing=True), sizes, device)


def _same_networks(released: Path, sizes: Sizes) -> tuple[nn.Module, nn.Module]:
    """The released network and ours with its weights."""
    from basicsr_semantic.archs import PSRTRecurrent

    theirs, ours = released_network(released, sizes), PSRTRecurrent(**sizes.network)
    ours.load_state_dict(ours.filter_checkpoint(theirs.state_dict())[0])
    return theirs.eval(), ours.eval()


def _semantic_lens(sizes: Sizes, whole: bool, checkpointing: bool = False) -> nn.Module:
    from basicsr_semantic.archs import SemanticLens

    parts = {'gps': whole, 'isee': whole, 'image': whole}
    return SemanticLens(**sizes.network, **parts, checkpointing=checkpointing)


def _clip(shape: tuple[int, int, int], device: torch.device) -> torch.Tensor:
    frames, height, width = shape
    return torch.rand(1, frames, 3, height, width, generator=torch.Generator().manual_seed(1)).to(device)


def _inputs(net: nn.Module, shape: tuple[int, int, int], sizes: Sizes, device: torch.device) -> tuple:
    """A clip and, for a network that takes them, priors."""
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


def _restore(net: nn.Module, sizes: Sizes, device: torch.device) -> Run:
    """Inference of one clip."""
    net = net.to(device).eval()
    inputs = _inputs(net, sizes.clip, sizes, device)

    def restore() -> None:
        with torch.no_grad():
            net(*inputs)

    return restore


def _branch_step(theirs: bool, sizes: Sizes, device: torch.device, released: Path | None) -> Run:
    """Forward and backward of one branch without checkpointing, in training mode."""
    from basicsr_semantic.archs.layers.mfsa import PropagationBranch

    frames, height, width = sizes.step
    shape = (1, frames, height, width, sizes.network['embed_dim'])
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1)).to(device)
    torch.manual_seed(0)
    if theirs:
        assert released is not None
        net, x = released_branch(released, sizes), x.permute(0, 1, 4, 2, 3).contiguous()
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


def _training_step(net: nn.Module, sizes: Sizes, device: torch.device) -> Run:
    """Forward, backward and AdamW of the whole network."""
    net = net.to(device).train()
    inputs = _inputs(net, sizes.training, sizes, device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        net(*inputs).square().mean().backward()
        optimizer.step()

    return step


def difference(released: Path, sizes: Sizes, device: torch.device) -> float:
    """Largest difference between the released network and ours with its weights, on the clip of the measurement."""
    theirs, ours = (net.to(device) for net in _same_networks(released, sizes))
    lq = _clip(sizes.clip, device)
    with torch.no_grad():
        return float((theirs(lq) - ours(lq)).abs().max())


def main(arguments: list[str] | None = None) -> int:
    """Measure what the command line names and print the result."""
    parser = make_parser(('time', 'memory', 'difference'), CASES)
    parser.add_argument('--released', type=Path)
    options = parser.parse_args(arguments)
    device, sizes, case = device_of(options), QUICK if options.quick else FULL, options.case
    run = partial(make_run, case, sizes=sizes, device=device, released=options.released)
    if options.what == 'time':
        result = measure_time(run, case, device, options.pairs)
    elif options.what == 'difference':
        result = difference(options.released, sizes, device)
        say({'done': 'difference'})
    else:
        whole = case == 'network_training'
        runs, label = 2 if 'training' in case else 1, f'{case} {options.side}'
        result = measure_memory(partial(run, options.side), label, device, runs, above_idle=not whole)
    say({'result': result, 'input': 'x'.join(map(str, sizes.of(case))), **describe(device, options.threads)})
    return 0


if __name__ == '__main__':
    sys.exit(main())
