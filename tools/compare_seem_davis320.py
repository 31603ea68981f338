"""SEEM on a frozen baseline against more training of the baseline, on the real clips of davis320.

    python tools/compare_seem_davis320.py --data DAVIS320 [--seeds 0 1 2] [--jobs 2]

DAVIS320 holds ``{train,val}/frames/CLIP/*.jpg`` and ``{train,val}/instances.json``. For every seed a small BasicVSR is
trained; then, each with the same iterations, schedule and data: the baseline trained on (control), SEEM alone with
masks of regions, SEEM alone with annotated masks (an oracle that no user has). Everything runs through the ``basicsr``
command and the option files ``options/seem/*_davis320.yml``; a run that was stopped goes on where it was. The table
goes to ``docs/results/seem_davis320.json`` and, as Markdown, to the terminal.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev

from tqdm import tqdm

import basicsr_semantic  # noqa: F401  (repairs BasicSR before it is imported below)

ROOT = Path(__file__).resolve().parent.parent
DATA = Path('datasets/davis320')
METRICS = {'psnr_y': 'PSNR Y', 'ssim_y': 'SSIM Y', 'psnr_rgb': 'PSNR RGB', 'ssim_rgb': 'SSIM RGB'}


def basicsr(*args: str, log: Path) -> None:
    """Run one command in the repository's root; its output goes to a log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('a') as file:
        command = [sys.executable, '-m', 'basicsr_semantic', *args]
        done = subprocess.run(command, cwd=ROOT, stdout=file, stderr=file, env=os.environ | {'OMP_NUM_THREADS': '1'})
    if done.returncode:
        tail = ''.join(log.read_text().splitlines(keepends=True)[-3:])
        raise SystemExit(f'basicsr {" ".join(args)} failed; the end of {log}:\n{tail}')


def prepare(data: Path, logs: Path) -> None:
    """Make LQ and GT LMDBs and both kinds of masks, for both parts; what is there already is kept."""
    for part in ('train', 'val'):
        basicsr('prepare', 'clips', str(data / part / 'frames'), str(DATA / part), log=logs / f'prepare_{part}.log')
        frames = str(DATA / part / 'lq.lmdb')
        for kind, more in (('regions', []), ('annotations', ['--annotations', str(data / part / 'instances.json')])):
            out = str(DATA / part / f'{kind}.lmdb')
            flags = ['--extractor', kind, '--frames', frames, '--out', out, *more]
            basicsr('extract', *flags, log=logs / f'extract_{part}_{kind}.log')


def train(option: str, name: str, seed: int, logs: Path, *changes: str) -> dict[str, float]:
    """Train (or go on training) one run and return its validation averages after the last iteration."""
    results = ROOT / 'experiments' / name / 'validation'
    latest = ROOT / 'experiments' / name / 'models' / 'net_g_latest.pth'
    if not latest.is_file():
        changes = (f'name={name}', f'manual_seed={seed}', *changes)
        option = f'options/seem/{option}.yml'
        basicsr('train', '-opt', option, '--auto_resume', '--force_yml', *changes, log=logs / f'{name}.log')
    last = max(results.glob('davis320_*.json'), key=lambda p: int(p.stem.rsplit('_', 1)[1]))
    return json.loads(last.read_text())['average']


def one_seed(seed: int, iters: tuple[int, int], logs: Path, bar: tqdm) -> dict[str, dict[str, float]]:
    """Baseline first, then what starts from it."""
    first, second = iters
    results = {}

    def run(label: str, option: str, length: int, *changes: str) -> None:
        name = f'davis320_{label}_seed{seed}'
        lengths = (f'train:total_iter={length}', f'train:scheduler:periods=[{length}]', f'val:val_freq={length}')
        results[label] = train(option, name, seed, logs, *lengths, *changes)
        bar.update()

    run('baseline', 'train_BasicVSR_davis320', first)
    start = f'path:pretrain_network_g=experiments/davis320_baseline_seed{seed}/models/net_g_latest.pth'
    run('control', 'train_BasicVSR_finetune_davis320', second, start)
    for kind in ('regions', 'annotations'):
        stores = [f'datasets:{part}:dataroot_priors={DATA}/{part}/{kind}.lmdb' for part in ('train', 'val')]
        run(kind, 'tune_BasicVSRSEEM_davis320', second, start, *stores)
    return results


