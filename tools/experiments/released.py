#!/usr/bin/env python3
"""Does SEEM with masks beat the same parameters without? Over networks that are trained out, on the clips of davis320.

    python tools/experiments/released.py --data DAVIS320 --calendar vid4/calendar --grid     # which learning rate
    python tools/experiments/released.py --data DAVIS320 --calendar vid4/calendar annotations neutral --seeds 0 1 2
    python tools/experiments/released.py --data DAVIS320 --calendar vid4/calendar            # the other arms, seed 0
    python tools/experiments/released.py --data DAVIS320 --choice                            # which arm is an adapter
    python tools/experiments/released.py --data DAVIS320 --calendar vid4/calendar --adapter  # the one in the package
    python tools/experiments/released.py --base lite --data DAVIS320 ...                     # the same over `lite`
    python tools/experiments/released.py --table

DAVIS320 holds ``{train,val}/frames/CLIP/*.jpg`` and ``{train,val}/instances.json``. Weights: the extra ``weights``.
An arm trains by `basicsr train`; its row goes to docs/results/seem_released.json (seem_lite.json) when it is done, and
what is there is not run again. A training takes 5 to 10 s an iteration on one core (`lite`: about one). A gain of
masks is claimed only if all nine pairs of three seeds and three held-out clips have one sign.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import cv2
import numpy as np
import torch
from arms import DATA, NEUTRAL, no_priors
from davis320_priors import extract, prepare
from davis320_runs import ROOT, basicsr, of_length, train, write_json
from real_clips import Clip, Figures, measure, read_folder

from basicsr_semantic import load
from basicsr_semantic.config.named_weights import NAMED
from basicsr_semantic.priors import PriorStore, PriorStoreWriter

GRID = ((0, 1), (1.25e-5, 1), (5e-5, 1), (2e-4, 1), (8e-4, 1), (1.25e-5, 80))
"""Learning rates tried, and how many times the rate SEEM gets, whose weights are new; 0: the network as it is."""
GRID_ITERATIONS, GRID_CLIPS = 100, ('dog', 'soapbox')
"""They are tried for so many iterations on the training clips but these two, which measure them."""
CHOICE, CHOICE_ITERATIONS = ('annotations', 'neutral', 'regions', 'dropout', 'seem_alone'), 200
"""Arms of which one becomes an adapter: the one that is best on the same two clips, after so many on the others."""
NO_MASKS = (*no_priors('train', 'val'), NEUTRAL)


@dataclass(frozen=True)
class TrainedOut:
    """A network that SEEM goes onto.

    Attributes:
        weights: Its name among those of `basicsr models`.
        option: Option file of the arms.
        runs: What the names of its runs begin with, and that of the file of its rows.
        reconstruction: Its reconstruction, as ``train.trainable``.
        adapter: The name of its adapter among those of `basicsr models`, and the arm that made it.
    """

    weights: str
    option: str
    runs: str
    reconstruction: str
    adapter: tuple[str, str] | None = None

    @property
    def results(self) -> Path:
        """The rows that are done."""
        return ROOT / 'docs' / 'results' / f'{self.runs}.json'


BASES = {
    'released': TrainedOut(
        'basicvsr-vimeo90k-bi',
        'options/seem/tune_BasicVSRSEEM_released_davis320.yml',
        'seem_released',
        'fusion,upconv,conv_hr,conv_last',
        ('seem-basicvsr-davis320', 'dropout'),
    ),
    'lite': TrainedOut('lite', 'options/seem/tune_BasicVSRLite_davis320.yml', 'seem_lite', 'fusion,block,conv_last'),
}


@dataclass(frozen=True)
class ReleasedArm:
    """One training over a network that is trained out.

    Attributes:
        label: Its name in the table.
        masks: Kind of store that it trains with; None: no masks.
        trains: What trains, of 'seem', 'reconstruction' and 'all'; empty: nothing.
        seem: Whether the network has SEEM.
        changes: Further ``--force_yml`` values.
    """

    label: str
    masks: str | None = 'annotations'
    trains: tuple[str, ...] = ('seem', 'reconstruction')
    seem: bool = True
    changes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Kind of store that it is tested with: annotated masks unless it has learned from regions."""
        return 'regions' if self.masks == 'regions' else 'annotations'

    def force_yml(self, base: TrainedOut) -> tuple[str, ...]:
        """What differs from the option file."""
        masks = NO_MASKS
        if self.masks is not None:  # what validates a training has to be of its kind
            stores = {'train': store('train', self.masks), 'val': store('val', self.kind)}
            masks = tuple(f'datasets:{part}:dataroot_priors={place}' for part, place in stores.items())
        parts = {'seem': 'sam_embed,seem_', 'reconstruction': base.reconstruction}
        trains = '~' if 'all' in self.trains else f'[{",".join(parts[name] for name in self.trains)}]'
        return (*masks, f'train:trainable={trains}', *(() if self.seem else ('network_g:branches=[]',)), *self.changes)


