"""Weights of metrics: local files, PyTorch's cache, and the sentence where there are neither."""

from __future__ import annotations

from urllib.error import URLError

import pytest
import torch
from torch import nn

from basicsr_semantic.metrics.weights import Official, read_weights
from basicsr_semantic.utils.errors import UserError

OFFICIAL = Official('net-0123abcd.pth', 'https://example.org/net-0123abcd.pth', '0123abcd', 'weights')
STATE = {'a.weight': torch.arange(6.0).view(2, 3)}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """PyTorch's cache, empty; whoever downloads finds no network."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))

    def unreachable(url, *args, **kwargs):
        raise URLError('Name or service not known')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', unreachable)
    return tmp_path / 'hub' / 'checkpoints'


def same(state) -> bool:
    return list(state) == ['a.weight'] and torch.equal(state['a.weight'], STATE['a.weight'])


def test_a_local_file_is_read_and_nothing_downloaded(cache, tmp_path):
    torch.save(STATE, tmp_path / 'mine.pth')
    assert same(read_weights(str(tmp_path / 'mine.pth'), OFFICIAL, 'calculate_x'))
    assert not cache.exists()


def test_the_home_folder_may_be_abbreviated(cache, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    torch.save(STATE, tmp_path / 'mine.pth')
    assert same(read_weights('~/mine.pth', OFFICIAL, 'calculate_x'))


def test_the_official_file_is_downloaded_once(cache, monkeypatch):
    asked = []

    def download(url, file, digits, progress):
        asked.append((url, digits))
        torch.save(STATE, file)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    for _ in range(2):
        assert same(read_weights(None, OFFICIAL, 'calculate_x'))
    assert asked == [(OFFICIAL.url, '0123abcd')]
    assert [file.name for file in cache.iterdir()] == [OFFICIAL.file]


def test_without_a_network_the_sentence_names_file_address_and_option(cache):
    with pytest.raises(UserError) as message:
        read_weights(None, OFFICIAL, 'calculate_x')
    sentence = str(message.value)
    for part in ('calculate_x', OFFICIAL.file, OFFICIAL.url, 'Name or service', 'option weights', str(cache)):
        assert part in sentence


def test_a_damaged_download_is_refused(cache, monkeypatch):
    def damaged(url, *args, **kwargs):
        raise RuntimeError('invalid hash value (expected "0123abcd", got "ffff")')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', damaged)
    with pytest.raises(UserError, match='invalid hash value'):
        read_weights(None, OFFICIAL, 'calculate_x')


def test_a_local_file_that_is_missing_or_holds_no_weights(cache, tmp_path):
    with pytest.raises(UserError, match=r"calculate_x: weights: the file 'none\.pth' does not exist.*example\.org"):
        read_weights('none.pth', OFFICIAL, 'calculate_x')
    (tmp_path / 'text.pth').write_text('no weights')
    with pytest.raises(UserError, match=r'text\.pth could not be read'):
        read_weights(str(tmp_path / 'text.pth'), OFFICIAL, 'calculate_x')
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(UserError, match=r'list\.pth holds something else than a state dict'):
        read_weights(str(tmp_path / 'list.pth'), OFFICIAL, 'calculate_x')


def test_a_torch_script_archive_gives_its_weights(cache, tmp_path):
    """OpenAI releases CLIP as compiled networks."""
    net = nn.Linear(3, 2)
    torch.jit.script(net).save(str(tmp_path / 'net.pt'))
    state = read_weights(str(tmp_path / 'net.pt'), OFFICIAL, 'calculate_x')
    assert {k: v.tolist() for k, v in state.items()} == {k: v.tolist() for k, v in net.state_dict().items()}
