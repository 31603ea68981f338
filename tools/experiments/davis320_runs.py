"""What every comparison on davis320 runs: commands, one training or test, bicubic; and the table of results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev
from threading import Event

from arms import DATA
from tqdm import tqdm

import basicsr_semantic  # noqa: F401  (repairs BasicSR before it is imported below)
from basicsr_semantic.config.option_file import load_yaml
from basicsr_semantic.engine.evaluator import Evaluator
from basicsr_semantic.utils.files import write_whole

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / 'results' / 'davis320_logs'

Averages = dict[str, float]
Results = dict[str, Averages]


def basicsr(*args: str, log: str) -> None:
    """Run one command in the repository's root, on one thread unless OMP_NUM_THREADS says otherwise.

    Args:
        args: what follows ``basicsr``.
        log: name of the file that its output is added to.
    """
    file_name = LOGS / f'{log}.log'
    file_name.parent.mkdir(parents=True, exist_ok=True)
    with file_name.open('a') as file:
        command = [sys.executable, '-m', 'basicsr_semantic', *args]
        done = subprocess.run(command, cwd=ROOT, stdout=file, stderr=file, env={'OMP_NUM_THREADS': '1'} | os.environ)
    if done.returncode:
        tail = ''.join(file_name.read_text().splitlines(keepends=True)[-3:])
        raise SystemExit(f'basicsr {" ".join(args)} failed; the end of {file_name}:\n{tail}')


def of_length(iterations: int) -> tuple[str, ...]:
    """The ``--force_yml`` values of a training of that many iterations, validated at its end."""
    return (
        f'train:total_iter={iterations}',
        f'train:scheduler:periods=[{iterations}]',
        f'val:val_freq={iterations}',
    )


def train(option: str, name: str, seed: int, *changes: str) -> Path:
    """Train one run, or go on training it; nothing is done where it has ended.

    Args:
        option: option file, relative to the repository.
        name: name of the run.
        seed: its ``manual_seed``.
        changes: further ``--force_yml`` values.

    Returns:
        The folder of the experiment.
    """
    folder = ROOT / 'experiments' / name
    if not (folder / 'models' / 'net_g_latest.pth').is_file():
        changes = (f'name={name}', f'manual_seed={seed}', *changes)
        basicsr('train', '-opt', option, '--auto_resume', '--force_yml', *changes, log=name)
    return folder


def test(option: str, name: str, *changes: str) -> Averages:
    """Test once, and give the averages over the clips; nothing is done where that has ended.

    Args:
        option: option file, relative to the repository.
        name: name of the run.
        changes: further ``--force_yml`` values.
    """
    report = ROOT / 'results' / name / 'validation' / f'davis320_{name}.json'
    if not report.is_file():
        basicsr('test', '-opt', option, '--force_yml', f'name={name}', *changes, log=name)
    return json.loads(report.read_text())['average']


def last_validation(experiment: Path) -> Averages:
    """The averages over the clips after the last iteration."""
    files = (experiment / 'validation').glob('davis320_*.json')
    last = max(files, key=lambda path: int(path.stem.rsplit('_', 1)[1]))
    return json.loads(last.read_text())['average']


def bicubic(option: str, first_frames: int | None = None) -> Averages:
    """Bicubic upsampling as MATLAB does it, on the held-out frames and with the metrics of an option file.

    Args:
        option: option file, relative to the repository.
        first_frames: only so many frames of each clip.
    """
    import lmdb
    from basicsr.utils import imfrombytes, img2tensor, tensor2img
    from basicsr.utils.matlab_functions import imresize

    judge = Evaluator(load_yaml(str(ROOT / option))['val']['metrics'], 'davis320')
    environments = [
        lmdb.open(str(ROOT / DATA / 'val' / f'{kind}.lmdb'), readonly=True, lock=False) for kind in ('lq', 'gt')
    ]
    keys = [line.split('.')[0] for line in (ROOT / DATA / 'val' / 'lq.lmdb' / 'meta_info.txt').read_text().splitlines()]
    clips: dict[str, list[str]] = {}
    for key in keys:
        clips.setdefault(key.rsplit('/', 1)[0], []).append(key)
    averages: list[Averages] = []
    for frames in tqdm(clips.values(), desc='bicubic', unit='clip'):
        judge.begin_item()
        rows = []
        for index, key in enumerate(frames[:first_frames]):
            lq, gt = (imfrombytes(env.begin().get(key.encode()), float32=True) for env in environments)
            restored = tensor2img(imresize(img2tensor(lq), 4))
            rows.append(judge.measure(index, restored, tensor2img(img2tensor(gt))))
        averages.append({name: mean(row[name] for row in rows if name in row) for name in judge.metrics})
    return {name: mean(clip[name] for clip in averages) for name in judge.metrics}


def table(
    labels: Mapping[str, str],
    results: Sequence[Mapping[str, Averages]],
    reference: Averages,
    control: str,
    metrics: Mapping[str, str],
) -> str:
    """Mean and spread over the seeds, and the difference to the control of the same seed.

    Args:
        labels: key of a method -> its name in the table, in order.
        results: for every seed, the averages of every method.
        reference: the averages of bicubic.
        control: key of the method that the others are compared with.
        metrics: name of a metric -> head of its column.
    """
    spread = stdev if len(results) > 1 else lambda values: 0.0
    lines = [
        '| method | ' + ' | '.join(metrics.values()) + ' | PSNR Y minus control |',
        '|---' * (len(metrics) + 2) + '|',
        '| bicubic | ' + ' | '.join(f'{reference[m]:.4f}' for m in metrics) + ' | |',
    ]
    for label, text in labels.items():
        cells = []
        for metric in metrics:
            values = [run[label][metric] for run in results]
            cells.append(f'{mean(values):.4f} ± {spread(values):.4f}')
        gains = [run[label]['psnr_y'] - run[control]['psnr_y'] for run in results]
        gain = '' if label == control else ', '.join(f'{g:+.4f}' for g in gains)
        lines.append(f'| {text} | ' + ' | '.join(cells) + f' | {gain} |')
    return '\n'.join(lines)


def write_json(path: Path, content: object) -> None:
    """Write figures as JSON."""
    write_whole(path, (json.dumps(content, indent=1) + '\n').encode())


def run_seeds(
    seeds: Sequence[int], jobs: int, rows: int, one_seed: Callable[[int, tqdm], Results]
) -> dict[str, Results]:
    """Train all rows of all seeds, some seeds at a time.

    Args:
        seeds: The seeds.
        jobs: Seeds that train at a time, one thread each.
        rows: Runs of a seed.
        one_seed: Trains the rows of a seed and moves the bar on, one step a run.

    Returns:
        For every seed, the averages of every row.
    """
    stopped = Event()

    def run(seed: int) -> Results:
        if stopped.is_set():
            raise SystemExit('An earlier seed has failed or was interrupted.')
        try:
            return one_seed(seed, bar)
        except BaseException:
            stopped.set()
            raise

    with tqdm(total=rows * len(seeds), desc='runs') as bar, ThreadPoolExecutor(jobs) as pool:
        runs = {seed: pool.submit(run, seed) for seed in seeds}
        try:
            return {str(seed): one.result() for seed, one in runs.items()}
        except BaseException:  # Ctrl-C reaches this thread alone
            stopped.set()
            raise
