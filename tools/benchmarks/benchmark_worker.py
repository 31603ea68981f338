#!/usr/bin/env python3
"""One measurement of benchmark.py, in a process of its own: a JSON object a line, the result last.

Its argument is a JSON object, too: the method, ``what`` is measured (time, memory, difference), the case, and what the
command line of benchmark.py says. What is run is made by the module METHOD_runs:

- ``setting_of(options, device)``: its setting,
- ``make_run(case, side, setting)``: builds networks and their input, and returns what is measured,
- ``shape_of(case, setting)``: frames, rows and columns of that input,
- ``difference(setting)``: of the outputs of both sides, where a case asks for it.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from cases import SIDES

import basicsr_semantic  # noqa: F401  (repairs BasicSR before it is imported)

_MEBIBYTE = 2**20


def measure_time(
    make_run: Callable[[str], Callable[[], None]], case: str, device: torch.device, pairs: int
) -> dict[str, list[float]]:
    """Seconds of each run of both sides, in alternation, after one run of each that does not count.

    Args:
        make_run: Gives what to run for a side of SIDES.
        case: Name to say.
        device: Where it runs.
        pairs: Runs of each side.
    """
    runs = {side: make_run(side) for side in SIDES}
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for pair in range(pairs + 1):
        for side, run in runs.items():
            _synchronise(device)
            start = time.perf_counter()
            run()
            _synchronise(device)
            if pair > 0:
                seconds[side].append(time.perf_counter() - start)
            say({'done': f'{case} {side}'})
    return seconds


def measure_memory(
    make_run: Callable[[], Callable[[], None]], name: str, device: torch.device, runs: int, above_idle: bool
) -> float:
    """Peak memory in MiB.

    Args:
        make_run: Gives what to run; what it builds counts.
        name: Name to say.
        device: Where it runs.
        runs: How often.
        above_idle: Subtract what the process had before it built anything.
    """
    if device.type == 'cuda':
        idle = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
    else:
        idle = _process_memory('VmRSS')
    run = make_run()
    for _ in range(runs):
        run()
        say({'done': name})
    peak = torch.cuda.max_memory_allocated(device) if device.type == 'cuda' else _process_memory('VmHWM')
    return (peak - (idle if above_idle else 0)) / _MEBIBYTE


def _process_memory(field: str) -> int:
    """Read VmRSS (now) or VmHWM (peak) of this process, in bytes."""
    status = Path('/proc/self/status')
    found = re.search(rf'^{field}:\s+(\d+) kB$', status.read_text(), re.MULTILINE) if status.exists() else None
    if found is None:
        sys.exit(f'This system has no {field} in /proc/self/status; memory is measured on Linux or on a GPU.')
    return int(found.group(1)) * 1024


def _synchronise(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def say(message: dict) -> None:
    """Tell the driver."""
    print(json.dumps(message), flush=True)


def main(argument: str) -> int:
    """Measure what the argument says and print the result."""
    options = Namespace(**json.loads(argument))
    torch.set_num_threads(options.threads)
    name = options.device
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    device = torch.device(name)
    runs = importlib.import_module(f'{options.method}_runs')
    setting = runs.setting_of(options, device)
    run = partial(runs.make_run, options.case, setting=setting)
    if options.what == 'time':
        result = measure_time(run, options.case, device, options.pairs)
    elif options.what == 'memory':
        label = f'{options.case} {options.side}'
        result = measure_memory(partial(run, options.side), label, device, options.runs, options.above_idle)
    else:
        result = runs.difference(setting)
        say({'done': 'difference'})
    machine = torch.cuda.get_device_name(device) if device.type == 'cuda' else f'CPU, {options.threads} threads'
    shape = 'x'.join(map(str, runs.shape_of(options.case, setting)))
    say({'result': result, 'input': shape, 'machine': machine, 'torch': torch.__version__})
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
