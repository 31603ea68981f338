"""Checkpoints are whole or absent, and reading one runs no code."""

from __future__ import annotations

import enum
import errno
import io
import os
import pickle
import re
import zipfile
from collections import Counter, OrderedDict, defaultdict, namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.project import python
from helpers.states import basicsr_state
from torch import nn

from basicsr_semantic.engine.checkpoint import (
    load_file,
    load_weights,
    read_once,
    read_weights,
    save_atomic,
)
from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.plain_values import to_plain


class Opener:
    """Pickles to a call of os.system."""

    def __reduce__(self):
        return os.system, ('touch ran',)


def test_a_saved_file_comes_back(tmp_path):
    save_atomic({'params': {'w': torch.arange(3.0)}, 'iter': 4}, tmp_path / 'a.pth')
    assert torch.equal(load_file(tmp_path / 'a.pth')['params']['w'], torch.arange(3.0))
    assert [p.name for p in tmp_path.iterdir()] == ['a.pth']


@pytest.mark.parametrize('failing', ['write', 'fsync'])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing):
    save_atomic({'iter': 1}, tmp_path / 'a.pth')

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, 'No space left on device')

    if failing == 'write':
        monkeypatch.setattr(torch, 'save', full)
    else:
        monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(UserError, match='No space left'):
        save_atomic({'iter': 2}, tmp_path / 'a.pth')
    assert load_file(tmp_path / 'a.pth') == {'iter': 1}
    assert [p.name for p in tmp_path.iterdir()] == ['a.pth']


def test_a_write_that_the_system_refuses_half_way(tmp_path):
    """A limit on file sizes stands for the full disk: the write fails in the kernel, inside torch's own writer."""
    script = (
        'import resource, torch\n'
        'from basicsr_semantic.engine.checkpoint import save_atomic\n'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n'
        "save_atomic({'w': torch.zeros(100_000)}, 'a.pth')\n"
    )
    run = python('-c', script, cwd=tmp_path)
    assert 'UserError: a.pth could not be written' in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match='could not be written'):
        save_atomic({}, tmp_path / 'absent' / 'a.pth')


def test_a_missing_file_names_its_neighbours(tmp_path):
    (tmp_path / 'net_g_5.pth').touch()
    with pytest.raises(UserError, match=r'does not exist.*net_g_5\.pth'):
        load_file(tmp_path / 'net_g_6.pth')


def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'evil.pth').write_bytes(pickle.dumps({'params': Opener()}))
    torch.save({'params': Opener()}, tmp_path / 'evil2.pth')
    for name in ('evil.pth', 'evil2.pth'):
        with pytest.raises(UserError, match='was not loaded'):
            load_file(tmp_path / name)
    assert not (tmp_path / 'ran').exists()


def test_a_cut_file_is_one_sentence(tmp_path):
    save_atomic({'params': nn.Conv2d(3, 8, 3).state_dict()}, tmp_path / 'a.pth')
    (tmp_path / 'b.pth').write_bytes((tmp_path / 'a.pth').read_bytes()[:300])
    with pytest.raises(UserError, match='cut short'):
        load_file(tmp_path / 'b.pth')


