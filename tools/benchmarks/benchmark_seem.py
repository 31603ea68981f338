#!/usr/bin/env python3
"""What SEEM costs: time and memory of inference against the plain baseline, of tuning SEEM against training all.

`python tools/benchmarks/benchmark_seem.py` takes a quarter of an hour on two idle cores; `--quick` shows that it works.
Times are taken in alternation in one process and compared pair by pair, so that other load falls on both sides; the
median of the pairs' ratios counts. On CPU memory is the peak above the idle process, one process a measurement, with
MALLOC_MMAP_THRESHOLD_=1000000 (glibc otherwise keeps freed blocks); on a GPU it is what PyTorch allocated at most.
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

WORKER = Path(__file__).with_name('benchmark_seem_worker.py')


CASES = (
    Case('basicvsr_inference', 'BasicVSR + SEEM / BasicVSR, inference', 1.15, 1.12),
    Case('edvr_inference', 'EDVR-M + SEEM / EDVR-M, inference', 1.20, 1.20),
    Case('basicvsr_tuning', 'BasicVSR + SEEM, step of SEEM only / of all', 0.80, 0.95),
    Case('edvr_tuning', 'EDVR-M + SEEM, step of SEEM only / of all', None, None),
)


def measure(cases: list[Case], pairs: int, threads: int, common: list[str]) -> tuple[list[Row], dict]:
    """Measure the cases one after the other.

    Returns:
        The rows, and everything measured with the machine's description, for a JSON file.
    """
    rows: list[Row] = []
    record: dict = {'seconds': {}, 'mebibytes': {}}
    memory_runs = sum(4 if 'tuning' in case.name else 2 for case in cases)
    with tqdm(total=len(cases) * 2 * (pairs + 1) + memory_runs, unit='run', leave=False) as progress:
        for case in cases:
            progress.set_description(case.name)
            found = run_worker(WORKER, ['time', case.name, '--pairs', str(pairs), *common], {}, threads, progress)
            rows.append(time_row(case, found['input'], found['result']))
            record['seconds'][case.name] = found['result']
            peaks = {}
            for side in ('reference', 'measured'):
                arguments = ['memory', case.name, '--side', side, *common]
                peaks[side] = run_worker(WORKER, arguments, MEMORY_ENVIRONMENT, threads, progress)['result']
            rows.append(memory_row(case, found['input'], peaks['reference'], peaks['measured']))
            record['mebibytes'][case.name] = peaks
            record |= {key: found[key] for key in ('machine', 'torch')}
    return rows, record


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, and return 1 where a target was missed (never with --quick)."""
    options, cases, common = read_arguments(make_parser(__doc__, CASES, pairs=5), arguments, CASES)
    try:
        rows, record = measure(cases, options.pairs, options.threads, common)
    except WorkerError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return conclude(rows, record, options)


if __name__ == '__main__':
    sys.exit(main())
