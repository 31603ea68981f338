"""Optical flow for metrics: directions, networks with weights, and the refusal of those without."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs.spynet_arch import SpyNet
from basicsr.utils.registry import ARCH_REGISTRY
from helpers.metrics import GivenFlow
from torch import nn

from basicsr_semantic.metrics import flow as module
from basicsr_semantic.metrics.flow import flow_of
from basicsr_semantic.metrics.frames import rgb_tensor
from basicsr_semantic.utils.errors import UserError

CPU = torch.device('cpu')


class OneConvolution(nn.Module):
    """A network with weights and no argument for their file."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 2, 3, 1, 1)

    def forward(self, ref, supp):
        return self.conv(torch.cat([ref, supp], 1))


class NoFlow(nn.Module):
    """Three channels in place of two."""

    def forward(self, ref, supp):
        return ref


@pytest.fixture(autouse=True)
def archs(monkeypatch):
    """The networks above, registered for one test."""
    module._network.cache_clear()
    for arch in (GivenFlow, OneConvolution, NoFlow):
        monkeypatch.setitem(ARCH_REGISTRY._obj_map, arch.__name__, arch)


@pytest.fixture(scope='module')
def frames():
    """A texture, and the same three pixels further to the right and one further down."""
    texture = cv2.GaussianBlur(np.random.default_rng(0).random((120, 120, 3)), (0, 0), 3)
    texture = ((texture - texture.min()) / (texture.max() - texture.min()) * 255).astype(np.uint8)
    return texture[10:106, 10:106], texture[9:105, 7:103]


def test_farneback_says_where_a_pixel_has_gone(frames):
    flow = flow_of('farneback', CPU)(*frames)
    assert flow.shape == (1, 2, 96, 96) and flow.dtype == torch.float32
    inside = flow[0, :, 16:-16, 16:-16]
    assert inside[0].mean().item() == pytest.approx(3, abs=0.1)
    assert inside[1].mean().item() == pytest.approx(1, abs=0.1)


def test_a_network_of_basicsr_with_its_file(frames, tmp_path):
    """BasicSR's files of SPyNet hold the convolutions alone."""
    torch.manual_seed(0)
    net = SpyNet().eval()
    state = {k: v for k, v in net.state_dict().items() if k.startswith('basic_module')}
    torch.save({'params': state}, tmp_path / 'spynet.pth')
    flow = flow_of({'type': 'SpyNet', 'load_path': str(tmp_path / 'spynet.pth')}, CPU)
    with torch.no_grad():
        expected = net(*(rgb_tensor(frame, CPU) for frame in frames))
    assert torch.equal(flow(*frames), expected)
    assert flow_of({'load_path': str(tmp_path / 'spynet.pth'), 'type': 'SpyNet'}, CPU) is flow  # made once


def test_a_network_that_does_not_load_its_file_itself(frames, tmp_path):
    torch.manual_seed(0)
    net = OneConvolution()
    torch.save({'params': net.state_dict()}, tmp_path / 'net.pth')
    flow = flow_of({'type': 'OneConvolution', 'load_path': str(tmp_path / 'net.pth')}, CPU)
    with torch.no_grad():
        assert torch.equal(flow(*frames), net(*(rgb_tensor(frame, CPU) for frame in frames)))


@pytest.mark.parametrize('name', ['SpyNet', 'OneConvolution'])
def test_random_weights_are_refused(name):
    with pytest.raises(UserError, match=rf'{name} has weights and no load_path names them.*flow: farneback'):
        flow_of({'type': name}, CPU)


def test_a_network_without_weights_needs_no_file(frames):
    assert flow_of({'type': 'GivenFlow', 'x': 2.5}, CPU)(*frames)[0, :, 0, 0].tolist() == [2.5, 0]


@pytest.mark.parametrize(
    ('option', 'sentence'),
    [
        ('farnebeck', "'farnebeck' is neither farneback nor a section"),
        ({'type': 'SpyNot'}, "no arch is registered as 'SpyNot'"),
        ({'load_path': 'x.pth'}, 'no arch is registered as None'),
        ({'type': 'SpyNet', 'load_path': 'none.pth'}, r"load_path: the file 'none\.pth' does not exist"),
        ({'type': 'GivenFlow', 'z': 1}, 'GivenFlow cannot be made with'),
    ],
)
def test_what_cannot_be_had_is_one_sentence(option, sentence):
    with pytest.raises(UserError, match=sentence):
        flow_of(option, CPU)


def test_files_and_networks_of_something_else_are_refused(frames, tmp_path):
    torch.save({'params': {'a': torch.zeros(1)}}, tmp_path / 'other.pth')
    with pytest.raises(UserError, match='SpyNet cannot be made with'):
        flow_of({'type': 'SpyNet', 'load_path': str(tmp_path / 'other.pth')}, CPU)
    with pytest.raises(UserError, match='OneConvolution differ'):
        flow_of({'type': 'OneConvolution', 'load_path': str(tmp_path / 'other.pth')}, CPU)
    with pytest.raises(UserError, match='NoFlow gives something else than a flow'):
        flow_of({'type': 'NoFlow'}, CPU)(*frames)
