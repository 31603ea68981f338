"""What the benchmarks share: cases, rows of a table, and measurements that run in processes of their own."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from basicsr_semantic.utils.files import write_whole

#: glibc otherwise keeps freed blocks, and the peak does not show what was needed.
MEMORY_ENVIRONMENT = {'MALLOC_MMAP_THRESHOLD_': '1000000'}


@dataclass(frozen=True)
class Case:
    """A comparison and the largest ratios it may have; None where there is no target."""

    name: str
    title: str
    time_target: float | None
    memory_target: float | None


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


def run_worker(
    worker_file: Path, arguments: list[str], environment: dict[str, str], threads: int, progress: tqdm
) -> dict:
    """Run one measurement and move the bar on with it.

    Args:
        worker_file: The script that measures.
        arguments: Its command line.
        environment: Variables for this measurement alone.
        threads: CPU threads.
        progress: Bar to move, one step a run.

    Returns:
        The worker's last line: ``result``, ``input``, ``machine``, ``torch``.

    Raises:
        WorkerError: The worker failed; the message is what it said.
    """
    command = [sys.executable, str(worker_file), *arguments, '--threads', str(threads)]
    root = str(worker_file.parents[2])
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
        message = worker.stderr.read()
    if worker.returncode or 'result' not in last:
        raise WorkerError(f'"{" ".join(command)}" failed with code {worker.returncode}:\n{message.strip()}')
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


def write_record(record: dict, rows: list[Row], out: str) -> None:
    """Write every figure as JSON."""
    record = record | {'rows': [{**asdict(row), 'verdict': row.verdict} for row in rows]}
    write_whole(out, (json.dumps(record, indent=2) + '\n').encode())


def make_parser(description: str | None, cases: Sequence[Case], pairs: int) -> argparse.ArgumentParser:
    """The arguments that every benchmark takes.

    Args:
        description: What it measures.
        cases: What can be chosen.
        pairs: Default of ``--pairs``.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cases', nargs='+', choices=[case.name for case in cases], help='only these (default: all)')
    parser.add_argument('--pairs', type=int, default=pairs, help='alternated pairs of runs (default: %(default)s)')
    parser.add_argument('--threads', type=int, default=2, help='CPU threads (default: %(default)s)')
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='default: a GPU if any')
    parser.add_argument('--json', metavar='OUT', help='file for every figure')
    parser.add_argument('--quick', action='store_true', help='tiny networks and frames; the ratios mean nothing')
    return parser


def read_arguments(
    parser: argparse.ArgumentParser, arguments: list[str] | None, cases: Sequence[Case]
) -> tuple[argparse.Namespace, list[Case], list[str]]:
    """Read the command line.

    Returns:
        The options, the cases that were chosen, and the arguments of every worker.
    """
    options = parser.parse_args(arguments)
    if options.pairs < 1 or options.threads < 1:
        parser.error('--pairs and --threads must be at least 1.')
    chosen = [case for case in cases if options.cases is None or case.name in options.cases]
    return options, chosen, ['--device', options.device, *(['--quick'] if options.quick else [])]


def conclude(rows: list[Row], record: dict, options: argparse.Namespace, remarks: Sequence[str] = ()) -> int:
    """Print the table and remarks on it, and write the file if one was asked for.

    Returns:
        1 where a target was missed (never with --quick), else 0.
    """
    print(f'{record["machine"]}, PyTorch {record["torch"]}, median of {options.pairs} alternated pairs')
    print(table(rows))
    for remark in remarks:
        print(remark)
    if options.quick:
        print('Tiny networks and frames: these ratios only show that the benchmark works.')
    if options.json:
        write_record(record | {'quick': options.quick}, rows, options.json)
    return 1 if not options.quick and any(row.verdict == 'MISSED' for row in rows) else 0
