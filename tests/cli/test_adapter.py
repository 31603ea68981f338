"""`basicsr adapter`: merging a base network's checkpoint with an adapter, and taking the adapter out again."""

from __future__ import annotations

import hashlib

import pytest
import torch
from basicsr.archs.basicvsr_arch import BasicVSR
from helpers.seem import random_input, randomise

from basicsr_semantic import load
from basicsr_semantic.archs import BasicVSRSEEM
from basicsr_semantic.archs.adapters import adapter_state
from basicsr_semantic.cli import main
from basicsr_semantic.models.adapter_files import merge_files, split_file
from basicsr_semantic.models.part_checks import wrong_adapter
from basicsr_semantic.models.semantic_vsr_model import SemanticVSRModel
from basicsr_semantic.utils.errors import UserError

SMALL = {'num_feat': 8, 'num_block': 1, 'num_masks': 4, 'reduction': 4}


@pytest.fixture
def files(tmp_path):
    """A network, its baseline's checkpoint and its adapter's."""
    net = randomise(BasicVSRSEEM(**SMALL))
    baseline = BasicVSR(num_feat=8, num_block=1)
    baseline.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith(net.adapter_prefixes)})
    torch.save({'params': baseline.state_dict()}, tmp_path / 'baseline.pth')
    ema = {key: value + 1 for key, value in adapter_state(net).items()}
    content = {'params': adapter_state(net), 'params_ema': ema, 'prior_kind': 'regions'}
    torch.save(content, tmp_path / 'net_g_seem_8.pth')
    return net, tmp_path / 'baseline.pth', tmp_path / 'net_g_seem_8.pth'


def test_the_merged_file_is_the_network(files, tmp_path, capsys):
    net, baseline, adapter = files
    out = tmp_path / 'merged.pth'
    assert main(['adapter', 'merge', str(baseline), str(adapter), str(out)]) == 0
    assert (
        'type: BasicVSRSEEM, num_feat: 8, num_block: 1, branches: [backward, forward], share' in capsys.readouterr().out
    )
    content = torch.load(out, weights_only=True)
    assert content.keys() == {'params', 'params_ema', 'prior_kind'} and content['prior_kind'] == 'regions'
    fresh = BasicVSRSEEM(**SMALL)
    fresh.load_state_dict(content['params'], strict=True)
    lq, masks = random_input(1, 2, 4, 33, 34)
    with torch.no_grad():
        assert torch.equal(fresh(lq, masks), net(lq, masks))
    fresh.load_state_dict(content['params_ema'], strict=True)
    assert torch.equal(fresh.sam_embed.conv1.bias, net.sam_embed.conv1.bias + 1)
    assert not list(tmp_path.glob('.*')), 'an unfinished file was left'


def test_an_existing_file_is_not_replaced_unasked(files, tmp_path, capsys):
    _, baseline, adapter = files
    out = tmp_path / 'merged.pth'
    out.write_bytes(b'precious')
    assert main(['adapter', 'merge', str(baseline), str(adapter), str(out)]) == 2
    assert 'exists already' in capsys.readouterr().err and out.read_bytes() == b'precious'
    assert main(['adapter', 'merge', str(baseline), str(adapter), str(out), '--force']) == 0
    assert out.read_bytes() != b'precious'


def test_nothing_is_written_over_what_is_read_nor_under_a_name_of_safetensors(files, tmp_path, capsys):
    _, baseline, adapter = files
    merged = tmp_path / 'merged.pth'
    assert main(['adapter', 'merge', str(baseline), str(adapter), str(merged)]) == 0
    before = {path: path.read_bytes() for path in (baseline, adapter, merged)}
    for call in (
        ['split', merged, merged],
        ['merge', baseline, adapter, baseline],
        ['merge', baseline, adapter, adapter],
    ):
        assert main(['adapter', *map(str, call), '--force']) == 2
        assert 'is what is read. Give another name' in capsys.readouterr().err
    for call in (['split', merged], ['merge', baseline, adapter]):
        assert main(['adapter', *map(str, call), str(tmp_path / 'a.safetensors')]) == 2
        assert 'would be a file of PyTorch, not of safetensors' in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before and not (tmp_path / 'a.safetensors').exists()


