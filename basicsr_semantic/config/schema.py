"""A JSON Schema (draft 2020-12) of option files, for completion and help in editors.

It is made of what is registered when it is asked for, so plugins are in it. Each section with a ``type`` follows the
component it names; each component's section is a complete definition of its own, because editors complete better
from that than from definitions laid over one another.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from . import sections
from .component_keys import (
    dataset_keys,
    diffusion_keys,
    frame_decoder_keys,
    metric_keys,
    model_keys,
    optimizer_keys,
    optimizer_types,
    schedule_keys,
    scheduler_types,
    source_keys,
)
from .components import Component, components
from .keys import Key, KeySet, keys_of_callable, keys_of_dataclass
from .value_types import to_schema

Schema = dict[str, Any]


def option_schema() -> Schema:
    """The schema of option files, with everything that is registered.

    Returns:
        A JSON-serialisable dict; its ``$id`` is none, since it differs from installation to installation.
    """
    definitions: dict[str, Schema] = {}
    _by_type(definitions, 'network', components('arch'), lambda c: keys_of_callable(c.target, c.name))
    _by_type(definitions, 'dataset', components('dataset'), lambda c: dataset_keys(c.target))
    _by_type(definitions, 'loss', components('loss'), lambda c: keys_of_callable(c.target, c.name))
    _by_type(definitions, 'metric', components('metric'), metric_keys)
    of_tokens = {name: one for name, one in components('extractor').items() if hasattr(one.target, 'describe')}
    _by_type(definitions, 'network_s', of_tokens, lambda c: source_keys(c.target))
    definitions['frame_decoder'] = _object(frame_decoder_keys(), 'frame_decoder')
    definitions['diffusion'] = _object(diffusion_keys())
    optimizers = {name: Component('optimiser', name, cls) for name, cls in optimizer_types(None).items()}
    _by_type(definitions, 'optimiser', optimizers, lambda c: optimizer_keys(c.target))
    schedules = {name: Component('schedule', name, cls) for name, cls in (scheduler_types(None) or {}).items()}
    _by_type(definitions, 'schedule', schedules, lambda c: schedule_keys(c.target))
    definitions['logger'] = _object(keys_of_dataclass(sections.LoggerOptions), 'logger')
    wandb = _object(keys_of_dataclass(sections.WandbOptions))
    definitions['logger']['properties']['wandb'] = {'anyOf': [wandb, {'type': 'null'}]}
    definitions['dist_params'] = _object(keys_of_dataclass(sections.DistOptions))
    for component in components('model').values():
        for section in ('train', 'path', 'val'):
            definitions[f'model.{component.name}.{section}'] = _model_section(component, section)
    return {
        '$schema': 'https://json-schema.org/draft/2020-12/schema',
        'title': 'Option file of basicsr',
        'description': 'An option file for "basicsr train" (with a section train) or "basicsr test" (without).',
        **_top(),
        '$defs': definitions,
    }


def _top() -> Schema:
    host = keys_of_dataclass(sections.TopOptions)
    schema = _object(host, 'top')
    models = components('model')
    properties = schema['properties']
    properties['model_type'] |= {'enum': list(models)}
    properties['datasets'] = {
        'description': host.keys['datasets'].doc,
        'type': 'object',
        'patternProperties': {'^(train|val|test)(_|$)': {'$ref': '#/$defs/dataset'}},
        'additionalProperties': False,
        'minProperties': 1,
    }
    properties['logger'] = _nullable('logger', host.keys['logger'].doc)
    properties['dist_params'] = _nullable('dist_params', host.keys['dist_params'].doc)
    properties['network_s'] = _nullable('network_s', 'Frozen extractor of priors; in no checkpoint.')
    schema['patternProperties'] = {'^network_(?!s$)': {'$ref': '#/$defs/network'}}
    del schema['additionalProperties']
    schema['allOf'] = [
        {
            'if': {'properties': {'train': {'type': 'object'}}, 'required': ['train']},
            'then': {'required': ['logger'], 'properties': {'datasets': {'required': ['train']}}},
        },
        *(_when('model_type', name, _of_model(component)) for name, component in models.items()),
    ]
    return schema


def _of_model(component: Component) -> Schema:
    """What a file must look like whose ``model_type`` is this one."""
    keys = model_keys(component.target, 'top')
    own = {name: _value(key) for name, key in keys.keys.items() if name not in sections.PREPARED['top']}
    for name in [*own]:
        if name.startswith('network_') or name in ('datasets', 'logger', 'dist_params', 'model_type'):
            own[name] = {}
    for name in ('frame_decoder', 'diffusion'):
        if name in own:
            own[name] = _nullable(name, keys.keys[name].doc)
    if 'base_upsampler' in own:
        options = [{'const': 'bicubic'}, {'$ref': '#/$defs/network'}]
        own['base_upsampler'] = {'description': keys.keys['base_upsampler'].doc, 'anyOf': options}
    for section in ('train', 'path', 'val'):
        own[section] = _nullable(f'model.{component.name}.{section}')
    schema: Schema = {'properties': own}
    if keys.rest == 'refused':
        names = [*own, *sorted(sections.NO_EFFECT['top'])]
        schema['propertyNames'] = {'anyOf': [{'enum': names}, {'pattern': '^network_'}]}
    return schema


def _model_section(component: Component, section: str) -> Schema:
    keys = model_keys(component.target, section)
    keys = keys.without(sections.PREPARED.get(section, ()))
    schema = _object(keys, section, component.summary)
    properties = schema['properties']
    if section == 'train':
        for name in properties:
            for beginning, end, definition in (
                ('optim_', '', 'optimiser'),
                ('scheduler', '', 'schedule'),
                ('', '_opt', 'loss'),
            ):
                if name.startswith(beginning) and name.endswith(end):
                    properties[name] = _nullable(definition, keys.keys[name].doc)
                    break
        schema['patternProperties'] = {'^optim_': {'anyOf': [{'$ref': '#/$defs/optimiser'}, {'type': 'null'}]}}
    elif section == 'val':
        entries = {'type': ['object', 'null'], 'additionalProperties': {'$ref': '#/$defs/metric'}}
        properties['metrics'] = {'description': keys.keys['metrics'].doc, **entries}
    elif section == 'path':
        schema['patternProperties'] = {
            '^pretrain_network_': {'type': ['string', 'null'], 'description': 'Checkpoint to start from.'},
            '^strict_load_': {'type': 'boolean', 'description': 'Whether the checkpoint must fit exactly.'},
            '^param_key_': {'type': ['string', 'null'], 'description': 'Which weights: params or params_ema.'},
        }
    # Keys that BasicSR's files carry along without effect are no error for its own classes.
    if keys.rest == 'refused' and component.target.__module__.startswith('basicsr.') and section in ('train', 'val'):
        schema['additionalProperties'] = True
    return schema


def _by_type(
    definitions: dict[str, Schema],
    label: str,
    found: Mapping[str, Component],
    keys_of: Callable[[Component], KeySet],
) -> None:
    """Add a definition for every component, and one that chooses among them by ``type``."""
    for name, component in found.items():
        keys = keys_of(component)
        stock = component.target.__module__.startswith('basicsr.') and label == 'dataset'
        schema = _object(keys, label, component.summary)
        schema['properties'] = {'type': {'const': name, 'description': component.summary}} | {
            key: value for key, value in schema['properties'].items() if key != 'type'
        }
        schema['required'] = list(dict.fromkeys(['type', *schema.get('required', ())]))
        if label == 'dataset':
            # set from the section's name and from the top level
            schema['required'] = [key for key in schema['required'] if key not in ('phase', 'scale')]
            schema['properties']['io_backend'] = _IO_BACKEND
        if stock:
            schema['additionalProperties'] = True
        definitions[f'{label}.{name}'] = schema
    names = list(found)
    definitions[label] = {
        'type': 'object',
        'properties': {'type': {'enum': names, 'description': f'A registered {label}.'}},
        'required': ['type'],
        'allOf': [_when('type', name, {'$ref': f'#/$defs/{label}.{name}'}) for name in names],
    }


_IO_BACKEND: Schema = {
    'description': 'How files are read.',
    'type': 'object',
    'properties': {
        'type': {'enum': ['disk', 'lmdb', 'memcached'], 'description': 'disk: files; lmdb: one LMDB folder.'}
    },
    'required': ['type'],
}


def _when(key: str, value: str, then: Schema) -> Schema:
    return {'if': {'properties': {key: {'const': value}}, 'required': [key]}, 'then': then}


def _nullable(definition: str, description: str = '') -> Schema:
    schema: Schema = {'anyOf': [{'$ref': f'#/$defs/{definition}'}, {'type': 'null'}]}
    return {'description': description, **schema} if description else schema


def _object(keys: KeySet, ranges: str = '', description: str = '') -> Schema:
    """A section that holds these keys."""
    limits = sections.RANGES.get({'optimiser': 'optim'}.get(ranges, ranges), {})
    schema: Schema = {'type': 'object'}
    if description:
        schema['description'] = description
    schema['properties'] = {name: _value(key, limits.get(name)) for name, key in keys.keys.items()}
    required = [name for name, key in keys.keys.items() if key.required]
    if required:
        schema['required'] = required
    schema['additionalProperties'] = keys.rest != 'refused'
    return schema


def _value(key: Key, limits: tuple[float, float, str] | None = None) -> Schema:
    schema = dict(to_schema(key.hint))
    if key.doc:
        schema['description'] = key.doc
    if limits and schema.get('type') not in (None, 'boolean'):
        low, high, _ = limits
        schema |= {'minimum': low, 'maximum': high}
    if _is_json(key.default):
        schema['default'] = list(key.default) if isinstance(key.default, tuple) else key.default
    return schema


def _is_json(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list | tuple):
        return all(_is_json(item) for item in value)
    return value is None or isinstance(value, bool | int | str)


def schema_text() -> str:
    """The schema as indented JSON."""
    return json.dumps(option_schema(), indent=2, ensure_ascii=False) + '\n'
