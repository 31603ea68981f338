"""LPIPS and DISTS against the packages' own ways of loading and computing, with the same random weights."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from basicsr.metrics import calculate_metric
from helpers.metrics import backbone_state, random_backbone, random_factors

from basicsr_semantic.metrics import perceptual
from basicsr_semantic.metrics.frames import rgb_tensor
from basicsr_semantic.utils.errors import UserError

CPU = torch.device('cpu')
FILES = {'vgg': 'vgg16-397923af.pth', 'alex': 'alexnet-owt-7be5be79.pth', 'squeeze': 'squeezenet1_1-b8a52dc0.pth'}


@pytest.fixture(autouse=True)
def fresh_networks():
    """No network of another test."""
    perceptual._lpips.cache_clear()
    perceptual._dists.cache_clear()


@pytest.fixture(scope='module')
def backbones(tmp_path_factory):
    """A function: a backbone with random weights, and the file of its weights with torchvision's keys."""
    folder = tmp_path_factory.mktemp('backbones')
    result = {}

    def make(net: str):
        if net not in result:
            features = random_backbone(net)
            torch.save(backbone_state(features), folder / FILES[net])
            result[net] = features
        return result[net], str(folder / FILES[net])

    return make


@pytest.fixture(scope='module')
def frames():
    generator = np.random.default_rng(0)
    img = generator.integers(0, 256, (72, 64, 3), dtype=np.uint8)
    return img, np.clip(img.astype(int) + generator.integers(-40, 41, img.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize('net', ['vgg', 'alex', 'squeeze'])
def test_lpips_equals_the_package(net, backbones, frames, monkeypatch):
    lpips = pytest.importorskip('lpips')
    features, file = backbones(net)
    ours = calculate_metric(
        {'img': frames[0], 'img2': frames[1]}, {'type': 'calculate_lpips', 'net': net, 'weights': file, 'device': 'cpu'}
    )
    # the package asks torchvision for a network with ImageNet's weights; it gets this one
    name = {'vgg': 'vgg16', 'alex': 'alexnet', 'squeeze': 'squeezenet1_1'}[net]
    monkeypatch.setattr(lpips.pretrained_networks.tv, name, lambda pretrained: SimpleNamespace(features=features))
    theirs = lpips.LPIPS(net=net, version='0.1', verbose=False)
    with torch.no_grad():
        value = float(theirs(*(rgb_tensor(frame, CPU) * 2 - 1 for frame in frames)))
    assert ours == value > 0
    assert perceptual.calculate_lpips(frames[0], frames[0], net=net, weights=file, device='cpu') == 0


def test_lpips_of_torchvisions_own_file(frames, tmp_path, monkeypatch):
    """A whole file as torchvision has it, found in PyTorch's cache by its official name, by both."""
    lpips = pytest.importorskip('lpips')
    (tmp_path / 'checkpoints').mkdir()
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / 'checkpoints' / FILES['squeeze'])
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path))
    theirs = lpips.LPIPS(net='squeeze', verbose=False)
    with torch.no_grad():
        value = float(theirs(*(rgb_tensor(frame, CPU) * 2 - 1 for frame in frames)))
    assert perceptual.calculate_lpips(*frames, net='squeeze', device='cpu') == value


def test_a_border_is_not_looked_at(backbones, frames):
    pytest.importorskip('lpips')
    _, file = backbones('squeeze')
    framed = frames[0].copy()
    framed[:4] = framed[-4:] = framed[:, :4] = framed[:, -4:] = 0
    value = perceptual.calculate_lpips(framed, frames[0], net='squeeze', weights=file, crop_border=4, device='cpu')
    assert value == 0


def test_a_network_is_made_once(backbones, frames):
    pytest.importorskip('lpips')
    _, file = backbones('squeeze')
    before = torch.get_rng_state()
    for _ in range(3):
        perceptual.calculate_lpips(*frames, net='squeeze', weights=file, device='cpu')
    assert perceptual._lpips.cache_info().misses == 1
    assert torch.equal(torch.get_rng_state(), before)  # making it has used no random number of the run
    perceptual._prepare_lpips(net='squeeze', weights=file, device='cpu')
    assert perceptual._lpips.cache_info().misses == 1


def test_dists_equals_the_package(backbones, frames, tmp_path, monkeypatch):
    piq = pytest.importorskip('piq')
    features, file = backbones('vgg')
    factors = random_factors()
    torch.save(factors, tmp_path / 'dists_weights.pt')
    options = {'weights': file, 'dists_weights': str(tmp_path / 'dists_weights.pt'), 'device': 'cpu'}
    ours = calculate_metric({'img': frames[0], 'img2': frames[1]}, {'type': 'calculate_dists', **options})
    monkeypatch.setattr(piq.perceptual, 'vgg16', lambda **kwargs: SimpleNamespace(features=features))
    monkeypatch.setattr(torch.hub, 'load_state_dict_from_url', lambda *args, **kwargs: factors)
    theirs = piq.DISTS()
    value = float(theirs(*(rgb_tensor(frame, CPU) for frame in frames)))
    assert ours == pytest.approx(value, abs=1e-6) and value > 0.001
    assert perceptual.calculate_dists(frames[0], frames[0], **options) == pytest.approx(0, abs=1e-5)


def test_weights_of_another_network_are_refused(backbones, frames):
    pytest.importorskip('lpips')
    _, file = backbones('squeeze')
    with pytest.raises(UserError, match=r'calculate_lpips: weights: .* other weights than vgg16-397923af\.pth'):
        perceptual.calculate_lpips(*frames, net='vgg', weights=file, device='cpu')
    pytest.importorskip('piq')
    _, vgg = backbones('vgg')
    with pytest.raises(UserError, match=r'calculate_dists: dists_weights: .*it has no alpha'):
        perceptual.calculate_dists(*frames, weights=vgg, dists_weights=file, device='cpu')


def test_frames_that_are_too_small_are_refused(backbones, frames):
    pytest.importorskip('lpips')
    _, file = backbones('squeeze')
    small = [frame[:31] for frame in frames]
    with pytest.raises(UserError, match='at least 32x32 pixels, but this one has 31x64'):
        perceptual.calculate_lpips(*small, net='squeeze', weights=file, device='cpu')
    for net in ('vgg', 'alex', 'squeeze'):  # 32 are enough
        tiny = [frame[:32, :32] for frame in frames]
        assert perceptual.calculate_lpips(*tiny, net=net, weights=backbones(net)[1], device='cpu') > 0


@pytest.mark.parametrize(('name', 'package'), [('calculate_lpips', 'lpips'), ('calculate_dists', 'piq.perceptual')])
def test_without_its_package_a_metric_says_what_to_install(name, package, frames, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r'pip install "basicsr-semantic\[metrics\]"'):
        calculate_metric({'img': frames[0], 'img2': frames[1]}, {'type': name})