def test_wrong_files_are_refused_and_nothing_is_written(files, tmp_path):
    net, baseline, adapter = files
    narrow, cut, whole, text = (tmp_path / name for name in ('narrow.pth', 'cut.pth', 'whole.pth', 'text.pth'))
    torch.save({'params': BasicVSR(num_feat=16, num_block=1).state_dict()}, narrow)
    state = BasicVSR(num_feat=8, num_block=1).state_dict()
    torch.save({'params': {key: value for key, value in state.items() if key != 'conv_last.bias'}}, cut)
    torch.save({'params': net.state_dict()}, whole)
    text.write_text('no checkpoint')
    for one, other, message in [
        (tmp_path / 'absent.pth', adapter, 'does not exist'),
        (baseline, tmp_path / 'absent.pth', 'does not exist'),
        (baseline, text, 'could not be read'),
        (adapter, baseline, 'swapped'),
        (baseline, whole, 'a whole network'),
        (narrow, adapter, 'num_feat 16, the adapter 8'),
        (cut, adapter, 'conv_last.bias'),
    ]:
        with pytest.raises(UserError, match=message):
            merge_files(one, other, tmp_path / 'out.pth')
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(UserError, match='is not an adapter'):
        merge_files(baseline, tmp_path / 'list.pth', tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()


def test_the_adapter_comes_out_as_it_went_in(files, tmp_path, capsys):
    _, baseline, adapter = files
    whole, out = tmp_path / 'whole.pth', tmp_path / 'adapter.pth'
    merge_files(baseline, adapter, whole)
    assert main(['adapter', 'split', str(whole), str(out)]) == 0
    before, after = (torch.load(path, weights_only=True) for path in (adapter, out))
    assert after.keys() == before.keys() and after['prior_kind'] == 'regions'
    for key in ('params', 'params_ema'):
        assert after[key].keys() == before[key].keys()
        assert all(torch.equal(after[key][name], before[key][name]) for name in before[key])
    values = sum(value.numel() for value in before['params'].values())
    assert f'the adapter has {values:,} values' in capsys.readouterr().out
    assert main(['adapter', 'split', str(whole), str(out)]) == 2 and 'exists already' in capsys.readouterr().err


def test_what_has_no_adapter_or_nothing_else_is_not_split(files, tmp_path):
    _, baseline, adapter = files
    for path, message in (
        (baseline, 'no adapter'),
        (adapter, 'an adapter alone'),
        (tmp_path / 'x', 'not exist'),
    ):
        with pytest.raises(UserError, match=message):
            split_file(path, tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()


# ------------------------------------------------------------------------------- what a training writes down of itself


@pytest.fixture
def tuned(options, tmp_path):
    """A function: tune parts of a network on a base of its own for two steps; gives the model and the base's file."""

    def make(network, trainable, **path):
        base_file = tmp_path / 'base.pth'
        if not base_file.exists():
            base = {'params': randomise(BasicVSR(num_feat=8, num_block=1), 3).state_dict()}
            base['params_ema'] = {name: value + 1 for name, value in base['params'].items()}
            torch.save(base, base_file)
        opt = options(network_g=network, train={'trainable': trainable})
        opt['path'] |= {'models': str(tmp_path), 'training_states': str(tmp_path), 'strict_load_g': False}
        opt['path'] |= {'pretrain_network_g': str(base_file)} | path
        opt |= {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1}
        torch.manual_seed(1)
        model = SemanticVSRModel(opt)
        lq, masks = random_input(2, 3, 4, 36, 36)
        for step in (1, 2):
            model.feed_data({'lq': lq, 'masks': masks.to(torch.uint8), 'gt': torch.rand(2, 3, 3, 144, 144)})
            model.optimize_parameters(step)
        model.save(0, 2)
        return model, base_file

    return make


SEEM = {'type': 'BasicVSRSEEM', **SMALL, 'zero_flow': True}


@pytest.mark.parametrize(
    ('network', 'trainable', 'written'),
    [
        (SEEM, ['sam_embed', 'seem_'], 'net_g_seem_2.pth'),
        (SEEM, ['sam_embed', 'seem_', 'fusion', 'upconv', 'conv_last'], 'net_g_seem_2.pth'),
        (SEEM, ['seem_'], 'net_g_seem_2.pth'),  # sam_embed is frozen, and the base has none
        ({'type': 'BasicVSR', 'num_feat': 8, 'num_block': 1}, ['upconv', 'conv_last'], 'net_g_adapter_2.pth'),
    ],
)
def test_base_and_adapter_make_the_trained_network_and_split_again(tuned, tmp_path, network, trainable, written):
    model, base = tuned(network, trainable)
    adapter, merged, again = (tmp_path / name for name in (written, 'merged.pth', 'again.pth'))
    message = torch.load(adapter, weights_only=True)
    before = torch.load(base, weights_only=True)['params']
    assert set(message['tuned']['keys']) == set(message['params'])
    assert set(message['tuned']['overwrites']) == set(message['params']) & set(before)
    assert message['tuned']['base_sha256'] == hashlib.sha256(base.read_bytes()).hexdigest()
    assert main(['adapter', 'merge', str(base), str(adapter), str(merged)]) == 0
    whole = torch.load(merged, weights_only=True)
    for key, net in (('params', model.net_g), ('params_ema', model.net_g_ema)):
        assert whole[key].keys() == net.state_dict().keys()
        assert all(torch.equal(value, whole[key][name]) for name, value in net.state_dict().items())
    assert main(['adapter', 'split', str(merged), str(again)]) == 0
    assert torch.load(again, weights_only=True)['params_ema'].keys() == message['params_ema'].keys()
    with pytest.raises(UserError, match=r'is an adapter, a part of a BasicVSR.* trained on base\.pth'):
        load(adapter)
    assert load(merged).description['network']['type'] == network['type']


def test_another_base_is_refused(tuned, tmp_path):
    _, base = tuned(SEEM, ['sam_embed', 'seem_', 'upconv'])
    adapter, other = tmp_path / 'net_g_seem_2.pth', tmp_path / 'other.pth'
    torch.save({'params': randomise(BasicVSR(num_feat=8, num_block=1), 4).state_dict()}, other)
    with pytest.raises(UserError, match=r'was trained on base\.pth, SHA-256 \w{64}; .*other\.pth has'):
        merge_files(other, adapter, tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()
    paths = {'pretrain_adapter_g': str(adapter)}
    tuned(SEEM, ['sam_embed', 'seem_', 'upconv'], **paths)
    with pytest.raises(UserError, match='is another one'):
        tuned(SEEM, ['sam_embed', 'seem_', 'upconv'], pretrain_network_g=str(other), **paths)
    opt = {'network_g': SEEM, 'path': {'pretrain_network_g': str(other), **paths}}
    found = list(wrong_adapter(opt, BasicVSRSEEM(**SMALL)))
    assert [keys for keys, _ in found] == [('path', 'pretrain_adapter_g')] and 'is another one' in str(found[0][1])
    assert not list(wrong_adapter({**opt, 'path': {**paths, 'pretrain_network_g': str(base)}}, BasicVSRSEEM(**SMALL)))


def test_an_adapter_goes_onto_the_weights_that_it_was_trained_on(tuned, options, tmp_path):
    """An option file names one key for both files, as param_key_g: params_ema of a test; merge goes by the record."""
    trainable = ['sam_embed', 'seem_', 'upconv']
    _, base = tuned(SEEM, trainable)
    adapter, merged = tmp_path / 'net_g_seem_2.pth', tmp_path / 'merged.pth'
    assert main(['adapter', 'merge', str(base), str(adapter), str(merged)]) == 0
    whole = torch.load(merged, weights_only=True)['params_ema']
    adapter.rename(tmp_path / 'adapter.pth')
    opt = options(network_g=SEEM) | {'is_train': False, 'dist': False, 'rank': 0, 'world_size': 1}
    opt['path'] |= {'pretrain_network_g': str(base), 'strict_load_g': False}
    opt['path'] |= {'pretrain_adapter_g': str(tmp_path / 'adapter.pth'), 'param_key_g': 'params_ema'}
    net = SemanticVSRModel(opt).net_g.state_dict()
    assert net.keys() == whole.keys() and all(torch.equal(value, whole[name]) for name, value in net.items())


def test_a_resumed_run_remembers_its_base(tuned, tmp_path):
    first, base = tuned(SEEM, ['sam_embed', 'seem_', 'upconv'])
    (tmp_path / 'net_g_2.pth').rename(tmp_path / 'net_g_1.pth')
    weights = str(tmp_path / 'net_g_1.pth')
    second, _ = tuned(SEEM, ['sam_embed', 'seem_', 'upconv'], pretrain_network_g=weights, resume_state='1.state')
    assert second.tuning == first.tuning
    merge_files(base, tmp_path / 'net_g_seem_2.pth', tmp_path / 'merged.pth')


def test_without_a_base_only_what_adds_to_one_is_an_adapter(tuned, tmp_path):
    tuned(SEEM, ['sam_embed', 'seem_', 'upconv'], pretrain_network_g=None)
    assert not list(tmp_path.glob('net_g_seem*'))
    tuned(SEEM, ['sam_embed', 'seem_'], pretrain_network_g=None)
    assert (tmp_path / 'net_g_seem_2.pth').exists()
