"""The clips of davis320 and what the extractors say about them, for each comparison; what is there already is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from arms import DATA, ORACLE, SEMANTIC_LENS
from davis320_runs import ROOT, Averages, basicsr, last_validation, of_length, train

from basicsr_semantic.config.option_file import load_yaml
from basicsr_semantic.priors import PriorStore, PriorStoreWriter

STAGE_1 = 'stage1_davis320'
PARTS = ('train', 'val')


def prepare(method: str, data: Path, lengths: dict[str, int]) -> Averages | None:
    """Make LQ and GT LMDBs of both parts, and the stores that a comparison reads.

    Args:
        method: ``method`` of a comparison.
        data: Folder with train/ and val/.
        lengths: Iterations of stage 1, where the method needs one.

    Returns:
        The mask AP of stage 1 on the held-out clips, where the comparison reports it.
    """
    if not (data / 'train' / 'frames').is_dir():
        raise SystemExit(f'{data} has no train/frames.')
    for part in PARTS:
        basicsr('prepare', 'clips', str(data / part / 'frames'), str(DATA / part), log=f'prepare_{part}')
    annotations = {part: ('--annotations', str(data / part / 'instances.json')) for part in PARTS}
    if method == 'seem':
        for part in PARTS:
            extract('regions', part)
            extract('annotations', part, *annotations[part])
        return None
    for part in PARTS:
        basicsr('prepare', 'ytvis', str(data), str(DATA / part), '--split', part, log=f'prepare_ytvis_{part}')
    stage_1 = train(f'{SEMANTIC_LENS.folder}/{STAGE_1}.yml', STAGE_1, 0, *of_length(lengths['stage_1']))
    if method == 'seeclear':
        weights = str(stage_1 / 'models' / 'net_f_latest.pth')
        for part in PARTS:
            flags = ('--checkpoint', weights, '--instance-source', 'mean_over_time', '--short-side', '160')
            extract('xdecoder', part, *flags, '--pixel-features', out='xdecoder_features')
        return None
    settings = load_yaml(ROOT / SEMANTIC_LENS.folder / f'{SEMANTIC_LENS.held_out}.yml')['network_s']
    names = ('checkpoint', 'instance_checkpoint', 'short_side', 'max_instances', 'score_threshold')
    flags = [flag for name in names for flag in (f'--{name.replace("_", "-")}', str(settings[name]))]
    for part in PARTS:
        tokens, masks = extract('xdecoder', part, *flags), extract('annotations', part, *annotations[part])
        merge_stores(ROOT / tokens, ROOT / masks, ROOT / DATA / part / f'{ORACLE}.lmdb')
    return last_validation(stage_1)


def extract(kind: str, part: str, *flags: str, out: str | None = None) -> Path:
    """Fill the store of one part with the priors of one extractor, named like it unless ``out`` says otherwise."""
    store = DATA / part / f'{out or kind}.lmdb'
    frames = str(DATA / part / 'lq.lmdb')
    call = ['extract', '--extractor', kind, '--frames', frames, '--out', str(store), *flags]
    basicsr(*call, log=f'extract_{part}_{out or kind}')
    return store


def merge_stores(tokens: Path, masks: Path, out: Path) -> None:
    """Write a store with the tokens of one store and the masks of another."""
    of_tokens, of_masks = PriorStore(tokens), PriorStore(masks)
    meta = of_tokens.meta | {'kind': ORACLE, 'order': of_masks.meta['order']}
    meta['parameters'] = {'tokens': of_tokens.meta['parameters'], 'masks': of_masks.meta['parameters']}
    with PriorStoreWriter(out, meta) as store:
        for key in sorted(set(of_tokens.keys()) - store.keys()):
            frame_tokens, global_tokens = of_tokens.clip_tokens([key])
            store.put_tokens(key, frame_tokens[0], global_tokens[0])
            store.put(key, of_masks.masks(key, meta['max_masks']).astype(bool))
    np.testing.assert_array_equal(PriorStore(out).keys(), of_tokens.keys())
