"""Flags of ``basicsr extract`` out of the constructors of extractors: types, defaults and texts are read off them."""

from __future__ import annotations

import argparse
import re
import types
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from ..config.components import Component
from ..config.option_file import parse_value
from ..config.section import wrong_values
from ..config.signatures import arguments_of
from ..extractors import EXTRACTOR_REGISTRY, Extractor
from ..utils.errors import UserError
from ..utils.nearest import nearest

_METAVARS: dict[Any, str] = {int: 'INTEGER', float: 'NUMBER', str: 'TEXT', Path: 'PATH', bool: 'true|false'}


def flag(argument: str) -> str:
    """The flag of an argument: ``--min-size`` of ``min_size``."""
    return f'--{argument.replace("_", "-")}'


def known_extractors() -> dict[str, str]:
    """All extractors that fill stores, by name, each with the first line of its docstring."""
    return {name: _summary(name, one) for name, one in EXTRACTOR_REGISTRY if one.fills_stores()}


def add_flags(parser: argparse.ArgumentParser, name: str, extractor: type[Extractor], taken: Sequence[str]) -> None:
    """Add a flag for each argument of an extractor's constructor; none has a default, which is the constructor's.

    Args:
        parser: where to.
        name: name of the extractor.
        extractor: its class.
        taken: names that the command has for itself.

    Raises:
        UserError: An argument has such a name.
    """
    group = parser.add_argument_group(f'--extractor {name}', _summary(name, extractor))
    for argument, one in arguments_of(extractor).model_fields.items():
        if argument in taken:
            raise UserError(
                f'The extractor {name!r} has an argument {argument!r}, a name that "basicsr extract" has for itself: '
                'give it another name.'
            )
        default = '(required)' if one.is_required() else _shown(one.default)
        text = ' '.join(filter(None, (_plain_text(one.description or ''), default)))
        group.add_argument(flag(argument), dest=argument, help=text.replace('%', '%%'), **settings(one.annotation))


def given(args: argparse.Namespace, extractor: type[Extractor]) -> dict[str, Any]:
    """The arguments of the constructor that the command line gives.

    Raises:
        UserError: One is missing that the constructor cannot do without, or is out of the range that it declares.
    """
    values: dict[str, Any] = {}
    for argument, one in arguments_of(extractor).model_fields.items():
        value = getattr(args, argument)
        if value is None and one.is_required():
            raise UserError(
                f'The extractor {args.extractor!r} needs the argument {argument!r}, on the command line '
                f'{flag(argument)} {settings(one.annotation).get("metavar", "VALUE")}.'
            )
        if value is not None:
            values[argument] = tuple(value) if _is_tuple(one.annotation) and isinstance(value, list) else value
    for (argument, *_), message, _ in wrong_values(arguments_of(extractor), values):
        raise UserError(f'{flag(argument)}: {message}')
    return values


def check_flags(left: Sequence[str], name: str, parser: argparse.ArgumentParser) -> None:
    """Refuse flags that are none of this extractor's.

    Args:
        left: arguments that the parser did not take.
        name: name of the extractor.
        parser: the parser, with the flags of the extractor.

    Raises:
        UserError: There is one; the message says which extractors take it, or what is spelt almost so.
    """
    for text in left:
        if not text.startswith('--') or text == '--':
            continue
        written = text.partition('=')[0]
        argument = written[2:].replace('-', '_')
        owners = [
            other
            for other, one in EXTRACTOR_REGISTRY
            if other != name and one.fills_stores() and argument in arguments_of(one).model_fields
        ]
        if owners:
            *first, last = owners
            listed = f'{", ".join(first)} and {last}' if first else last
            raise UserError(f'The extractor {name!r} takes no argument {argument!r}: {written} belongs to {listed}.')
        near = nearest(written, [one for action in parser._actions for one in action.option_strings])
        hint = f'did you mean {near}?' if near else f'"basicsr extract --extractor {name} --help" lists what it takes.'
        raise UserError(f'The extractor {name!r} takes no {written}: {hint}')