ARMS = {
    'annotations': ReleasedArm('SEEM and the reconstruction, annotated masks'),
    'neutral': ReleasedArm('the same parameters, no masks', None),
    'released': ReleasedArm('as it is', None, (), seem=False),
    'reconstruction': ReleasedArm('the reconstruction alone', None, ('reconstruction',), seem=False),
    'everything': ReleasedArm('the whole network, without SEEM', None, ('all',), seem=False),
    'seem_alone': ReleasedArm('SEEM alone (the paper), annotated masks', trains=('seem',)),
    'regions': ReleasedArm('SEEM and the reconstruction, masks of regions', 'regions'),
    'other_clip': ReleasedArm("SEEM and the reconstruction, another clip's masks", 'annotations_of_others'),
    'dropout': ReleasedArm('annotated masks, one clip in five without', changes=('train:prior_dropout=0.2',)),
}


def store(part: str, kind: str) -> Path:
    """Where the masks of a kind are."""
    return DATA / part / f'{kind}.lmdb'


def give_to_others(source: Path, out: Path) -> None:
    """Write a store in which every clip has the masks of the next one, frame by frame."""
    given = PriorStore(ROOT / source)
    clips: dict[str, list[str]] = {}
    for key in given.keys():  # noqa: SIM118 (it is no mapping)
        clips.setdefault(key.rpartition('/')[0], []).append(key)
    names = [*clips]
    with PriorStoreWriter(ROOT / out, given.meta) as others:
        there = others.keys()
        for name, other in zip(names, [*names[1:], names[0]], strict=True):
            for k, key in enumerate(clips[name]):
                if key not in there:
                    masks = given.masks(clips[other][k % len(clips[other])], given.meta['max_masks'])
                    others.put(key, masks.astype(bool))


def prepare_all(data: Path, calendar: Path | None) -> dict[str, list[Clip]]:
    """Clips and stores that are not there yet; the held-out clips, calendar, and those of the grid."""
    prepare('seem', data, {})
    for part in ('train', 'val'):
        give_to_others(store(part, 'annotations'), store(part, 'annotations_of_others'))
        give_to_others(store(part, 'regions'), store(part, 'regions_of_others'))
    lines = (ROOT / DATA / 'train' / 'gt.lmdb' / 'meta_info.txt').read_text().splitlines()
    clips = sorted({line.split('/')[0] for line in lines})
    (ROOT / DATA / 'train' / 'without_grid.txt').write_text(
        ''.join(f'{name}\n' for name in clips if name not in GRID_CLIPS)
    )
    sets = {'val': read_folder(data / 'val' / 'frames')}
    sets['grid'] = [clip for clip in read_folder(data / 'train' / 'frames') if clip.name in GRID_CLIPS]
    if calendar is not None:
        sets['calendar'] = [clip for clip in read_folder(calendar.parent) if clip.name == calendar.name]
        source = ROOT / DATA / 'calendar_frames'  # the clip alone
        source.mkdir(parents=True, exist_ok=True)
        if not (source / calendar.name).exists():
            (source / calendar.name).symlink_to(calendar.resolve())
        basicsr('prepare', 'clips', str(source), str(DATA / 'calendar'), log='prepare_calendar')
        extract('regions', 'calendar')
    return sets


