#!/usr/bin/env python3
"""What SEEM costs: time and memory of inference beside the plain baseline, of tuning SEEM beside training everything.

`python tools/benchmark_seem.py` takes a quarter of an hour on two idle cores; `--quick` shows that it works.
Times are taken in alternation in one process and compared pair by pair, so that other load falls on both sides; the
median of the pairs' ratios counts. On CPU memory is the peak above the idle process, one process a measurement, with
MALLOC_MMAP_THRESHOLD_=1000000 (glibc otherwise keeps freed blocks); on a GPU it is what PyTorch allocated at most.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

WORKER = Path(__file__).with_name('benchmark_seem_worker.py')
MEMORY_ENVIRONMENT = {'MALLOC_MMAP_THRESHOLD_': '1000000'}


@dataclass(frozen=True)
class Case:
    """A comparison and the largest ratios it may have; None where there is no target."""

    name: str
    title: str
    time_target: float | None
    memory_target: float | None


CASES = (
    Case('basicvsr_inference', 'BasicVSR + SEEM / BasicVSR, inference', 1.15, 1.12),
    Case('edvr_inference', 'EDVR-M + SEEM / EDVR-M, inference', 1.20, 1.20),
    Case('basicvsr_tuning', 'BasicVSR + SEEM, step of SEEM only / of all', 0.80, 0.95),
    Case('edvr_tuning', 'EDVR-M + SEEM, step of SEEM only / of all', None, None),
)


@dataclass
class Row:
    """One line of the table."""

    case: str
    input: str
    quantity: str
    reference: float
    measured: float
    unit: str
    ratio: float
    target: float | None

    @property
    def verdict(self) -> str:
        """Whether the target was reached."""
        return '-' if self.target is None else 'reached' if self.ratio <= self.target else 'MISSED'


class WorkerError(RuntimeError):
    """A measurement ended without a result."""


def run_worker(arguments: list[str], environment: dict[str, str], threads: int, progress: tqdm) -> dict:
    """Run one measurement and move the bar on with it.

    Args:
        arguments: Command line of the worker.
        environment: Variables for this measurement alone.
        threads: CPU threads.
        progress: Bar to move, one step a run.

    Returns:
        The worker's last line: ``result``, ``input``, ``machine``, ``torch``.

    Raises:
        WorkerError: The worker failed; the message is what it said.
    """
    command = [sys.executable, str(WORKER), *arguments, '--threads', str(threads)]
    root = str(WORKER.parent.parent)
    path = os.pathsep.join(filter(None, (root, os.environ.get('PYTHONPATH'))))
    variables = {**os.environ, 'OMP_NUM_THREADS': str(threads), 'PYTHONPATH': path, **environment}
    last: dict = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables) as worker:
        assert worker.stdout is not None and worker.stderr is not None
        for line in worker.stdout:
            if line.startswith('{'):
                last = json.loads(line)
                if 'done' in last:
                    progress.set_description(last['done'])
                    progress.update()
        said = worker.stderr.read()
    if worker.returncode or 'result' not in last:
        raise WorkerError(f'"{" ".join(command)}" failed with code {worker.returncode}:\n{said.strip()}')
    return last


def time_row(case: Case, shape: str, seconds: dict[str, list[float]]) -> Row:
    """Compare alternated runs: medians of both sides, and the median of the ratios within the pairs."""
    reference, measured = seconds['reference'], seconds['measured']
    ratios = [b / a for a, b in zip(reference, measured, strict=True)]
    medians = statistics.median(reference), statistics.median(measured)
    return Row(case.title, shape, 'time', *medians, 's', statistics.median(ratios), case.time_target)


def memory_row(case: Case, shape: str, reference: float, measured: float) -> Row:
    """Compare two peaks in MiB."""
    return Row(case.title, shape, 'memory', reference, measured, 'MiB', measured / reference, case.memory_target)


def table(rows: list[Row]) -> str:
    """Lay the rows out for a terminal."""
    lines = [('comparison', 'input', '', 'reference', 'measured', 'ratio', 'target', 'result')]
    for row in rows:
        values = (f'{row.reference:.2f} {row.unit}', f'{row.measured:.2f} {row.unit}', f'{row.ratio:.3f}')
        target = '-' if row.target is None else f'<= {row.target:.2f}'
        lines.append((row.case, row.input, row.quantity, *values, target, row.verdict))
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    padded.insert(1, ['-' * width for width in widths])
    return '\n'.join('  '.join(line).rstrip() for line in padded)


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
            found = run_worker(['time', case.name, '--pairs', str(pairs), *common], {}, threads, progress)
            rows.append(time_row(case, found['input'], found['result']))
            record['seconds'][case.name] = found['result']
            peaks = {}
            for side in ('reference', 'measured'):
                arguments = ['memory', case.name, '--side', side, *common]
                peaks[side] = run_worker(arguments, MEMORY_ENVIRONMENT, threads, progress)['result']
            rows.append(memory_row(case, found['input'], peaks['reference'], peaks['measured']))
            record['mebibytes'][case.name] = peaks
            record |= {key: found[key] for key in ('machine', 'torch')}
    return rows, record


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, and return 1 where a target was missed (never with --quick)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cases', nargs='+', choices=[case.name for case in CASES], help='only these (default: all)')
    parser.add_argument('--pairs', type=int, default=5, help='alternated pairs of runs (default: %(default)s)')
    parser.add_argument('--threads', type=int, default=2, help='CPU threads (default: %(default)s)')
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='default: a GPU if any')
    parser.add_argument('--json', metavar='OUT', help='file for every figure')
    parser.add_argument('--quick', action='store_true', help='tiny networks and frames; the ratios mean nothing')
    options = parser.parse_args(arguments)
    if options.pairs < 1 or options.threads < 1:
        parser.error('--pairs and --threads must be at least 1.')
    cases = [case for case in CASES if options.cases is None or case.name in options.cases]
    common = ['--device', options.device, *(['--quick'] if options.quick else [])]
    try:
        rows, record = measure(cases, options.pairs, options.threads, common)
    except WorkerError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'{record["machine"]}, PyTorch {record["torch"]}, median of {options.pairs} alternated pairs')
    print(table(rows))
    if options.quick:
        print('Tiny networks and frames: these ratios say only that the benchmark works.')
    if options.json:
        record |= {'quick': options.quick, 'rows': [{**asdict(row), 'verdict': row.verdict} for row in rows]}
        out = Path(options.json)
        beside = out.with_name(f'.{out.name}.{os.getpid()}.tmp')
        beside.write_text(json.dumps(record, indent=2) + '\n')
        beside.replace(out)
    return 1 if not options.quick and any(row.verdict == 'MISSED' for row in rows) else 0


if __name__ == '__main__':
    sys.exit(main())
