"""The parts of a method against each other, trained at a small size on the real clips of davis320.

    python tools/experiments/compare.py METHOD --data DAVIS320 [--seeds 0 1 2] [--jobs 2]
    python tools/experiments/compare.py METHOD --help      # what is compared, and what else can be chosen

DAVIS320 holds ``{train,val}/frames/CLIP/*.jpg`` and ``{train,val}/instances.json``. Everything runs through the
``basicsr`` command and the option files ``options/METHOD/*_davis320.yml``; a run that was stopped goes on where it was.
The figures go to ``docs/results/METHOD_davis320.json`` and, as a table in Markdown, to the terminal.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from arms import COMPARISONS, Comparison
from davis320_priors import prepare
from davis320_runs import ROOT, Results, bicubic, last_validation, of_length, run_seeds, table, test, train, write_json
from tqdm import tqdm


def one_seed(comparison: Comparison, lengths: dict[str, int], seed: int, bar: tqdm) -> Results:
    """All arms of one seed.

    Args:
        comparison: The arms.
        lengths: Iterations of every kind of stage.
        seed: The ``manual_seed`` of every training, and that of the noise in a test.
        bar: Moves on one step an arm.
    """
    results: Results = {}
    weights: dict[str | None, list[str]] = {None: []}
    for arm in comparison.arms:
        name, start, last = f'{comparison.prefix}{arm.name}', weights[arm.start], Path()
        for stage in arm.stages:
            option = f'{comparison.folder}/{stage.option}.yml'
            changes = (*arm.forced, *stage.forced, *of_length(lengths[stage.length]), *start, *comparison.in_training)
            last = train(option, f'{name}{stage.suffix}_seed{seed}', seed, *changes)
            start = [f'path:pretrain_network_g={last / "models" / "net_g_latest.pth"}']
        weights[arm.name] = start
        if comparison.tested:
            option = f'{comparison.folder}/{comparison.held_out}.yml'
            changes = (f'val:seed={seed}', *arm.forced, *arm.in_test, *start)
            results[arm.name] = test(option, f'{name}_seed{seed}', *changes)
        else:
            results[arm.name] = last_validation(last)
        bar.update()
    return results


def shown(results: Results) -> Results:
    """The averages as the table shows them."""
    return {row: {k: 1000 * v if k == 'warping_error' else v for k, v in one.items()} for row, one in results.items()}


def report(comparison: Comparison, content: dict) -> str:
    """The figures of a comparison as Markdown, as its page has them.

    Args:
        comparison: The arms.
        content: What its JSON holds.
    """
    labels = {arm.name: arm.label for arm in comparison.arms}
    figures = [shown(one) for one in content['seeds'].values()]
    lines = table(labels, figures, shown({'': content['bicubic']})[''], comparison.control, comparison.columns)
    if 'stage_1' not in content:
        return lines
    found = ', '.join(f'{name} {value:.4f}' for name, value in content['stage_1'].items())
    return f'{lines}\nStage 1 on the held-out clips: {found}'


def read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    commands = parser.add_subparsers(dest='method', required=True, metavar='METHOD')
    for name, comparison in COMPARISONS.items():
        rows = 'rows:\n' + '\n'.join(f'  {arm.name:14}{arm.label}' for arm in comparison.arms)
        about = textwrap.fill(comparison.about, 100)
        first = comparison.about.split('.')[0]
        command = commands.add_parser(name, help=first, description=about, epilog=rows, formatter_class=layout)
        command.add_argument('--data', type=Path, required=True, help='folder with train/ and val/')
        command.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
        for flag, default, text in comparison.flags:
            number = 2 if isinstance(default, tuple) else None
            command.add_argument(flag, type=int, nargs=number, default=default, help=f'{text} (default: %(default)s)')
        command.add_argument('--jobs', type=int, default=2, help='seeds that train at a time, one thread each')
        command.add_argument('--out', type=Path, default=ROOT / f'docs/results/{name}_davis320.json')
    options = parser.parse_args(arguments)
    if 'clips' in options and options.clips <= 4 * options.memory:
        commands.choices[options.method].error(
            '--clips must be more than four times --memory, the rest being the stage before.'
        )
    return options


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing and print the table."""
    options = read_arguments(arguments)
    comparison = COMPARISONS[options.method]
    lengths = comparison.lengths(options)
    stage_1 = prepare(comparison.method, options.data.resolve(), lengths)
    results = run_seeds(
        options.seeds, options.jobs, len(comparison.arms), lambda seed, bar: one_seed(comparison, lengths, seed, bar)
    )
    reference = bicubic(f'{comparison.folder}/{comparison.held_out}.yml', comparison.first_frames)
    if 'clips' in options:
        content: dict = {'settings': {key: getattr(options, key) for key in ('clips', 'memory', 'stage_1')}}
    else:
        content = {'iters': list(options.iters)}
    if stage_1:
        content['stage_1'] = stage_1
    content |= {'bicubic': reference, 'seeds': results}
    write_json(options.out, content)
    print(report(comparison, content))


if __name__ == '__main__':
    main()
