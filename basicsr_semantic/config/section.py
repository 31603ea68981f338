"""What every section of an option file is made of: a pydantic model, strict, whose errors are sentences.

Strict has three exceptions, for how people write YAML: an integer for a float, a list for a tuple, ``'2e-4'`` for a
float.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..utils.errors import UserError
from ..utils.nearest import nearest
from .option_file import parse_value


def _number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[float, BeforeValidator(_number)]
"""A float that may be written as 2, 2e-4 or '2e-4'."""
Iterations = Annotated[int, BeforeValidator(whole), Field(ge=0, le=10**12)]
"""Iterations, which option files like to write as ``!!float 5e3``."""
Positive = Annotated[int, BeforeValidator(whole), Field(ge=1, le=10**12)]
"""A number of things of which there must be one."""
Factor = Annotated[Number, Field(ge=0, le=10**12)]
"""A factor on a learning rate."""


class NeededInTraining:
    """Marks a key that only training cannot do without; a test may leave it out."""


class Section(BaseModel):
    """A section of an option file. Attribute docstrings are what editors show."""

    model_config = ConfigDict(
        strict=True, extra='forbid', allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=()
    )


AnySection = TypeVar('AnySection', bound=Section)


class Wrong(NamedTuple):
    """One thing that is wrong with a value."""

    path: tuple[str, ...]
    """Keys below the section."""
    message: str
    """A sentence."""
    advice: str = ''
    """Another one, or nothing."""


_EXPECTED = {
    'int_type': 'an integer',
    'int_from_float': 'an integer',
    'float_type': 'a number',
    'bool_type': 'true or false',
    'string_type': 'text',
    'path_type': 'a path',
    'list_type': 'a list',
    'tuple_type': 'a list',
    'dict_type': 'a section of keys',
    'mapping_type': 'a section of keys',
    'model_type': 'a section of keys',
    'none_required': '~',
    'finite_number': 'a finite number',
}
_LIMITS = {
    'greater_than_equal': ('ge', 'at least'),
    'less_than_equal': ('le', 'at most'),
    'greater_than': ('gt', 'more than'),
    'less_than': ('lt', 'less than'),
}


def wrong_values(cls: type[Section], values: Mapping[str, Any]) -> list[Wrong]:
    """What is wrong with the values of those keys of a section that are there and known.

    Args:
        cls: The model of the section.
        values: The section; further keys and missing ones are somebody else's matter.
    """
    known = {key: value for key, value in values.items() if key in cls.model_fields}
    return [_sentence(cls, path, errors, known) for path, errors in _errors(cls, known).items()]


def _errors(cls: type[Section], known: Mapping[str, Any]) -> dict[tuple[str, ...], list[Any]]:
    """pydantic's errors by the path of the value they are about; () for those about several keys."""
    found: dict[tuple[str, ...], list[Any]] = {}
    try:
        cls.model_validate(known)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            if not one['loc'] or one['loc'][0] in known:
                found.setdefault(_written_path(one['loc'], known), []).append(one)
    return found


def read_section(cls: type[AnySection], values: Mapping[str, Any] | None, where: str) -> AnySection:
    """The typed object of a section, for classes that are built without the checker.

    Args:
        cls: The model of the section.
        values: The section; None is an empty one.
        where: What messages call it: ``train``, ``Data set 'REDS'``.

    Raises:
        UserError: An unknown key (with the nearest known one), a missing one, or a wrong value.
    """
    values = dict(values or {})
    for key in values:
        if key not in cls.model_fields:
            near = nearest(key, cls.model_fields)
            hint = f" Did you mean '{near}'?" if near else f' Its keys are {", ".join(cls.model_fields)}.'
            raise UserError(f"{where} takes no '{key}'.{hint}")
    for key, one in cls.model_fields.items():
        if key not in values and one.is_required():
            raise UserError(f"{where} needs the key '{key}'.")
    for path, message, advice in wrong_values(cls, values):
        raise UserError(f'{where}: {":".join(path)}: {message}' + (f' {advice}' if advice else ''))
    return cls.model_validate(values)