def masks_of(clips: Sequence[Clip], kind: Path, donor: str | None = None) -> dict[str, torch.Tensor]:
    """Masks (t, 64, h, w) of clips, from a store; with a donor, those of that clip, fitted to the size of each."""
    given, found = PriorStore(ROOT / kind), {}
    for clip in clips:
        name = clip.name if donor is None else donor
        keys = [key for key in given.keys() if key.rpartition('/')[0] == name]  # noqa: SIM118 (it is no mapping)
        frames = [given.masks(keys[k % len(keys)]) for k in range(len(clip.lq))]
        size = tuple(clip.lq.shape[-1:-3:-1])
        if frames[0].shape[-1:-3:-1] != size:
            frames = [np.stack([cv2.resize(m, size, interpolation=cv2.INTER_NEAREST) for m in one]) for one in frames]
        found[clip.name] = torch.from_numpy(np.stack(frames))
    return found


def figures(
    weights: str | Path, arm: ReleasedArm, sets: dict[str, list[Clip]], adapter: str | None = None
) -> dict[str, Figures]:
    """What a network makes of held-out clips: with its own kind of masks, with another clip's, and without."""
    if not arm.seem:
        net = load(weights)
        return {name: measure(net, sets[name], note=name) for name in ('val', 'calendar') if name in sets}
    net, kind = load(weights, adapter=adapter, missing_priors='neutral'), arm.kind
    found = {
        'val': measure(net, sets['val'], masks_of(sets['val'], store('val', kind)), 'own masks'),
        'val_swapped': measure(net, sets['val'], masks_of(sets['val'], store('val', f'{kind}_of_others')), 'swapped'),
        'val_neutral': measure(net, sets['val'], note='no masks'),
    }
    if 'calendar' in sets:
        clips = sets['calendar']
        regions, swapped = store('calendar', 'regions'), store('val', 'regions')
        found['calendar'] = measure(net, clips, masks_of(clips, regions), 'calendar')
        found['calendar_swapped'] = measure(net, clips, masks_of(clips, swapped, 'goat'), 'calendar, swapped')
        found['calendar_neutral'] = measure(net, clips, note='calendar, no masks')
    return found


def run_arm(base: TrainedOut, name: str, seed: int, iterations: int, sets: dict[str, list[Clip]]) -> dict:
    """Train an arm and measure it."""
    arm, weights = ARMS[name], base.weights
    if arm.trains:
        run = f'{base.runs}_{name}_{iterations}_seed{seed}'
        changes = (*of_length(iterations), *arm.force_yml(base), 'datasets:val:first_frames=1')
        folder = train(base.option, run, seed, *changes)
        weights = str(folder / 'models' / 'net_g_latest.pth')
    return {'arm': name, 'seed': seed, 'iterations': iterations, **figures(weights, arm, sets)}


def try_arm(base: TrainedOut, name: str, run: str, iterations: int, sets: dict[str, list[Clip]], *changes: str) -> dict:
    """Train an arm on the training clips but those of the grid, and measure it on these with its kind of masks."""
    arm = ARMS[name]
    changes = (f'datasets:train:meta_info_file={DATA / "train" / "without_grid.txt"}', *arm.force_yml(base), *changes)
    changes = (*of_length(iterations), *changes, 'datasets:val:first_frames=1')
    folder = train(base.option, f'{base.runs}_{run}', 0, *changes)
    net = load(folder / 'models' / 'net_g_latest.pth', missing_priors='neutral')
    masks = None if arm.masks is None else masks_of(sets['grid'], store('train', arm.kind))
    return {'iterations': iterations, 'clips': measure(net, sets['grid'], masks, run)}