def bicubic() -> dict[str, float]:
    """Bicubic upsampling as MATLAB does it, on the same frames and with the same metrics."""
    import lmdb
    from basicsr.metrics import calculate_psnr, calculate_ssim
    from basicsr.utils import imfrombytes, img2tensor, tensor2img
    from basicsr.utils.matlab_functions import imresize

    environments = [
        lmdb.open(str(ROOT / DATA / 'val' / f'{kind}.lmdb'), readonly=True, lock=False) for kind in ('lq', 'gt')
    ]
    keys = [line.split('.')[0] for line in (ROOT / DATA / 'val' / 'lq.lmdb' / 'meta_info.txt').read_text().splitlines()]
    clips: dict[str, list[dict[str, float]]] = {}
    for key in tqdm(keys, desc='bicubic'):
        lq, gt = (imfrombytes(env.begin().get(key.encode()), float32=True) for env in environments)
        restored = tensor2img(imresize(img2tensor(lq), 4))
        truth = tensor2img(img2tensor(gt))
        row = {}
        for channels, y in (('y', True), ('rgb', False)):
            row[f'psnr_{channels}'] = calculate_psnr(restored, truth, 0, test_y_channel=y)
            row[f'ssim_{channels}'] = calculate_ssim(restored, truth, 0, test_y_channel=y)
        clips.setdefault(key.rsplit('/', 1)[0], []).append(row)
    return {m: mean(mean(row[m] for row in rows) for rows in clips.values()) for m in METRICS}


def table(results: dict[str, dict[str, dict[str, float]]], reference: dict[str, float]) -> str:
    """Mean and spread over the seeds, and the difference to the control of the same seed."""
    labels = {
        'baseline': 'BasicVSR (small)',
        'control': 'control: trained on',
        'regions': 'SEEM, masks of regions',
        'annotations': 'SEEM, annotated masks (oracle)',
    }
    spread = [stdev if len(results) > 1 else (lambda values: 0.0)][0]
    lines = [
        '| method | ' + ' | '.join(METRICS.values()) + ' | PSNR Y minus control |',
        '|---' * (len(METRICS) + 2) + '|',
    ]
    lines.append('| bicubic | ' + ' | '.join(f'{reference[m]:.4f}' for m in METRICS) + ' | |')
    for label, text in labels.items():
        cells = []
        for metric in METRICS:
            values = [run[label][metric] for run in results.values()]
            cells.append(f'{mean(values):.4f} ± {spread(values):.4f}')
        gains = [run[label]['psnr_y'] - run['control']['psnr_y'] for run in results.values()]
        gain = '' if label == 'control' else ', '.join(f'{g:+.4f}' for g in gains)
        lines.append(f'| {text} | ' + ' | '.join(cells) + f' | {gain} |')
    return '\n'.join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, help='folder with train/ and val/')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--iters', type=int, nargs=2, default=(400, 200), help='of the baseline, and on top of it')
    parser.add_argument('--jobs', type=int, default=2, help='seeds that train at a time, one thread each')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs/results/seem_davis320.json')
    args = parser.parse_args()
    if not (args.data / 'train' / 'frames').is_dir():
        parser.error(f'{args.data} has no train/frames.')
    logs = ROOT / 'results' / 'davis320_logs'
    prepare(args.data.resolve(), logs)
    with tqdm(total=4 * len(args.seeds), desc='runs') as bar, ThreadPoolExecutor(args.jobs) as pool:
        runs = {s: pool.submit(one_seed, s, tuple(args.iters), logs, bar) for s in args.seeds}
        results = {str(seed): run.result() for seed, run in runs.items()}
    reference = bicubic()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(
        json.dumps({'iters': list(args.iters), 'bicubic': reference, 'seeds': results}, indent=1) + '\n'
    )
    print(table(results, reference))


if __name__ == '__main__':
    main()