def settings(hint: Any) -> dict[str, Any]:
    """How argparse is to read values of a type.

    ``bool`` is true or false, and true by the flag alone; a list or tuple takes several values; ``X | None`` is X; a
    ``Literal`` is a choice; everything else is read as in an option file.

    Args:
        hint: type of the argument.
    """
    kinds = _kinds(hint)
    if kinds == [bool]:
        return {'type': _truth, 'nargs': '?', 'const': True, 'metavar': 'true|false'}
    if len(kinds) == 1 and get_origin(kinds[0]) is Literal:
        choices = [one for one in get_args(kinds[0]) if one is not None]
        return {'type': _of_kinds(kinds), 'choices': choices, 'metavar': '|'.join(map(str, choices))}
    if len(kinds) == 1 and (get_origin(kinds[0]) or kinds[0]) in (list, tuple):
        items = [one for one in get_args(kinds[0]) if one is not Ellipsis]
        fixed = (get_origin(kinds[0]) is tuple) and Ellipsis not in get_args(kinds[0])
        of_items = [kind for one in items for kind in _kinds(one)] or [Any]
        return {'type': _of_kinds(of_items), 'nargs': len(items) if fixed else '+', 'metavar': _metavar(of_items)}
    return {'type': _of_kinds(kinds), 'metavar': _metavar(kinds)}


def _kinds(hint: Any) -> list[Any]:
    """The types of a union without None, each without its range; text last, since it takes all."""
    if get_origin(hint) is Annotated:
        return _kinds(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        found = [kind for part in get_args(hint) for kind in _kinds(part) if kind is not type(None)]
        return sorted(dict.fromkeys(found), key=lambda kind: kind in (str, Path, PurePath))
    return [Path] if hint is PurePath else [hint]


def _is_tuple(hint: Any) -> bool:
    return [get_origin(kind) or kind for kind in _kinds(hint)] == [tuple]


def _metavar(kinds: Sequence[Any]) -> str:
    return '|'.join(dict.fromkeys(_METAVARS.get(kind, 'VALUE') for kind in kinds))


def _of_kinds(kinds: Sequence[Any]) -> Callable[[str], Any]:
    """What makes a value of a text: the first of the types that takes it."""
    if len(kinds) == 1 and kinds[0] in (int, float, str, Path):
        return kinds[0]

    def value(text: str) -> Any:
        for kind in kinds:
            try:
                return _value(kind, text)
            except (ValueError, argparse.ArgumentTypeError):
                continue
        raise ValueError(text)

    return value


def _value(kind: Any, text: str) -> Any:
    if kind is bool:
        return _truth(text)
    if get_origin(kind) is Literal:
        known = {str(one): one for one in get_args(kind)}
        return known.get(text, text)  # argparse itself refuses what is no choice
    if kind in (int, float, str, Path):
        return kind(text)
    return parse_value(text, 'the command line')


def _truth(text: str) -> bool:
    if text not in ('true', 'false'):
        raise argparse.ArgumentTypeError(f'it must be true or false, not {text!r}')
    return text == 'true'


def _shown(default: Any) -> str:
    """A default as a help text has it; '' for none."""
    if default is None:
        return ''
    if isinstance(default, bool):
        return f'(default {str(default).lower()})'
    items = default if isinstance(default, list | tuple) else [default]
    words = [f'{one:.6g}' if isinstance(one, float) else str(one) for one in items]
    return f'(default {" ".join(words)})' if words else ''


def _plain_text(text: str) -> str:
    """A description out of a docstring without its markup, and without its last full stop."""
    text = re.sub(r':\w+:`~?(?:[\w.]*\.)?([^`]*)`', r'\1', text).replace('``', '')
    return text if text.endswith('...') else text.removesuffix('.')


def _summary(name: str, extractor: type[Extractor]) -> str:
    return Component('extractor', name, extractor).summary or '(no documentation)'
