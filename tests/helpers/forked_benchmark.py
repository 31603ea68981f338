"""Run benchmark.py with every measurement in a fork of one process, which has imported everything once."""

from __future__ import annotations

import importlib
import json
import os
import sys

import benchmark
import benchmark_worker
from tqdm import tqdm


def run_forked(measurement: dict, progress: tqdm) -> dict:
    """What ``run_worker`` does, in a fork."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(write, sys.stdout.fileno())
        code = 1
        try:
            code = benchmark_worker.main(json.dumps(measurement))
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as said:
        lines = [json.loads(line) for line in said if line.startswith('{')]
    if os.waitpid(child, 0)[1]:
        raise benchmark.WorkerError(f'{measurement} failed.')
    assert sum('done' in line for line in lines) == measurement['runs'], 'other than the bar was told'
    progress.update(measurement['runs'])
    return lines[-1]


if __name__ == '__main__':
    importlib.import_module(f'{sys.argv[1]}_runs')
    importlib.import_module('basicsr.archs')
    tqdm.monitor_interval = 0  # no thread when it forks
    benchmark.run_worker = run_forked
    sys.exit(benchmark.main())
