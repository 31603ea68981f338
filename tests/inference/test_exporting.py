"""`basicsr export`: one file that gives the network back, with what it needs, and runs no code."""

from __future__ import annotations

import json

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from helpers.seem import randomise

from basicsr_semantic import load
from basicsr_semantic.cli import main
from basicsr_semantic.engine.checkpoint import load_file, read_weights
from basicsr_semantic.inference.exporting import export
from basicsr_semantic.priors import PriorStoreWriter, store_metadata
from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.files import file_sha256
from basicsr_semantic.utils.safetensors_files import read_safetensors, write_safetensors

LITE = {'type': 'BasicVSRLite', 'num_feat': 8, 'num_block': 1, 'flow_feat': 4}
SEEM = {'type': 'BasicVSRLite', 'num_feat': 8, 'num_block': 1, 'num_masks': 4, 'branches': ['forward']}


def build_network(section):
    """A network, without the line that BasicSR logs to the output of whichever test was first."""
    arguments = dict(section)
    return ARCH_REGISTRY.get(arguments.pop('type'))(**arguments)


@pytest.fixture
def trained(tmp_path):
    """A function: the checkpoint of a network, as a training writes it, with whatever else it is to hold."""

    def make(network=LITE, name='net_g_5.pth', **more):
        torch.manual_seed(0)
        weights = [randomise(build_network(dict(network)), seed).state_dict() for seed in (1, 2)]
        file = tmp_path / name
        record = {'network': network, 'model_type': 'SemanticVSRModel', 'scale': 4, 'version': '0'}
        torch.save({'params': weights[0], 'params_ema': weights[1], 'arch': record, **more}, file)
        return file

    return make


def test_the_exported_network_is_the_trained_one(trained, tmp_path, capsys):
    file, out = trained(SEEM, prior_kind='sam'), tmp_path / 'mine.safetensors'
    notes = ['--degradation', 'BI', '--licence', 'Apache-2.0']
    (tmp_path / 'card.md').write_text('Trained on nothing.')
    assert main(['export', str(file), str(out), *notes, '--card', str(tmp_path / 'card.md')]) == 0
    assert 'is written: BasicVSRLite x4, priors of sam, ' in capsys.readouterr().out
    before, after = load(file), load(out)
    assert after.prior_kind == 'sam' and after.scale == 4
    assert after.description['licence'] == 'Apache-2.0' and after.description['card'] == 'Trained on nothing.'
    assert after.description['network']['reduction'] == 8  # a default, written out
    for name, value in before.net.state_dict().items():  # the moving average, where there is one
        assert torch.equal(value, after.net.state_dict()[name])


def test_half_precision_halves_the_file_and_is_close(trained, tmp_path):
    file, whole, half = trained(), tmp_path / 'whole.safetensors', tmp_path / 'half.safetensors'
    assert main(['export', str(file), str(whole)]) == main(['export', str(file), str(half), '--half']) == 0
    header = 2000
    assert abs(half.stat().st_size - whole.stat().st_size / 2) < header
    frames = torch.rand(1, 3, 3, 17, 21)
    a, b = (load(one)(frames) for one in (whole, half))
    assert b.dtype == torch.float32 and (a - b).abs().max() < 5e-3


def test_the_file_is_a_checkpoint_like_any_other(trained, tmp_path):
    file, out = trained(), tmp_path / 'a.safetensors'
    assert main(['export', str(file), str(out)]) == 0
    assert read_weights(out).keys() == read_weights(file).keys()
    assert load_file(out)['arch']['network']['num_feat'] == 8
    assert main(['export', str(out), str(out)]) == 2  # exists
    assert main(['export', str(out), str(out), '--force']) == 0


