"""The rows of Table 3 of the Semantic Lens paper at a small size, on the real clips of davis320.

    python tools/experiments/compare_semantic_lens_davis320.py --data DAVIS320 [--seeds 0 1 2] [--jobs 2]

DAVIS320 holds ``{train,val}/frames/CLIP/*.jpg`` and ``{train,val}/instances.json``. Stage 1 is trained once, on the
annotations of the training clips, and describes all clips by tokens and instances. Then, for every seed, the same
recurrent transformer is trained from scratch with the same iterations, schedule and data: without priors (the control),
with GPS, with GPS and ISEE, and with IMAGE as well. IMAGE is trained twice, with annotated masks, an oracle that no
user has, and with the masks that stage 1 found. Everything runs through the ``basicsr`` command and the option files
``options/semantic_lens/*_davis320.yml``; a run that was stopped goes on where it was.

The figures go to ``docs/results/semantic_lens_davis320.json`` and, as Markdown, to the terminal.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from davis320_runs import (
    DATA,
    ROOT,
    Averages,
    Results,
    basicsr,
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

from basicsr_semantic.config.option_file import load_yaml
from basicsr_semantic.priors import PriorStore, PriorStoreWriter

OPTIONS = 'options/semantic_lens'
STAGE_1 = 'stage1_davis320'
ORACLE = 'xdecoder_annotations'
LABELS = {
    'base': 'without priors (control)',
    'gps': '+ GPS',
    'gps_isee': '+ GPS, ISEE',
    'full_oracle': '+ GPS, ISEE, IMAGE with annotated masks (oracle)',
    'full': '+ GPS, ISEE, IMAGE with masks of stage 1',
}
FILES = {
    'base': 'train_SemanticLens_base_davis320',
    'gps': 'train_SemanticLens_gps_davis320',
    'gps_isee': 'train_SemanticLens_gps_isee_davis320',
    'full_oracle': 'train_SemanticLens_davis320',
    'full': 'train_SemanticLens_davis320',
}


def prepare(data: Path, iterations: int) -> Averages:
    """Clips, stage 1, and the stores of both parts; returns the mask AP of stage 1 on the held-out clips."""
    prepare_clips(data)
    for part in ('train', 'val'):
        basicsr('prepare', 'ytvis', str(data), str(DATA / part), '--split', part, log=f'prepare_ytvis_{part}')
    lengths = (f'train:total_iter={iterations}', f'train:scheduler:periods=[{iterations}]')
    experiment = train(f'{OPTIONS}/{STAGE_1}.yml', STAGE_1, 0, *lengths, f'val:val_freq={iterations}')
    settings = load_yaml(ROOT / OPTIONS / f'{FILES["full"]}.yml')['network_s']
    for part in ('train', 'val'):
        flags = [
            flag
            for name in ('checkpoint', 'instance_checkpoint', 'short_side', 'max_instances', 'score_threshold')
            for flag in (f'--{name.replace("_", "-")}', str(settings[name]))
        ]
        tokens = extract('xdecoder', part, *flags)
        masks = extract('annotations', part, '--annotations', str(data / part / 'instances.json'))
        merge_stores(ROOT / tokens, ROOT / masks, ROOT / DATA / part / f'{ORACLE}.lmdb')
    return last_validation(experiment)


def merge_stores(tokens: Path, masks: Path, out: Path) -> None:
    """Write a store with the tokens of one store and the masks of another; what is there already is kept."""
    of_tokens, of_masks = PriorStore(tokens), PriorStore(masks)
    meta = of_tokens.meta | {'kind': ORACLE, 'order': of_masks.meta['order']}
    meta['parameters'] = {'tokens': of_tokens.meta['parameters'], 'masks': of_masks.meta['parameters']}
    with PriorStoreWriter(out, meta) as store:
        for key in sorted(set(of_tokens.keys()) - store.keys()):
            frame_tokens, global_tokens = of_tokens.clip_tokens([key])
            store.put_tokens(key, frame_tokens[0], global_tokens[0])
            store.put(key, of_masks.masks(key, meta['max_masks']).astype(bool))
    np.testing.assert_array_equal(PriorStore(out).keys(), of_tokens.keys())


def one_seed(seed: int, iterations: int, bar: tqdm) -> Results:
    """All rows of one seed."""
    results = {}
    lengths = (
        f'train:total_iter={iterations}',
        f'train:scheduler:periods=[{iterations}]',
        f'val:val_freq={iterations}',
    )
    for label, option in FILES.items():
        stores = []
        if label == 'full_oracle':
            for part in ('train', 'val'):
                stores += [
                    f'datasets:{part}:dataroot_priors={DATA / part / ORACLE}.lmdb',
                    f'datasets:{part}:prior_kind={ORACLE}',
                ]
        name = f'davis320_lens_{label}_seed{seed}'
        results[label] = last_validation(train(f'{OPTIONS}/{option}.yml', name, seed, *lengths, *stores))
        bar.update()
    return results


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, help='folder with train/ and val/')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--iters', type=int, nargs=2, default=(1500, 500), help='of stage 1, and of each row')
    parser.add_argument('--jobs', type=int, default=2, help='seeds that train at a time, one thread each')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs/results/semantic_lens_davis320.json')
    args = parser.parse_args()
    stage_1 = prepare(args.data.resolve(), args.iters[0])
    results = run_seeds(args.seeds, args.jobs, len(FILES), lambda seed, bar: one_seed(seed, args.iters[1], bar))
    reference = bicubic(f'{OPTIONS}/{FILES["full"]}.yml')
    content = {'iters': list(args.iters), 'stage_1': stage_1, 'bicubic': reference, 'seeds': results}
    write_json(args.out, content)
    print(table(LABELS, list(results.values()), reference, 'base'))
    print('Stage 1 on the held-out clips: ' + ', '.join(f'{name} {value:.4f}' for name, value in stage_1.items()))


if __name__ == '__main__':
    main()
