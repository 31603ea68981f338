"""BasicVSRSEEM against BasicVSR, against Eq. 10 to 14 written down a second time, and against wrong input."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from basicsr.archs import build_network
from basicsr.archs.arch_util import flow_warp
from basicsr.archs.basicvsr_arch import BasicVSR
from basicsr.archs.spynet_arch import SpyNet
from helpers.seem import (
    blocks,
    conv,
    f_r,
    f_seem,
    lrelu,
    parameters,
    random_input,
    randomise,
    tune_only_adapter,
    upsample,
)

from basicsr_semantic.archs import BasicVSRSEEM

SMALL = {'num_feat': 8, 'num_block': 1, 'num_masks': 4, 'reduction': 4}
BRANCHES = [[], ['backward'], ['forward'], ['backward', 'forward']]


def straight_line(net, lq, masks, branches, share, propagate_enhanced):
    """Eq. 1 and 10 to 14, frame by frame, everything kept."""
    s, t = net.state_dict(), lq.size(1)
    representations = [f_r(s, lq[:, i], masks[:, i]) for i in range(t)] if branches else []

    def flow(i, j):
        return net.spynet(lq[:, i], lq[:, j]).permute(0, 2, 3, 1)

    def step(branch, i, warped):
        psi = lrelu(conv(s, f'{branch}_trunk.main.0', torch.cat([lq[:, i], warped], 1)))
        if branch not in branches:
            h = blocks(s, f'{branch}_trunk.main.2', psi)
            return h, h
        name = 'seem_shared' if share else f'seem_{branch}'
        h = blocks(s, f'{branch}_trunk.main.2', f_seem(s, f'{name}_pre', psi, representations[i]) + psi)
        enhanced = f_seem(s, f'{name}_post', h, representations[i]) + h
        return (enhanced if propagate_enhanced else h), enhanced

    zeros = torch.zeros(lq.size(0), net.num_feat, *lq.shape[-2:])
    backward, forward = {}, {}
    h = zeros
    for i in reversed(range(t)):
        h, backward[i] = step('backward', i, flow_warp(h, flow(i, i + 1)) if i < t - 1 else h)
    h = zeros
    for i in range(t):
        h, forward[i] = step('forward', i, flow_warp(h, flow(i, i - 1)) if i > 0 else h)
    fused = [lrelu(conv(s, 'fusion', torch.cat([backward[i], forward[i]], 1))) for i in range(t)]
    return torch.stack([upsample(s, fused[i], lq[:, i]) for i in range(t)], 1)


@pytest.mark.parametrize('branches', BRANCHES)
@pytest.mark.parametrize(('share', 'propagate'), itertools.product([False, True], repeat=2))
def test_is_the_paper_written_down_a_second_time(branches, share, propagate):
    net = BasicVSRSEEM(**SMALL, branches=branches, share_branches=share, propagate_enhanced=propagate, zero_init=False)
    randomise(net, std=0.1)
    lq, masks = random_input(2, 3, 4, 33, 38)
    with torch.no_grad():
        assert 0.2 < max(flow.abs().max() for flow in net.get_flow(lq)) < 10, 'the test needs some motion'
        expected = straight_line(net, lq, masks, branches, share, propagate)
        torch.testing.assert_close(net(lq, masks), expected, atol=1e-5, rtol=1e-5)
    trained = net(lq, masks)
    torch.testing.assert_close(trained.detach(), expected, atol=1e-5, rtol=1e-5)


def test_options_matter():
    lq, masks = random_input(1, 3, 4, 33, 38)
    outputs = []
    for options in ({}, {'share_branches': True}, {'propagate_enhanced': False}, {'branches': ['forward']}):
        with torch.no_grad():
            outputs.append(randomise(BasicVSRSEEM(**SMALL, **options), std=0.1)(lq, masks))
    for one, other in itertools.combinations(outputs, 2):
        assert (one - other).abs().max() > 1e-4


@pytest.mark.parametrize(('num_feat', 'num_block'), [(8, 1), (16, 2)])
@pytest.mark.parametrize('share', [False, True])
def test_starts_as_basicvsr_to_the_bit(num_feat, num_block, share):
    baseline = randomise(BasicVSR(num_feat, num_block))
    net = BasicVSRSEEM(num_feat=num_feat, num_block=num_block, num_masks=4, reduction=4, share_branches=share)
    missing, unexpected = net.load_state_dict(baseline.state_dict(), strict=False)
    assert not unexpected and all(key.startswith(net.adapter_prefixes) for key in missing)
    for h, w, t, b in [(33, 33, 1, 1), (33, 52, 2, 2), (40, 36, 4, 1)]:
        lq, masks = random_input(b, t, 4, h, w)
        for training in (True, False):
            baseline.train(training), net.train(training)
            with torch.set_grad_enabled(training):
                assert torch.equal(net(lq, masks), baseline(lq)), (h, w, t, b, training)


def test_full_size_starts_as_basicvsr_to_the_bit():
    baseline = BasicVSR(64, 30)
    net = BasicVSRSEEM(num_feat=64, num_block=30)
    net.load_state_dict(baseline.state_dict(), strict=False)
    lq, masks = random_input(1, 2, 64, 33, 36)
    with torch.no_grad():
        assert torch.equal(net(lq, masks), baseline(lq))


def test_parameter_counts_are_those_of_the_design():
    baseline = parameters(BasicVSR(64, 30))
    assert baseline == 6_291_311
    assert parameters(BasicVSRSEEM(num_feat=64, num_block=30)) - baseline == 594_640
    assert parameters(BasicVSRSEEM(num_feat=64, num_block=30, share_branches=True)) - baseline == 372_040
    assert parameters(BasicVSRSEEM(num_feat=64, num_block=30, branches=['forward'])) - baseline == 149_440 + 2 * 111_300
    assert parameters(BasicVSRSEEM(num_feat=64, num_block=30, branches=[])) == baseline


def test_new_keys_have_prefixes_of_their_own():
    new = set(BasicVSRSEEM(**SMALL).state_dict()) - set(BasicVSR(8, 1).state_dict())
    firsts = {key.split('.')[0] for key in new}
    assert firsts == {
        'sam_embed',
        'seem_backward_pre',
        'seem_backward_post',
        'seem_forward_pre',
        'seem_forward_post',
    }
    shared = set(BasicVSRSEEM(**SMALL, share_branches=True).state_dict()) - set(BasicVSR(8, 1).state_dict())
    assert {key.split('.')[0] for key in shared} == {'sam_embed', 'seem_shared_pre', 'seem_shared_post'}


def test_is_built_by_basicsr():
    net = build_network({'type': 'BasicVSRSEEM', **SMALL})
    assert isinstance(net, BasicVSRSEEM) and isinstance(net, BasicVSR)
    assert (net.prior_fields, net.scale) == (('masks',), 4)
    assert (net.size_requirements.minimum, net.size_requirements.multiple_of) == (33, 1)


def test_masks_of_every_type_and_as_channels_are_the_same():
    net = randomise(BasicVSRSEEM(**SMALL))
    lq, masks = random_input(2, 2, 4, 33, 34)
    with torch.no_grad():
        expected = net(lq, masks)
        for given in (masks.bool(), masks.float(), masks.double(), masks.long()):
            assert torch.equal(net(lq, given), expected)
        assert torch.equal(net(torch.cat([lq, masks.float()], dim=2)), expected)
        assert not torch.equal(net(lq, 1 - masks), expected)


def test_empty_masks_are_fine_and_stand_in_for_missing_ones():
    lq, masks = random_input(1, 2, 4, 33, 34)
    net = randomise(BasicVSRSEEM(**SMALL, missing_priors='neutral'))
    with torch.no_grad():
        output = net(lq, torch.zeros_like(masks))
        assert output.isfinite().all()
        assert torch.equal(net(lq), output)
        assert not torch.equal(net(lq, masks), output)


def test_without_branches_no_masks_are_needed():
    baseline, net = BasicVSR(8, 1), BasicVSRSEEM(**SMALL, branches=[])
    net.load_state_dict(baseline.state_dict(), strict=True)
    lq, masks = random_input(1, 2, 4, 33, 34)
    assert net.prior_fields == () and BasicVSRSEEM.prior_fields == ('masks',)
    with torch.no_grad():
        assert torch.equal(net(lq), baseline(lq))
        assert torch.equal(net(lq, masks), baseline(lq))


def test_inference_keeps_no_representation():
    """f_r works once a frame in training; in inference it works for each branch, and nothing grows with the clip."""
    net = BasicVSRSEEM(**SMALL)
    calls = []
    net.sam_embed.register_forward_hook(lambda *_: calls.append(1))
    lq, masks = random_input(1, 3, 4, 33, 34)
    net(lq, masks)
    assert len(calls) == 3
    with torch.no_grad():
        net(lq, masks)
    assert len(calls) == 3 + 6


def test_gradients_start_at_the_zeroed_convolutions_and_touch_only_the_adapter():
    net = tune_only_adapter(BasicVSRSEEM(**SMALL))
    for name, parameter in net.named_parameters():
        if name.endswith('fc_down.bias'):
            torch.nn.init.ones_(parameter)  # no ReLU of the attention is closed by chance
    before = copy.deepcopy(net.state_dict())
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-2)
    lq, masks = random_input(1, 3, 4, 33, 34)
    for step in (1, 2):
        optimizer.zero_grad()
        (net(lq, masks) - 0.5).square().mean().backward()
        for name, parameter in net.named_parameters():
            if not name.startswith(net.adapter_prefixes):
                assert parameter.grad is None, name
            else:
                starts = name.startswith('seem_') and '.conv2.' in name
                assert parameter.grad.any() == (step == 2 or starts), f'{name} at step {step}'
        optimizer.step()
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]) != key.startswith(net.adapter_prefixes), key


def test_zero_flow_is_zero_and_spynet_loads(tmp_path):
    lq, _ = random_input(1, 3, 4, 33, 34)
    still = BasicVSRSEEM(**SMALL, zero_flow=True)
    with torch.no_grad():
        assert all(not flow.any() for flow in still.get_flow(lq))
        assert any(flow.any() for flow in randomise(BasicVSRSEEM(**SMALL)).get_flow(lq))
    weights = randomise(SpyNet()).state_dict()
    weights = {key: value for key, value in weights.items() if key not in ('mean', 'std')}
    torch.save({'params': weights}, tmp_path / 's.pth')  # as released; BasicSR's own SpyNet takes no other
    assert SpyNet(str(tmp_path / 's.pth')).state_dict().keys() == still.spynet.state_dict().keys()
    net = BasicVSRSEEM(**SMALL, spynet_path=str(tmp_path / 's.pth'))
    assert all(torch.equal(net.spynet.state_dict()[key], value) for key, value in weights.items())


def test_a_spynet_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'does not exist.*zero_flow'):
        BasicVSRSEEM(**SMALL, spynet_path=str(tmp_path / 'absent.pth'))
    torch.save({'params': {'conv.weight': torch.zeros(1)}}, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match="does not hold BasicSR's SPyNet"):
        BasicVSRSEEM(**SMALL, spynet_path=str(tmp_path / 'other.pth'))
    (tmp_path / 'text.pth').write_text('nothing of the kind')
    with pytest.raises(ValueError, match="does not hold BasicSR's SPyNet"):
        BasicVSRSEEM(**SMALL, spynet_path=str(tmp_path / 'text.pth'))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'branches': ['sideways']}, 'backward, forward, both or none'),
        ({'branches': 'forward'}, 'backward, forward, both or none'),
        ({'branches': ['forward', 'forward']}, 'backward, forward, both or none'),
        ({'missing_priors': 'ignore'}, "'error' or 'neutral'"),
        ({'zero_flow': True, 'spynet_path': 'spynet.pth'}, 'Remove one'),
        ({'reduction': 3}, 'must divide num_feat'),
        ({'num_masks': 0}, 'must be positive'),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        BasicVSRSEEM(**{**SMALL, **arguments})


@pytest.mark.parametrize(
    ('frames', 'masks', 'message'),
    [
        ((1, 2, 3, 33, 34), None, 'needs masks with the frames'),
        ((1, 2, 3, 33, 34), (1, 2, 5, 33, 34), 'num_masks is 5 instead of 4'),
        ((1, 2, 3, 33, 34), (1, 3, 4, 33, 34), 'frames is 3 instead of 2'),
        ((1, 2, 3, 33, 34), (1, 2, 4, 34, 33), 'height is 34 instead of 33, width is 33 instead of 34'),
        ((1, 2, 3, 33, 34), (1, 4, 33, 34), '4 dimensions instead of 5'),
        ((1, 2, 9, 33, 34), None, 'num_masks is 6 instead of 4'),
        ((1, 2, 7, 33, 34), (1, 2, 4, 33, 34), 'Give the masks once'),
        ((1, 2, 1, 33, 34), (1, 2, 4, 33, 34), 'frames of 3 channels; these have 1'),
        ((2, 3, 33, 34), None, r'\(batch, frames, 3, height, width\)'),
        ((1, 0, 3, 33, 34), (1, 0, 4, 33, 34), r'\(batch, frames, 3, height, width\)'),
        ((1, 2, 3, 32, 64), (1, 2, 4, 32, 64), 'at least 33x33 LR pixels; these are 32x64'),
        ((1, 1, 3, 64, 16), (1, 1, 4, 64, 16), 'at least 33x33'),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(frames, masks, message):
    net = BasicVSRSEEM(**SMALL)
    with pytest.raises(ValueError, match=message):
        net(torch.rand(frames), None if masks is None else torch.zeros(masks, dtype=torch.uint8))


def test_runs_in_mixed_precision():
    net = randomise(BasicVSRSEEM(**SMALL))
    lq, masks = random_input(1, 2, 4, 33, 34)
    with torch.autocast('cpu', torch.bfloat16):
        output = net(lq, masks)
    torch.testing.assert_close(output.float(), net(lq, masks), atol=0.05, rtol=0.05)
    output.float().mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_a_spynet_at_zero_flow_is_skipped_without_changing_a_bit(monkeypatch):
    from basicsr.archs.spynet_arch import SpyNet

    torch.manual_seed(0)
    net = BasicVSRSEEM(num_feat=8, num_block=1, branches=[], zero_flow=True).eval()
    net.spynet.requires_grad_(False)
    lq = torch.rand(2, 3, 3, 36, 40)
    skipped = net(lq)
    net.zero_flow = False
    assert torch.equal(net(lq), skipped)
    net.zero_flow = True
    runs = []
    monkeypatch.setattr(SpyNet, 'forward', lambda self, *frames: runs.append(1) or torch.zeros(4, 2, 36, 40))
    net(lq)
    assert not runs
    net.spynet.requires_grad_(True)  # it may train, and then it must be in the graph
    net(lq)
    assert runs
    runs.clear()
    net.spynet.requires_grad_(False)
    with torch.no_grad():
        list(net.spynet.basic_module[0].parameters())[-1].add_(1)  # it has trained
    net(lq)
    assert runs
