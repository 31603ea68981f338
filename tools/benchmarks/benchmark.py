#!/usr/bin/env python3
"""What a method costs, in time and memory, by what its plain network or released code costs.

    python tools/benchmarks/benchmark.py METHOD [--cases CASE ...] [--released FOLDER]
    python tools/benchmarks/benchmark.py METHOD --help      # what else can be chosen

FOLDER is a checkout of the released code that a case compares with. It is imported as it is: what it wants and is
missing, or keeps it from a CPU, is bridged in memory. `--quick` shows that everything works.

Times are taken in alternation in one process and compared pair by pair, so that other load falls on both sides; the
median of the pairs' ratios counts. On CPU memory is the peak above the idle process, one process a measurement, with
MALLOC_MMAP_THRESHOLD_=1000000 (glibc otherwise keeps freed blocks), and that of the whole process where a case says so;
on a GPU it is what PyTorch allocated at most.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path

from cases import METHODS, Case, cases_of
from rows import Row, rows_of, table
from tqdm import tqdm

from basicsr_semantic.utils.files import write_whole

WORKER = Path(__file__).with_name('benchmark_worker.py')

#: glibc otherwise keeps freed blocks, and the peak says nothing about what was needed.
MEMORY_ENVIRONMENT = {'MALLOC_MMAP_THRESHOLD_': '1000000'}


class WorkerError(RuntimeError):
    """A measurement ended without a result."""


def run_worker(measurement: dict, progress: tqdm) -> dict:
    """Run one measurement in a process of its own and move the bar on with it.

    Args:
        measurement: What the worker is told.
        progress: Bar to move, one step a run.

    Returns:
        The worker's last line: ``result``, ``input``, ``machine``, ``torch``.

    Raises:
        WorkerError: The worker failed; the message is what it said.
    """
    command = [sys.executable, str(WORKER), json.dumps(measurement)]
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get('PYTHONPATH'))))
    variables = {**os.environ, 'OMP_NUM_THREADS': str(measurement['threads']), 'PYTHONPATH': path}
    if measurement['what'] == 'memory':
        variables |= MEMORY_ENVIRONMENT
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
        raise WorkerError(f'"{shlex.join(command)}" failed with code {worker.returncode}:\n{message.strip()}')
    return last


def measurements_of(cases: list[Case], pairs: int, whole: bool) -> list[dict]:
    """What has to be measured for the cases, each once.

    Args:
        cases: Which.
        pairs: Alternated pairs of runs.
        whole: Time a case itself where it could be worked out from its parts.

    Returns:
        For each measurement: ``what``, ``case``, ``side`` and ``above_idle`` for memory, and the number of ``runs``.
    """
    found = []
    for case in cases:
        if case.difference:
            found.append({'what': 'difference', 'case': case.name, 'runs': 1})
        if case.timed:
            names = case.parts if case.parts and not whole else (case.name,)
            found += [{'what': 'time', 'case': name, 'runs': 2 * (pairs + 1)} for name in names]
        memory = {'what': 'memory', 'case': case.name, 'runs': 1 + case.training, 'above_idle': not case.whole_process}
        found += [memory | {'side': side} for side in case.weighed]
    return [one for i, one in enumerate(found) if one not in found[:i]]


def measure(cases: list[Case], common: dict, whole: bool) -> tuple[dict, dict[str, str]]:
    """Measure the cases one after the other.

    Args:
        cases: Which.
        common: What every worker is told.
        whole: Time a case itself where it could be worked out from its parts.

    Returns:
        Everything measured with the machine's description, for a JSON file; and the size of every input.
    """
    # the budget stands in the place of a reference that is not measured
    peaks = {case.name: {'reference': case.budget} for case in cases if case.weighed}
    record: dict = {'seconds': {}, 'mebibytes': peaks}
    inputs = {}
    measurements = measurements_of(cases, common['pairs'], whole)
    with tqdm(total=sum(one['runs'] for one in measurements), unit='run', leave=False) as progress:
        for one in measurements:
            progress.set_description(one['case'])
            found = run_worker(common | one, progress)
            if one['what'] == 'time':
                record['seconds'][one['case']] = found['result']
            elif one['what'] == 'memory':
                peaks[one['case']][one['side']] = found['result']
            else:
                record['difference'] = found['result']
            inputs[one['case']] = found['input']
            record |= {key: found[key] for key in ('machine', 'torch')}
    return record, inputs


def has_gpu(device: str) -> bool:
    """Whether the workers will run on a GPU."""
    import torch

    return device == 'cuda' or (device == 'auto' and torch.cuda.is_available())


def read_arguments(arguments: list[str] | None) -> tuple[argparse.Namespace, list[Case]]:
    """Read the command line: the options, and the cases that were chosen."""
    lists = {method: '\n'.join(f'  {case.name:20}{case.title}' for case in cases_of(method)) for method in METHODS}
    layout = argparse.RawDescriptionHelpFormatter
    everything = 'cases:\n' + '\n'.join(f' {method}\n{lists[method]}' for method in METHODS)
    parser = argparse.ArgumentParser(description=__doc__, epilog=everything, formatter_class=layout)
    commands = parser.add_subparsers(dest='method', required=True, metavar='METHOD')
    for name, method in METHODS.items():
        about = textwrap.fill(method.about, 100)
        command = commands.add_parser(
            name, help=about.split(':')[0], description=about, epilog=f'cases:\n{lists[name]}', formatter_class=layout
        )
        names = [case.name for case in cases_of(name)]
        command.add_argument('--cases', nargs='+', choices=names, help='only these (default: all)')
        command.add_argument('--pairs', type=int, default=method.pairs, help='alternated pairs of runs (%(default)s)')
        command.add_argument('--threads', type=int, default=2, help='CPU threads (%(default)s)')
        command.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='default: a GPU if any')
        command.add_argument('--json', metavar='OUT', help='file for every figure')
        command.add_argument('--quick', action='store_true', help='tiny networks and frames; the ratios mean nothing')
        if method.released:
            code = f"checkout of {method.released[0]}'s released code"
            command.add_argument('--released', metavar='FOLDER', type=Path, help=code)
        if method.sampled:
            command.add_argument('--size', type=int, default=128, help='rows and columns of an LR frame (%(default)s)')
            command.add_argument('--steps', type=int, default=15, help='steps of both diffusions (%(default)s)')
            precisions = ('auto', 'float32', 'bfloat16')
            command.add_argument('--precision', choices=precisions, default='auto', help='of both sides')
            command.add_argument('--full', action='store_true', help='sample all steps on a CPU, too')
    options = parser.parse_args(arguments)
    method, error = METHODS[options.method], commands.choices[options.method].error
    cases = [case for case in cases_of(options.method) if options.cases is None or case.name in options.cases]
    if options.pairs < 1 or options.threads < 1:
        error('--pairs and --threads must be at least 1.')
    if method.sampled and (options.size < 64 or options.size % 64 or options.steps < 1):
        error('--size must be a multiple of 64, which ResShift needs, and --steps at least 1.')
    if method.released and not options.released and any(case.released for case in cases):
        names = ' and '.join(case.name for case in cases_of(options.method) if case.released)
        error(
            f'{names} compare with the released code: clone {method.released[1]} and name the folder by --released, '
            'or choose other --cases.'
        )
    return options, cases


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write the file if one was asked for.

    Returns:
        1 where a target was missed (never with --quick), 2 where a measurement failed, else 0.
    """
    options, cases = read_arguments(arguments)
    method = METHODS[options.method]
    common = {key: value for key, value in vars(options).items() if key not in ('cases', 'json', 'full')}
    if method.released and options.released:
        common['released'] = str(options.released.resolve())
    on_gpu = method.sampled and has_gpu(options.device)
    whole = on_gpu or not method.sampled or options.full
    if method.sampled and options.precision == 'auto':
        common['precision'] = 'bfloat16' if on_gpu else 'float32'
    try:
        record, inputs = measure(cases, common, whole)
    except WorkerError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    rows = rows_of(cases, record, inputs, common.get('steps', 1), on_gpu)
    remarks = []
    if options.method == 'semantic_lens':
        record.setdefault('difference', None)
        remarks = speed_remarks(rows, record['difference'])
    if method.sampled:
        timed = {name: inputs[name] for name in record['seconds']}
        record |= {'inputs': timed, 'computed': not whole, 'precision': common['precision'], 'steps': options.steps}
        remarks.append(f'Both sides in {common["precision"]}.')
        if not whole and any(case.parts for case in cases):
            remarks.append(f'Computed: what is done once + {options.steps} x a step; --full samples to the end.')
    if options.quick:
        remarks.append('Tiny networks and frames: these ratios say only that the benchmark works.')
    print(f'{record["machine"]}, PyTorch {record["torch"]}, median of {options.pairs} alternated pairs')
    print(table(rows), *remarks, sep='\n')
    if options.json:
        lines = [{**asdict(row), 'verdict': row.verdict} for row in rows]
        content = record | {'quick': options.quick, 'rows': lines}
        write_whole(options.json, (json.dumps(content, indent=2) + '\n').encode())
    return 1 if not options.quick and any(row.verdict == 'MISSED' for row in rows) else 0


def speed_remarks(rows: list[Row], difference: float | None) -> list[str]:
    """How many times as fast what is faster is, and how far from the released code it is."""
    remarks = [
        f'{row.case}: {1 / row.ratio:.2f} times as fast.' for row in rows if row.quantity == 'time' and row.ratio < 1
    ]
    if difference is not None:
        remarks.append(f'Largest difference from the released code with the same weights: {difference:.1e}')
    return remarks


if __name__ == '__main__':
    sys.exit(main())
