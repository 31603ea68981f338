"""What every section of an option file is made of: a pydantic model, strict, whose errors are sentences.

Strict has three exceptions, for how people write YAML: an integer for a float, a list for a tuple, ``'2e-4'`` for a
float.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..utils.errors import MissingError, UserError, shown
from ..utils.nearest import nearest
from .option_file import KeyPath, parse_value


def _number(value: Any) -> Any:
    with contextlib.suppress(ValueError):
        return float(value) if isinstance(value, str) else value
    return value


def whole(value: Any) -> Any:
    """3e5 as the integer that it is; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[float, BeforeValidator(_number)]
"""A float that may be written as 2, 2e-4 or '2e-4'."""
Iterations = Annotated[int, BeforeValidator(whole), Field(ge=-1, le=10**12)]
"""Iterations, which option files often write as ``!!float 5e3``; -1 and 0 mean never."""
Positive = Annotated[int, BeforeValidator(whole), Field(ge=1, le=10**12)]
"""A number of things, at least 1."""
Factor = Annotated[Number, Field(ge=0, le=10**12)]
"""A factor on a learning rate."""


class Section(BaseModel):
    """A section of an option file. Attribute docstrings are what editors show."""

    model_config = ConfigDict(
        strict=True,
        extra='forbid',
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
        defer_build=True,  # a run checks a few of the many sections there are
    )

    @classmethod
    def reads_file(cls, key: str, values: Mapping[str, Any]) -> bool:
        """Whether a run reads the file that a key names; a section whose files are not all read says which are.

        Args:
            key: A key of the section, whose value is a path.
            values: The section.
        """
        return True


AnySection = TypeVar('AnySection', bound=Section)


class NeededInTraining:
    """Marks a key that only training needs; a test may leave it out."""


@dataclass(frozen=True)
class Built:
    """Marks a key whose value is a section of its own: ``noise: Annotated[dict, Built('noise', Diffusion)]``."""

    kind: str
    """``arch`` and ``extractor``: the section has a ``type``; anything else: the callable takes the section."""
    target: Callable[..., Any] | None = None
    """What takes the section, where it has no ``type``."""
    options: type[Section] | None = None
    """Keys that the model itself reads there, in addition to those of what is built."""


