"""Option files in, prepared options out: safe YAML, --force_yml, and what BasicSR derives."""

from __future__ import annotations

import copy
import json
import logging
import math
import pickle
from collections import OrderedDict

import pytest
import yaml
from helpers_options import make_data, stock_options
from hypothesis import given
from hypothesis import strategies as st

from basicsr_semantic.config import prepare as options
from basicsr_semantic.config.prepare import apply_overrides, load_yaml, prepare_options, shipped_meta_info
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
            'k: [000, 011]\nl: 2024-01-31\nm: 12:30\nn: None\no: 0\np: +1.5e+3\nq: .inf\nr: 5.\n'
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
        'k': ['000', '011'],
        'l': '2024-01-31',
        'm': '12:30',
        'n': 'None',
        'o': 0,
        'p': 1500.0,
        'q': math.inf,
        'r': 5.0,
    }
    assert type(opt['c']) is float and type(opt['g']) is int


def test_files_in_basicsr_manner_read_as_pyyaml_reads_them(tmp_path):
    for name, text in stock_options(tmp_path).items():
        path = tmp_path / f'{name}.yml'
        path.write_text(text)
        assert load_yaml(path) == yaml.safe_load(text)


def test_order_and_lines_are_kept_through_copies_and_pickles(write):
    path = write('zeta: 1\nalpha:\n  deep: 2\n')
    opt = load_yaml(path)
    for one in (opt, copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        assert isinstance(one, OrderedDict) and list(one) == ['zeta', 'alpha']
        assert one.places['zeta'] == (str(path), 1)
        assert one['alpha'].places['deep'] == (str(path), 3)


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
        ('- 1\n- 2\n', 'holds a list'),
        ('just text', "holds a str \\('just text'\\)"),
        ('# nothing\n', 'is empty'),
        ('a: &x {b: *x}\n', 'a part of'),
        ('[1, 2]: 3\n', 'keys are plain words'),
        ('a: 1\n---\nb: 2\n', 'is not valid YAML'),
        ('a: !!map 5\n', 'where a value is expected'),
        ('a: \x01\n', 'is not valid YAML'),
        ('<<: 5\n', 'takes a mapping'),
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


# ------------------------------------------------------------------------------------------------- apply_overrides


def overridden(entry: str, **opt) -> dict:
    return apply_overrides(opt, [entry])


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
        ('[000, 1e-1, x]', ['000', 0.1, 'x']),
        ('{a: 1}', {'a': 1}),
        ("'5'", '5'),
        ('011', '011'),
        ('a: b', 'a: b'),
        ('x #1', 'x #1'),
        ('a=b=c', 'a=b=c'),
        ('%d @ `', '%d @ `'),
        ('- 1', '- 1'),
        ('?', '?'),
        ('*.png', '*.png'),
        ('!x', '!x'),
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
    opt = apply_overrides({'name': 'x'}, [f'name={value}', f'other={value}', f'list=[{json.dumps(value)}]'])
    assert opt == {'name': value, 'other': value, 'list': [value]}
    assert list(tmp_path.iterdir()) == []


def test_code_in_the_key_is_only_a_key():
    assert overridden('"]=1;x[__import__=5') == {'"]': '1;x[__import__=5'}


def test_tags_in_overrides_are_refused():
    with pytest.raises(UserError, match=r'--force_yml a:1 holds the tag !!python/object/apply:os\.system'):
        overridden('a=!!python/object/apply:os.system ["true"]')


def test_sections_are_made_and_list_items_replaced(write):
    opt = load_yaml(write('val: ~\ntrain: {lr: 0.1, steps: [1, 2]}\n5: {a: 1}\n'))
    entries = ['val:metrics:psnr:type=calculate_psnr', 'train:steps:0=7', 'train:steps:2=9', 'train:lr=1', '5:a=2']
    apply_overrides(opt, entries)
    assert opt['val'] == {'metrics': {'psnr': {'type': 'calculate_psnr'}}}
    assert opt['train'] == {'lr': 1.0, 'steps': [7, 2, 9]} and type(opt['train']['lr']) is float
    assert opt[5] == {'a': 2} and '5' not in opt
    assert opt['train'].places['lr'] == ('--force_yml', None)


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
    assert apply_overrides({'a': 1}, None) == {'a': 1}


# ------------------------------------------------------------------------------------------------- prepare_options


@pytest.fixture
def stock(tmp_path):
    """The options of a small BasicVSR training file."""
    path = tmp_path / 'o.yml'
    path.write_text(stock_options(make_data(tmp_path))['basicvsr'])
    return load_yaml(path)


def test_what_basicsr_derives_is_there(stock, tmp_path):
    before = copy.deepcopy(stock)
    opt = prepare_options(stock, tmp_path, True, auto_resume=True, rank=1, world_size=2, dist=True)
    assert stock == before
    home = str(tmp_path / 'experiments' / 'basicvsr')
    expected = {'experiments_root': home, 'models': f'{home}/models', 'training_states': f'{home}/training_states'}
    expected |= {'log': home, 'visualization': f'{home}/visualization'}
    assert opt['path'].items() >= expected.items()
    assert (opt['is_train'], opt['auto_resume'], opt['dist'], opt['rank'], opt['world_size']) == (
        True,
        True,
        True,
        1,
        2,
    )
    assert opt['root_path'] == str(tmp_path)
    assert [d['phase'] for d in opt['datasets'].values()] == ['train', 'val']
    assert all(d['scale'] == 4 for d in opt['datasets'].values())
    assert opt['val']['val_freq'] == 5000 and type(opt['val']['val_freq']) is int
    assert opt['val']['suffix'] is None


def test_a_test_gets_a_results_folder(stock, tmp_path):
    stock['path']['results_root'] = str(tmp_path / 'mine')
    stock['datasets'] = {'test_1': stock['datasets']['val']}
    opt = prepare_options(stock, tmp_path, False)
    assert opt['path']['results_root'] == opt['path']['log'] == str(tmp_path / 'mine' / 'basicvsr')
    assert opt['datasets']['test_1']['phase'] == 'test'
    assert 'models' not in opt['path']


def test_debug_shortens_the_intervals(stock, tmp_path):
    opt = prepare_options(stock, tmp_path, True, debug=True)
    assert opt['name'] == 'debug_basicvsr'
    assert (opt['val']['val_freq'], opt['logger']['print_freq'], opt['logger']['save_checkpoint_freq']) == (8, 1, 8)
    stock['name'] = 'debug_mine'
    assert prepare_options(stock, tmp_path, True, debug=True)['name'] == 'debug_mine'


def test_the_better_value_follows_from_the_metric(stock, tmp_path):
    """BasicSR would call the highest LPIPS the best one."""
    metrics = {name: {'type': f'calculate_{name}'} for name in ('psnr', 'niqe', 'lpips', 'clip_iqa', 'warping_error')}
    metrics['own'] = {'type': 'calculate_lpips', 'better': 'higher'}
    metrics['unknown'] = {'type': 'calculate_nothing'}
    prepared = prepare_options(stock | {'val': {'metrics': metrics}}, tmp_path, True)['val']['metrics']
    lower = {name for name, one in prepared.items() if one.get('better') == 'lower'}
    assert lower == {'niqe', 'lpips', 'warping_error'} and prepared['own']['better'] == 'higher'
    assert 'better' not in metrics['lpips']


def test_home_is_written_out(stock, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', '/somewhere')
    stock['datasets']['train']['dataroot_gt'] = '~/gt'
    stock['path']['pretrain_network_g'] = '~/net.pth'
    opt = prepare_options(stock, tmp_path, True)
    assert opt['datasets']['train']['dataroot_gt'] == '/somewhere/gt'
    assert opt['path']['pretrain_network_g'] == '/somewhere/net.pth'


@pytest.mark.parametrize(
    ('wanted', 'present', 'dist', 'taken', 'warns'),
    [
        ('auto', 3, False, 3, False),
        (8, 2, False, 2, True),
        (1, 0, False, 0, True),
        (2, 2, False, 2, False),
        (0, 2, False, 0, False),
        (8, 2, True, 8, False),
        (8, 0, True, 0, True),
    ],
)
def test_num_gpu_is_what_is_present(stock, tmp_path, monkeypatch, caplog, wanted, present, dist, taken, warns):
    monkeypatch.setattr('torch.cuda.device_count', lambda: present)
    stock['num_gpu'] = wanted
    with caplog.at_level(logging.WARNING, 'basicsr_semantic'):
        assert prepare_options(stock, tmp_path, True, dist=dist)['num_gpu'] == taken
    assert bool(caplog.records) is warns


def test_a_seed_is_drawn_once_and_shared(stock, tmp_path):
    stock['manual_seed'] = None
    assert prepare_options(stock, tmp_path, True)['manual_seed'] > 0
    assert prepare_options(stock, tmp_path, True, world_size=2, manual_seed=5)['manual_seed'] == 5
    with pytest.raises(UserError, match='manual_seed'):
        prepare_options(stock, tmp_path, True, world_size=2)
    stock['manual_seed'] = 0
    assert prepare_options(stock, tmp_path, True, manual_seed=5)['manual_seed'] == 0


def test_nothing_is_written(stock, tmp_path):
    before = sorted(tmp_path.rglob('*'))
    prepare_options(stock, tmp_path / 'new', True)
    assert sorted(tmp_path.rglob('*')) == before


def test_options_without_a_name_or_data_are_refused(stock, tmp_path):
    for key in ('name', 'datasets'):
        with pytest.raises(UserError, match=f"no '{key}'"):
            prepare_options({k: v for k, v in stock.items() if k != key}, tmp_path, True)


def test_basicsr_lists_of_clips_come_with_us(stock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, 'META_INFO_FOLDER', tmp_path / 'ours')
    (tmp_path / 'ours').mkdir()
    ours = tmp_path / 'ours' / 'meta_info_X.txt'
    ours.write_text('000 100\n')
    asked = 'basicsr/data/meta_info/meta_info_X.txt'
    stock['datasets']['train']['meta_info_file'] = asked
    assert prepare_options(stock, tmp_path, True)['datasets']['train']['meta_info_file'] == str(ours)
    assert shipped_meta_info('basicsr/data/meta_info/other.txt') is None
    assert shipped_meta_info('elsewhere/meta_info_X.txt') is None
    there = tmp_path / asked
    there.parent.mkdir(parents=True)
    there.write_text('001 100\n')
    assert prepare_options(stock, tmp_path, True)['datasets']['train']['meta_info_file'] == asked
