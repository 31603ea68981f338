"""What benchmark.py runs of SEEM."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

import basicsr_semantic  # noqa: F401  (repairs BasicSR before it is imported)


@dataclass(frozen=True)
class Sizes:
    """What is measured: frame sizes in LR pixels and the size of the networks."""

    inference: tuple[int, int]
    training: tuple[int, int]
    num_frame: int
    num_masks: int
    basicvsr: dict[str, int]
    edvr: dict[str, int]
    reduction: int = 16


FULL = Sizes((180, 320), (64, 64), 5, 64, {'num_feat': 64, 'num_block': 30}, {'num_feat': 64})
QUICK = Sizes((36, 40), (36, 36), 3, 4, {'num_feat': 8, 'num_block': 1}, {'num_feat': 8, 'num_reconstruct_block': 1}, 4)


class Setting(NamedTuple):
    """What is measured, and where."""

    sizes: Sizes
    device: torch.device


def setting_of(options: Namespace, device: torch.device) -> Setting:
    """The setting of a command line."""
    torch.backends.cudnn.benchmark = True  # as BasicSR sets it
    return Setting(QUICK if options.quick else FULL, device)


def shape_of(case: str, setting: Setting) -> tuple[int, int, int]:
    """Frames, rows and columns of the input of a case."""
    sizes = setting.sizes
    return sizes.num_frame, *(sizes.training if case.endswith('tuning') else sizes.inference)


def make_run(case: str, side: str, setting: Setting) -> Callable[[], None]:
    """Build a network and its input, and return what is measured: one clip or window restored, or one training step.

    Args:
        case: One of those of SEEM.
        side: 'reference' is the plain baseline in inference, and the step that trains everything in tuning;
            'measured' is the baseline with SEEM, and the step that trains only SEEM.
        setting: What is measured, and where.
    """
    from basicsr.archs import build_network

    sizes, device = setting
    host, task = case.split('_')
    options = {'type': 'BasicVSR', **sizes.basicvsr}
    if host == 'edvr':
        options = {'type': 'EDVR', 'num_frame': sizes.num_frame, **sizes.edvr}
    with_seem = task == 'tuning' or side == 'measured'
    if with_seem:
        options |= {'type': f'{options["type"]}SEEM', 'num_masks': sizes.num_masks, 'reduction': sizes.reduction}
    torch.manual_seed(0)
    net = build_network(options).to(device)
    num_frame, height, width = shape_of(case, setting)
    frames = torch.rand(1, num_frame, 3, height, width, device=device)
    masks = torch.randint(0, 2, (1, num_frame, sizes.num_masks, height, width), dtype=torch.uint8, device=device)
    inputs = (frames, masks) if with_seem else (frames,)
    if task == 'tuning':
        return _training_step(net, inputs, only_adapter=side == 'measured')

    def restore() -> None:
        with torch.no_grad():
            net(*inputs)

    net.eval()
    return restore


def _training_step(net: nn.Module, inputs: tuple[torch.Tensor, ...], only_adapter: bool) -> Callable[[], None]:
    """Forward, backward and Adam, as SemanticVSRModel does them."""
    from basicsr_semantic.archs.layers.frozen import lean_frozen_convs

    if only_adapter:
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name.startswith(net.adapter_prefixes))  # type: ignore[arg-type]
        lean_frozen_convs(net)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-4)
    with torch.no_grad():
        target = torch.rand_like(net(*inputs))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        (net(*inputs) - target).abs().mean().backward()
        optimizer.step()

    return step
