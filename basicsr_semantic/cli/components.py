"""``basicsr components``: what is registered, where it comes from, and what option keys it takes."""

from __future__ import annotations

import argparse
import inspect
import json
import textwrap
from pathlib import Path
from typing import Any

from ..utils.errors import UserError
from ..utils.printing import printable, say

WIDTH = 100


def add_parser(subparsers) -> None:
    """Add the verb to the command."""
    parser = subparsers.add_parser(
        'components',
        help='list what is registered: archs, models, data sets, losses, metrics, extractors',
        description='List what is registered, with file, first line of the documentation, and arguments; with a NAME '
        'everything about that component.',
    )
    parser.add_argument('name', nargs='?', metavar='NAME', help='show all about this component')
    parser.add_argument(
        '--kind', choices=['arch', 'model', 'dataset', 'loss', 'metric', 'extractor'], help='only these'
    )
    parser.add_argument('--json', action='store_true', help='print JSON')
    parser.add_argument('--import', dest='imports', nargs='+', default=[], metavar='my.module', help='import first')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the components asked for.

    Raises:
        UserError: There is none of that name.
    """
    from ..config.components import KINDS, components
    from ..config.plugins import load_plugins

    load_plugins(args.imports)
    kinds: list[str] = [args.kind] if args.kind else [*KINDS]
    found = [one for kind in kinds for one in components(kind).values() if args.name in (None, one.name)]
    if args.name and not found:
        raise _unknown(args.name, kinds)
    if args.json:
        say(json.dumps([_as_json(one) for one in found], indent=2, ensure_ascii=False, default=str))
    elif args.name:
        say('\n\n'.join(_in_full(one) for one in found))
    else:
        for kind in kinds:
            of_kind = [one for one in found if one.kind == kind]
            say(f'{kind} ({len(of_kind)})')
            for one in of_kind:
                say(_in_brief(one))
            say()
    return 0


def _unknown(name: str, kinds: list[str]) -> UserError:
    from ..config.components import components
    from ..utils.nearest import nearest

    near = nearest(name, [known for kind in kinds for known in components(kind)])
    advice = f'Did you mean {near}?' if near else 'Without a name the command lists all.'
    what = kinds[0] if len(kinds) == 1 else 'component'
    return UserError(f'No {what} is registered as {name!r}. {advice}')


def _in_brief(component: Any) -> str:
    """A few lines of at most `WIDTH` characters: name and summary, file, arguments."""
    name = f'  {printable(component.name)}'
    lines = textwrap.wrap(component.summary or '(no documentation)', WIDTH - 26, max_lines=2, placeholder=' ...')
    head = [f'{name:<24}  {lines[0]}'] if len(name) <= 24 else [name, ' ' * 26 + lines[0]]
    head += [' ' * 26 + line for line in lines[1:]]
    head.append(' ' * 26 + _short_file(component.file))
    for section, options in option_sections(component).items():
        shown = ', '.join(_argument(name, one) for name, one in options.model_fields.items())
        if shown:
            label = f'{section}: ' if section else ''
            head += textwrap.wrap(label + shown, WIDTH, initial_indent=' ' * 26, subsequent_indent=' ' * 28)
    return '\n'.join(line[:WIDTH] for line in head)


def _argument(name: str, one: Any) -> str:
    """``num_feat=64``; ``num_in_ch`` if it must be given."""
    return name if one.is_required() else f'{name}={_written(one.default)}'


def _type(one: Any) -> str:
    """What values a key takes, in words; '' for anything."""
    from pydantic import TypeAdapter

    return _words(TypeAdapter(Any if one.annotation is None else one.annotation).json_schema())


def _words(schema: dict[str, Any]) -> str:
    if 'anyOf' in schema:
        return ' or '.join(dict.fromkeys(filter(None, map(_words, schema['anyOf']))))
    if 'enum' in schema or 'const' in schema:
        choices = schema.get('enum', [schema.get('const')])
        return ('one of ' if len(choices) > 1 else '') + ', '.join(map(str, choices))
    words = {'integer': 'an integer', 'number': 'a number', 'boolean': 'true or false', 'string': 'text', 'null': '~'}
    return (words | {'array': 'a list', 'object': 'a section of keys'}).get(schema.get('type', ''), '')


def _written(value: Any) -> str:
    """A default as an option file has it."""
    if value is None or isinstance(value, bool):
        return {None: '~', True: 'true', False: 'false'}[value]
    if isinstance(value, list | tuple):
        return f'[{", ".join(_written(item) for item in value)}]'
    if isinstance(value, dict):
        return '{' + ', '.join(f'{key}: {_written(item)}' for key, item in value.items()) + '}'
    if inspect.isclass(value) or callable(value):
        return getattr(value, '__name__', str(value))
    return str(value) if value != '' else "''"


def _short_file(file: str) -> str:
    """The path from the top-level package on: ``basicsr/archs/edvr_arch.py``."""
    path = Path(file)
    root = path.parent
    while (root / '__init__.py').exists():
        root = root.parent
    return path.relative_to(root).as_posix() if file else '(no source file)'


def _in_full(component: Any) -> str:
    """Everything: documentation, file, and each option key with type, default and meaning."""
    lines = [f'{printable(component.name)} ({component.kind})', component.file or '(no source file)', '']
    lines += [inspect.cleandoc(component.target.__doc__ or '(no documentation)'), '']
    for section, options in option_sections(component).items():
        where = {'': 'Option keys', 'top': 'Option keys at the top level'}.get(section, f'Option keys of {section}')
        lines.append(f'{where}:' if options.model_fields else f'{where}: none.')
        for name, one in options.model_fields.items():
            default = 'required' if one.is_required() else f'default {_written(one.default)}'
            lines.append(f'  {name}  ({"; ".join(filter(None, (_type(one), default)))})')
            lines += textwrap.wrap(one.description or '', WIDTH, initial_indent=' ' * 6, subsequent_indent=' ' * 6)
        if getattr(options, 'takes_more', False):
            lines.append('  Further keys are passed on to code that decides about them itself.')
        lines.append('')
    return '\n'.join(lines).rstrip()


def _as_json(component: Any) -> dict[str, Any]:
    arguments = []
    for section, options in option_sections(component).items():
        for name, one in options.model_fields.items():
            entry: dict[str, Any] = {
                'name': name,
                'type': _type(one),
                'required': one.is_required(),
                'doc': one.description or '',
            }
            if section:
                entry['section'] = section
            if not one.is_required():
                plain = one.default is None or isinstance(one.default, bool | int | float | str | list | tuple | dict)
                entry['default'] = one.default if plain else _written(one.default)
            arguments.append(entry)
    return {
        'name': component.name,
        'kind': component.kind,
        'file': component.file,
        'summary': component.summary,
        'arguments': arguments,
    }


def option_sections(component: Any) -> dict[str, Any]:
    """The option keys that a component brings, by section of the option file ('' is the component's own section)."""
    from ..config.declared import declared, metric_arguments
    from ..config.signatures import arguments_of

    if component.kind == 'dataset':
        return {'': declared(component.target, 'dataset').options}
    if component.kind == 'model':
        return {name: declared(component.target, name).options for name in ('top', 'train', 'path', 'val')}
    return {'': metric_arguments(component) if component.kind == 'metric' else arguments_of(component.target)}
