"""A JSON Schema (draft 2020-12) of option files, for completion and help in editors.

It is made from what is registered at that time, so plugins are in it, and from the models that the checker uses.
Each section with a ``type`` follows the component it names.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ..config import sections
from ..config.check import GIVEN, OTHERS, marks
from ..config.components import components
from ..config.declared import declared, with_options
from ..config.section import Built, Section, entries_of
from ..config.signatures import arguments_of
from ..utils.errors import UserError
from ..utils.files import write_whole
from ..utils.printing import say
from .components import option_sections

Schema = dict[str, Any]
_LIMITS = {'ge': 'minimum', 'le': 'maximum', 'gt': 'exclusiveMinimum', 'lt': 'exclusiveMaximum'}


def option_schema() -> Schema:
    """The schema of option files, with everything that is registered, as a JSON-serialisable dict."""
    models, defs = components('model'), {}
    for what in ('arch', 'dataset', 'loss', 'metric'):
        found = components(what)
        summaries = {name: one.summary for name, one in found.items()}
        _by_type(defs, what, {name: option_sections(one)[''] for name, one in found.items()}, summaries)
        for name in found if what == 'dataset' else ():
            defs[f'dataset.{name}']['additionalProperties'] = declared(found[name].target, what).unknown != 'error'
    for what, listing in OTHERS.items():
        _by_type(defs, what, {name: arguments_of(cls, frozenset(GIVEN[what])) for name, cls in listing().items()}, {})
    top = _section(sections.TopOptions, True)
    for name, options in {'logger': sections.LoggerOptions, 'dist_params': sections.DistOptions}.items():
        defs[name], top['properties'][name] = _section(options), _nullable(name)
    datasets = {'^(train|val|test)(_|$)': _ref('dataset')}
    closed = {'additionalProperties': False, 'minProperties': 1}
    top['properties']['datasets'] = {'type': 'object', 'patternProperties': datasets} | closed
    top['properties']['model_type'] = {'description': 'Registered model class.', 'enum': list(models)}
    top['patternProperties'] = {'^network_(?!s$)': _ref('arch')}
    training = {'properties': {'train': {'type': 'object'}}, 'required': ['train']}
    needs = {'required': ['logger'], 'properties': {'datasets': {'required': ['train']}}}
    ofs = [_when('model_type', name, _of_model(defs, name, one.target)) for name, one in models.items()]
    top['allOf'] = [{'if': training, 'then': needs}, *ofs]
    about = 'An option file for "basicsr train" (with a section train) or "basicsr test" (without).'
    head = {'$schema': 'https://json-schema.org/draft/2020-12/schema', 'title': 'Option file of basicsr'}
    return head | {'description': about} | top | {'$defs': defs}


def schema_text() -> str:
    """The schema as indented JSON."""
    return json.dumps(option_schema(), indent=2, ensure_ascii=False) + '\n'


def write_schema(output: str | None) -> int:
    """Print the schema, or write it to a file and say how editors find it; the exit code."""
    if output is None:
        say(schema_text().removesuffix('\n'))
    else:
        _check_replaceable(Path(output))
        write_whole(output, schema_text().encode())
        here = Path(output).resolve().as_uri()
        say(f'Wrote {output}. Editors use it for option files whose first line is:')
        say(f'# yaml-language-server: $schema={here}')
    return 0


def _check_replaceable(path: Path) -> None:
    """A schema may replace an older one, and nothing else."""
    if not path.exists():
        return
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or '$schema' not in content:
        raise UserError(f'{path} exists already, and is not a JSON Schema. Give another name.')


def _of_model(defs: dict[str, Schema], model: str, cls: type) -> Schema:
    """What a file must look like whose ``model_type`` is this one."""
    for section in ('train', 'path', 'val'):
        known = declared(cls, section)
        defs[f'model.{model}.{section}'] = schema = _section(known.options, known.unknown != 'error')
        for name, one in schema['properties'].items() if section == 'train' else ():
            kinds = {
                'optimiser': name.startswith('optim_'),
                'schedule': name == 'scheduler',
                'loss': name.endswith('_opt'),
            }
            for kind in [kind for kind, so in kinds.items() if so]:
                field = known.options.model_fields[name]
                mark = next((mark for mark in marks(field) if isinstance(mark, Built) and mark.options), None)
                what = kind if mark is None else _with_keys_of_model(defs, kind, mark)
                schema['properties'][name] = _nullable(what, one.get('description', ''))
        if section == 'val':
            entries = {'type': ['object', 'null'], 'additionalProperties': _ref('metric')}
            schema['properties']['metrics'] = entries
    known = declared(cls, 'top')
    own: Schema = {name: {} for name in known.options.model_fields}
    for name, one in known.options.model_fields.items():
        mark = next((mark for mark in marks(one) if isinstance(mark, Built)), None)
        if mark is not None and mark.kind == 'extractor':
            fit = {n: c.target for n, c in components('extractor').items() if c.target.not_for_models() is None}
            given = frozenset(GIVEN['extractor'])
            _by_type(
                defs, name, {n: with_options(arguments_of(c, given), mark.options, False) for n, c in fit.items()}, {}
            )
        if mark is not None:
            what = name if mark.kind == 'extractor' else mark.kind
            shape = (
                _ref(what) if mark.target is None else _section(with_options(arguments_of(mark.target), mark.options))
            )
            own[name] = {'anyOf': [shape, *([] if one.is_required() else [{'type': ['null', 'string']}])]}
            own[name] |= {'description': one.description} if one.description else {}
    own |= {section: _nullable(f'model.{model}.{section}') for section in ('train', 'path', 'val')}
    schema = {'properties': own, 'required': [k for k, one in known.options.model_fields.items() if one.is_required()]}
    return schema | ({'propertyNames': {'enum': [*own]}} if known.unknown == 'error' else {})


def _with_keys_of_model(defs: dict[str, Schema], kind: str, mark: Built) -> str:
    """The name of a definition of what is listed as ``kind`` and may hold the keys that a mark says as well."""
    assert mark.options is not None
    name = f'{kind}.{mark.options.__name__}'
    if name not in defs:
        given = frozenset(GIVEN[kind])
        found = {one: with_options(arguments_of(cls, given), mark.options) for one, cls in OTHERS[kind]().items()}
        _by_type(defs, name, found, {})
    return name


def _by_type(
    defs: dict[str, Schema], what: str, found: Mapping[str, type[Section]], summaries: Mapping[str, str]
) -> None:
    """Add a definition for every component, and one that chooses among them by ``type``."""
    for name, options in found.items():
        schema = _section(options, getattr(options, 'takes_more', False))
        head = {'type': {'const': name, 'description': summaries.get(name, '')}}
        schema['properties'] = head | {k: v for k, v in schema['properties'].items() if k != 'type'}
        schema['required'] = ['type', *(key for key in schema['required'] if key not in ('type', 'scale'))]
        defs[f'{what}.{name}'] = schema
    chosen = [_when('type', name, _ref(f'{what}.{name}')) for name in found]
    names = {'type': {'enum': [*found], 'description': f'A registered {what}.'}}
    defs[what] = {'type': 'object', 'properties': names, 'required': ['type'], 'allOf': chosen}


def _section(options: type[Section], open_ended: bool = False) -> Schema:
    """The schema of one section; what only a training needs is not required for a test."""
    properties: Schema = {}
    for name, one in options.model_fields.items():
        entry = entries_of(options, name)
        if entry is not None:
            schema: Schema = {'type': 'array', 'items': _section(entry)}
        else:
            schema = TypeAdapter(Any if one.annotation is None else one.annotation).json_schema()
        schema.pop('title', None)
        for mark in one.metadata if schema.get('type') in ('integer', 'number') else ():
            schema |= {word: getattr(mark, key) for key, word in _LIMITS.items() if hasattr(mark, key)}
        schema |= {'description': one.description} if one.description else {}
        with contextlib.suppress(TypeError, ValueError):  # a default that JSON cannot have
            schema |= {} if one.is_required() else {'default': json.loads(json.dumps(one.default, allow_nan=False))}
        properties[name] = schema
    required = [name for name, one in options.model_fields.items() if one.is_required()]
    return {'type': 'object', 'properties': properties, 'required': required, 'additionalProperties': open_ended}


def _ref(name: str) -> Schema:
    return {'$ref': f'#/$defs/{name}'}


def _nullable(name: str, description: str = '') -> Schema:
    return {'anyOf': [_ref(name), {'type': 'null'}]} | ({'description': description} if description else {})


def _when(key: str, value: str, then: Schema) -> Schema:
    return {'if': {'properties': {key: {'const': value}}, 'required': [key]}, 'then': then}