def _written_path(loc: Iterable[Any], values: Any) -> tuple[str, ...]:
    """The part of pydantic's location that stands in the file; the rest names branches of unions."""
    path: list[str] = []
    for step in loc:
        if isinstance(values, Mapping) and step in values:
            values = values[step]
        elif isinstance(values, list | tuple) and isinstance(step, int) and step < len(values):
            values = values[step]
        else:
            break
        path.append(str(step))
    return tuple(path)


def _sentence(cls: type[Section], path: tuple[str, ...], errors: list[Any], values: Mapping[str, Any]) -> Wrong:
    value: Any = values
    for step in path:
        value = value[int(step)] if isinstance(value, list | tuple) else value[step]
    limits = [_LIMITS[one['type']] + (one['ctx'],) for one in errors if one['type'] in _LIMITS]
    if limits:
        name, words, limit = limits[0]
        return Wrong(path, f'It is {shown(value)}, but must be {words} {limit[name]:g}.')
    wanted = []
    for one in errors:
        kind, context = one['type'], one.get('ctx', {})
        if kind in ('value_error', 'assertion_error'):
            return Wrong(path, str(context.get('error', one['msg'])))
        if kind == 'literal_error':
            choices = context['expected'].replace("'", '').replace(' or ', ', ')
            wanted.append(f'one of {choices}' if ',' in choices else choices)
        elif kind in ('too_long', 'too_short', 'missing'):
            wanted.append(f'a list of {_length(cls, path, context)}' if isinstance(value, list | tuple) else 'more')
        else:
            wanted.append(_EXPECTED.get(kind, one['msg'].removeprefix('Input should be ')))
    said = ' or '.join(dict.fromkeys(wanted))
    if [one['type'] for one in errors] != ['literal_error'] or said.startswith('one of'):
        said = said[0].upper() + said[1:]  # but a name keeps its letters
    return Wrong(path, f'{said} is expected, but it is {shown(value)}.', _advice(cls, path, value, wanted))


def _length(cls: type[Section], path: tuple[str, ...], context: Mapping[str, Any]) -> str:
    if 'max_length' in context or 'min_length' in context:
        return str(context.get('max_length', context.get('min_length')))
    metadata = cls.model_json_schema()['properties'].get(path[0], {})
    return str(metadata.get('maxItems', 'more'))


def _advice(cls: type[Section], path: tuple[str, ...], value: Any, wanted: list[str]) -> str:
    """How to write what was probably meant."""

    def fits(candidate: Any) -> bool:
        return len(path) == 1 and path not in _errors(cls, {path[0]: candidate})

    if isinstance(value, str):
        if value.lower() == 'none' and fits(None):
            return 'Write ~ for nothing.'
        meant = parse_value(value, path[-1]) if value[:1] not in tuple('[{\'"!') else value
        if not isinstance(meant, str) and fits(meant):
            return f'Write {value} without quotes.'
        choices = [one for said in wanted for one in said.removeprefix('one of ').split(', ')]
        if (near := nearest(value, choices)) is not None and fits(near):
            return f'Did you mean {near}?'
    for meant, written in (
        (whole(value), f'Write {whole(value)}.'),
        (str(value), f"Write '{value}' in quotes for text."),
        ([value], f'Write [{shown(value)}].'),
    ):
        if not isinstance(value, list | Mapping | bool | None) and meant != value and fits(meant):
            return written
    return ''


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80
_short.maxlist = _short.maxtuple = 8


def shown(value: Any) -> str:
    """A value as a message shows it: short, text in quotes, ~ for nothing."""
    if value is None:
        return '~'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return '{' + ', '.join(str(key) for key in list(value)[:6]) + (', ...}' if len(value) > 6 else '}')
    return _short.repr(value)


@dataclass(frozen=True)
class Built:
    """Marks a key whose value is a section of its own, with what is built of it.

    A model says so in its ``TopOptions``: ``diffusion: Annotated[dict[str, Any], Built('diffusion', BlurringResShift)]``.
    """

    kind: str
    """``arch`` and ``extractor``: the section has a ``type``; anything else: the callable takes the section."""
    target: Callable[..., Any] | None = None
    """What takes the section, where it has no ``type``."""
    options: type[Section] | None = None
    """Keys that the model itself reads there, besides those of what is built."""
