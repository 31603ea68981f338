"""LPIPS and DISTS: distances between features of restored frame and GT, over the packages lpips and piq."""

from __future__ import annotations

import functools
import re
import warnings
from typing import Any, Literal

import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY
from torch import nn

from .frames import chosen_device, optional_package, prepared_by, to_tensor
from .weights import Official, does_not_fit, read_weights

Net = Literal['vgg', 'alex', 'squeeze']

_DISTS_LAYERS = ('relu1_2', 'relu2_2', 'relu3_3', 'relu4_3', 'relu5_3')
_DISTS_CHANNELS = (3, 64, 128, 256, 512, 512)
_DISTS_WEIGHTS = Official(
    'dists_weights.pt',
    'https://github.com/photosynthesis-team/piq/releases/download/v0.4.1/dists_weights.pt',
    None,
    'dists_weights',
)


def _backbone(net: Net) -> Official:
    """The ImageNet weights of torchvision that a metric looks through; their names end with the SHA-256."""
    from torchvision import models

    found = {'vgg': models.VGG16_Weights, 'alex': models.AlexNet_Weights, 'squeeze': models.SqueezeNet1_1_Weights}
    url = str(found[net].IMAGENET1K_V1.url)
    file = url.rsplit('/', 1)[1]
    digits = re.search(r'-([0-9a-f]{8})\.pth$', file)
    return Official(file, url, digits.group(1) if digits else None, 'weights')


@functools.lru_cache(maxsize=4)
def _lpips(net: Net, weights: str | None, device: torch.device) -> nn.Module:
    package = optional_package('lpips', 'calculate_lpips')
    official = _backbone(net)
    state = read_weights(weights, official, 'calculate_lpips')
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # lpips uses arguments that torchvision calls deprecated
        # the package brings the weights of the linear layers; those of the backbone are read by us, and only then
        # is the network complete
        network = package.LPIPS(net=net, version='0.1', pnet_rand=True, verbose=False)
    try:
        network.net.load_state_dict({key: state[_torchvision_key(key)] for key in network.net.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise does_not_fit(weights, official, 'calculate_lpips', error) from error
    return network.eval().requires_grad_(False).to(device)


def _torchvision_key(key: str) -> str:
    """``slice2.5.weight`` of lpips is ``features.5.weight`` of torchvision."""
    return re.sub(r'^slice\d+\.', 'features.', key)


def _prepare_lpips(net: Net = 'vgg', weights: str | None = None, device: str | None = None) -> nn.Module:
    return _lpips(net, weights, chosen_device(device))


@METRIC_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
@prepared_by(_prepare_lpips)
def calculate_lpips(
    img: np.ndarray,
    img2: np.ndarray,
    net: Net = 'vgg',
    weights: str | None = None,
    device: str | None = None,
    crop_border: int = 0,
    better: Literal['higher', 'lower'] = 'lower',
) -> float:
    """LPIPS (Zhang et al., CVPR 2018), version 0.1, by the authors' package lpips.

    Args:
        img: (H, W, 3) uint8, BGR, at least 32x32.
        img2: The GT, of the same form.
        net: Backbone: vgg, alex or squeeze. Tables of video super-resolution mean vgg unless they say otherwise.
        weights: Local file with the backbone's ImageNet weights of torchvision (vgg16-397923af.pth for vgg); ~
            downloads it once.
        device: cpu, cuda, cuda:1, ...; ~ takes the GPU if there is one.
        crop_border: Pixels left out at each side.
        better: Which value the log calls best.

    Returns:
        The distance, 0 for equal frames.

    Raises:
        UserError: The package or the weights are missing, or the frames are too small.
    """
    where = chosen_device(device)
    network = _lpips(net, weights, where)
    pair = [to_tensor(one, where, crop_border, 32, 'calculate_lpips') * 2 - 1 for one in (img, img2)]
    with torch.no_grad():
        return float(network(*pair))


@functools.lru_cache(maxsize=4)
def _dists(weights: str | None, dists_weights: str | None, device: torch.device) -> nn.Module:
    piq = optional_package('piq.perceptual', 'calculate_dists')
    from torchvision.models import vgg16

    official = _backbone('vgg')
    state = read_weights(weights, official, 'calculate_dists')
    factors = read_weights(dists_weights, _DISTS_WEIGHTS, 'calculate_dists')
    with torch.device('meta'):  # no random numbers, which would be replaced immediately
        features = vgg16(weights=None, init_weights=False).features
    try:
        own = {key: state[f'features.{key}'].clone() for key in features.state_dict()}
        features.load_state_dict(own, assign=True)
    except (KeyError, RuntimeError) as error:
        raise does_not_fit(weights, official, 'calculate_dists', error) from error
    try:
        split = [part for name in ('alpha', 'beta') for part in torch.split(factors[name], [*_DISTS_CHANNELS], dim=1)]
    except (KeyError, RuntimeError) as error:
        raise does_not_fit(dists_weights, _DISTS_WEIGHTS, 'calculate_dists', error) from error

    class Dists(piq.DISTS):
        """piq's metric with weights from files; its own constructor can only download them."""

        def __init__(self) -> None:
            piq.ContentLoss.__init__(
                self,
                features,
                layers=[piq.VGG16_LAYERS[name] for name in _DISTS_LAYERS],
                weights=split,
                replace_pooling=True,
                normalize_features=False,
                allow_layers_weights_mismatch=True,
            )

    network: Any = Dists()
    return network.eval().requires_grad_(False).to(device)


def _prepare_dists(
    weights: str | None = None, dists_weights: str | None = None, device: str | None = None
) -> nn.Module:
    return _dists(weights, dists_weights, chosen_device(device))


@METRIC_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
@prepared_by(_prepare_dists)
def calculate_dists(
    img: np.ndarray,
    img2: np.ndarray,
    weights: str | None = None,
    dists_weights: str | None = None,
    device: str | None = None,
    crop_border: int = 0,
    better: Literal['higher', 'lower'] = 'lower',
) -> float:
    """DISTS (Ding et al., TPAMI 2020), by the package piq.

    Frames whose shorter side has more than 256 pixels are first shrunk to 256, as in the authors' demonstration; piq
    leaves no choice.

    Args:
        img: (H, W, 3) uint8, BGR, at least 32x32.
        img2: The GT, of the same form.
        weights: Local file with torchvision's weights of VGG16 (vgg16-397923af.pth); ~ downloads it once.
        dists_weights: Local file with alpha and beta as piq releases them (dists_weights.pt); ~ downloads it once.
        device: cpu, cuda, cuda:1, ...; ~ takes the GPU if there is one.
        crop_border: Pixels left out at each side.
        better: Which value the log calls best.

    Returns:
        The distance, 0 for equal frames.

    Raises:
        UserError: The package or the weights are missing, or the frames are too small.
    """
    where = chosen_device(device)
    network = _dists(weights, dists_weights, where)
    pair = [to_tensor(one, where, crop_border, 32, 'calculate_dists') for one in (img, img2)]
    with torch.no_grad():
        return float(network(*pair))
