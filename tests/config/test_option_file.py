"""Option files: safe YAML as BasicSR reads it, the line of every key, --force_yml."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml
from helpers.options import stock_options
from helpers.project import ROOT
from hypothesis import given
from hypothesis import strategies as st

from basicsr_semantic.config.named_weights import NAMED
from basicsr_semantic.config.option_file import OptionFile, load_yaml
from basicsr_semantic.utils.errors import UserError


@pytest.fixture
def write(tmp_path):
    """A function that writes YAML text and gives its path."""

    def make(text: str, name: str = 'a.yml'):
        path = tmp_path / name
        path.write_text(text, encoding='utf-8')
        return path

    return make


# ----------------------------------------------------------------------------------------------------- load_yaml


def test_numbers_text_and_nothing(write):
    opt = load_yaml(
        write(
            'a: 2e-4\nb: !!float 2e-4\nc: 1E5\nd: .5\ne: -3\nf: 0x10\ng: 600_000\nh: ~\ni: true\nj: "2e-4"\n'
            'k: [000, 011]\nl: 2024-01-31\nm: 12:30\nn: None\no: 0\np: +1.5e+3\nq: .inf\nr: 5.\ns: 0.2\nt: 1e5\nu: e5\n'
        )
    )
    assert dict(opt) == {
        'a': 2e-4,
        'b': 2e-4,
        'c': 1e5,
        'd': 0.5,
        'e': -3,
        'f': 16,
        'g': 600000,
        'h': None,
        'i': True,
        'j': '2e-4',
        'k': [0, 9],  # octal, as BasicSR reads it: names of clips want quotes
        'l': '2024-01-31',
        'm': 750,  # also as BasicSR reads it, by YAML 1.1
        'n': 'None',
        'o': 0,
        'p': 1500.0,
        'q': math.inf,
        'r': 5.0,
        's': 0.2,
        't': 1e5,
        'u': 'e5',
    }
    assert type(opt['c']) is float and type(opt['g']) is int


def differences(ours, pyyaml, path=()):
    """(path, our value, PyYAML's) wherever the two differ in value or type."""
    if type(ours) is not type(pyyaml) or not isinstance(ours, dict | list):
        return [] if ours == pyyaml and type(ours) is type(pyyaml) else [(path, ours, pyyaml)]
    pairs = (
        [(k, ours[k], pyyaml[k]) for k in ours]
        if isinstance(ours, dict)
        else [(k, ours[k], pyyaml[k]) for k in range(len(ours))]
    )
    assert (list(ours) if isinstance(ours, dict) else len(ours)) == (
        list(pyyaml) if isinstance(pyyaml, dict) else len(pyyaml)
    )
    return [one for key, a, b in pairs for one in differences(a, b, (*path, key))]


@pytest.mark.parametrize('path', sorted((ROOT / 'options').rglob('*.yml')), ids=lambda path: path.stem)
def test_our_files_read_as_pyyaml_reads_them_but_for_floats(path):
    for key, ours, pyyaml in differences(load_yaml(path), yaml.safe_load(path.read_text())):
        if key == ('path', 'pretrain_network_g'):  # a name of released weights
            assert Path(ours) == NAMED[pyyaml].find()
            continue
        assert type(ours) is float and float(pyyaml) == ours and 'e' in pyyaml


def test_files_in_basicsr_manner_read_as_pyyaml_reads_them(tmp_path):
    for name, text in stock_options(tmp_path).items():
        path = tmp_path / f'{name}.yml'
        path.write_text(text)
        assert differences(load_yaml(path), yaml.safe_load(text)) == []


def test_values_are_plain_and_every_key_has_its_line(write):
    path = write('zeta: 1\nalpha:\n  deep: 2\n  list: [{a: 1}, 2]\n')
    file = OptionFile.read(path)
    assert type(file.values) is dict and list(file.values) == ['zeta', 'alpha'] and type(file.values['alpha']) is dict
    assert file.place(('zeta',)) == (str(path), 1)
    assert file.place(('alpha', 'deep')) == (str(path), 3)
    assert file.place(('alpha', 'list', '0', 'a')) == (str(path), 4)
    assert file.place(('alpha', 'missing')) == (str(path), 2)  # of the section that lacks it
    assert file.place(('missing',)) == (str(path), None)
    assert file.value(('alpha', 'list', '0', 'a')) == 1 and file.value(('alpha', 'list', '7')) is None


def test_aliases_are_copies_and_merges_fill_in(write):
    opt = load_yaml(write('base: &b {lr: 1, betas: [1, 2]}\none: *b\ntwo:\n  <<: *b\n  lr: 3\n'))
    opt['one']['betas'].append(3)
    assert opt['base'] == {'lr': 1, 'betas': [1, 2]}
    assert opt['two'] == {'lr': 3, 'betas': [1, 2]}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a: 1\nb: 2\na: 3\n', r"a\.yml:3 has the key 'a' a second time; the first is in line 1"),
        ('a:\n  - {b: 1, b: 2}\n', r"a\.yml:2 has the key 'b'"),
        ('a: 1\nb: [1, 2\n', r'a\.yml:\d is not valid YAML'),
        ('a: 1\n  b: 2\n', r'a\.yml:2 is not valid YAML'),
        ('a: 1\nb: !!float x\n', r"a\.yml:2: 'x' is not a float"),
        ('a: 1\nb: !!int x\n', r"a\.yml:2: 'x' is not an int"),
        ('- 1\n- 2\n', 'holds a list'),
        ('just text', 'holds a str'),
        ('# nothing\n', 'is empty'),
        ('a: &x {b: *x}\n', 'a part of'),
        ('[1, 2]: 3\n', 'keys are plain words'),
        ('a: 1\n---\nb: 2\n', 'is not valid YAML'),
        ('a: !!map 5\n', 'where a value is expected'),
        ('a: \x01\n', 'is not valid YAML'),
        ('<<: 5\n', 'mapping or list of mappings'),
        ('a: !!str [1]\n', 'gives the tag !!str'),
    ],
)
def test_what_is_no_option_file_is_one_sentence(write, text, message):
    with pytest.raises(UserError, match=message) as error:
        load_yaml(write(text))
    assert '\n' not in str(error.value)


