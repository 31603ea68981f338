#!/usr/bin/env python3
"""What the Pixel Enhancer of Semantic Lens costs, against the released code of PSRT, whose transformer it shares.

`python tools/benchmarks/benchmark_semantic_lens.py --released FOLDER` takes a quarter of an hour on two cores; FOLDER
is a checkout of XPixelGroup/RethinkVSRAlignment, imported as it is (what keeps it from running on a CPU is replaced in
memory). `--quick` shows that it works.

Times are taken in alternation in one process and compared pair by pair, so that other load falls on both sides; the
median of the pairs' ratios counts. On CPU memory is the peak of a process of its own with
MALLOC_MMAP_THRESHOLD_=1000000 (glibc otherwise keeps freed blocks), above the idle process for the branch, all of it
for the whole network; on a GPU it is what PyTorch allocated at most. Both sides run with the same settings.
"""

from __future__ import annotations

import sys
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

WORKER = Path(__file__).with_name('benchmark_semantic_lens_worker.py')

#: What the training of the whole network may need, 6 GB in MiB.
BUDGET = 6e9 / 2**20

CASES = (
    Case('inference', 'PSRT / released code, inference', 1 / 1.8, None),
    Case('branch_training', 'a branch / released code, training step', None, 0.65),
    Case('network_training', 'Semantic Lens, training step, peak / 6 GB', None, 1.0),
    Case('semantics', 'with / without IMAGE and SPACE, inference', 1.35, None),
)

# Which quantities are measured; a time without a target is printed, too.
_TIMED = ('inference', 'branch_training', 'semantics')
_WEIGHED = ('branch_training', 'network_training')
_RELEASED = ('inference', 'branch_training')


def measure(cases: list[Case], pairs: int, threads: int, common: list[str]) -> tuple[list[Row], dict]:
    """Measure the cases one after the other.

    Returns:
        The rows, and everything measured with the machine's description, for a JSON file.
    """
    rows: list[Row] = []
    record: dict = {'seconds': {}, 'mebibytes': {}, 'difference': None}
    names = [case.name for case in cases]
    runs = sum(2 * (pairs + 1) for name in names if name in _TIMED)
    runs += ('inference' in names) + 4 * ('branch_training' in names) + 2 * ('network_training' in names)
    with tqdm(total=runs, unit='run', leave=False) as progress:
        for case in cases:
            progress.set_description(case.name)
            found: dict = {}
            if case.name == 'inference':
                found = run_worker(WORKER, ['difference', case.name, *common], {}, threads, progress)
                record['difference'] = found['result']
            if case.name in _TIMED:
                found = run_worker(WORKER, ['time', case.name, '--pairs', str(pairs), *common], {}, threads, progress)
                rows.append(time_row(case, found['input'], found['result']))
                record['seconds'][case.name] = found['result']
            if case.name in _WEIGHED:
                peaks = {'reference': BUDGET}
                for side in ('reference', 'measured') if case.name in _RELEASED else ('measured',):
                    arguments = ['memory', case.name, '--side', side, *common]
                    found = run_worker(WORKER, arguments, MEMORY_ENVIRONMENT, threads, progress)
                    peaks[side] = found['result']
                rows.append(memory_row(case, found['input'], peaks['reference'], peaks['measured']))
                record['mebibytes'][case.name] = peaks
            record |= {key: found[key] for key in ('machine', 'torch')}
    return rows, record


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, and return 1 where a target was missed (never with --quick)."""
    parser = make_parser(__doc__, CASES, pairs=3)
    parser.add_argument('--released', metavar='FOLDER', type=Path, help="checkout of PSRT's released code")
    options, cases, common = read_arguments(parser, arguments, CASES)
    if options.released is not None:
        common += ['--released', str(options.released.resolve())]
    elif any(case.name in _RELEASED for case in cases):
        parser.error(
            f'{" and ".join(_RELEASED)} compare with the released code: clone '
            'https://github.com/XPixelGroup/RethinkVSRAlignment and name the folder by --released, or choose other '
            '--cases.'
        )
    try:
        rows, record = measure(cases, options.pairs, options.threads, common)
    except WorkerError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    faster = [row for row in rows if row.quantity == 'time' and row.ratio < 1]
    remarks = [f'{row.case}: {1 / row.ratio:.2f} times as fast.' for row in faster]
    if record['difference'] is not None:
        remarks.append(f'Largest difference from the released code with the same weights: {record["difference"]:.1e}')
    return conclude(rows, record, options, remarks)


if __name__ == '__main__':
    sys.exit(main())
