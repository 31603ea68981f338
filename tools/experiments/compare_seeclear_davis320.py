"""The rows of Table 2 of the SeeClear paper, and the posteriors, at a small size on the real clips of davis320.

    python tools/experiments/compare_seeclear_davis320.py --data DAVIS320 [--seeds 0 1 2] [--jobs 2]

DAVIS320 holds ``{train,val}/frames/CLIP/*.jpg`` and ``{train,val}/instances.json``. Tokens and features come from the
small X-Decoder that stage 1 of Semantic Lens has trained on the annotations of the training clips
(compare_semantic_lens_davis320.py trains the same one). Then, for every seed, every row sees as many clips in
training: those with a memory in three stages, a clip of a pair counting as one. The last row is sampled with every
posterior. Everything runs through the ``basicsr`` command and the option files ``options/seeclear/*_davis320.yml``; a
run that was stopped goes on where it was.

The figures go to ``docs/results/seeclear_davis320.json`` and, as Markdown, to the terminal.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from davis320_runs import (
    DATA,
    METRICS,
    ROOT,
    Results,
    basicsr,
    bicubic,
    extract,
    prepare_clips,
    run_seeds,
    table,
    test,
    train,
    write_json,
)
from tqdm import tqdm

OPTIONS = 'options/seeclear'
STAGE_1 = 'stage1_davis320'
STORE = 'xdecoder_features'
STAGES = ('condenser', 'memory', 'joint')
PARTS = ('dwt', 'semantic', 'mfsa', 'incam', 'category')
ROWS: dict[str, tuple[str, tuple[str, ...]]] = {
    'base': ('1: DWT (control)', ('dwt',)),
    'semantic': ('2: DWT, semantic', ('dwt', 'semantic')),
    'mfsa': ('3: DWT, semantic, MFSA', ('dwt', 'semantic', 'mfsa')),
    'incam': ('4: DWT, semantic, MFSA, InCAM', ('dwt', 'semantic', 'mfsa', 'incam')),
    'category': ('5: DWT, semantic, CaTeGory', ('dwt', 'semantic', 'category')),
    'no_dwt': ('6: semantic, MFSA, InCAM, CaTeGory', ('semantic', 'mfsa', 'incam', 'category')),
    'full': ('7: all', PARTS),
}
"""Label and parts of each row of Table 2."""
POSTERIORS = ('resshift', 'ddim', 'paper')
LABELS = {row: label for row, (label, _) in ROWS.items()} | {p: f'7, posterior {p}' for p in POSTERIORS}
COLUMNS = METRICS | {'niqe': 'NIQE', 'warping_error': 'warping error x 1000'}


def prepare(data: Path, iterations: int) -> None:
    """Clips, the small X-Decoder, and the stores of both parts."""
    prepare_clips(data)
    for part in ('train', 'val'):
        basicsr('prepare', 'ytvis', str(data), str(DATA / part), '--split', part, log=f'prepare_ytvis_{part}')
    lengths = (f'train:total_iter={iterations}', f'train:scheduler:periods=[{iterations}]')
    stage_1 = f'options/semantic_lens/{STAGE_1}.yml'
    experiment = train(stage_1, STAGE_1, 0, *lengths, f'val:val_freq={iterations}')
    decoder = ('--checkpoint', str(experiment / 'models' / 'net_f_latest.pth'), '--instance-source', 'mean_over_time')
    for part in ('train', 'val'):
        extract('xdecoder', part, *decoder, '--short-side', '160', '--pixel-features', out=STORE)


def one_seed(seed: int, clips: int, memory: int, bar: tqdm) -> Results:
    """All rows of one seed.

    Args:
        seed: Its ``manual_seed``, and that of the noise.
        clips: Clips that every row sees in training.
        memory: Iterations of each stage of the memory, two clips each.
        bar: Moves on one step a row and posterior.
    """
    results: Results = {}
    last = Path()
    for row, (_, parts) in ROWS.items():
        flags = [f'network_g:{part}={str(part in parts).lower()}' for part in PARTS]
        stages = STAGES if 'category' in parts else STAGES[:1]
        start: list[str] = []
        for stage in stages:
            iterations = memory if stage != 'condenser' else clips - 4 * memory * (len(stages) > 1)
            lengths = [f'train:total_iter={iterations}', f'train:scheduler:periods=[{iterations}]']
            name = f'davis320_seeclear_{row}_{stage}_seed{seed}'
            # sampled when all stages are through; what training itself samples at its end is kept small
            quick = ('datasets:val:first_frames=1', 'val:sample_steps=1', f'val:val_freq={iterations}')
            changes = (*flags, *lengths, *start, *quick)
            last = train(f'{OPTIONS}/train_SeeClear_{stage}_davis320.yml', name, seed, *changes)
            last = last / 'models' / 'net_g_latest.pth'
            start = [f'path:pretrain_network_g={last}']
        results[row] = sampled(row, seed, *flags, *start)
        bar.update()
    for posterior in POSTERIORS:
        network = f'path:pretrain_network_g={last}'
        results[posterior] = sampled(posterior, seed, network, f'diffusion:posterior={posterior}')
        bar.update()
    return results


def sampled(label: str, seed: int, *changes: str) -> dict[str, float]:
    """Sample the held-out clips."""
    name = f'davis320_seeclear_{label}_seed{seed}'
    return test(f'{OPTIONS}/test_SeeClear_davis320.yml', name, f'val:seed={seed}', *changes)


def shown(results: Results) -> Results:
    """The averages as the table shows them."""
    return {row: one | {'warping_error': 1000 * one['warping_error']} for row, one in results.items()}


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, help='folder with train/ and val/')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--clips', type=int, default=1000, help='clips that each row sees in training')
    parser.add_argument('--memory', type=int, default=100, help='iterations of both stages of the memory')
    parser.add_argument('--stage-1', type=int, default=1500, help='iterations of the small X-Decoder')
    parser.add_argument('--jobs', type=int, default=2, help='seeds that train at a time, one thread each')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs/results/seeclear_davis320.json')
    args = parser.parse_args()
    if args.clips <= 4 * args.memory:
        parser.error('--clips must be more than four times --memory; the rest is for the stage before.')
    prepare(args.data.resolve(), args.stage_1)
    runs = len(ROWS) + len(POSTERIORS)
    results = run_seeds(args.seeds, args.jobs, runs, lambda seed, bar: one_seed(seed, args.clips, args.memory, bar))
    reference = bicubic(f'{OPTIONS}/test_SeeClear_davis320.yml', first_frames=10)
    settings = {'clips': args.clips, 'memory': args.memory, 'stage_1': args.stage_1}
    write_json(args.out, {'settings': settings, 'bicubic': reference, 'seeds': results})
    print(table(LABELS, [shown(one) for one in results.values()], shown({'': reference})[''], 'base', COLUMNS))


if __name__ == '__main__':
    main()
