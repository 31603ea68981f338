#!/usr/bin/env python3
"""Does a semantic module act? Every module learns in a world where its prior holds what the LR frames lack.

    python tools/experiments/probe/probe.py                        # all arms, one seed, 1000 iterations
    python tools/experiments/probe/probe.py incam image --seeds 0 1 2 --jobs 2
    python tools/experiments/probe/probe.py --table                # docs/results/probe.json as a table

Names are those of arms, or how they begin. A module acts if it gains over the same network without it and over itself
without priors, and loses with wrong ones. Arms that are done are not run again; one that was stopped goes on.
"""

from __future__ import annotations

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')  # one thread a run; before PyTorch is imported

import argparse
import json
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from probe_arms import ARMS, MODULES, Module
from probe_training import Row, Run
from tqdm import tqdm

from basicsr_semantic.utils.files import write_whole

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / 'docs' / 'results' / 'probe.json'
FOLDER = ROOT / 'experiments' / 'probe'


def train(name: str, seed: int, iterations: int, folder: Path, place: int = 0) -> Row:
    """One arm in this process, with a line of progress."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(name, seed, iterations, folder)
    with tqdm(total=iterations, desc=f'{name}, seed {seed}', unit='it', position=place, mininterval=5) as bar:
        return run.train(bar.update)


def workers(jobs: int) -> Executor:
    """Processes that are started afresh: PyTorch trains in none that was forked after a backward pass."""
    return ProcessPoolExecutor(jobs, get_context('spawn'))


def chosen(names: list[str]) -> list[str]:
    """The arms of these names, or whose names begin so, each behind the one that it starts from."""
    unknown = [name for name in names if not any(arm.startswith(name) for arm in ARMS)]
    if unknown:
        raise SystemExit(f'No arm begins with {unknown[0]!r}. The arms are {", ".join(ARMS)}.')
    begins = tuple(name for name in names if name not in ARMS)
    found = [arm for arm in ARMS if not names or arm in names or arm.startswith(begins)]
    starts = [start for start in (ARMS[arm].start for arm in found) if start is not None and start not in found]
    return sorted({*found, *starts}, key=lambda arm: (ARMS[arm].start is not None, list(ARMS).index(arm)))


def row_of(rows: list[Row], arm: str, seed: int, iterations: int) -> Row | None:
    """The row of a run that is done."""
    wanted = {'arm': arm, 'seed': seed, 'iterations': iterations}
    return next((row for row in rows if wanted.items() <= row.items()), None)


def table(rows: list[Row], iterations: int) -> str:
    """Markdown: a line for each module and arm, PSNR in dB over the seeds and the share of the true texture."""
    lines = ['| module, arm | seeds | without it | neutral | oracle | misled | oracle without priors | shown |']
    lines.append('|---|---|---|---|---|---|---|---|')
    for module in MODULES:
        for arm in module.arms:
            lines += _lines(module, arm, rows, iterations)
    return '\n'.join(lines)


def _lines(module: Module, arm: str, rows: list[Row], iterations: int) -> list[str]:
    def column(name: str, *modes: str, figure: str = 'psnr') -> str:
        """The first of the modes that a row has: what has no priors at all is without them."""
        found = [
            next(row[mode][figure] for mode in modes if mode in row)
            for row in rows
            if row['arm'] == name and row['iterations'] == iterations
        ]
        return ', '.join(f'{value:.2f}' for value in found) or '-'

    seeds = [row['seed'] for row in rows if row['arm'] == arm and row['iterations'] == iterations]
    if not seeds:
        return []
    cells = [f'{module.title}: {arm.partition(".")[2]}', ', '.join(map(str, seeds))]
    cells += [column(module.without, 'oracle', 'neutral'), column(module.neutral, 'neutral'), column(arm, 'oracle')]
    cells += [column(arm, module.misled), column(arm, 'neutral'), column(arm, 'oracle', figure='shown')]
    return [f'| {" | ".join(cells)} |']


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('arms', nargs='*', help='arms, or how their names begin (default: all)')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--iterations', type=int, default=1000)
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time, one thread each')
    parser.add_argument('--results', type=Path, default=RESULTS, help='rows that are done, as JSON')
    parser.add_argument('--folder', type=Path, default=FOLDER, help='for weights and states of stopped runs')
    parser.add_argument('--table', action='store_true', help='print the table alone')
    args = parser.parse_args(arguments)
    rows: list[Row] = json.loads(args.results.read_text()) if args.results.is_file() else []
    names = [] if args.table else chosen(args.arms)
    for depends in (False, True):  # arms that start from another's weights come after it
        todo = [
            (name, seed)
            for seed in args.seeds
            for name in names
            if (ARMS[name].start is not None) == depends and not row_of(rows, name, seed, args.iterations)
        ]
        with workers(args.jobs) as pool:
            futures = [
                pool.submit(train, name, seed, args.iterations, args.folder, k % args.jobs)
                for k, (name, seed) in enumerate(todo)
            ]
            for future in futures:
                row = future.result()
                rows.append(row)
                rows.sort(key=lambda one: (list(ARMS).index(one['arm']), one['iterations'], one['seed']))
                text = '[\n' + ',\n'.join(map(json.dumps, rows)) + '\n]\n'
                write_whole(args.results, text.encode())
                tqdm.write(json.dumps(row))
    print(table(rows, args.iterations))


if __name__ == '__main__':
    main()
