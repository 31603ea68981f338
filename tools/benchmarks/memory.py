#!/usr/bin/env python3
"""What a training step needs of a GPU's memory, counted without a GPU, data or weights.

The model class of the option file is built on the CPU and fed a batch of zeros of the file's sizes. Then all that it
holds becomes fake tensors of a GPU, which have shapes and no content, and its own training step runs up to the backward
pass. What is counted:

- weights, of frozen networks too, and buffers; gradients of what trains; the state of the optimiser, by a real step of
  it on the CPU; the average of the weights;
- the batch, and what the step itself holds till its end, as the network's output;
- what is saved for the backward pass, each storage once, without weights and batch;
- again: of what checkpointing works out again, as much as is there at one time with what is saved.

The sum is a lower bound. Left out are the workspaces of cuDNN, the context of CUDA (about half a GB), gaps that the
allocator cannot use, and temporary results. The copies of gradients that DistributedDataParallel has and what a section
network_s has on the GPU are left out, too. A gradient appears when what was saved for it is freed, so counting both may
be more than is needed.

The step is the worst one of the run: after fix_flow and tsa_iter, when everything that can train does. Of
train:amp the tool makes two cases of its own, none and bf16; fp16 needs what bf16 does. train:compile is left out, and
attention saves what CUDA's fused kernels save. In stage 1 of Semantic Lens the frame decoder has the sizes that the
file says, frames are as large as the options allow, and each clip shows four instances in all its frames; which query
is matched with which instance depends on values, so that is made up, but not their number. A network that takes
instance tokens gets 100 a clip, as stage 1 gives.

    python tools/benchmarks/memory.py options/seem/train_BasicVSRSEEM_REDS.yml
    python tools/benchmarks/memory.py --markdown options/se*/train_*.yml
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'tools/benchmarks')]

from memory_building import PRECISIONS, build  # noqa: E402  (in the same folder)
from memory_counting import bytes_of, count  # noqa: E402

from basicsr_semantic.config.option_file import OptionFile  # noqa: E402
from basicsr_semantic.config.plugins import load_plugins  # noqa: E402
from basicsr_semantic.utils.errors import UserError  # noqa: E402

_GB = 1e9
STARS = ('*', r'\*')
"""Marks a file without its network_s: in text, in Markdown."""


@dataclass(frozen=True)
class Memory:
    """What a training step of one process has in memory at the least, in bytes."""

    file: str
    """Option file."""
    precision: str
    """float32 or bf16."""
    trains_in: str
    """What the option file asks for: float32, bf16 or fp16."""
    clips: int
    """Clips at a time: those of a batch, or of one part of it with train:accumulate."""
    frames: int
    """Frames of a clip."""
    size: tuple[int, int]
    """Height and width of what the network takes, in pixels."""
    weights: int
    """Parameters and buffers of all networks, frozen ones too."""
    gradients: int
    """Gradients of what trains."""
    optimizer: int
    """State of the optimiser."""
    average: int
    """Average of the weights."""
    batch: int
    """Frames, GT and priors on the device."""
    held: int
    """What the step itself holds till its end: the network's output, for example."""
    saved: int
    """Storages saved for the backward pass, without weights and batch."""
    again: int
    """What checkpointing works out again, as far as it adds to the largest sum."""
    without_source: bool
    """Whether a section network_s is left out."""

    @property
    def fixed(self) -> int:
        """What does not depend on the batch."""
        return self.weights + self.gradients + self.optimizer + self.average

    @property
    def total(self) -> int:
        """The sum of all."""
        return self.fixed + self.batch + self.held + self.saved + self.again


def measure(file: OptionFile, precision: str) -> Memory:
    """Count what a training step of an option file needs.

    Args:
        file: The options; data and weights that they name need not exist.
        precision: ``float32`` or ``bf16``.

    Raises:
        UserError: See :func:`build`.
    """
    model, batch = build(file, precision)
    averages = [one.net for one in getattr(model, 'averages', {}).values()]
    averages += [model.net_g_ema] if hasattr(model, 'net_g_ema') else []
    average = sum(bytes_of([*one.parameters(), *one.buffers()]) for one in averages)
    optimizer = _optimizer_state(model.optimizer_g)
    train = file.values['train']
    counted = count(model, train['total_iter'])
    counts = counted.there
    frames = batch['frames' if 'frames' in batch else 'lq']
    return Memory(
        file=file.file,
        precision=precision,
        trains_in=train.get('amp') or 'float32',
        clips=frames.size(0) // train.get('accumulate', 1),
        frames=frames.size(1),
        size=(frames.size(-2), frames.size(-1)),
        weights=bytes_of(counts.weights) - average,
        gradients=bytes_of([weight for weight in counts.weights if weight.requires_grad]),
        optimizer=optimizer,
        average=average,
        batch=bytes_of(counts.others),
        held=counted.held,
        saved=counted.saved,
        again=counted.again,
        without_source=bool(file.values.get('network_s')),
    )


