"""Weights made by others: what they are is checked, and reading them runs no code."""

from __future__ import annotations

import hashlib
import pickle

import pytest
import torch

from basicsr_semantic.extractors.checkpoints import read_network_file, read_state_dict, verified_sha256
from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.files import file_sha256


class Harmful:
    def __reduce__(self):
        return print, ('code of the file was run',)


def test_sha256(tmp_path):
    path = tmp_path / 'a.pth'
    path.write_bytes(b'x' * 10_000_000)
    digest = hashlib.sha256(b'x' * 10_000_000).hexdigest()
    assert file_sha256(path) == digest
    assert verified_sha256(path, digest.upper() + '\n', 'asked') == digest
    assert verified_sha256(path, None, '') == digest
    with pytest.raises(UserError, match=f'{digest}, but the one asked for is 00'):
        verified_sha256(path, '00', 'the one asked for')
    with pytest.raises(UserError, match='cannot be read: No such file'):
        file_sha256(tmp_path / 'none')


def test_state_dict(tmp_path):
    torch.save({'a': torch.ones(2)}, tmp_path / 'a.pth')
    assert torch.equal(read_state_dict(tmp_path / 'a.pth')['a'], torch.ones(2))


@pytest.mark.parametrize('content', [b'', b'not weights', b'PK\x03\x04 broken zip'])
def test_files_that_are_no_weights(tmp_path, content):
    (tmp_path / 'a.pth').write_bytes(content)
    with pytest.raises(UserError, match='could not be read as a PyTorch checkpoint'):
        read_state_dict(tmp_path / 'a.pth')


POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n'


@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors'])
@pytest.mark.parametrize(
    ('content', 'said'),
    [(POINTER, 'a pointer of Git LFS'), (b'\n<!DOCTYPE html><html>', 'a web page'), (b'', 'empty')],
    ids=['pointer', 'page', 'empty'],
)
def test_what_a_download_has_left_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f'it is {said}'):
        read_state_dict(tmp_path / name)


def test_why_a_file_is_not_loaded_comes_without_advice_to_load_it_all_the_same(tmp_path):
    """PyTorch's own message recommends weights_only=False."""
    torch.save(torch.nn.Linear(2, 2), tmp_path / 'network.pth')
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / 'script.pth')
    (tmp_path / 'other.pth').write_bytes(pickle.dumps({'a': 1}, protocol=4))
    for name, said in (
        ('network', 'it holds an object of torch.nn.modules.linear.Linear, and to load objects is to run what the'),
        ('script', 'it is a TorchScript archive. It was not loaded.'),
        ('other', 'it is of another format, or damaged. It was not loaded.'),
    ):
        with pytest.raises(UserError) as error:
            read_state_dict(tmp_path / f'{name}.pth')
        assert said in str(error.value) and 'weights_only' not in str(error.value)


def test_code_in_a_file_is_never_run(tmp_path, capfd):
    torch.save({'a': Harmful()}, tmp_path / 'zip.pth')
    (tmp_path / 'plain.pth').write_bytes(pickle.dumps(Harmful(), protocol=2))
    for name in ('zip.pth', 'plain.pth'):
        with pytest.raises(UserError, match='could not be read as a PyTorch checkpoint'):
            read_state_dict(tmp_path / name)
    assert 'code of the file' not in capfd.readouterr().out


@pytest.mark.parametrize('content', [{}, [torch.ones(1)], {'model': {'a': torch.ones(1)}}])
def test_other_contents(tmp_path, content):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(UserError, match='does not hold a flat dictionary of tensors'):
        read_state_dict(tmp_path / 'a.pth')


def test_weights_with_the_sizes_of_their_network(tmp_path):
    path, weights = tmp_path / 'a.pth', {'a': torch.ones(2)}
    for content, network in [
        (weights, None),
        ({'params': weights}, None),
        ({'params': weights, 'network': {'width': 2}, 'iter': 8}, {'width': 2}),
        ({'params': {'a': torch.zeros(2)}, 'params_ema': weights, 'network': {'width': 2}}, {'width': 2}),
    ]:
        torch.save(content, path)
        state, found = read_network_file(path)
        assert torch.equal(state['a'], weights['a']) and found == network
    torch.save({'params': [1]}, path)
    with pytest.raises(UserError, match='does not hold a flat dictionary of tensors'):
        read_network_file(path)