def test_missing_file_names_the_nearest(write):
    path = write('a: 1', 'train_BasicVSR.yml')
    with pytest.raises(UserError, match=r'does not exist\. Did you mean .*train_BasicVSR\.yml'):
        load_yaml(path.with_name('train_BasicVRS.yml'))
    with pytest.raises(UserError, match='Neither does the folder'):
        load_yaml(path.parent / 'no' / 'a.yml')
    with pytest.raises(UserError, match='is a folder; give an option file'):
        load_yaml(path.parent)


def test_text_in_another_encoding_is_refused(tmp_path):
    (tmp_path / 'a.yml').write_bytes('name: Größe'.encode('latin-1'))
    with pytest.raises(UserError, match='is not UTF-8'):
        load_yaml(tmp_path / 'a.yml')


@pytest.mark.parametrize(
    'tag',
    ['!!python/object/apply:os.system', '!!python/name:os.system', '!!python/object/new:os.system', '!custom', '!!set'],
)
def test_tags_are_refused_and_nothing_runs(write, tmp_path, monkeypatch, tag):
    monkeypatch.setattr('os.system', lambda command: pytest.fail(f'os.system({command!r}) ran'))
    path = write(f'a: 1\nb: {tag} ["touch {tmp_path}/ran"]\n')
    with pytest.raises(UserError, match=r'a\.yml:2 holds the tag .*refused'):
        load_yaml(path)
    assert not (tmp_path / 'ran').exists()


def test_a_file_that_unfolds_without_end_is_refused(write):
    lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]']
    lines += [f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 10)}]' for i in range(1, 9)]
    with pytest.raises(UserError, match='unfolds into more than'):
        load_yaml(write('\n'.join(lines)))


# ------------------------------------------------------------------------------------------------------- overrides


