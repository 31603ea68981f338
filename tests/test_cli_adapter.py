"""`basicsr adapter`: merging a base network's checkpoint with an adapter, and taking the adapter out again."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs.basicvsr_arch import BasicVSR
from helpers_seem import random_input, randomise

from basicsr_semantic.archs import BasicVSRSEEM
from basicsr_semantic.archs.adapters import adapter_state
from basicsr_semantic.cli import main
from basicsr_semantic.models.adapter_files import merge_files, split_file
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
        (baseline, 'no adapter of SEEM'),
        (adapter, 'an adapter alone'),
        (tmp_path / 'x', 'not exist'),
    ):
        with pytest.raises(UserError, match=message):
            split_file(path, tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()