def test_memory_that_is_too_short_for_a_file_does_not_make_it_another_one(tmp_path, monkeypatch):
    save_atomic({'params': {}}, tmp_path / 'a.pth')

    def fail(*args, **kwargs):
        raise RuntimeError("[enforce fail] can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(torch, 'load', fail)
    with pytest.raises(UserError, match=r"a\.pth could not be read \(.*can't allocate memory.*\)\.$"):
        load_file(tmp_path / 'a.pth')


def test_weights_by_key_with_fallback_and_prefix(tmp_path):
    state = nn.Linear(2, 2).state_dict()
    torch.save({'params': {f'module.{k}': v for k, v in state.items()}}, tmp_path / 'a.pth')
    assert read_weights(tmp_path / 'a.pth', 'params_ema').keys() == state.keys()
    torch.save(state, tmp_path / 'bare.pth')
    assert read_weights(tmp_path / 'bare.pth').keys() == state.keys()
    torch.save({'other': state, 'iter': 1}, tmp_path / 'c.pth')
    with pytest.raises(UserError, match='Set path:param_key_g to one of them: other'):
        read_weights(tmp_path / 'c.pth')
    assert read_weights(tmp_path / 'c.pth', 'other').keys() == state.keys()


def test_within_read_once_a_file_is_read_once(tmp_path, monkeypatch):
    file = tmp_path / 'a.pth'
    save_atomic({'params': {'weight': torch.ones(2)}}, file)
    real, read = torch.load, []
    monkeypatch.setattr(torch, 'load', lambda path, **options: read.append(path) or real(path, **options))
    (tmp_path / 'more').mkdir()
    save_atomic({}, tmp_path / 'more/a.pth')
    with read_once(str(tmp_path)):
        assert load_file(file) is load_file(str(file))
        assert read_weights(file)['weight'].tolist() == [1, 1]
        assert len(read) == 1
        assert load_file(tmp_path / 'more/a.pth') is not load_file(tmp_path / 'more/a.pth')  # of another folder
        with pytest.raises(UserError, match='does not exist'):
            load_file(tmp_path / 'b.pth')
    assert load_file(file) is not load_file(file)
    assert len(read) == 5


def test_a_folder_is_called_one(tmp_path):
    with pytest.raises(UserError, match='is a folder'):
        load_file(tmp_path)


def test_advice_names_only_options_that_there_are(tmp_path):
    save_atomic({'params': nn.Linear(2, 2).state_dict()}, tmp_path / 'a.pth')
    save_atomic({'other': nn.Linear(2, 2).state_dict()}, tmp_path / 'b.pth')
    named_otherwise = nn.Sequential(nn.Linear(2, 2))
    for role, options in (('g', {'param_key_g', 'strict_load_g'}), ('base_upsampler', {'param_key_base_upsampler'})):
        message = ''
        for file in ('a.pth', 'b.pth'):
            with pytest.raises(UserError) as error:
                load_weights(named_otherwise, tmp_path / file, role=role)
            message += str(error.value)
        assert set(re.findall(r'path:(\w+)', message)) == options
    with pytest.raises(UserError, match='arguments that its weights were trained with') as error:
        load_weights(nn.Linear(3, 2), tmp_path / 'a.pth')
    assert 'strict_load_g' not in str(error.value)


def test_strict_loading_counts_what_differs(tmp_path):
    save_atomic({'params': nn.Linear(2, 2).state_dict()}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=r'lacks values for 1 tensors \(weight 1\).*weight is \(2, 2\) in the file'):
        load_weights(nn.Linear(3, 2), tmp_path / 'a.pth')


def test_loose_loading_loads_what_fits_and_says_the_rest(tmp_path):
    source, target = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 4))
    save_atomic({'params': source.state_dict()}, tmp_path / 'a.pth')
    missing, unexpected = load_weights(target, tmp_path / 'a.pth', strict=False)
    assert missing == ['1.bias', '1.weight'] and unexpected == []
    assert torch.equal(target[0].weight, source[0].weight)


def test_a_checkpoint_of_another_network_is_refused_even_when_loose(tmp_path):
    save_atomic({'params': nn.Conv2d(3, 8, 3).state_dict()}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match='another network'):
        load_weights(nn.Linear(5, 6), tmp_path / 'a.pth', strict=False)


NUMPY = {
    'psnr': np.float64(31.25),
    'half': np.float16(0.5),
    'single': np.float32(-2.5),
    'big': np.dtype('>f8').type(1.5),
    'iter': np.int64(-3),
    'byte': np.uint8(255),
    'flag': np.bool_(True),
    'wave': np.complex128(1 + 2j),
    'text': np.str_('größe'),
}


def renamed(path: Path, old: bytes, new: bytes) -> None:
    """Change what the pickle of a torch file names."""
    content = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(content) as source, zipfile.ZipFile(path, 'w') as target:
        for entry in source.namelist():
            target.writestr(entry, source.read(entry).replace(old, new))


@pytest.mark.parametrize('module', [b'numpy.core.multiarray', b'numpy._core.multiarray'])
def test_numpys_scalars_come_as_pythons(tmp_path, module):
    torch.save(NUMPY, tmp_path / 'a.pth')
    renamed(tmp_path / 'a.pth', np.float64(0).__reduce__()[0].__module__.encode() + b'\n', module + b'\n')
    loaded = load_file(tmp_path / 'a.pth')
    assert loaded == NUMPY
    assert {type(value) for value in loaded.values()} == {float, int, bool, complex, str}


def test_a_state_of_basicsrs_own_loads(tmp_path):
    torch.save(basicsr_state(2), tmp_path / '2.state')
    state = load_file(tmp_path / '2.state')
    assert state['best_metric_results']['held_out']['psnr']['val'] == 31.25
    assert state['schedulers'][0]['milestones'] == Counter([2, 2, 4])


def test_the_containers_of_collections_load(tmp_path):
    content = {
        'counter': Counter('aab'),
        'ordered': OrderedDict(b=1, a=2),
        'lists': defaultdict(list, a=[1]),
        'dicts': defaultdict(dict, a={'b': 1}),
        'none': defaultdict(None, a=1),
    }
    torch.save(content, tmp_path / 'a.pth')
    loaded = load_file(tmp_path / 'a.pth')
    assert loaded == content and type(loaded['lists']) is dict
    assert list(loaded['ordered']) == ['b', 'a']


