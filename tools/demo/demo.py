#!/usr/bin/env python3
"""The demo, run by `make demo`: a video enlarged; SEEM and its control on small clips; a table, a picture.

`make demo-lens` (--lens) does the same and adds Semantic Lens and its control. Everything is done by commands that are
printed as you would type them; `options/demo` has the files they read. A second run skips what is done and goes on
where an interrupted one stopped; so --lens uses what was made without it. What is made:

    results/demo/bikes.mp4         two seconds of a video, enlarged by `lite`; bikes_side_by_side.mp4 next to the input
    datasets/demo                  the clips and their masks
    experiments/*_demo             the trainings
    results/demo/comparison.png    one held-out frame: a first picture before any training, all methods at the end
    results/demo/table.md, .json   PSNR and SSIM of all methods on the two held-out clips
    results/demo/logs              the full output of every command

The columns of the picture: ground truth, then bicubic and every network from better to worse by the PSNR on Y that was
measured on the frame and is written above it (no order is set beforehand; a control may come first), then the
low-resolution frame, then the masks that the methods read.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from demo_clips import MANIFEST
from demo_report import PICTURE, first_picture, report
from demo_steps import Runner, Step, environment

from basicsr_semantic.utils.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
OUT = 'results/demo'
DATA = 'datasets/demo'
VIDEO = 'datasets/demo_video/bikes.mp4'
BASELINE, CONTROL, SEEM = 'train_BasicVSR_demo', 'train_BasicVSR_finetune_demo', 'tune_BasicVSRSEEM_demo'
STAGE_1, PLAIN, LENS = 'stage1_demo', 'train_SemanticLens_base_demo', 'train_SemanticLens_demo'


@dataclass(frozen=True)
class Training:
    """A training whose outcome is tested.

    Attributes:
        row: its name in the table and the picture.
        title: what it does, for the reader.
        trained: what was trained, with a place for the number of iterations.
        needs: steps before it.
        store: name of the store of priors that it and its test read; empty for none.
        lens: belongs to the part with Semantic Lens.
    """

    row: str
    title: str
    trained: str
    needs: tuple[str, ...]
    store: str = ''
    lens: bool = False


TRAININGS = {
    BASELINE: Training('baseline', 'Train the baseline, a small BasicVSR', 'BasicVSR, {} iterations', ()),
    CONTROL: Training(
        'control',
        'Control: train the baseline on for as long as SEEM is tuned',
        'baseline, {} more iterations',
        (BASELINE,),
    ),
    SEEM: Training(
        'SEEM',
        'Freeze the baseline and train SEEM alone',
        'SEEM alone on the frozen baseline, {} iterations',
        (BASELINE,),
        'regions',
    ),
    PLAIN: Training(
        'no priors',
        'Control: train a small recurrent transformer, that of Semantic Lens without priors',
        'recurrent transformer, {} iterations',
        (),
        lens=True,
    ),
    LENS: Training(
        'Semantic Lens',
        'Train Semantic Lens, stage 2',
        'Semantic Lens, {} iterations',
        (STAGE_1,),
        'xdecoder',
        lens=True,
    ),
}
QUICK_ITERATIONS = 3


def option_file(name: str, root: Path) -> str:
    """The option file of a run as it is typed: relative where the working folder is this checkout."""
    path = REPOSITORY / 'options' / 'demo' / f'{name}.yml'
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def test_name(training: str) -> str:
    """The option file that tests a training: test_BasicVSR_demo for train_BasicVSR_demo."""
    return 'test_' + training.split('_', 1)[1]


def options_of(name: str) -> dict:
    """The content of an option file of the demo."""
    from basicsr_semantic.config.option_file import load_yaml

    return load_yaml(REPOSITORY / 'options' / 'demo' / f'{name}.yml')


def iterations_of(name: str) -> int:
    """Length of a training, read from its option file."""
    return int(options_of(name)['train']['total_iter'])


def short_side() -> int:
    """Short side to which the extractor of Semantic Lens enlarges frames, read from the option file that uses it."""
    return int(options_of(LENS)['network_s']['short_side'])


def trainings(lens: bool) -> dict[str, Training]:
    """The trainings of a run: SEEM's, and with `lens` those of Semantic Lens after them."""
    return {name: entry for name, entry in TRAININGS.items() if lens or not entry.lens}


def video_steps(root: Path) -> list[Step]:
    """A small video, and what `basicsr upscale` makes of it."""
    script = REPOSITORY / 'tools' / 'demo' / 'make_demo_video.py'
    name = str(script.relative_to(root) if script.is_relative_to(root) else script)
    made = (f'{OUT}/bikes.mp4', f'{OUT}/bikes_side_by_side.mp4')
    return [
        Step('video', 'Shrink two seconds of a video', ('python', name, '--out', VIDEO), makes=(VIDEO,)),
        Step(
            'upscale',
            'Enlarge it four times by the small network that comes with the package',
            ('basicsr', 'upscale', VIDEO, made[0], '--side-by-side', made[1]),
            needs=('video',),
            makes=made,
            resume='--resume',
            replaces=(*made, f'{made[0]}.parts'),
        ),
    ]


