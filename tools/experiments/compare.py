"""SEEM on a frozen baseline against more training of the baseline, on the real clips of davis320.

    python tools/experiments/compare.py --data DAVIS320 [--seeds 0 1 2] [--jobs 2]

DAVIS320 holds ``{train,val}/frames/CLIP/*.jpg`` and ``{train,val}/instances.json``. For every seed a small BasicVSR is
trained; then, each with the same iterations, schedule and data: the baseline trained on (control), SEEM alone with
masks of regions, SEEM alone with annotated masks (an oracle that no user has). Everything runs through the ``basicsr``
command and the option files ``options/seem/*_davis320.yml``; a run that was stopped goes on where it was. The table
goes to ``docs/results/seem_davis320.json`` and, as Markdown, to the terminal.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from davis320_runs import (
    ROOT,
    Results,
    bicubic,
    extract,
    last_validation,
    prepare_clips,
    run_seeds,
    table,
    train,
    write_json,
)
from tqdm import tqdm

LABELS = {
    'baseline': 'BasicVSR (small)',
    'control': 'control: trained on',
    'regions': 'SEEM, masks of regions',
    'annotations': 'SEEM, annotated masks (oracle)',
}


def prepare(data: Path) -> dict[str, list[str]]:
    """Make the clips and both kinds of masks; the options that name the stores of each kind."""
    prepare_clips(data)
    stores: dict[str, list[str]] = {'regions': [], 'annotations': []}
    for part in ('train', 'val'):
        result = {
            'regions': extract('regions', part),
            'annotations': extract('annotations', part, '--annotations', str(data / part / 'instances.json')),
        }
        for kind, store in result.items():
            stores[kind].append(f'datasets:{part}:dataroot_priors={store}')
    return stores


def one_seed(seed: int, iters: tuple[int, int], stores: dict[str, list[str]], bar: tqdm) -> Results:
    """Baseline first, then what starts from it."""
    first, second = iters
    results = {}

    def run(label: str, option: str, length: int, *changes: str) -> None:
        lengths = (f'train:total_iter={length}', f'train:scheduler:periods=[{length}]', f'val:val_freq={length}')
        name = f'davis320_{label}_seed{seed}'
        results[label] = last_validation(train(f'options/seem/{option}.yml', name, seed, *lengths, *changes))
        bar.update()

    run('baseline', 'train_BasicVSR_davis320', first)
    start = f'path:pretrain_network_g=experiments/davis320_baseline_seed{seed}/models/net_g_latest.pth'
    run('control', 'train_BasicVSR_finetune_davis320', second, start)
    for kind, store in stores.items():
        run(kind, 'tune_BasicVSRSEEM_davis320', second, start, *store)
    return results


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, help='folder with train/ and val/')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--iters', type=int, nargs=2, default=(400, 200), help='of the baseline, and on top of it')
    parser.add_argument('--jobs', type=int, default=2, help='seeds that train at a time, one thread each')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs/results/seem_davis320.json')
    args = parser.parse_args()
    stores = prepare(args.data.resolve())
    iters = tuple(args.iters)
    results = run_seeds(args.seeds, args.jobs, len(LABELS), lambda seed, bar: one_seed(seed, iters, stores, bar))
    reference = bicubic('options/seem/train_BasicVSR_davis320.yml')
    write_json(args.out, {'iters': list(args.iters), 'bicubic': reference, 'seeds': results})
    print(table(LABELS, list(results.values()), reference, 'control'))


if __name__ == '__main__':
    main()