class Call:
    """Pickles to a call of what it is given."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    'value',
    [
        Opener(),
        np.zeros(2),
        np.array(3, dtype=object),
        {'a': defaultdict(os.getcwd)},
        Call(type(NUMPY['psnr']), 1.0),
        Call(np.float64(0).__reduce__()[0], np.dtype('V8'), b'12345678'),
        Call(np.float64(0).__reduce__()[0], np.dtype('f8'), b'1234'),
        Call(np.float64(0).__reduce__()[0], np.dtype('O'), b'12345678'),
        Call(eval, '1'),
        Call(getattr, 1, 'real'),
        Call(os.system, 'touch ran'),
    ],
    ids=lambda value: type(value).__name__,  # addresses would differ from process to process
)
def test_what_is_neither_plain_nor_a_numpy_scalar_stays_outside(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    torch.save({'params': value}, 'a.pth')
    with pytest.raises(UserError, match='was not loaded'):
        load_file('a.pth')
    assert not Path('ran').exists()


def test_a_type_with_fields_that_point_into_memory_does_not_reach_numpy(tmp_path):
    """numpy would take the eight bytes for the address of an object."""
    fields = (3, '|', None, ('a',), {'a': (np.dtype('f8'), 0)}, 8, 1, 0)
    crafted = Call(np.dtype, 'V8', False, True, state=fields)
    torch.save(Call(np.float64(0).__reduce__()[0], crafted, b'12345678'), tmp_path / 'a.pth')
    with pytest.raises(UserError, match='was not loaded'):
        load_file(tmp_path / 'a.pth')


def test_loading_leaves_torchs_list_as_it_was(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    save_atomic({'iter': 1}, tmp_path / 'a.pth')
    load_file(tmp_path / 'a.pth')
    assert set(torch.serialization.get_safe_globals()) == before


def test_plain_values_are_plain_and_load_without_numpy(tmp_path):
    class Name(str, enum.Enum):
        A = 'a'

    class Number(float):
        pass

    pair = namedtuple('pair', 'x y')
    value = {
        'numpy': NUMPY | {'long': np.longdouble(1.5)},
        'arrays': [np.arange(3, dtype='>i4')[::-1], np.float64(2)[()], np.array(['a', 'b']), np.array(7.5)],
        Name.A: OrderedDict(x=pair(Number(1.5), enum.IntEnum('E', 'one')(1))),
        'more': [Counter('aab'), defaultdict(list, a=[True, None]), torch.Size([2]), {np.int64(3)}, np.array([0.5j])],
    }
    plain = to_plain(value)
    torch.save(plain, tmp_path / 'a.pth')
    loaded = torch.load(tmp_path / 'a.pth', weights_only=True)
    assert loaded['numpy'] == NUMPY | {'long': 1.5} and type(loaded['numpy']['psnr']) is float
    assert torch.equal(loaded['arrays'][0], torch.tensor([2, 1, 0], dtype=torch.int32))
    assert loaded['arrays'][1:3] == [2.0, ['a', 'b']] and loaded['arrays'][3].item() == 7.5
    assert loaded['a'] == {'x': (1.5, 1)} and [type(v) for v in loaded['a']['x']] == [float, int]
    assert type(next(k for k in plain if k == 'a')) is str
    assert loaded['more'][:4] == [{'a': 2, 'b': 1}, {'a': [True, None]}, (2,), {3}]
    assert type(plain['more'][0]) is dict and type(plain['a']['x']) is tuple


# ----------------------------------------------------------------------------------------------- files of others

NET = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 3)))
STATE = NET.state_dict()
AVERAGE = {key: value + 1 for key, value in STATE.items()}


def with_prefix(prefix: str, state: dict = STATE) -> dict:
    return {prefix + key: value for key, value in state.items()}


COUNTER = {'step_counter': torch.tensor(5)}
OTHERS = {'discriminator.conv.weight': torch.ones(3), 'data_preprocessor.mean': torch.ones(3)}
FOREIGN = {
    'mmagic': {'meta': {'iter': 5}, 'state_dict': COUNTER | OTHERS | with_prefix('generator.')},
    'mmagic with an average': {
        'state_dict': COUNTER | with_prefix('generator.') | with_prefix('generator_ema.', AVERAGE)
    },
    'mmediting without a prefix': {'meta': {}, 'state_dict': STATE, 'optimizer': {'state': {}}},
    'kair': {'net': STATE},
    'kair, bare': STATE,
    'lightning': {'epoch': 3, 'global_step': 9, 'state_dict': with_prefix('net.')},
    'torch.compile': {'params': with_prefix('_orig_mod.')},
    'torch.compile of a part': {'params': {k.replace('1.0.', '1._orig_mod.0.'): v for k, v in STATE.items()}},
    'DataParallel': {'params': with_prefix('module.')},
    'both, and a wrapper of its own': {'model': with_prefix('module._orig_mod.restorer.')},
    'swa': {'model_state_dict': with_prefix('module.') | {'n_averaged': torch.tensor(3)}},
    'checkpointing': {'weights': with_prefix('_checkpoint_wrapped_module.')},
}


@pytest.mark.parametrize('name', FOREIGN)
def test_files_of_other_toolboxes_and_wrappers_load(tmp_path, name):
    torch.save(FOREIGN[name], tmp_path / 'a.pth')
    for key, expected in (('params', STATE), ('params_ema', AVERAGE if 'average' in name else STATE)):
        net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 3)))
        assert load_weights(net, tmp_path / 'a.pth', True, key) == ([], [])
        assert all(torch.equal(value, expected[k]) for k, value in net.state_dict().items())


def test_parts_that_are_neither_the_networks_nor_a_toolboxes_are_said(tmp_path):
    torch.save({'state_dict': with_prefix('generator.') | {'extra_head.weight': torch.ones(1)}}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=r'the file has unused 1 tensors \(extra_head 1\)'):
        load_weights(NET, tmp_path / 'a.pth')


def test_names_of_the_network_itself_are_left_alone(tmp_path):
    """A network whose own part is called ``module`` or ``generator``."""
    for part in ('module', 'generator', 'net'):
        net = nn.ModuleDict({part: nn.Linear(2, 2), 'tail': nn.Linear(2, 2)})
        torch.save({'params': net.state_dict()}, tmp_path / 'a.pth')
        assert load_weights(net, tmp_path / 'a.pth') == ([], [])


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        ({'params': {0: torch.ones(2)}}, 'one of its names is 0, which is no text'),
        ({'params': {('a', 'b'): torch.ones(2)}}, 'which is no text'),
        ({'params': {'weight': torch.ones(2, 2, device='meta'), 'bias': torch.ones(2)}}, 'holds no data for weight'),
        ({'params': {'weight': torch.eye(2).to_sparse(), 'bias': torch.ones(2)}}, 'holds no data for weight'),
        ({'params': {'weight': torch.ones(2, 2).int(), 'bias': torch.ones(2)}}, 'weight as torch.int32, which is no'),
        ({'params': {'weight': torch.ones(2, 2) > 0, 'bias': torch.ones(2)}}, 'weight as torch.bool, which is no'),
        ({'params': [torch.ones(2)]}, 'does not hold a state dict'),
        ({'params': {'weight': 'text'}}, 'does not hold a state dict'),
        ({'params': None}, 'does not hold a state dict'),
        ([1, 2], 'does not hold a state dict'),
        (torch.ones(2), 'does not hold a state dict'),
        ({}, "has no 'params'; its keys are"),
        ({'params': {}}, 'the network lacks values for 2 tensors'),
    ],
)  # fmt: skip
def test_odd_contents_are_one_sentence(tmp_path, content, said):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=said):
        load_weights(nn.Linear(2, 2), tmp_path / 'a.pth')


def test_weights_of_another_precision_load(tmp_path):
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        torch.save({'params': {key: value.to(kind) for key, value in STATE.items()}}, tmp_path / 'a.pth')
        load_weights(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 3))), tmp_path / 'a.pth')


def test_a_flipped_bit_anywhere_in_the_data_is_found(tmp_path):
    torch.save({'params': {'weight': torch.arange(4096.0)}}, tmp_path / 'a.pth')
    whole = (tmp_path / 'a.pth').read_bytes()
    start = whole.index(torch.arange(4096.0).numpy().tobytes())
    for place in (start, start + 5001, start + 16383):
        (tmp_path / 'b.pth').write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r'b\.pth is damaged: the check sum of .*data/0 is wrong'):
            load_file(tmp_path / 'b.pth')


def test_a_file_of_the_old_format_has_no_check_sums_and_loads(tmp_path):
    torch.save({'params': STATE}, tmp_path / 'a.pth', _use_new_zipfile_serialization=False)
    assert read_weights(tmp_path / 'a.pth').keys() == STATE.keys()


def test_a_pipe_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path / 'a.pth')
    with pytest.raises(UserError, match='is a pipe, not a file'):
        load_file(tmp_path / 'a.pth')
