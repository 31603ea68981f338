#!/usr/bin/env python3
"""What SeeClear costs: sampling against the released code of ResShift, a step against Semantic Lens, a training step.

`python tools/benchmarks/benchmark_seeclear.py --released-resshift FOLDER`; FOLDER is a checkout of zsyOAOA/ResShift,
which is imported as it is (missing packages are replaced in memory, see benchmark_seeclear_peer.py).
`--quick` shows that it works.

A clip of 5 frames, full-size networks with random weights, random priors. On a GPU both sides sample all steps, in
bfloat16 (`--precision float32` for the other), ResShift all frames at once. On a CPU that would take most of an hour:
there one step and what is done once a clip are timed, for ResShift of one frame, and the sum is worked out and marked
as computed; `--full` samples all steps there, too. Priors are those of a store: neither extractor nor text encoder
runs.

Times are taken in alternation in one process and compared pair by pair, so that other load affects both sides; the
median of the pairs' ratios counts. On CPU memory is the peak above the idle process, one process a measurement, with
MALLOC_MMAP_THRESHOLD_=1000000 (glibc otherwise keeps freed blocks); on a GPU it is what PyTorch allocated at most.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from benchmarking import (
    MEMORY_ENVIRONMENT,
    Case,
    Row,
    WorkerError,
    conclude,
    make_parser,
    memory_row,
    read_arguments,
    run_worker,
    time_row,
)
from tqdm import tqdm

WORKER = Path(__file__).with_name('benchmark_seeclear_worker.py')

#: What a training step with checkpointing may need on a GPU, 24 GB in MiB.
BUDGET = 24e9 / 2**20

CASES = (
    Case('sampling', 'SeeClear / ResShift and its autoencoder, a frame', 1.0, None),
    Case('unet', "SeeClear / ResShift's U-Net alone, a frame", None, None),
    Case('core', 'a denoising step / Semantic Lens, a clip', None, None),
    Case('condition', 'what is done once a clip / a denoising step', None, None),
    Case('training', 'training step, with / without checkpointing', None, None),
)
BUDGET_CASE = Case('budget', 'training step with checkpointing, peak / 24 GB', None, 1.0)

Seconds = dict[str, list[float]]

_SAMPLED = ('sampling', 'unet')

#: What their time is worked out from.
PARTS = ('once', 'step')


def measure(names: list[str], options: argparse.Namespace, whole: bool, common: list[str]) -> dict:
    """Measure the cases one after the other.

    Args:
        names: Which.
        options: The command line.
        whole: Sample all steps instead of timing the parts.
        common: Arguments of every worker.

    Returns:
        Everything measured, with the machine's description and the inputs, for a JSON file.
    """
    parts = [[name] if whole or name not in _SAMPLED else PARTS for name in names]
    timed = list(dict.fromkeys(part for group in parts for part in group))
    weighed = ('reference', 'measured') if 'training' in names else ()
    record: dict = {'seconds': {}, 'mebibytes': {}, 'inputs': {}, 'computed': not whole}
    with tqdm(total=len(timed) * 2 * (options.pairs + 1) + 2 * len(weighed), unit='run', leave=False) as progress:
        for name in timed:
            progress.set_description(name)
            arguments = ['time', name, '--pairs', str(options.pairs), *common]
            found = run_worker(WORKER, arguments, {}, options.threads, progress)
            record['seconds'][name], record['inputs'][name] = found['result'], found['input']
            record |= {key: found[key] for key in ('machine', 'torch')}
        for side in weighed:
            arguments = ['memory', 'training', '--side', side, *common]
            found = run_worker(WORKER, arguments, MEMORY_ENVIRONMENT, options.threads, progress)
            record['mebibytes'].setdefault('training', {})[side] = found['result']
    return record


def compare(cases: list[Case], record: dict, steps: int, on_gpu: bool) -> list[Row]:
    """The lines of the table; what SeeClear must reach, it must reach on a GPU."""
    rows = []
    seconds, inputs = record['seconds'], record['inputs']
    for case in cases:
        if not on_gpu:
            case = replace(case, time_target=None)
        if case.name in _SAMPLED:
            computed = case.name not in seconds
            case = replace(case, title=f'{case.title} (computed)') if computed else case
            shape = inputs['step' if computed else case.name]
            rows.append(time_row(case, shape, frame_seconds(case.name, seconds, steps, int(shape.split('x')[0]))))
        else:
            rows.append(time_row(case, inputs[case.name], seconds[case.name]))
        if case.name in record['mebibytes']:
            peaks = record['mebibytes'][case.name]
            rows.append(memory_row(case, inputs[case.name], peaks['reference'], peaks['measured']))
            budget = BUDGET_CASE if on_gpu else replace(BUDGET_CASE, memory_target=None)
            rows.append(memory_row(budget, inputs[case.name], BUDGET, peaks['measured']))
    return rows


def frame_seconds(name: str, seconds: dict[str, Seconds], steps: int, frames: int) -> Seconds:
    """Time a frame, from what was sampled or from its parts.

    Args:
        name: 'sampling' or 'unet'.
        seconds: Of that case for a clip on both sides; or of the cases 'once' and 'step', there the reference's for a
            frame.
        steps: Steps of the diffusion.
        frames: Frames of a clip.
    """
    if name in seconds:
        return {side: [value / frames for value in values] for side, values in seconds[name].items()}
    pairs = {side: list(zip(seconds['once'][side], seconds['step'][side], strict=True)) for side in seconds['step']}
    around = name == 'sampling'  # the autoencoder
    return {
        'reference': [around * once + steps * step for once, step in pairs['reference']],
        'measured': [(once + steps * step) / frames for once, step in pairs['measured']],
    }


def has_gpu(device: str) -> bool:
    """Whether the workers will run on a GPU."""
    import torch

    return device == 'cuda' or (device == 'auto' and torch.cuda.is_available())


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, and return 1 where a target was missed (never with --quick)."""
    parser = make_parser(__doc__, CASES, pairs=2)
    parser.add_argument('--released-resshift', metavar='FOLDER', type=Path, help="checkout of ResShift's released code")
    parser.add_argument('--size', type=int, default=128, help='rows and columns of an LR frame (default: %(default)s)')
    parser.add_argument('--steps', type=int, default=15, help='steps of both diffusions (default: %(default)s)')
    parser.add_argument('--precision', choices=('auto', 'float32', 'bfloat16'), default='auto', help='of both sides')
    parser.add_argument('--full', action='store_true', help='sample all steps on a CPU, too')
    options, cases, common = read_arguments(parser, arguments, CASES)
    if options.size < 64 or options.size % 64 or options.steps < 1:
        parser.error('--size must be a multiple of 64, which ResShift needs, and --steps at least 1.')
    on_gpu = has_gpu(options.device)
    precision = options.precision
    if precision == 'auto':
        precision = 'bfloat16' if on_gpu else 'float32'
    common += ['--size', str(options.size), '--steps', str(options.steps), '--precision', precision]
    if options.released_resshift is not None:
        common += ['--released-resshift', str(options.released_resshift.resolve())]
    elif any(case.name in _SAMPLED for case in cases):
        parser.error(
            f'{" and ".join(_SAMPLED)} compare with the released code: clone https://github.com/zsyOAOA/ResShift and '
            'name the folder by --released-resshift, or choose other --cases.'
        )
    whole = on_gpu or options.full
    try:
        record = measure([case.name for case in cases], options, whole, common)
    except WorkerError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    record |= {'precision': precision, 'steps': options.steps}
    rows = compare(cases, record, options.steps, on_gpu)
    remarks = [f'Both sides in {precision}.']
    if not whole and any(case.name in _SAMPLED for case in cases):
        remarks.append(f'Computed: what is done once + {options.steps} x a step; --full samples to the end.')
    return conclude(rows, record, options, remarks)


if __name__ == '__main__':
    sys.exit(main())
