"""PSRT: the published algorithm written down a second time, released weights, and its options."""

from __future__ import annotations

import math

import pytest
import torch
from basicsr.archs import build_network
from torch import nn
from torch.nn import functional as F

from basicsr_semantic.archs import PSRTRecurrent
from basicsr_semantic.archs.psrt_arch import patch_warp
from basicsr_semantic.engine.checkpoint import load_weights
from basicsr_semantic.utils.errors import UserError

SMALL = {'embed_dim': 8, 'mid_channels': 4, 'depths': [2, 1], 'num_heads': [2, 1], 'window_size': [3, 4, 4]}
PLAIN = {**SMALL, 'align': 'none'}


def lively(net, seed=0):
    """Random weights in which biases matter too."""
    torch.manual_seed(seed)
    for name, parameter in net.named_parameters():
        if 'spynet' not in name:
            nn.init.normal_(parameter, std=0.15)
    return net.eval()


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def swin_block(s, x, window, heads, shifted):
    """One block on (b, t, h, w, c): pad, roll, cut into windows one by one, attend, put back."""
    b, t, h, w, c = x.shape
    rows, columns = window[1:]
    shift = (rows // 2, columns // 2) if shifted else (0, 0)
    y = F.layer_norm(x, (c,), s['norm1.weight'], s['norm1.bias'])
    y = F.pad(y, (0, 0, 0, -w % columns, 0, -h % rows)).roll((-shift[0], -shift[1]), (2, 3))
    place = torch.stack(torch.meshgrid(torch.arange(t), torch.arange(rows), torch.arange(columns), indexing='ij'))
    place = place.flatten(1)
    offset = place[:, :, None] - place[:, None]
    index = ((offset[0] + 2) * (2 * rows - 1) + offset[1] + rows - 1) * (2 * columns - 1) + offset[2] + columns - 1
    bias = s['attn.relative_position_bias_table'][index].permute(2, 0, 1)
    out = torch.zeros_like(y)
    for top in range(0, y.size(2), rows):
        for left in range(0, y.size(3), columns):
            tokens = y[:, :, top : top + rows, left : left + columns].reshape(b, -1, c)
            qkv = F.linear(tokens, s['attn.qkv.weight'], s['attn.qkv.bias']).view(b, -1, 3, heads, c // heads)
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
            scores = q @ k.mT / math.sqrt(c // heads) + bias
            if shifted:
                wrapped_row = (place[1] >= rows - shift[0]) & (top + rows == y.size(2))
                wrapped_column = (place[2] >= columns - shift[1]) & (left + columns == y.size(3))
                part = wrapped_row * 2 + wrapped_column
                scores = scores - 100.0 * (part[:, None] != part[None, :])
            mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, -1, c)
            mixed = F.linear(mixed, s['attn.proj.weight'], s['attn.proj.bias'])
            out[:, :, top : top + rows, left : left + columns] = mixed.view(b, t, rows, columns, c)
    x = x + out.roll(shift, (2, 3))[:, :, :h, :w]
    y = F.layer_norm(x, (c,), s['norm2.weight'], s['norm2.bias'])
    y = F.gelu(F.linear(y, s['mlp.fc1.weight'], s['mlp.fc1.bias']))
    return x + F.linear(y, s['mlp.fc2.weight'], s['mlp.fc2.bias'])


def below(state, prefix):
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def conv(s, name, x):
    """Convolution of each frame of (..., c, h, w)."""
    y = F.conv2d(x.reshape(-1, *x.shape[-3:]), s[f'{name}.weight'], s[f'{name}.bias'], padding=1)
    return y.view(*x.shape[:-3], *y.shape[-3:])


def branch_body(s, x, options):
    """Three frames (b, 3, c, h, w) to the middle one."""
    c, centre = x.size(2), x[:, 1]
    x = F.layer_norm(x.movedim(2, 4), (c,), s['patch_embed.norm.weight'], s['patch_embed.norm.bias'])
    for k, (depth, heads) in enumerate(zip(options['depths'], options['num_heads'], strict=True)):
        y = x
        for j in range(depth):
            block = below(s, f'layers.{k}.residual_group.blocks.{j}.')
            y = swin_block(block, y, options['window_size'], heads, j % 2 == 1)
        x = conv(s, f'layers.{k}.conv', y.movedim(4, 2)).movedim(2, 4) + x
    x = F.layer_norm(x, (c,), s['norm.weight'], s['norm.bias'])
    return conv(s, 'conv_after_body', x[:, 1].movedim(3, 1)) + centre


def straight_line(net, lq, options):
    """The whole network without alignment, from the paper's description, on the CPU and in no hurry."""
    s, t = net.state_dict(), lq.size(1)
    features = dict(enumerate(conv(s, 'conv_first', lq).unbind(1)))
    for branch in ('backward_1', 'forward_1', 'backward_2', 'forward_2'):
        order = list(range(t)) if branch.startswith('forward') else list(reversed(range(t)))
        result = {}
        for n, i in enumerate(order):
            first = result[order[n - 1]] if n > 0 else features[i]
            second = features[i] if n == 0 else result[order[n - 2]] if n > 1 else torch.zeros_like(first)
            stack = torch.stack([first, features[i], second], 1)
            result[i] = branch_body(below(s, f'patch_align.{branch}.'), stack, options)
        features = result
    frames = []
    for i in range(t):
        x = conv(s, 'conv_before_upsample', features[i])
        x = F.leaky_relu(F.pixel_shuffle(conv(s, 'upconv1', x), 2), 0.1)
        x = F.leaky_relu(F.pixel_shuffle(conv(s, 'upconv2', x), 2), 0.1)
        x = conv(s, 'conv_last', F.leaky_relu(conv(s, 'conv_hr', x), 0.1))
        frames.append(x + F.interpolate(lq[:, i], scale_factor=4, mode='bilinear', align_corners=False))
    return torch.stack(frames, 1)


@pytest.mark.parametrize('shape', [(2, 4, 3, 9, 14), (1, 1, 3, 4, 8), (1, 2, 3, 3, 5)])
def test_is_the_paper_written_down_a_second_time(shape):
    net = lively(PSRTRecurrent(**PLAIN))
    lq = torch.rand(shape)
    with torch.no_grad():
        torch.testing.assert_close(net(lq), straight_line(net, lq, PLAIN), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(net(lq).detach(), straight_line(net, lq, PLAIN), atol=1e-4, rtol=1e-4)


def test_parameter_counts_are_those_of_the_design():
    with torch.device('meta'):
        assert count(PSRTRecurrent(align='none')) == 11_359_507
        whole = PSRTRecurrent()
        assert count(whole.spynet) == 1_440_300 and count(whole) == 11_359_507 + 1_440_300
        assert count(whole.patch_align['forward_1']) == 2_880_004 - 567_136 // 4


def test_is_built_by_basicsr_from_the_keys_of_released_option_files():
    released = {'mid_channels': 4, 'num_frames': 3, 'img_size': 64, 'patch_size': 1, 'cpu_cache_length': 100}
    net = build_network({'type': 'PSRTRecurrent', **SMALL, **released, 'is_low_res_input': True, 'spynet_path': None})
    assert isinstance(net, PSRTRecurrent) and net.scale == 4
    assert (net.size_requirements.minimum, PSRTRecurrent(**PLAIN).size_requirements.minimum) == (33, 1)


def released_state(net):
    """What a released checkpoint holds in addition to the weights that take part."""
    state = dict(net.state_dict())
    for branch in net.patch_align:
        prefix = f'patch_align.{branch}'
        for name, channels in (('conv_first', (8, 3)), ('conv_first_feat', (8, 64)), ('conv_before_upsample', (64, 8))):
            state |= {f'{prefix}.{name}.weight': torch.zeros(*channels, 3, 3), f'{prefix}.{name}.bias': torch.zeros(1)}
        for k, depth in enumerate(SMALL['depths']):
            for j in range(depth):
                key = f'{prefix}.layers.{k}.residual_group.blocks.{j}.attn.relative_position_index'
                state[key] = torch.zeros(48, 48, dtype=torch.long)
    return state


def test_released_weights_load_strictly_and_what_is_not_needed_is_reported(tmp_path, monkeypatch):
    from basicsr_semantic.engine import checkpoint

    messages = []
    monkeypatch.setattr(
        checkpoint, 'get_root_logger', lambda: type('', (), {'info': lambda _, x: messages.append(x)})()
    )
    source = lively(PSRTRecurrent(**SMALL), seed=3)
    torch.save({'params': released_state(source)}, tmp_path / 'psrt.pth')
    net = PSRTRecurrent(**SMALL)
    assert load_weights(net, tmp_path / 'psrt.pth', strict=True) == ([], [])
    for key, value in source.state_dict().items():
        assert torch.equal(net.state_dict()[key], value)
    assert messages[0] == f'PSRTRecurrent works without 36 tensors (patch_align 36) of {tmp_path / "psrt.pth"}.'
    assert messages[1:] == [f'Loaded PSRTRecurrent from {tmp_path / "psrt.pth"} [params].']
    without_flow = PSRTRecurrent(**PLAIN)
    load_weights(without_flow, tmp_path / 'psrt.pth', strict=True)
    assert 'spynet' in messages[2]
    with pytest.raises(UserError, match='differ'):
        load_weights(PSRTRecurrent(**{**SMALL, 'embed_dim': 4}), tmp_path / 'psrt.pth', strict=True)


@pytest.mark.parametrize('upscale', [2, 3, 4])
def test_scales(upscale):
    net = PSRTRecurrent(**PLAIN, upscale=upscale)
    lq = torch.rand(1, 2, 3, 5, 6)
    for name, parameter in net.named_parameters():
        if name.startswith(('conv_last', 'conv_hr')):
            nn.init.zeros_(parameter)
    out = net(lq)
    assert out.shape == (1, 2, 3, 5 * upscale, 6 * upscale)
    wanted = F.interpolate(lq[0], scale_factor=upscale, mode='bilinear', align_corners=False)
    torch.testing.assert_close(out[0], wanted)


def test_patches_move_by_their_mean_flow():
    feature = torch.arange(1.0, 16 * 20 + 1).view(1, 16, 20, 1)
    flow = torch.zeros(1, 2, 16, 20)
    flow[:, 0, :8, 8:16] = torch.rand(1, 8, 8) - 0.5 + 2.2  # about 2 pixels to the right in one patch
    flow[:, 0, :8, 8:16] += 2.2 - flow[:, 0, :8, 8:16].mean()
    flow[:, 1, 8:, :8] = 30  # beyond the frame
    moved = patch_warp(feature, flow)
    assert torch.equal(moved[:, :8, 8:16], feature[:, :8, 10:18])
    assert not moved[:, 8:, :8].any()
    assert torch.equal(moved[:, 8:, 8:], feature[:, 8:, 8:]) and torch.equal(moved[:, :8, :8], feature[:, :8, :8])


def test_each_branch_uses_its_flows(monkeypatch):
    """A clip of one texture that moves by 8 pixels a frame: aligned features show it in one place."""
    from basicsr_semantic.archs.layers.recurrent_enhancer import Step

    position = {0: 0, 1: 8, 2: 16}
    features = {i: torch.zeros(1, 40, 40, 1) for i in position}
    for i, x in position.items():
        features[i][:, 16:24, x : x + 8] = 1
    to_previous = torch.zeros(1, 2, 2, 40, 40)
    to_previous[:, :, 0] = -8
    flows = to_previous, -to_previous
    for frame, first, second in ((2, 1, 0), (0, 1, 2), (1, 0, None)):
        step = Step('any', frame, first, second)
        beyond = None if second is None else features[second]
        near, far = PSRTRecurrent._align(flows, step, features[frame], features[first], beyond)
        assert torch.equal(near[:, :, 8:24], features[frame][:, :, 8:24])
        assert far is None if second is None else torch.equal(far[:, :, 16:24], features[frame][:, :, 16:24])


def test_patch_alignment_matters_and_one_frame_needs_none():
    net = lively(PSRTRecurrent(**SMALL))
    torch.manual_seed(0)
    for parameter in net.spynet.parameters():
        nn.init.normal_(parameter, std=0.05)
    still = PSRTRecurrent(**PLAIN)
    still.load_state_dict(net.filter_checkpoint(net.state_dict())[0], strict=False)
    lq = torch.rand(1, 3, 3, 33, 35)
    with torch.no_grad():
        assert (net(lq) - still.eval()(lq)).abs().max() > 1e-3
        torch.testing.assert_close(net(lq[:, :1]), still(lq[:, :1]))


def test_a_long_clip_gives_the_same_frames_from_main_memory():
    lq = torch.rand(1, 3, 3, 8, 8)
    with torch.no_grad():
        expected = lively(PSRTRecurrent(**PLAIN))(lq)
        assert torch.equal(lively(PSRTRecurrent(**PLAIN, cpu_cache_length=2))(lq), expected)


def test_checkpointing_changes_no_gradient():
    lq = torch.rand(1, 3, 3, 6, 9)
    gradients = []
    for checkpointing in (False, True):
        net = lively(PSRTRecurrent(**PLAIN, checkpointing=checkpointing, drop_path_rate=0.5)).train()
        torch.manual_seed(7)
        net(lq).square().mean().backward()
        gradients.append([p.grad for p in net.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_no_parameter_is_dead():
    net = lively(PSRTRecurrent(**PLAIN)).train()
    net(torch.rand(4, 3, 3, 6, 9)).square().mean().backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]


def test_a_block_that_is_left_out_still_gives_gradients():
    net = lively(PSRTRecurrent(**PLAIN, drop_path_rate=0.999)).train()
    torch.manual_seed(0)
    net(torch.rand(1, 2, 3, 6, 9)).square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_runs_in_mixed_precision():
    net = lively(PSRTRecurrent(**PLAIN, checkpointing=True, drop_path_rate=0.0)).train()
    lq = torch.rand(1, 2, 3, 6, 9)
    with torch.autocast('cpu', torch.bfloat16):
        output = net(lq)
    torch.testing.assert_close(output.float(), net.eval()(lq), atol=0.1, rtol=0.1)
    output.float().mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'num_frames': 5}, 'num_frames: 3, not 5'),
        ({'patch_size': 2}, 'patch_size: 1, not 2'),
        ({'in_channels': 1}, 'in_channels: 3, not 1'),
        ({'is_low_res_input': False}, 'is_low_res_input: True'),
        ({'align': 'flow'}, "'patch' or 'none'"),
        ({'align': 'none', 'spynet_path': 'spynet.pth'}, 'Remove them'),
        ({'zero_flow': True, 'spynet_path': 'spynet.pth'}, 'Remove one'),
        ({'upscale': 2}, 'use align: none'),
        ({'align': 'none', 'upscale': 8}, '2, 3 or 4, not 8'),
        ({'window_size': [5, 8, 8]}, 'three frames'),
        ({'depths': [6, 6]}, 'have the same length'),
        ({'num_heads': [3, 3], 'depths': [1, 1]}, '3 does not divide 8'),
        ({'drop_path_rate': 1}, 'drop_path_rate in'),
        ({'spynet_path': 'absent.pth'}, 'does not exist'),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    shape = {'depths': [1], 'num_heads': [2]} if 'depths' not in arguments else {'num_heads': [2]}
    with pytest.raises(ValueError, match=message):
        PSRTRecurrent(**{**SMALL, **shape, **arguments})


@pytest.mark.parametrize('shape', [(1, 2, 4, 40, 40), (2, 3, 40, 40), (1, 0, 3, 40, 40)])
def test_wrong_frames_are_refused(shape):
    with pytest.raises(ValueError, match=r'\(batch, frames, 3, height, width\)'):
        PSRTRecurrent(**SMALL)(torch.rand(shape))
    with pytest.raises(ValueError, match='at least 33x33'):
        PSRTRecurrent(**SMALL)(torch.rand(1, 2, 3, 32, 40))
