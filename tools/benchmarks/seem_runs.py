#!/usr/bin/env python3
"""One measurement of benchmark_seem.py, in a process of its own: a JSON object a line, the result last."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from benchmark_worker import describe, device_of, make_parser, measure_memory, measure_time, say
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

    def of(self, task: str) -> tuple[int, int]:
        """Height and width for 'inference' or 'tuning'."""
        return self.inference if task == 'inference' else self.training


FULL = Sizes((180, 320), (64, 64), 5, 64, {'num_feat': 64, 'num_block': 30}, {'num_feat': 64})
QUICK = Sizes((36, 40), (36, 36), 3, 4, {'num_feat': 8, 'num_block': 1}, {'num_feat': 8, 'num_reconstruct_block': 1}, 4)

CASES = ('basicvsr_inference', 'edvr_inference', 'basicvsr_tuning', 'edvr_tuning')


def make_run(case: str, side: str, sizes: Sizes, device: torch.device) -> Callable[[], None]:
    """Build a network and its input, and return what is measured: one clip or window restored, or one training step.

    Args:
        case: One of CASES.
        side: 'reference' is the plain baseline in inference, and the step that trains everything in tuning;
            'measured' is the baseline with SEEM, and the step that trains only SEEM.
        sizes: FULL or QUICK.
        device: Where to run.
    """
    from basicsr.archs import build_network

    host, task = case.split('_')
    options = {'type': 'BasicVSR', **sizes.basicvsr}
    if host == 'edvr':
        options = {'type': 'EDVR', 'num_frame': sizes.num_frame, **sizes.edvr}
    with_seem = task == 'tuning' or side == 'measured'
    if with_seem:
        options |= {'type': f'{options["type"]}SEEM', 'num_masks': sizes.num_masks, 'reduction': sizes.reduction}
    torch.manual_seed(0)
    net = build_network(options).to(device)
    height, width = sizes.of(task)
    frames = torch.rand(1, sizes.num_frame, 3, height, width, device=device)
    masks = torch.randint(0, 2, (1, sizes.num_frame, sizes.num_masks, height, width), dtype=torch.uint8, device=device)
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


def main(arguments: list[str] | None = None) -> int:
    """Measure what the command line names and print the result."""
    options = make_parser(('time', 'memory'), CASES).parse_args(arguments)
    device, sizes = device_of(options), QUICK if options.quick else FULL
    torch.backends.cudnn.benchmark = True  # as BasicSR sets it
    if options.what == 'time':
        runs = partial(make_run, options.case, sizes=sizes, device=device)
        result = measure_time(runs, options.case, device, options.pairs)
    else:
        run = partial(make_run, options.case, options.side, sizes, device)
        result = measure_memory(run, f'{options.case} {options.side}', device, 2 if 'tuning' in options.case else 1)
    height, width = sizes.of(options.case.split('_')[1])
    shape = f'{sizes.num_frame}x{height}x{width}'
    say({'result': result, 'input': shape, **describe(device, options.threads)})
    return 0


if __name__ == '__main__':
    sys.exit(main())