def run_grid(base: TrainedOut, sets: dict[str, list[Clip]], results: Path) -> None:
    """Try the learning rates, with annotated masks: the best of them is that of the option file."""
    for rate, times in GRID:
        if any((row['lr'], row.get('seem', 1)) == (rate, times) for row in read(results)['grid']):
            continue
        if rate:
            run = f'grid_{rate:g}' if times == 1 else f'grid_{rate:g}_{times}'
            row = try_arm(base, 'annotations', run, GRID_ITERATIONS, sets, f'train:optim_g:lr={rate}', seem_at(times))
        else:
            row = {'iterations': 0, 'clips': measure(load(base.weights), sets['grid'], note='as it is')}
        content = read(results)
        content['grid'].append({'lr': rate, 'seem': times, **row})
        write_json(results, content)


def seem_at(times: float) -> str:
    """The ``--force_yml`` value that gives SEEM another learning rate than the rest."""
    return f'train:optim_g:groups=[{{"prefixes":["sam_embed","seem_"],"lr_scale":{times}}}]'


def run_choice(base: TrainedOut, names: Sequence[str], sets: dict[str, list[Clip]], results: Path) -> None:
    """Try arms of which one becomes an adapter, and say which is the best where all of them are done."""
    for name in names:
        if any(row['arm'] == name for row in read(results).get('choice', ())):
            continue
        row = try_arm(base, name, f'choice_{name}', CHOICE_ITERATIONS, sets)
        content = read(results)
        content.setdefault('choice', []).append({'arm': name, **row})
        write_json(results, content)
    rows = read(results)['choice']
    if len(rows) == len(CHOICE):
        best = max(rows, key=lambda row: average(row['clips']))
        print(f'The best on {" and ".join(GRID_CLIPS)}: {best["arm"]}')


def measure_adapter(base: str, adapter: tuple[str, str], sets: dict[str, list[Clip]], results: Path) -> None:
    """Measure the adapter of a base as people get it, its weights in half precision."""
    name, arm = adapter
    row = {'arm': arm, 'sha256': NAMED[name].sha256, **figures(base, ARMS[arm], sets, name)}
    write_json(results, read(results) | {'adapter': row})


def read(path: Path) -> dict:
    """The rows that are done."""
    return json.loads(path.read_text()) if path.is_file() else {'grid': [], 'rows': []}


def average(found: Figures, metric: str = 'psnr_y') -> float:
    """Over the clips."""
    return mean(clip[metric] for clip in found.values())


