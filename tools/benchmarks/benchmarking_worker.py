"""What the workers of the benchmarks share: alternating times and peaks of memory, a JSON object a line."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

_MEBIBYTE = 2**20

SIDES = ('reference', 'measured')


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
    make_run: Callable[[], Callable[[], None]], name: str, device: torch.device, runs: int, above_idle: bool = True
) -> float:
    """Peak memory in MiB.

    Args:
        make_run: Gives what to run; what it builds counts.
        name: Name to say.
        device: Where it runs.
        runs: How often. Two for training steps, since Adam makes its averages at the end of the first.
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
    print(json.dumps(message), flush=True)


def describe(device: torch.device, threads: int) -> dict[str, str]:
    """The machine, for the last line."""
    machine = torch.cuda.get_device_name(device) if device.type == 'cuda' else f'CPU, {threads} threads'
    return {'machine': machine, 'torch': torch.__version__}


def make_parser(whats: Sequence[str], cases: Sequence[str]) -> argparse.ArgumentParser:
    """The arguments that every worker takes.

    Args:
        whats: What can be measured.
        cases: On what.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument('what', choices=whats)
    parser.add_argument('case', choices=cases)
    parser.add_argument('--side', choices=SIDES, default='reference', help='for memory')
    parser.add_argument('--pairs', type=int, default=5, help='for time')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto')
    parser.add_argument('--quick', action='store_true')
    return parser


def device_of(options: argparse.Namespace) -> torch.device:
    """Where to run; also sets the number of threads."""
    torch.set_num_threads(options.threads)
    if options.device != 'auto':
        return torch.device(options.device)
    return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