def overridden(entry: str, **opt) -> dict:
    return OptionFile(opt).override([entry]).values


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('100', 100),
        ('1e-4', 1e-4),
        ('!!float 3e5', 3e5),
        ('true', True),
        ('False', False),
        ('~', None),
        ('none', None),
        ('None', None),
        ('', None),
        ('[1, 2]', [1, 2]),
        ('[000, 1e-1, x]', [0, 0.1, 'x']),
        ('{a: 1}', {'a': 1}),
        ("'5'", '5'),
        ('011', 9),
        ('a: b', 'a: b'),
        ('x #1', 'x #1'),
        ('a=b=c', 'a=b=c'),
        ('%d @ `', '%d @ `'),
        ('- 1', '- 1'),
        ('?', '?'),
        ('*.png', '*.png'),
        ('!x', '!x'),
        ('!', '!'),
        ('&', '&'),
        ('*', '*'),
        ('=', '='),
        ('<<', '<<'),
        ('0b_', '0b_'),
        ('0x_', '0x_'),
        ('-0b', '-0b'),
    ],
)
def test_values_have_types(text, value):
    found = overridden(f'k={text}')['k']
    assert found == value and isinstance(found, type(value))
    assert type(found) is type(value) or isinstance(value, dict)


@given(st.integers())
def test_integers_stay_integers(number):
    assert overridden(f'a:b={number}') == {'a': {'b': number}}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_stay_floats(number):
    found = overridden(f'a={number!r}')['a']
    assert type(found) is float and found == number


@given(st.text(st.characters(categories=('L', 'N', 'P', 'S', 'Zs')), min_size=1))
def test_quoted_text_comes_back_whole(text):
    assert overridden(f'a={json.dumps(text, ensure_ascii=False)}')['a'] == text


@given(st.recursive(st.integers() | st.booleans() | st.none() | st.floats(-1e9, 1e9), st.lists, max_leaves=8))
def test_lists_come_back_with_their_types(value):
    found = overridden(f'a={json.dumps([value])}')['a']
    assert found == [value] and repr(found) == repr([value])


@given(st.text(max_size=60))
def test_any_text_is_a_value_or_one_clear_error(text):
    try:
        opt = overridden(f'a={text}')
    except UserError as error:
        assert '--force_yml a' in str(error)
    else:
        assert list(opt) == ['a']
        assert isinstance(opt['a'], str | int | float | bool | list | dict | None)


@pytest.mark.parametrize('value', ['__import__("os").system("touch ran")', '(lambda: open("ran", "w"))()', 'open'])
def test_code_stays_text(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    file = OptionFile({'name': 'x'}).override([f'name={value}', f'other={value}', f'list=[{json.dumps(value)}]'])
    opt = file.values
    assert opt == {'name': value, 'other': value, 'list': [value]}
    assert list(tmp_path.iterdir()) == []


def test_code_in_the_key_is_only_a_key():
    assert overridden('"]=1;x[__import__=5') == {'"]': '1;x[__import__=5'}


def test_tags_in_overrides_are_refused():
    with pytest.raises(UserError, match=r'--force_yml a:1 holds the tag !!python/object/apply:os\.system'):
        overridden('a=!!python/object/apply:os.system ["true"]')


def test_sections_are_made_and_list_items_replaced(write):
    file = OptionFile.read(write('val: ~\ntrain: {lr: 0.1, steps: [1, 2]}\n5: {a: 1}\n'))
    entries = ['val:metrics:psnr:type=calculate_psnr', 'train:steps:0=7', 'train:steps:2=9', 'train:lr=1', '5:a=2']
    opt = file.override(entries).values
    assert opt['val'] == {'metrics': {'psnr': {'type': 'calculate_psnr'}}}
    assert opt['train'] == {'lr': 1.0, 'steps': [7, 2, 9]} and type(opt['train']['lr']) is float
    assert opt[5] == {'a': 2} and '5' not in opt
    assert file.place(('train', 'lr')) == ('--force_yml', None)


def test_a_name_is_always_text():
    assert overridden('name=007')['name'] == '007'
    assert overridden('name=3', name='x')['name'] == '3'


@pytest.mark.parametrize(
    ('entry', 'message'),
    [
        ('train', 'not of the form'),
        ('=3', 'not of the form'),
        ('a::b=3', 'not of the form'),
        ('n:x=3', r'n is 1, which has no keys'),
        ('l:9=3', r"'9' is not an index into a list of 2"),
        ('l:x=3', r"'x' is not an index"),
        ('a=[1, 2', 'not valid YAML'),
    ],
)
def test_overrides_that_cannot_be(entry, message):
    with pytest.raises(UserError, match=message):
        overridden(entry, n=1, l=[1, 2])


def test_no_overrides():
    assert OptionFile({'a': 1}).override(None).values == {'a': 1}
