"""A JSON Schema (draft 2020-12) of option files, for completion and help in editors.

It is made of what is registered when it is asked for, so plugins are in it, and of the models that the checker goes by.
Each section with a ``type`` follows the component it names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from . import sections
from .check import marks, optimizers, schedules
from .components import Component, components
from .declared import declared, metric_arguments, with_options
from .section import Built, Section
from .signatures import arguments_of

Schema = dict[str, Any]


def option_schema() -> Schema:
    """The schema of option files, with everything that is registered, as a JSON-serialisable dict."""
    definitions: dict[str, Schema] = {}
    models = components('model')
    whats = {
        'arch': {name: arguments_of(one.target) for name, one in components('arch').items()},
        'dataset': {name: declared(one.target, 'dataset').options for name, one in components('dataset').items()},
        'loss': {name: arguments_of(one.target) for name, one in components('loss').items()},
        'metric': {name: metric_arguments(one) for name, one in components('metric').items()},
        'optimiser': {name: arguments_of(cls, frozenset({'params'})) for name, cls in optimizers().items()},
        'schedule': {
            name: arguments_of(cls, frozenset({'optimizer', 'last_epoch'})) for name, cls in schedules().items()
        },
    }
    for what, found in whats.items():
        _by_type(definitions, what, found, components(what) if what in ('arch', 'dataset', 'loss', 'metric') else {})
    for section in ('logger', 'dist_params'):
        definitions[section] = _section(sections.LoggerOptions if section == 'logger' else sections.DistOptions)
    for name, component in models.items():
        for section in ('train', 'path', 'val'):
            known = declared(component.target, section)
            definitions[f'model.{name}.{section}'] = _below(_section(known.options, not known.complete), section)
    top = _section(sections.TopOptions, True)
    datasets = {'^(train|val|test)(_|$)': _ref('dataset')}
    top['properties'] |= {
        'model_type': {'description': 'Registered model class.', 'enum': list(models)},
        'datasets': {
            'type': 'object',
            'patternProperties': datasets,
            'additionalProperties': False,
            'minProperties': 1,
        },
        'logger': _nullable('logger'),
        'dist_params': _nullable('dist_params'),
    }
    top['patternProperties'] = {'^network_(?!s$)': _ref('arch')}
    trains = {'required': ['logger'], 'properties': {'datasets': {'required': ['train']}}}
    condition = {'properties': {'train': {'type': 'object'}}, 'required': ['train']}
    top['allOf'] = [
        {'if': condition, 'then': trains},
        *(_when('model_type', name, _of_model(definitions, one)) for name, one in models.items()),
    ]
    return {
        '$schema': 'https://json-schema.org/draft/2020-12/schema',
        'title': 'Option file of basicsr',
        'description': 'An option file for "basicsr train" (with a section train) or "basicsr test" (without).',
        **top,
        '$defs': definitions,
    }


def schema_text() -> str:
    """The schema as indented JSON."""
    return json.dumps(option_schema(), indent=2, ensure_ascii=False) + '\n'


def _of_model(definitions: dict[str, Schema], component: Component) -> Schema:
    """What a file must look like whose ``model_type`` is this one."""
    known = declared(component.target, 'top')
    own = {name: {} for name in known.options.model_fields}
    for name, one in known.options.model_fields.items():
        mark = next((mark for mark in marks(one) if isinstance(mark, Built)), None)
        if mark is None:
            continue
        if mark.kind == 'arch':
            shape = _ref('arch')
        elif mark.kind == 'extractor':
            online = {n: one for n, one in components('extractor').items() if hasattr(one.target, 'describe')}
            taken = {
                n: with_options(arguments_of(c.target, frozenset({'device'})), mark.options) for n, c in online.items()
            }
            _by_type(definitions, name, taken, online, needs=False)
            shape = _ref(name)
        else:
            assert mark.target is not None
            shape = _section(with_options(arguments_of(mark.target), mark.options))
        others = [] if one.is_required() else [{'type': 'null'}, {'type': 'string'}]
        own[name] = {'description': one.description or '', 'anyOf': [shape, *others]}
    own |= {section: _nullable(f'model.{component.name}.{section}') for section in ('train', 'path', 'val')}
    schema: Schema = {
        'properties': own,
        'required': [k for k, f in known.options.model_fields.items() if f.is_required()],
    }
    if known.unknown == 'error':
        schema['propertyNames'] = {'enum': [*own]}
    return schema


def _below(schema: Schema, section: str) -> Schema:
    """Let the sections inside of a model's section follow what they name."""
    properties = schema['properties']
    for name in properties:
        for beginning, end, what in (('optim_', '', 'optimiser'), ('scheduler', '', 'schedule'), ('', '_opt', 'loss')):
            if section == 'train' and name.startswith(beginning) and name.endswith(end):
                properties[name] = _nullable(what, properties[name].get('description', ''))
                break
    if 'metrics' in properties:
        properties['metrics'] = {'type': ['object', 'null'], 'additionalProperties': _ref('metric')}
    return schema


def _by_type(
    definitions: dict[str, Schema],
    what: str,
    found: Mapping[str, type[Section]],
    described: Mapping[str, Component],
    needs: bool = True,
) -> None:
    """Add a definition for every component, and one that chooses among them by ``type``."""
    for name, options in found.items():
        ours = what != 'dataset' or declared(described[name].target, 'dataset').unknown == 'error'
        schema = _section(options, getattr(options, 'takes_more', False) or not ours)
        summary = described[name].summary if name in described else ''
        schema['properties'] = {'type': {'const': name, 'description': summary}} | {
            key: value for key, value in schema['properties'].items() if key != 'type'
        }
        schema['required'] = ['type', *(k for k in schema.get('required', ()) if needs and k not in ('type', 'scale'))]
        definitions[f'{what}.{name}'] = schema
    definitions[what] = {
        'type': 'object',
        'properties': {'type': {'enum': [*found], 'description': f'A registered {what}.'}},
        'required': ['type'],
        'allOf': [_when('type', name, _ref(f'{what}.{name}')) for name in found],
    }


def _section(options: type[Section], open_ended: bool = False) -> Schema:
    """The schema of one section; what only a training needs is not required of a test."""
    properties = {}
    for name, one in options.model_fields.items():
        schema = TypeAdapter(Any if one.annotation is None else one.annotation).json_schema()
        schema.pop('title', None)
        limits = {'ge': 'minimum', 'le': 'maximum', 'gt': 'exclusiveMinimum', 'lt': 'exclusiveMaximum'}
        for mark in one.metadata:
            for attribute, keyword in limits.items():
                if hasattr(mark, attribute) and schema.get('type') in ('integer', 'number'):
                    schema[keyword] = getattr(mark, attribute)
        if one.description:
            schema['description'] = one.description
        if not one.is_required() and _is_json(one.default):
            schema['default'] = one.default
        properties[name] = schema
    required = [k for k, one in options.model_fields.items() if one.is_required()]
    schema = {'type': 'object', 'properties': properties, 'additionalProperties': open_ended}
    return schema | ({'required': required} if required else {})


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _ref(name: str) -> Schema:
    return {'$ref': f'#/$defs/{name}'}


def _nullable(name: str, description: str = '') -> Schema:
    return {'anyOf': [_ref(name), {'type': 'null'}]} | ({'description': description} if description else {})


def _when(key: str, value: str, then: Schema) -> Schema:
    return {'if': {'properties': {key: {'const': value}}, 'required': [key]}, 'then': then}