@pytest.fixture
def adapter(trained, tmp_path):
    """A base network, and an adapter of it with everything that a training writes into one."""
    base = trained({**SEEM, 'branches': []}, 'base.pth')
    net = randomise(build_network(dict(SEEM)), 7)
    part = {
        name: value for name, value in net.state_dict().items() if name.startswith(('sam_embed', 'seem_', 'fusion'))
    }
    overwrites = [name for name in part if name.startswith('fusion')]
    tuned = {'keys': [*part], 'overwrites': overwrites, 'base_file': base.name, 'base_key': 'params_ema'}
    tuned['base_sha256'] = file_sha256(base)
    file = tmp_path / 'net_g_seem_5.pth'
    record = {'network': SEEM, 'model_type': 'SemanticVSRModel', 'scale': 4, 'version': '0'}
    torch.save({'params': part, 'arch': record, 'tuned': tuned, 'prior_kind': 'regions'}, file)
    return base, file


def test_an_adapter_is_merged_or_put_on_when_loading(adapter, trained, tmp_path):
    base, adapter = adapter
    out, part = tmp_path / 'merged.safetensors', load_file(adapter)['params']
    wanted = read_weights(base, 'params_ema') | part
    assert main(['export', str(base), str(out), '--adapter', str(adapter)]) == 0
    for whole in (load(out), load(base, adapter=adapter)):
        assert whole.prior_kind == 'regions'
        assert all(torch.equal(value, wanted[name]) for name, value in whole.net.state_dict().items())
    other = trained({**SEEM, 'branches': []}, 'other.pth', more=1)
    with pytest.raises(UserError, match=r'was trained on base\.pth, SHA-256'):
        load(other, adapter=adapter)
    with pytest.raises(UserError, match=r"is an adapter.*Load that with adapter='net_g_seem_5\.pth'"):
        load(adapter)


def test_an_exported_adapter_stays_one(adapter, tmp_path, capsys):
    base, file = adapter
    out, card = tmp_path / 'mine.safetensors', tmp_path / 'card.md'
    card.write_text('Tuned on nothing.')
    arguments = [str(file), str(out), '--half', '--licence', 'Apache-2.0', '--card', str(card)]
    assert main(['export', *arguments]) == 0
    assert 'is written: adapter of BasicVSRLite x4, priors of regions, ' in capsys.readouterr().out
    assert out.stat().st_size < file.stat().st_size / 1.5
    before, after = load(base, adapter=file), load(base, adapter=out)
    assert after.prior_kind == 'regions' and after.description['card'] == 'Tuned on nothing.'
    kept = read_weights(base, 'params_ema')
    for name, value in before.net.state_dict().items():
        if name in load_file(file)['params']:
            assert torch.equal(after.net.state_dict()[name], value.half().float())
        else:
            assert torch.equal(after.net.state_dict()[name], kept[name]), 'the base is not halved'
    with pytest.raises(UserError, match=r"is an adapter.*Load that with adapter='mine\.safetensors'"):
        load(out)


def test_an_adapter_of_an_unknown_network_is_not_exported(adapter, tmp_path):
    _, file = adapter
    content = load_file(file)
    del content['arch']
    torch.save(content, file)
    with pytest.raises(UserError, match='does not say which network it is of'):
        export(file, tmp_path / 'mine.safetensors')
    assert not (tmp_path / 'mine.safetensors').exists()


def test_older_files_take_their_network_from_the_option_file(trained, tmp_path, monkeypatch, options):
    from helpers.project import write_options

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'experiments' / 'old' / 'models'
    folder.mkdir(parents=True)
    torch.save({'params': build_network(dict(LITE)).state_dict()}, folder / 'net_g_latest.pth')
    with pytest.raises(UserError, match='does not say which network'):
        load('old')
    file = write_options(options(network_g=LITE, name='old'), tmp_path / 'old.yml')
    assert main(['export', str(file), 'a.safetensors']) == 0
    assert main(['export', 'old', 'b.safetensors', '-opt', str(file)]) == 0
    assert load('a.safetensors').net.num_feat == 8