def subsection(parent: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The section of that name; an empty one where there is none or something else."""
    return parent[name] if isinstance(parent.get(name), dict) else {}


Wrong = tuple[KeyPath, str | MissingError, str]
"""Keys below the section, what is wrong with their value, and what to do, each a sentence; the last may be empty.

What is wrong stays the error that it was where something is missing: the command line adds what makes it.
"""

_EXPECTED = {'bool_type': 'true or false', 'string_type': 'text', 'path_type': 'a path', 'none_required': '~'}
_EXPECTED |= dict.fromkeys(('int_type', 'int_from_float'), 'an integer') | {'float_type': 'a number'}
_EXPECTED |= dict.fromkeys(('list_type', 'tuple_type'), 'a list') | {'finite_number': 'a finite number'}
_EXPECTED |= dict.fromkeys(('dict_type', 'mapping_type', 'model_type'), 'a section of keys')
_LIMITS = {'greater_than_equal': ('ge', 'at least'), 'less_than_equal': ('le', 'at most')}
_LIMITS |= {'greater_than': ('gt', 'more than'), 'less_than': ('lt', 'less than')}


def wrong_values(cls: type[Section], values: Mapping[str, Any]) -> list[Wrong]:
    """What is wrong with the values of those keys of a section that are there and known.

    Args:
        cls: The model of the section.
        values: The section; unknown and missing keys are not checked here.
    """
    known = {key: value for key, value in values.items() if key in cls.model_fields}
    return [_sentence(cls, path, errors, known) for path, errors in _errors(cls, known).items()]


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
    for key in values.keys() - cls.model_fields.keys():
        near = nearest(key, cls.model_fields)
        hint = f" Did you mean '{near}'?" if near else f' Its keys are {", ".join(cls.model_fields)}.'
        raise UserError(f"{where} takes no '{key}'.{hint}")
    for key, one in cls.model_fields.items():
        if key not in values and one.is_required():
            raise UserError(f"{where} needs the key '{key}'.")
    for path, message, advice in wrong_values(cls, values):
        said = ': '.join(filter(None, (where, ':'.join(path), f'{message} {advice}'.strip())))
        raise UserError(said) from (message if isinstance(message, MissingError) else None)
    return cls.model_validate(values)


def _errors(cls: type[Section], known: Mapping[str, Any]) -> dict[KeyPath, list[Any]]:
    """pydantic's errors by the path of the value they are about; () for those about several keys."""
    found: dict[KeyPath, list[Any]] = {}
    try:
        cls.model_validate(known)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            if one['loc'] and one['loc'][0] not in known:
                continue
            path, value, loc = [], cast(Any, known), cast(Any, one['loc'])
            for step in loc:  # names of branches of unions are not in the file
                listed = isinstance(value, list | tuple) and isinstance(step, int) and step < len(value)
                if not listed and not (isinstance(value, Mapping) and step in value):
                    break
                value = value[step]
                path.append(str(step))
            found.setdefault(tuple(path), []).append(one | {'value': value})
    return found


def _sentence(cls: type[Section], path: KeyPath, errors: list[Any], values: Mapping[str, Any]) -> Wrong:
    value, wanted = errors[0]['value'], []
    for one in errors:
        if one['type'] in _LIMITS:
            name, words = _LIMITS[one['type']]
            return path, f'It is {shown(value)}, but must be {words} {one["ctx"][name]:g}.', ''
    for one in errors:
        kind, context = one['type'], one.get('ctx', {})
        if kind in ('value_error', 'assertion_error'):
            said = context.get('error', one['msg'])
            return path, said if isinstance(said, MissingError) else str(said), ''
        if kind == 'literal_error':
            choices = context['expected'].replace("'", '').replace(' or ', ', ')
            wanted.append(f'one of {choices}' if ',' in choices else choices)
        elif kind == 'missing' and isinstance(value, Mapping):
            return path, f"The key '{one['loc'][-1]}' is missing.", ''
        elif kind == 'extra_forbidden':
            names = list(getattr(entries_of(cls, path[0]), 'model_fields', ()))
            near = nearest(path[-1], names)
            return path, f'There is no such key; they are {", ".join(names)}.', f'Did you mean {near}?' if near else ''
        elif kind in ('too_long', 'too_short', 'missing') and isinstance(value, list | tuple):
            length = cls.model_json_schema()['properties'].get(path[0], {}).get('maxItems', 'another length')
            wanted.append(f'a list of {context.get("max_length", context.get("min_length", length))}')
        else:
            wanted.append(_EXPECTED.get(kind, one['msg'].removeprefix('Input should be ')))
    message = ' or '.join(dict.fromkeys(wanted))
    if [one['type'] for one in errors] != ['literal_error'] or message.startswith('one of'):
        message = message[0].upper() + message[1:]  # but a name keeps its letters
    return path, f'{message} is expected, but it is {shown(value)}.', _advice(cls, path, value, wanted)


def entries_of(cls: type[Section], key: str) -> type[Section] | None:
    """What each entry of a key must be, where that is a list of sections; None where it is not."""
    inner = get_args(cls.model_fields[key].annotation)
    return next((one for one in inner if isinstance(one, type) and issubclass(one, Section)), None)


def _advice(cls: type[Section], path: KeyPath, value: Any, wanted: list[str]) -> str:
    """How to write what was probably meant."""
    if len(path) != 1 or isinstance(value, list | Mapping | bool | None):
        return ''
    candidates = [(whole(value), f'Write {whole(value)}.'), (str(value), f"Write '{value}' in quotes for text.")]
    if isinstance(value, str):
        meant = parse_value(value, path[-1]) if value[:1] not in tuple('[{\'"!') else value
        near = nearest(value, [one for message in wanted for one in message.removeprefix('one of ').split(', ')])
        candidates = [(meant, f'Write {value} without quotes.' if meant is not None else 'Write ~ for nothing.')]
        candidates.append((near or value, f'Did you mean {near}?'))
    for meant, written in (*candidates, ([value], f'Write [{shown(value)}].')):
        if meant != value and path not in _errors(cls, {path[0]: meant}):
            return written
    return ''
