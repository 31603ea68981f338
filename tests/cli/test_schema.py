"""The JSON Schema of option files: valid itself, takes good files, points at the wrong place of bad ones."""

from __future__ import annotations

import copy
import json

import jsonschema
import pytest
from helpers.options import stock_options
from helpers.project import ROOT, basicsr

from basicsr_semantic.cli import main
from basicsr_semantic.cli.schema import option_schema, schema_text
from basicsr_semantic.config.components import components
from basicsr_semantic.config.option_file import load_yaml


@pytest.fixture(scope='module')
def schema() -> dict:
    return option_schema()


@pytest.fixture(scope='module')
def validator(schema) -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture
def stock(tmp_path):
    """A function: the options of a file in BasicSR's manner."""

    def make(name: str) -> dict:
        path = tmp_path / f'{name}.yml'
        path.write_text(stock_options(tmp_path)[name])
        return load_yaml(path)

    return make


def places(validator, opt) -> set[str]:
    """Where the schema finds something wrong."""
    found = set()

    def walk(error):
        for inner in error.context or ():
            walk(inner)
        found.add(':'.join(str(part) for part in error.absolute_path))

    for error in validator.iter_errors(opt):
        walk(error)
    return found


def test_a_schema_replaces_an_older_one_and_nothing_else(tmp_path, capsys):
    old, mine = tmp_path / 'schema.json', tmp_path / 'my.yml'
    old.write_text('{"$schema": "x"}')
    mine.write_text('name: mine\n')
    assert main(['check', '--schema', '-o', str(old)]) == 0 and 'properties' in json.loads(old.read_text())
    assert main(['check', '--schema', '-o', str(mine)]) == 2
    assert 'my.yml exists already, and is not a JSON Schema.' in capsys.readouterr().err
    assert mine.read_text() == 'name: mine\n'
    assert main(['check', '--schema', '--strict']) == 2
    assert '--strict is for option files; --schema has no use for it.' in capsys.readouterr().err


@pytest.mark.slow
def test_the_schema_next_to_the_option_files_is_current(tmp_path):
    """What torch has of optimisers and schedules is that of the version it was written with."""
    stored = json.loads((ROOT / 'options/schema.json').read_text())
    current = json.loads(basicsr('check', '--schema', cwd=tmp_path).stdout)  # without what tests register

    def without_torch(schema: dict) -> dict:
        parts = {name: one for name, one in schema['$defs'].items() if not name.startswith(('optimiser', 'schedule'))}
        return schema | {'$defs': parts}

    message = 'write it again: basicsr check --schema -o options/schema.json'
    assert without_torch(stored) == without_torch(current), message


@pytest.mark.parametrize('path', sorted((ROOT / 'options').rglob('*.yml')), ids=lambda path: path.stem)
def test_our_option_files_are_valid(validator, path):
    assert [error.message for error in validator.iter_errors(load_yaml(path))] == []


@pytest.mark.parametrize('name', sorted(stock_options(ROOT)))
def test_files_in_basicsr_manner_are_valid(validator, stock, name):
    assert [error.message for error in validator.iter_errors(stock(name))] == []
    without = {k: v for k, v in stock(name).items() if k not in ('train', 'logger', 'val')}
    without['datasets'] = {'test_1': without['datasets']['val']}
    assert [error.message for error in validator.iter_errors(without)] == []


@pytest.mark.parametrize(
    ('path', 'value', 'place'),
    [
        (('network_g', 'num_blok'), 3, 'network_g'),
        (('network_g', 'type'), 'RCNA', 'network_g:type'),
        (('model_type',), 'SRModl', 'model_type'),
        (('datasets', 'train', 'type'), 'NoDataset', 'datasets:train:type'),
        (('datasets', 'train', 'batch_size_per_gpu'), 0, 'datasets:train:batch_size_per_gpu'),
        (('datasets', 'training'), {}, 'datasets'),
        (('train', 'optim_g', 'beta'), 3, 'train:optim_g'),
        (('train', 'optim_g', 'lr'), 'fast', 'train:optim_g:lr'),
        (('train', 'scheduler', 'type'), 'MultiStep', 'train:scheduler:type'),
        (('train', 'pixel_opt', 'weight'), 3, 'train:pixel_opt'),
        (('train', 'total_iter'), 'many', 'train:total_iter'),
        (('val', 'metrics', 'psnr', 'better'), 'more', 'val:metrics:psnr:better'),
        (('logger', 'print_freq'), None, 'logger:print_freq'),
        (('logger', 'colour'), None, 'logger'),
        (('num_gpu',), 'all', 'num_gpu'),
        (('scale',), 2.5, 'scale'),
        (('name',), None, 'name'),
    ],
)
def test_mistakes_are_found_where_they_are(validator, stock, path, value, place):
    opt = stock('rcan')
    section = opt
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    assert place in places(validator, opt)


def test_unknown_keys_at_the_top_and_of_our_classes_are_found(validator, options):
    good = json.loads(json.dumps(options(network_g={'type': 'BasicVSR', 'num_feat': ...})))
    good['network_g'] = {'type': 'BasicVSR'}
    assert places(validator, good) == set()
    for path in (
        ('of_mine',),
        ('train', 'trainabel'),
        ('datasets', 'train', 'gt_sise'),
        ('val', 'x'),
        ('path', 'pretrain'),
    ):
        bad = copy.deepcopy(good)
        section = bad
        for key in path[:-1]:
            section = section.setdefault(key, {})
        section[path[-1]] = 1
        assert places(validator, bad) - {''} or any('of_mine' in e.message for e in validator.iter_errors(bad)), path


def test_groups_of_parameters_belong_to_our_models(validator, options, stock):
    good = json.loads(json.dumps(options(network_g={'type': 'BasicVSR', 'num_feat': ...})))
    good['network_g'] = {'type': 'BasicVSR'}
    good['train']['optim_g']['groups'] = [{'prefixes': ['spynet.'], 'lr_scale': 0.25}]
    assert places(validator, good) == set()
    for change, place in (({'lr_scale': 0}, ':lr_scale'), ({'prefixes': 'a'}, ':prefixes'), ({'prefix': 'a'}, '')):
        bad = copy.deepcopy(good)
        bad['train']['optim_g']['groups'][0] |= change
        assert f'train:optim_g:groups:0{place}' in places(validator, bad)
    of_basicsr = stock('rcan')
    of_basicsr['train']['optim_g']['groups'] = good['train']['optim_g']['groups']
    assert 'train:optim_g' in places(validator, of_basicsr)


def test_everything_registered_is_in_it_with_descriptions(schema):
    definitions = schema['$defs']
    for kind, label in (('arch', 'arch'), ('dataset', 'dataset'), ('loss', 'loss'), ('metric', 'metric')):
        names = set(components(kind))
        assert set(definitions[label]['properties']['type']['enum']) == names
        assert all(f'{label}.{name}' in definitions for name in names)
    assert definitions['arch.BasicVSR']['properties']['num_feat']['description'].startswith('Number of channels')
    assert definitions['arch.BasicVSR']['properties']['num_block']['default'] == 15
    train = definitions['model.SemanticVSRModel.train']['properties']
    assert (
        train['amp']['enum' if 'enum' in train['amp'] else 'anyOf'] and 'Mixed precision' in train['amp']['description']
    )
    assert set(schema['properties']['model_type']['enum']) == set(components('model'))


def test_it_is_json(schema):
    assert json.loads(schema_text()) == json.loads(json.dumps(schema))
