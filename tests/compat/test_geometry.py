"""Warping and flow in float32 whatever the features are in; geometry that is no number is a sentence."""

from __future__ import annotations

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import torchvision
from basicsr.archs.arch_util import DCNv2Pack, flow_warp
from basicsr.archs.spynet_arch import SpyNet
from helpers.project import environment
from torch.nn import functional as F

from basicsr_semantic.compat import geometry
from basicsr_semantic.utils.errors import UserError


def released_flow_warp(x, flow, mode, padding):
    """The equations of the release: pixel positions, scaled to [-1, 1]."""
    h, w = x.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(h).type_as(x), torch.arange(w).type_as(x), indexing='ij')
    grid = torch.stack((columns, rows), 2) + flow
    scaled = torch.stack([2.0 * grid[..., k] / max(size - 1, 1) - 1.0 for k, size in enumerate((w, h))], dim=3)
    return F.grid_sample(x, scaled, mode=mode, padding_mode=padding, align_corners=True)


@pytest.mark.parametrize('mode', ['bilinear', 'nearest'])
@pytest.mark.parametrize('padding', ['zeros', 'border', 'reflection'])
def test_in_float32_nothing_changes(mode, padding):
    x = torch.randn(2, 3, 13, 22, requires_grad=True)
    flow = (torch.randn(2, 13, 22, 2) * 5).requires_grad_()
    ours, released = flow_warp(x, flow, mode, padding), released_flow_warp(x, flow, mode, padding)
    assert torch.equal(ours, released)
    for one, two in zip(*(torch.autograd.grad(y.square().sum(), (x, flow)) for y in (ours, released)), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize('width', [320, 960])
@pytest.mark.parametrize('kind', [torch.bfloat16, torch.float16])
def test_a_flow_of_whole_pixels_moves_features_of_half_precision_by_whole_pixels(width, kind):
    x = torch.rand(1, 2, 4, width).to(kind)
    for by in (1, 3):
        flow = torch.zeros(1, 4, width, 2)
        flow[..., 0] = by
        warped = flow_warp(x, flow, padding_mode='border')
        assert warped.dtype == kind
        torch.testing.assert_close(warped[..., :-by], x[..., by:], rtol=0, atol=2**-8)  # the last bit


def test_the_release_is_off_by_a_pixel_there():
    """The defect that the repair is for: positions above 256 are even, in bfloat16."""
    columns = torch.arange(480).bfloat16()
    assert (columns.float() != torch.arange(480)).sum() == 112


@pytest.mark.parametrize('width', [64, 320])
def test_under_mixed_precision_flow_and_warp_are_those_of_float32(width):
    torch.manual_seed(0)
    net, frames = SpyNet().eval(), torch.rand(2, 1, 3, 64, width)
    with torch.no_grad():
        exact = net(frames[0], frames[1])
        with torch.autocast('cpu', torch.bfloat16):
            mixed = net(frames[0], frames[1])
    assert mixed.dtype == torch.float32 and torch.equal(exact, mixed)


def test_a_network_under_mixed_precision_stays_near_float32_at_any_column():
    """Zero flow: what is warped must not move, at the right end of a wide frame as at the left one."""
    torch.manual_seed(0)
    x = torch.rand(1, 8, 4, 960)
    with torch.autocast('cpu', torch.bfloat16):
        features = F.conv2d(x, torch.ones(8, 1, 1, 1), groups=8)
        assert features.dtype == torch.bfloat16
        warped = flow_warp(features, torch.zeros(1, 4, 960, 2))
    torch.testing.assert_close(warped, features, rtol=0, atol=2**-8)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_a_flow_that_is_no_number_is_a_sentence(value):
    flow = torch.zeros(1, 8, 8, 2)
    flow[0, 3, 4, 1] = value
    with pytest.raises(UserError, match='The optical flow is not finite'):
        flow_warp(torch.rand(1, 2, 8, 8), flow, padding_mode='border')


def test_weights_that_are_no_numbers_do_not_end_the_process():
    """In a process of its own, since the release ends it with a segmentation fault."""
    code = """
import torch, basicsr_semantic
from basicsr.archs.arch_util import DCNv2Pack
from basicsr.archs.basicvsr_arch import BasicVSR
for net, inputs in ((BasicVSR(num_feat=4, num_block=1), (torch.rand(1, 3, 3, 64, 64),)),
                    (DCNv2Pack(8, 8, 3, padding=1, deformable_groups=2), (torch.rand(1, 8, 16, 16),) * 2)):
    for parameter in net.parameters():
        torch.nn.init.constant_(parameter, float('nan'))
    try:
        net(*inputs).sum().backward()
    except ValueError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, '-c', code], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split(' is not finite')[0] for line in done.stdout.splitlines()] == [
        'The optical flow',
        'The offset of a deformable convolution',
    ]


def test_a_large_offset_still_warns_and_the_layer_is_that_of_the_release(monkeypatch):
    torch.manual_seed(0)
    layer = DCNv2Pack(8, 8, 3, padding=1, deformable_groups=2)
    torch.nn.init.normal_(layer.conv_offset.weight, std=0.1)
    x, feat = torch.rand(2, 1, 8, 16, 16)
    out = layer.conv_offset(feat)
    o1, o2, mask = out.chunk(3, dim=1)
    expected = torchvision.ops.deform_conv2d(
        x, torch.cat((o1, o2), 1), layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, mask.sigmoid()
    )
    messages: list[str] = []
    monkeypatch.setattr(geometry, 'get_root_logger', lambda: SimpleNamespace(warning=messages.append))
    assert torch.equal(layer(x, feat), expected) and not messages
    torch.nn.init.constant_(layer.conv_offset.bias, 60)
    for _ in range(100):
        layer(x, feat)
    assert len(messages) == 1 and re.fullmatch(r'Offset abs mean is [0-9.]+, larger than 50\.', messages[0])