def test_a_network_that_names_no_scale_has_none_in_the_message(tmp_path, capsys):
    network = {'type': 'BasicVSR', 'num_feat': 8, 'num_block': 1}
    record = {'network': network, 'model_type': 'VideoRecurrentModel', 'version': '0'}
    torch.save({'params': build_network(network).state_dict(), 'arch': record}, tmp_path / 'a.pth')
    assert main(['export', str(tmp_path / 'a.pth'), str(tmp_path / 'a.safetensors')]) == 0
    assert 'is written: BasicVSR, no priors, ' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['net_g_5.pth', 'out.pth'], 'does not end in .safetensors'),
        (['nowhere.pth', 'out.safetensors'], 'nowhere.pth'),
        (['net_g_5.pth', 'out.safetensors', '--priors', 'none.lmdb'], 'none.lmdb'),
        (['net_g_5.pth', 'out.safetensors', '--card', 'none.md'], '--card none.md cannot be read: No such file'),
        (['net_g_5.pth', 'out.safetensors', '--card', 'latin.md'], '--card latin.md is not a text in UTF-8.'),
        (
            ['net_g_5.pth', 'out.safetensors', '--priors', 'regions'],
            'takes no priors, so it has no use for regions.',
        ),
        (
            ['seem.pth', 'out.safetensors', '--priors', 'regions'],
            "priors of 'sam', and regions has those of another",
        ),
        (['net_g_5.pth', 'out.safetensors', '-opt', 'o.yml'], 'net_g_5.pth is BasicVSRLite, and o.yml is about EDVR.'),
        (['net_g_5.pth', 'out.safetensors', '--adapter', 'none.pth'], 'none.pth'),
    ],
)
def test_mistakes_are_said_in_a_sentence(trained, tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    trained()
    trained(SEEM, 'seem.pth', prior_kind='sam')
    (tmp_path / 'latin.md').write_bytes('Café'.encode('latin-1'))
    (tmp_path / 'o.yml').write_text('network_g: {type: EDVR}\n')
    PriorStoreWriter('regions', store_metadata('regions')).close()
    assert main(['export', *arguments]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert sentence in message and message.startswith('basicsr: ')
    assert not (tmp_path / arguments[1]).exists()


def test_weights_beyond_float16_are_not_halved(tmp_path):
    with pytest.raises(UserError, match='a has values beyond the range of float16'):
        write_safetensors({'params': {'a': torch.tensor([1e6])}}, tmp_path / 'x.safetensors', half=True)
    assert not (tmp_path / 'x.safetensors').exists()


def test_nested_tensors_and_files_of_others(tmp_path):
    from safetensors.torch import save_file

    content = {'params': {'a.b': torch.ones(2)}, 'base': {'name': 'x', 'params': {'c.d': torch.zeros(3)}}, 'n': [1, 2]}
    write_safetensors(content, tmp_path / 'x.safetensors')
    back = read_safetensors(tmp_path / 'x.safetensors')
    assert (
        back['n'] == [1, 2]
        and back['base']['name'] == 'x'
        and torch.equal(back['base']['params']['c.d'], torch.zeros(3))
    )
    save_file({'a.b': torch.ones(2)}, tmp_path / 'plain.safetensors')
    assert read_safetensors(tmp_path / 'plain.safetensors').keys() == {'params'}


@pytest.mark.parametrize('damage', ['cut', 'header', 'json', 'clash', 'other'])
def test_damaged_files_are_refused(tmp_path, damage):
    from safetensors.torch import save_file

    file = tmp_path / 'x.safetensors'
    write_safetensors({'params': {'a': torch.ones(64)}}, file)
    if damage == 'cut':
        file.write_bytes(file.read_bytes()[:-8])
    elif damage == 'header':
        file.write_bytes(b'\xff' * 8 + file.read_bytes()[8:])
    elif damage == 'json':
        save_file({'a': torch.ones(1)}, file, {'basicsr_semantic': '{'})
    elif damage == 'clash':
        save_file({'arch/a': torch.ones(1)}, file, {'basicsr_semantic': json.dumps({'arch': 1})})
    else:
        torch.save({}, file)
    with pytest.raises(UserError, match='was not loaded'):
        load_file(file)