def table(content: dict) -> str:
    """The rows as Markdown tables: the nine pairs, every row, the grid, and the choice."""
    lines = ['| seed | clip | annotated masks | no masks | difference |', '|---|---|---|---|---|']
    rows = {(row['arm'], row['seed']): row for row in content['rows']}
    for seed in sorted({seed for _, seed in rows}):
        if ('annotations', seed) in rows and ('neutral', seed) in rows:
            with_masks, without = rows['annotations', seed]['val'], rows['neutral', seed]['val_neutral']
            for clip in with_masks:
                a, b = with_masks[clip]['psnr_y'], without[clip]['psnr_y']
                lines.append(f'| {seed} | {clip} | {a:.4f} | {b:.4f} | {a - b:+.4f} |')
    heads = ('val', 'val_swapped', 'val_neutral', 'calendar', 'calendar_swapped', 'calendar_neutral')
    titles = ('own masks', "another clip's", 'none', 'calendar, regions', "calendar, another clip's", 'calendar, none')
    lines += ['', f'| arm | seed | {" | ".join(titles)} |', '|---' * (2 + len(heads)) + '|']
    for name, arm in ARMS.items():
        for (arm_name, seed), row in sorted(rows.items()):
            if arm_name == name:
                cells = [f'{average(row[head]):.4f}' if head in row else '' for head in heads]
                lines.append(f'| {arm.label} | {seed} | {" | ".join(cells)} |')
    lines += ['', '| learning rate | that of SEEM | iterations | PSNR Y | SSIM Y |', '|---|---|---|---|---|']
    for row in sorted(content['grid'], key=lambda row: (row['lr'], row.get('seem', 1))):
        rates = (f'{row["lr"]:g}', f'{row["lr"] * row.get("seem", 1):g}') if row['lr'] else ('none: as it is', '')
        values = f'{average(row["clips"]):.3f} | {average(row["clips"], "ssim_y"):.4f}'
        lines.append(f'| {rates[0]} | {rates[1]} | {row["iterations"]} | {values} |')
    if 'choice' in content:
        lines += ['', '| tried as an adapter | iterations | PSNR Y | SSIM Y |', '|---|---|---|---|']
    for row in sorted(content.get('choice', ()), key=lambda row: CHOICE.index(row['arm'])):
        values = f'{average(row["clips"]):.4f} | {average(row["clips"], "ssim_y"):.4f}'
        lines.append(f'| {ARMS[row["arm"]].label} | {row["iterations"]} | {values} |')
    return '\n'.join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--base', choices=BASES, default='released', help='what SEEM goes onto (default: %(default)s)')
    parser.add_argument('arms', nargs='*', metavar='ARM', help=f'of {", ".join(ARMS)} (default: all)')
    parser.add_argument('--data', type=Path, help='folder with train/ and val/')
    parser.add_argument('--calendar', type=Path, help="folder of the frames of Vid4's calendar")
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--iterations', type=int, default=1000)
    parser.add_argument('--grid', action='store_true', help='try the learning rates instead')
    parser.add_argument(
        '--choice', action='store_true', help=f'try which becomes an adapter instead: {", ".join(CHOICE)}'
    )
    parser.add_argument(
        '--adapter', action='store_true', help='measure the adapter that comes with the package instead'
    )
    parser.add_argument('--threads', type=int, default=1, help='threads of each training')
    parser.add_argument('--results', type=Path, help='rows that are done, as JSON (default: in docs/results)')
    parser.add_argument('--table', action='store_true', help='print the tables alone')
    options = parser.parse_args(arguments)
    known = CHOICE if options.choice else ARMS
    if unknown := [name for name in options.arms if name not in known]:
        parser.error(f'there is no arm {unknown[0]}; there are {", ".join(known)}.')
    base = BASES[options.base]
    results = options.results or base.results
    if options.table:
        print(table(read(results)))
        return
    if options.data is None:
        parser.error('--data is needed.')
    if options.adapter and base.adapter is None:
        parser.error(f'{base.weights} has no adapter.')
    os.environ['OMP_NUM_THREADS'] = str(options.threads)
    torch.set_num_threads(options.threads)
    os.chdir(ROOT)
    sets = prepare_all(options.data.resolve(), options.calendar)
    if options.grid:
        run_grid(base, sets, results)
        return
    if base.adapter is not None and options.adapter:
        measure_adapter(base.weights, base.adapter, sets, results)
        return
    if options.choice:
        run_choice(base, options.arms or CHOICE, sets, results)
        return
    for name in options.arms or ARMS:
        for seed in options.seeds:
            rows = read(results)['rows']
            if any(row['arm'] == name and row['seed'] == seed for row in rows):
                continue
            row = run_arm(base, name, seed, options.iterations, sets)
            content = read(results)
            content['rows'].append(row)
            write_json(results, content)
            print(json.dumps({'arm': name, 'seed': seed, 'val': round(average(row['val']), 4)}), flush=True)
    print(table(read(results)))


if __name__ == '__main__':
    main()
