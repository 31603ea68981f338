"""EDVRSEEM against EDVR, against Eq. 4 to 9 written down a second time, and against wrong input."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from basicsr.archs import build_network
from basicsr.archs.edvr_arch import EDVR
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

from basicsr_semantic.archs import EDVRSEEM

SMALL_HOST = {'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}
SMALL = {**SMALL_HOST, 'num_masks': 4, 'reduction': 4}
POSITIONS = [list(p) for n in range(4) for p in itertools.combinations(('align', 'aggr', 'recon'), n)]


def straight_line(net, lq, masks, positions, align_levels, with_tsa):
    """Eq. 1 and 4 to 9, frame by frame."""
    s, t = net.state_dict(), lq.size(1)
    at = net.center_frame_idx
    representation = f_r(s, lq[:, at], masks) if positions else None

    def coarser(name, feat):
        return lrelu(conv(s, f'{name}_2', lrelu(conv(s, f'{name}_1', feat, stride=2))))

    def pyramid(l1):
        l2 = coarser('conv_l2', l1)
        return [l1, l2, coarser('conv_l3', l2)]

    def refined(position, feat):
        return f_seem(s, f'seem_{position}', feat, representation) + feat if position in positions else feat

    levels = [pyramid(blocks(s, 'feature_extraction', lrelu(conv(s, 'conv_first', lq[:, i])))) for i in range(t)]
    reference = list(levels[at])
    if 'align' in positions:
        first = refined('align', reference[0])
        reference = pyramid(first) if align_levels == 'all' else [first, *reference[1:]]
    aligned = torch.stack([net.pcd_align(levels[i], reference) for i in range(t)], 1)
    fused = net.fusion(aligned if with_tsa else aligned.flatten(1, 2))
    reconstructed = blocks(s, 'reconstruction', refined('aggr', fused))
    return upsample(s, refined('recon', reconstructed), lq[:, at])


@pytest.mark.parametrize('positions', POSITIONS)
@pytest.mark.parametrize('align_levels', ['all', 'l1'])
@pytest.mark.parametrize(('num_frame', 'center', 'with_tsa'), [(5, None, True), (7, 1, True), (3, None, False)])
def test_is_the_paper_written_down_a_second_time(positions, align_levels, num_frame, center, with_tsa):
    options = {'num_frame': num_frame, 'center_frame_idx': center, 'with_tsa': with_tsa}
    net = EDVRSEEM(**SMALL, **options, positions=positions, align_levels=align_levels, zero_init=False)
    randomise(net, std=0.1)
    lq, masks = random_input(2, num_frame, 4, 12, 16)
    with torch.no_grad():
        expected = straight_line(net, lq, masks[:, net.center_frame_idx], positions, align_levels, with_tsa)
        torch.testing.assert_close(net(lq, masks), expected, atol=1e-5, rtol=1e-5)


def test_options_matter():
    lq, masks = random_input(1, 5, 4, 12, 16)
    outputs = []
    for options in ({}, {'align_levels': 'l1'}, *({'positions': p} for p in POSITIONS[:-1])):
        with torch.no_grad():
            outputs.append(randomise(EDVRSEEM(**SMALL, **options), std=0.1)(lq, masks))
    for one, other in itertools.combinations(outputs, 2):
        assert (one - other).abs().max() > 1e-4


@pytest.mark.parametrize('num_feat', [8, 16, 64])
@pytest.mark.parametrize('num_frame', [5, 7])
@pytest.mark.parametrize('align_levels', ['all', 'l1'])
def test_starts_as_edvr_to_the_bit(num_feat, num_frame, align_levels):
    host = {**SMALL_HOST, 'num_feat': num_feat, 'num_frame': num_frame}
    baseline = randomise(EDVR(**host))
    net = EDVRSEEM(**host, num_masks=4, reduction=4, align_levels=align_levels)
    missing, unexpected = net.load_state_dict(baseline.state_dict(), strict=False)
    assert not unexpected and all(key.startswith(net.adapter_prefixes) for key in missing)
    for h, w, b in [(4, 4, 1), (12, 20, 1), (16, 16, 2), (8, 24, 3)]:
        lq, masks = random_input(b, num_frame, 4, h, w)
        for training in (True, False):
            baseline.train(training), net.train(training)
            with torch.set_grad_enabled(training):
                assert torch.equal(net(lq, masks), baseline(lq)), (h, w, b, training)


@pytest.mark.parametrize(
    'size', [{}, {'num_feat': 128, 'num_reconstruct_block': 40, 'num_frame': 7}], ids=['EDVR-M', 'EDVR-L']
)
def test_full_size_starts_as_edvr_to_the_bit(size):
    baseline, net = randomise(EDVR(**size), std=0.02), EDVRSEEM(**size)
    net.load_state_dict(baseline.state_dict(), strict=False)
    for h, w in [(16, 24), (32, 20)]:
        lq, masks = random_input(1, net.num_frame, 64, h, w)
        with torch.no_grad():
            assert torch.equal(net(lq, masks), baseline(lq))


def test_parameter_counts_are_those_of_the_design():
    assert parameters(EDVR()) == 3_300_131
    assert parameters(EDVRSEEM()) - 3_300_131 == 483_340
    for num_frame in (5, 7):
        large = {'num_feat': 128, 'num_reconstruct_block': 40, 'num_frame': num_frame}
        assert parameters(EDVRSEEM(**large)) - parameters(EDVR(**large)) == 1_854_488
    assert parameters(EDVRSEEM(positions=['align'])) == 3_300_131 + 149_440 + 111_300
    assert parameters(EDVRSEEM(positions=[])) == 3_300_131


def test_new_keys_have_prefixes_of_their_own():
    new = set(EDVRSEEM(**SMALL).state_dict()) - set(EDVR(**SMALL_HOST).state_dict())
    assert {key.split('.')[0] for key in new} == {'sam_embed', 'seem_align', 'seem_aggr', 'seem_recon'}


def test_is_built_by_basicsr():
    net = build_network({'type': 'EDVRSEEM', **SMALL})
    assert isinstance(net, EDVRSEEM) and isinstance(net, EDVR)
    assert (net.prior_fields, net.scale) == (('masks',), 4)
    assert (net.size_requirements.minimum, net.size_requirements.multiple_of) == (4, 4)


def test_masks_of_every_type_and_form_are_the_same():
    net = randomise(EDVRSEEM(**SMALL, center_frame_idx=1))
    lq, masks = random_input(2, 5, 4, 8, 12)
    with torch.no_grad():
        expected = net(lq, masks)
        center = masks[:, 1]
        for given in (masks.bool(), masks.float(), center, center.bool(), center[:, None], center[:, None].double()):
            assert torch.equal(net(lq, given), expected)
        assert torch.equal(net(torch.cat([lq, masks.float()], dim=2)), expected)
        assert not torch.equal(net(lq, 1 - masks), expected)
        neighbours = masks.clone()
        neighbours[:, [0, 2, 3, 4]] = 0
        assert torch.equal(net(lq, neighbours), expected), 'masks of a neighbour were looked at'


def test_empty_masks_are_fine_and_stand_in_for_missing_ones():
    lq, masks = random_input(1, 5, 4, 8, 12)
    net = randomise(EDVRSEEM(**SMALL, missing_priors='neutral'))
    with torch.no_grad():
        output = net(lq, torch.zeros_like(masks))
        assert output.isfinite().all()
        assert torch.equal(net(lq), output)
        assert not torch.equal(net(lq, masks), output)


def test_without_positions_no_masks_are_needed():
    baseline, net = EDVR(**SMALL_HOST), EDVRSEEM(**SMALL, positions=[])
    net.load_state_dict(baseline.state_dict(), strict=True)
    lq, masks = random_input(1, 5, 4, 8, 12)
    assert net.prior_fields == () and EDVRSEEM.prior_fields == ('masks',)
    with torch.no_grad():
        assert torch.equal(net(lq), baseline(lq))
        assert torch.equal(net(lq, masks), baseline(lq))


def test_gradients_start_at_the_zeroed_convolutions_and_touch_only_the_adapter():
    net = tune_only_adapter(EDVRSEEM(**SMALL))
    # A trained host: in a new one the offsets are zero, whatever the reference says.
    net.load_state_dict(randomise(EDVR(**SMALL_HOST), std=0.1).state_dict(), strict=False)
    for name, parameter in net.named_parameters():
        if name.endswith('fc_down.bias'):
            torch.nn.init.ones_(parameter)  # no ReLU of the attention is closed by chance
    before = copy.deepcopy(net.state_dict())
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-2)
    lq, masks = random_input(1, 5, 4, 8, 12)
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


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'positions': ['fusion']}, 'a list of align, aggr and recon'),
        ({'positions': 'align'}, 'a list of align, aggr and recon'),
        ({'positions': ['align', 'align']}, 'a list of align, aggr and recon'),
        ({'align_levels': 'l2'}, "'all' or 'l1', not 'l2'"),
        ({'missing_priors': 'zeros'}, "'error' or 'neutral'"),
        ({'hr_in': True}, 'hr_in or with_predeblur'),
        ({'with_predeblur': True}, 'hr_in or with_predeblur'),
        ({'center_frame_idx': 5}, 'frames 0 to 4'),
        ({'reduction': 16}, 'must divide num_feat'),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        EDVRSEEM(**{**SMALL, **arguments})


@pytest.mark.parametrize(
    ('frames', 'masks', 'message'),
    [
        ((1, 5, 3, 8, 12), None, 'needs masks with the frames'),
        ((1, 4, 3, 8, 12), (1, 4, 4, 8, 12), 'num_frame: 5 frames; it got 4'),
        ((1, 5, 3, 10, 12), (1, 5, 4, 10, 12), 'multiples of 4; these frames are 10x12'),
        ((1, 5, 3, 8, 2), (1, 5, 4, 8, 2), 'at least 4x4'),
        ((1, 5, 3, 8, 12), (1, 5, 5, 8, 12), 'num_masks is 5 instead of 4'),
        ((1, 5, 3, 8, 12), (1, 3, 4, 8, 12), 'frames is 3 instead of 5'),
        ((1, 5, 3, 8, 12), (1, 6, 8, 12), 'num_masks is 6 instead of 4'),
        ((1, 5, 3, 8, 12), (4, 8, 12), '3 dimensions instead of 5'),
        ((1, 5, 7, 8, 12), (1, 5, 4, 8, 12), 'Give the masks once'),
        ((5, 3, 8, 12), None, r'\(batch, frames, 3, height, width\)'),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(frames, masks, message):
    net = EDVRSEEM(**SMALL)
    with pytest.raises(ValueError, match=message):
        net(torch.rand(frames), None if masks is None else torch.zeros(masks, dtype=torch.uint8))


def test_runs_in_mixed_precision():
    net = randomise(EDVRSEEM(**SMALL))
    lq, masks = random_input(1, 5, 4, 8, 12)
    with torch.autocast('cpu', torch.bfloat16):
        output = net(lq, masks)
    torch.testing.assert_close(output.float(), net(lq, masks), atol=0.05, rtol=0.05)
    output.float().mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