def build_steps(root: Path, quick: bool, lens: bool) -> list[Step]:
    """All commands of the demo, in order: those of SEEM, and with `lens` those of Semantic Lens after them."""
    script = REPOSITORY / 'tools' / 'demo' / 'make_demo_clips.py'
    clips = ['python', str(script.relative_to(root) if script.is_relative_to(root) else script), '--out', DATA]
    if quick:
        clips += ['--size', '160', '--frames', '6']
    manifest = f'{DATA}/{MANIFEST}'
    steps = video_steps(root)
    steps += [
        Step(
            'clips',
            'Make the demo clips from the photographs in scikit-image',
            tuple(clips),
            makes=(manifest,),
            reads=tuple(str(script.with_name(f'demo_{part}.py')) for part in ('clips', 'render', 'scenes')),
            restart='--fresh',
        )
    ]
    training = ('--force_yml', f'train:total_iter={QUICK_ITERATIONS}', 'logger:print_freq=1') if quick else ()

    def train(name: str, title: str, needs: tuple[str, ...]) -> Step:
        return Step(
            name,
            title,
            ('basicsr', 'train', '-opt', option_file(name, root), *training),
            needs=needs,
            makes=(f'experiments/{name}/models/net_g_latest.pth',),
            iterations=QUICK_ITERATIONS if quick else iterations_of(name),
            resume='--auto_resume',
        )

    def extract(kind: str, split: str, title: str, needs: tuple[str, ...], *flags: str) -> Step:
        lq, store = f'{DATA}/{split}/lq.lmdb', f'{DATA}/{split}/{kind}.lmdb'
        command = ('basicsr', 'extract', '--extractor', kind, '--frames', lq, '--out', store, *flags)
        return Step(f'extract_{kind}_{split}', title, command, needs=needs, makes=(store,), replaces=(store,))

    splits = {'train': 'training', 'val': 'held-out'}
    for split, which in splits.items():
        packed = tuple(f'{DATA}/{split}/{name}.lmdb' for name in ('gt', 'lq'))
        steps.append(
            Step(
                f'prepare_{split}',
                f'Pack the {which} frames, and their low-resolution versions (bicubic, x4)',
                ('basicsr', 'prepare', 'clips', f'{DATA}/{split}/frames', f'{DATA}/{split}'),
                reads=(manifest,),
                makes=packed,
                replaces=packed,
            )
        )
        title = f'Find regions in the low-resolution {which} frames: the masks that SEEM reads'
        steps.append(extract('regions', split, title, (f'prepare_{split}',)))
    for part in (False, True) if lens else (False,):
        chosen = {name: entry for name, entry in TRAININGS.items() if entry.lens == part}
        for name, entry in chosen.items():
            if name == LENS:
                stage_1 = (
                    'Stage 1 of Semantic Lens: teach a small X-Decoder and an instance network the annotated instances'
                )
                steps.append(train(STAGE_1, stage_1, ('prepare_train', 'prepare_val')))
                weights = f'experiments/{STAGE_1}/models'
                flags = ('--checkpoint', f'{weights}/net_f_latest.pth')
                flags += ('--instance-checkpoint', f'{weights}/net_g_latest.pth', '--short-side', str(short_side()))
                for split, which in splits.items():
                    title = f'Describe the {which} clips by tokens and instances: what Semantic Lens reads'
                    steps.append(extract('xdecoder', split, title, (STAGE_1, f'prepare_{split}'), *flags))
            store = (f'extract_{entry.store}_train',) if entry.store else ()
            steps.append(train(name, entry.title, ('prepare_train', *entry.needs, *store)))
        for name, entry in chosen.items():
            test = test_name(name)
            store = (f'extract_{entry.store}_val',) if entry.store else ()
            steps.append(
                Step(
                    test,
                    f'Test {entry.row} on the held-out clips',
                    ('basicsr', 'test', '-opt', option_file(test, root)),
                    needs=(name, 'prepare_val', *store),
                    makes=(f'results/{test}/validation/demo_{test}.json',),
                )
            )
    return steps


def main(arguments: list[str] | None = None) -> int:
    """Runs the demo; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--lens', action='store_true', help='also Semantic Lens and its control (make demo-lens)')
    parser.add_argument('--fresh', action='store_true', help='do everything again')
    parser.add_argument('--quick', action='store_true', help='tiny clips and trainings, to try the machinery only')
    parser.add_argument('--root', type=Path, default=REPOSITORY, help='working folder (default: this checkout)')
    parser.add_argument('--readme', action='store_true', help='also write docs/images/demo.png, a smaller picture')
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    start = time.monotonic()
    try:
        return run(root, options.lens, options.fresh, options.quick, options.readme, start)
    except KeyboardInterrupt:
        print('\nInterrupted; the same command goes on from here.', file=sys.stderr)
        return 130
    except (UserError, OSError) as error:
        print(f'\nerror: {error}', file=sys.stderr)
        return 2


def run(root: Path, lens: bool, fresh: bool, quick: bool, readme: bool, start: float) -> int:
    """The steps, with a first picture of the clips; then table and picture."""
    root.mkdir(parents=True, exist_ok=True)
    out = root / OUT
    os.environ.update(environment())
    runner = Runner(root, out, fresh)
    steps = build_steps(root, quick, lens)
    for number, step in enumerate(steps, 1):
        ran = runner.run(step, number, len(steps))
        # A picture of these clips, perhaps with all methods, may be there from an earlier run: it stays till the end.
        if step.name == 'upscale':
            print(f'Video: {out / "bikes.mp4"}; next to its input: {out / "bikes_side_by_side.mp4"}')
        if step.name == 'clips' and (ran or not (out / PICTURE).exists()):
            first_picture(root, out)
    chosen = trainings(lens)
    lengths = {step.name: step.iterations for step in steps}
    tests = {entry.row: (test_name(name), entry.trained.format(lengths[name])) for name, entry in chosen.items()}
    stores = [entry.store for entry in chosen.values() if entry.store]
    report(root, out, tests, stores, REPOSITORY / 'docs' / 'images' / 'demo.png' if readme else None)
    minutes, seconds = divmod(round(time.monotonic() - start), 60)
    print(f'\nTook {minutes} min {seconds} s.')
    if not lens:
        print('Semantic Lens on the same clips: make demo-lens')
    return 0


if __name__ == '__main__':
    sys.exit(main())
