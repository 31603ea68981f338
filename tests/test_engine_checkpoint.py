"""Checkpoints are whole or absent, and reading one runs no code."""

from __future__ import annotations

import errno
import os
import pickle
import re

import pytest
import torch
from conftest import python
from torch import nn

from basicsr_semantic.engine.checkpoint import (
    find_resume_state,
    load_file,
    load_weights,
    read_weights,
    remove_leftovers,
    save_atomic,
)
from basicsr_semantic.utils.errors import UserError


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


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    (tmp_path / '.net_g_2.pth.77.tmp').write_bytes(b'half')
    (tmp_path / 'net_g_1.pth').write_bytes(b'whole')
    remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ['net_g_1.pth']


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


def test_weights_by_key_with_fallback_and_prefix(tmp_path):
    state = nn.Linear(2, 2).state_dict()
    torch.save({'params': {f'module.{k}': v for k, v in state.items()}}, tmp_path / 'a.pth')
    assert read_weights(tmp_path / 'a.pth', 'params_ema').keys() == state.keys()
    torch.save(state, tmp_path / 'bare.pth')
    assert read_weights(tmp_path / 'bare.pth').keys() == state.keys()
    torch.save({'other': 1}, tmp_path / 'c.pth')
    with pytest.raises(UserError, match='param_key_g'):
        read_weights(tmp_path / 'c.pth')


def test_a_folder_is_called_one(tmp_path):
    with pytest.raises(UserError, match='is a folder'):
        load_file(tmp_path)


def test_advice_names_only_options_that_there_are(tmp_path):
    save_atomic({'params': nn.Linear(2, 2).state_dict()}, tmp_path / 'a.pth')
    save_atomic({'other': 1}, tmp_path / 'b.pth')
    named_otherwise = nn.Sequential(nn.Linear(2, 2))
    for role, options in (('g', {'param_key_g', 'strict_load_g'}), ('base_upsampler', {'param_key_base_upsampler'})):
        said = ''
        for file in ('a.pth', 'b.pth'):
            with pytest.raises(UserError) as error:
                load_weights(named_otherwise, tmp_path / file, role=role)
            said += str(error.value)
        assert set(re.findall(r'path:(\w+)', said)) == options
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


def test_resume_takes_the_newest_state_that_is_whole(tmp_path):
    states, models = tmp_path / 'training_states', tmp_path / 'models'
    states.mkdir()
    models.mkdir()
    assert find_resume_state(states, models) is None
    for i in (2, 4, 10):
        save_atomic({'iter': i, 'weights': {'net_g': f'net_g_{i}.pth'}}, states / f'{i}.state')
        save_atomic({}, models / f'net_g_{i}.pth')
    assert find_resume_state(states, models)[1]['iter'] == 10
    (models / 'net_g_10.pth').unlink()
    assert find_resume_state(states, models)[1]['iter'] == 4
    (states / '4.state').write_bytes(b'half a state')
    assert find_resume_state(states, models)[1]['iter'] == 2