def _optimizer_state(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of the state of an optimiser after a step, which is taken on gradients of zeros."""
    weights = [weight for group in optimizer.param_groups for weight in group['params']]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    state = [value for one in optimizer.state.values() for value in one.values() if torch.is_tensor(value)]
    optimizer.state.clear()
    return bytes_of(state)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what models say while they are built."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(logging.NOTSET)


def _gb(size: float) -> str:
    return f'{size / _GB:.2f}' if size < 9.995e9 else f'{size / _GB:.1f}'


def _name(one: Memory) -> str:
    """The file, by its place in the repository if it is there."""
    path = Path(one.file).resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else one.file


def lines_of(found: list[Memory]) -> list[list[str]]:
    """The lines of the table, the head first: one for each file and precision, sizes in GB of 10^9 bytes."""
    lines = [['option file', 'precision', 'clips', 'input', 'fixed', 'batch', 'saved', 'again', 'at least']]
    for one in found:
        name = _name(one) + STARS[0] * one.without_source
        sizes = [_gb(size) for size in (one.fixed, one.batch + one.held, one.saved, one.again, one.total)]
        here = f'{one.clips} x {one.frames} frames', f'{one.size[0]}x{one.size[1]}'
        lines.append([name, one.precision, *here, *sizes])
    return lines


def footer(found: list[Memory], star: str = '*') -> str:
    """The sentences below a table, in which ``star`` marks some files."""
    message = f'GB of 10^9 bytes, of one process, counted with PyTorch {torch.__version__}.'
    return message + f' {star}: without what network_s has on the GPU.' * any(one.without_source for one in found)


def text_table(found: list[Memory]) -> str:
    """All figures, for a terminal."""
    lines = lines_of(found)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return '\n'.join(
        '  '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def markdown_table(found: list[Memory]) -> str:
    """A line a file, float32 and bf16 side by side; the sum in what the file itself trains in is bold."""
    heads = ['option file', 'clips x frames', 'input', 'fixed']
    heads += [f'{name}: {what}' for name in PRECISIONS for what in ('saved + again', 'at least')]
    lines = ['| ' + ' | '.join(heads) + ' |', '| --- | --- | --- |' + ' ---: |' * (len(heads) - 3)]
    for name in dict.fromkeys(one.file for one in found):
        pair = [one for one in found if one.file == name]
        row = [f'`{_name(pair[0]).removeprefix("options/")}`' + STARS[1] * pair[0].without_source]
        row += [f'{pair[0].clips} x {pair[0].frames}', f'{pair[0].size[0]}x{pair[0].size[1]}', _gb(pair[0].fixed)]
        for one in pair:
            row.append(f'{_gb(one.saved)} + {_gb(one.again)}' if one.again else _gb(one.saved))
            own = (one.trains_in == 'float32') == (one.precision == 'float32')
            row.append(f'**{_gb(one.total)}**' if own else _gb(one.total))
        lines.append('| ' + ' | '.join(row) + ' |')
    return '\n'.join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, count and print the table.

    Returns:
        2 where an option file cannot be counted; the sentence says why.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+', metavar='OPTION_FILE', help='option file of a training')
    parser.add_argument('--force_yml', nargs='+', metavar='a:b=v', help='change options: train:accumulate=2')
    parser.add_argument('--markdown', action='store_true', help='print the table of docs/memory.md')
    args = parser.parse_args(arguments)
    found = []
    try:
        load_plugins()
        for path in tqdm(args.files, leave=False, disable=None):
            file = OptionFile.read(path, args.force_yml)
            with _quiet():
                found += [measure(file, precision) for precision in PRECISIONS]
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print((markdown_table if args.markdown else text_table)(found))
    print(f'\n{footer(found, STARS[args.markdown])}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
