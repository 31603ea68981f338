"""``basicsr check``: option files against the constructors they configure, without running anything."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from ..utils.errors import UserError
from ..utils.printing import say, short


def add_parser(subparsers) -> None:
    """Add the verb to the command."""
    parser = subparsers.add_parser(
        'check',
        help='check option files without running them',
        description='Check option files against the constructors they configure, without running anything: keys, '
        'types, names of components, files and folders; networks are built without memory for their weights, data sets '
        'where their files are there. A file with a section "train" is checked for training, any other for a test.',
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('-opt', nargs='+', metavar='F.yml', help='option files')
    what.add_argument('--schema', action='store_true', help='print a JSON Schema of option files, for editors')
    parser.add_argument('-o', dest='output', metavar='FILE', help='write the schema to FILE')
    parser.add_argument('--force_yml', nargs='+', metavar='a:b=v', help='change options first, as train does')
    parser.add_argument('--import', dest='imports', nargs='+', default=[], metavar='my.module', help='import first')
    ignored = 'do not report data and checkpoints that are not there (yet)'
    parser.add_argument('--ignore-missing-files', action='store_true', help=ignored)
    parser.add_argument(
        '--strict', action='store_true', help='treat warnings as errors, except those about what may be intended'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what was checked, or every problem; 0 if all files are in order, 1 if any is not."""
    from ..config.plugins import load_plugins

    load_plugins(args.imports)
    if args.schema:
        given = {'--force_yml': args.force_yml, '--ignore-missing-files': args.ignore_missing_files}
        if unused := [name for name, value in (given | {'--strict': args.strict}).items() if value]:
            raise UserError(f'{unused[0]} is for option files; --schema has no use for it.')
        from .schema import write_schema

        return write_schema(args.output)
    if args.output:
        raise UserError('-o FILE belongs to --schema: option files are only read.')
    right = [_check(file, args.force_yml, args.ignore_missing_files, args.strict) for file in args.opt]
    if len(right) > 1:
        say(f'{right.count(True)} of {len(right)} option files are in order.')
    return 0 if all(right) else 1


def _check(path: str, overrides: list[str] | None, ignore_missing: bool, strict: bool) -> bool:
    """Check one file and print the outcome; whether it is in order."""
    from ..config.building import check_building
    from ..config.check import check_options
    from ..config.option_file import OptionFile
    from .remedies import with_remedies, with_remedy

    try:
        file = OptionFile.read(path, overrides)
        is_train = 'train' in file.values
        checked = check_options(file, is_train)
    except UserError as error:
        say(short(with_remedy(str(error), error)))
        return False
    problems = with_remedies([*checked.problems, *check_building(file, checked)], file)
    missing = [problem for problem in problems if problem.missing_file]
    refused = [one for one in problems if not one.warning or (strict and not one.note)]
    wrong = [one for one in refused if not (ignore_missing and one.missing_file)]
    for problem in problems:
        if problem.warning or problem in wrong:
            say(short(problem))
    if wrong:
        say(f'{path}: {_count(len(wrong), "problem")}.')
        return False
    warnings = _count(sum(problem.warning for problem in problems), 'warning')
    note = '' if warnings.startswith('0 ') else f' {warnings}.'
    note += f' {_count(len(missing), "file or folder is", "files or folders are")} not there yet.' if missing else ''
    say(f'{path}: OK. {"Training" if is_train else "Test"}: {_summary(file.values)}.{note}')
    return True


def _summary(opt: Mapping[str, Any]) -> str:
    """What was checked: ``94 keys, model SRModel, 2 data sets, 1 network, 1 loss, 2 metrics``."""
    losses = [key for key, value in (opt.get('train') or {}).items() if key.endswith('_opt') and value]
    parts = [_count(_keys(opt), 'key'), f'model {opt["model_type"]}', _count(len(opt['datasets']), 'data set')]
    parts += [_count(sum(key.startswith('network_') for key in opt), 'network')]
    parts += [_count(len(losses), 'loss', 'losses'), _count(len((opt.get('val') or {}).get('metrics') or {}), 'metric')]
    return ', '.join(part for part in parts if not part.startswith('0 '))


def _keys(section: Mapping[str, Any]) -> int:
    return sum(1 + (_keys(value) if isinstance(value, Mapping) else 0) for value in section.values())


def _count(number: int, one: str, many: str = '') -> str:
    return f'{number} {one if number == 1 else many or one + "s"}'
