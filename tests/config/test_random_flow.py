"""An optical flow of random weights is said once, at the start of a training and by the check; a refusal never."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from basicsr.archs.basicvsr_arch import BasicVSR
from basicsr.archs.spynet_arch import SpyNet
from helpers.clips import data_sets
from helpers.options import make_data, problems_of, stock_options
from helpers.project import write_options

from basicsr_semantic.archs import BasicVSRSEEM, PSRTRecurrent
from basicsr_semantic.cli import main
from basicsr_semantic.config.option_file import OptionFile
from basicsr_semantic.config.random_flow import random_flow

SMALL = {'num_feat': 8, 'num_block': 1}
SAID = 'The optical flow of BasicVSR starts at random, as nothing loads weights of its SPyNet: name their file, '
SAID += 'network_g:spynet_path.'


class Wrapped(torch.nn.Module):
    """Somebody else's network, which may load weights by itself."""

    def __init__(self, num_feat: int = 8) -> None:
        super().__init__()
        self.inner = BasicVSR(num_feat, 1)


def save(net: torch.nn.Module, path: Path, without: str = 'nothing', holder: str | None = 'params') -> str:
    """Write a checkpoint without the tensors of a part."""
    state = {name: value for name, value in net.state_dict().items() if without not in name}
    torch.save({holder: state} if holder else state, path)
    return str(path)


def said(net: torch.nn.Module, network: dict | None = None, **path: object) -> str | None:
    """The sentence about a network of that section, with those keys of section path."""
    found = random_flow({'network_g': {'type': type(net).__name__, **(network or {})}, 'path': path}, 'network_g', net)
    return None if found is None else found[1]


def test_it_names_the_network_and_the_key():
    assert said(BasicVSR(**SMALL)) == SAID
    message = said(BasicVSRSEEM(**SMALL, branches=[]))
    assert message is not None and message.endswith('network_g:spynet_path, or set network_g:zero_flow: true.')
    with torch.device('meta'):
        assert said(BasicVSR(**SMALL)) == SAID
    key, _ = random_flow({'network_g': {'type': 'BasicVSR'}}, 'network_g', BasicVSR(**SMALL)) or ((), '')
    assert key == ('network_g', 'spynet_path')


def test_networks_whose_flow_has_weights_or_that_have_none_are_left_alone(tmp_path):
    assert said(BasicVSR(**SMALL), {'spynet_path': 'spynet.pth'}) is None
    assert said(BasicVSRSEEM(**SMALL, branches=[], zero_flow=True), {'zero_flow': True}) is None
    assert said(PSRTRecurrent(depths=[1], num_heads=[2], embed_dim=8, align='none')) is None
    assert said(SpyNet()) is None and said(torch.nn.Conv2d(3, 3, 3)) is None
    assert said(Wrapped()) is None
    assert random_flow({'network_d': {'type': 'X'}}, 'network_d', None) is None


def test_pretrained_weights_count_where_they_hold_the_flow(tmp_path):
    net = BasicVSR(**SMALL)
    whole = save(net, tmp_path / 'whole.pth')
    bare = save(net, tmp_path / 'bare.pth', holder=None)
    without = save(net, tmp_path / 'without.pth', 'spynet')
    wrapped = save(torch.nn.Sequential(net), tmp_path / 'wrapped.pth')
    for place in (whole, bare, wrapped):
        assert said(net, pretrain_network_g=place, strict_load_g=False) is None
    assert said(net, pretrain_network_g=without, strict_load_g=False) == SAID
    assert said(net, pretrain_network_g=without) is None  # strict: the run ends, with a sentence of its own
    assert said(net, pretrain_network_g='nowhere.pth', strict_load_g=False) is None  # this, too
    assert said(net, pretrain_network_g=None) == SAID


def test_a_resumed_run_has_weights_unless_they_are_to_be_ignored():
    net = BasicVSR(**SMALL)
    assert said(net, resume_state='5.state') is None
    assert said(net, resume_state='5.state', ignore_resume_networks=['network_g']) == SAID


def test_an_option_file_of_basicsr_is_warned_and_stays_in_order(tmp_path, capsys):
    """Also where warnings are taken for errors: it was in order before."""
    lines = stock_options(make_data(tmp_path))['basicvsr'].splitlines()
    unknown = ('dataroot_flow:', 'padding:')  # keys that BasicSR's data sets do not have, which are said, too
    text = '\n'.join(line for line in lines if not line.strip().startswith(unknown))
    (tmp_path / 'a.yml').write_text(text)
    (problem,) = problems_of(OptionFile.read(tmp_path / 'a.yml'), True, warnings=True)
    assert problem.key == 'network_g:spynet_path' and problem.message == SAID and problem.warning
    assert main(['check', '-opt', str(tmp_path / 'a.yml'), '--strict']) == 0
    out = capsys.readouterr().out
    assert SAID in out and '1 warning.' in out
    file = OptionFile.read(tmp_path / 'a.yml')
    del file.values['train'], file.values['datasets']['train']
    assert problems_of(file, False, warnings=True) == []  # a test of random weights is said elsewhere


@pytest.fixture
def training(options, tmp_path, monkeypatch):
    """An option file of a training of BasicVSR, in the current folder."""
    monkeypatch.chdir(tmp_path)
    sections = {
        phase: {key: value for key, value in one.items() if 'priors' not in key and key != 'num_masks'}
        for phase, one in data_sets(tmp_path).items()
    }
    del sections['val']
    opt = options(datasets=sections, network_g={'type': 'BasicVSR', **SMALL, 'spynet_path': None})
    opt['train'] |= {'total_iter': 2}
    opt['train']['scheduler'] |= {'periods': [2]}
    return str(write_options(opt, tmp_path / 'a.yml'))


@pytest.mark.slow(20)
def test_a_training_says_it_once_and_a_resumed_one_not(training, capsys):
    assert main(['train', '-opt', training]) == 0
    assert capsys.readouterr().err.count(SAID) == 1
    (log,) = Path('experiments/tiny').glob('train_*.log')
    assert log.read_text().count(SAID) == 1
    more = ['--force_yml', 'train:total_iter=3', 'train:scheduler:periods=[3]']
    assert main(['train', '-opt', training, '--auto_resume', *more]) == 0
    assert SAID not in capsys.readouterr().err and len(list(Path('experiments/tiny').glob('train_*.log'))) == 2
