#!/usr/bin/env python3
"""The demo, run by `make demo`: clips, a small baseline, SEEM on the frozen baseline, a table and a picture.

Everything is done by commands that are printed as you would type them; `options/demo` has the files they read. A second
run skips what is done and goes on where an interrupted one stopped. What is made:

    datasets/demo                  the clips and their masks
    experiments/*_demo             the trainings
    results/demo/comparison.png    LR, bicubic, baseline, SEEM, ground truth, and the masks over the frame
    results/demo/table.md, .json   PSNR and SSIM of all methods on the two held-out clips
    results/demo/logs              the full output of every command
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from demo_clips import MANIFEST
from demo_report import report
from demo_steps import Runner, Step

from basicsr_semantic.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[1]
OUT = 'results/demo'
DATA = 'datasets/demo'
BASELINE, CONTROL, SEEM = 'train_BasicVSR_demo', 'train_BasicVSR_finetune_demo', 'tune_BasicVSRSEEM_demo'
TITLES = {BASELINE: 'baseline', CONTROL: 'control', SEEM: 'SEEM'}
TRAINED = {
    BASELINE: 'BasicVSR, {} iterations',
    CONTROL: 'baseline, {} more iterations',
    SEEM: 'SEEM alone on the frozen baseline, {} iterations',
}
QUICK_ITERATIONS = 3


def option_file(name: str, root: Path) -> str:
    """The option file of a run as it is typed: relative where the working folder is this checkout."""
    path = REPOSITORY / 'options' / 'demo' / f'{name}.yml'
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def test_name(training: str) -> str:
    """The option file that tests a training: test_BasicVSR_demo for train_BasicVSR_demo."""
    return 'test_' + training.split('_', 1)[1]


def iterations_of(name: str) -> int:
    """Length of a training, read from its option file."""
    from basicsr_semantic.host.options.safe_yaml import load_yaml

    return int(load_yaml(REPOSITORY / 'options' / 'demo' / f'{name}.yml')['train']['total_iter'])


def build_steps(root: Path, quick: bool) -> list[Step]:
    """All commands of the demo, in order."""
    script = REPOSITORY / 'tools' / 'make_demo_clips.py'
    clips = ['python', str(script.relative_to(root) if script.is_relative_to(root) else script), '--out', DATA]
    if quick:
        clips += ['--size', '160', '--frames', '4']
    manifest = f'{DATA}/{MANIFEST}'
    steps = [
        Step(
            'clips',
            'Make the demo clips from the photographs in scikit-image',
            tuple(clips),
            makes=(manifest,),
            reads=tuple(str(script.with_name(f'demo_{part}.py')) for part in ('clips', 'render', 'scenes')),
            restart='--fresh',
        )
    ]
    for split, which in (('train', 'training'), ('val', 'held-out')):
        gt, lq, regions = (f'{DATA}/{split}/{name}.lmdb' for name in ('gt', 'lq', 'regions'))
        steps.append(
            Step(
                f'prepare_{split}',
                f'Pack the {which} frames, and their low-resolution versions (bicubic, x4)',
                ('basicsr', 'prepare', 'clips', f'{DATA}/{split}/frames', f'{DATA}/{split}'),
                reads=(manifest,),
                makes=(gt, lq),
                replaces=(gt, lq),
            )
        )
        steps.append(
            Step(
                f'extract_{split}',
                f'Find regions in the low-resolution {which} frames: the masks that SEEM reads',
                ('basicsr', 'extract', '--extractor', 'regions', '--frames', lq, '--out', regions),
                needs=(f'prepare_{split}',),
                makes=(regions,),
                replaces=(regions,),
            )
        )
    for name, title, needs in (
        (BASELINE, 'Train the baseline, a small BasicVSR', ('prepare_train',)),
        (CONTROL, 'Control: train the baseline on for as long as SEEM is tuned', (BASELINE,)),
        (SEEM, 'Freeze the baseline and train SEEM alone', (BASELINE, 'extract_train')),
    ):
        force = ('--force_yml', f'train:total_iter={QUICK_ITERATIONS}', 'logger:print_freq=1') if quick else ()
        steps.append(
            Step(
                name,
                title,
                ('basicsr', 'train', '-opt', option_file(name, root), *force),
                needs=needs,
                makes=(f'experiments/{name}/models/net_g_latest.pth',),
                iterations=QUICK_ITERATIONS if quick else iterations_of(name),
                resume='--auto_resume',
            )
        )
    for name, title in TITLES.items():
        test = test_name(name)
        steps.append(
            Step(
                test,
                f'Test {title} on the held-out clips',
                ('basicsr', 'test', '-opt', option_file(test, root)),
                needs=(name, 'prepare_val', *(('extract_val',) if name == SEEM else ())),
                makes=(f'results/{test}/validation/demo_{test}.json',),
            )
        )
    return steps


def main(arguments: list[str] | None = None) -> int:
    """Runs the demo; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--fresh', action='store_true', help='do everything again')
    parser.add_argument('--quick', action='store_true', help='tiny clips and trainings, to try the machinery only')
    parser.add_argument('--root', type=Path, default=REPOSITORY, help='working folder (default: this checkout)')
    parser.add_argument('--readme', action='store_true', help='also write docs/images/demo.png, a smaller picture')
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    start = time.monotonic()
    try:
        return run(root, options.fresh, options.quick, options.readme, start)
    except KeyboardInterrupt:
        print('\nInterrupted; the same command goes on from here.', file=sys.stderr)
        return 130
    except (UserError, OSError) as error:
        print(f'\nerror: {error}', file=sys.stderr)
        return 2


def run(root: Path, fresh: bool, quick: bool, readme: bool, start: float) -> int:
    """The steps, then table and picture."""
    root.mkdir(parents=True, exist_ok=True)
    out = root / OUT
    runner = Runner(root, out, fresh)
    steps = build_steps(root, quick)
    for number, step in enumerate(steps, 1):
        runner.run(step, number, len(steps))
    lengths = {step.name: step.iterations for step in steps}
    tests = {TITLES[name]: (test_name(name), TRAINED[name].format(lengths[name])) for name in TITLES}
    report(root, out, tests, REPOSITORY / 'docs' / 'images' / 'demo.png' if readme else None)
    minutes, seconds = divmod(round(time.monotonic() - start), 60)
    print(f'\nTook {minutes} min {seconds} s.')
    return 0


if __name__ == '__main__':
    sys.exit(main())
