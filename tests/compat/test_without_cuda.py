"""On a machine without CUDA networks have the parameters they have on a GPU, and ``.cuda()`` calls pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.project import python
from torch import nn

from basicsr_semantic.compat import without_cuda

no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason='for machines without CUDA')


@pytest.fixture(autouse=True)
def torch_as_it_was(monkeypatch):
    """What allow_cuda_calls changes in PyTorch is put back."""
    monkeypatch.setattr(torch.Tensor, 'cuda', torch.Tensor.cuda)
    monkeypatch.setattr(nn.Module, 'cuda', nn.Module.cuda)


def test_basicsrs_recurrent_network_has_its_alignment_everywhere():
    from basicsr.archs import build_network

    net = build_network({'type': 'BasicVSRPlusPlus', 'mid_channels': 16, 'num_blocks': 1, 'cpu_cache_length': 2})
    assert net.is_with_alignment
    assert 'deform_align.forward_2.conv_offset.6.weight' in net.state_dict()
    with torch.no_grad():
        assert net(torch.rand(1, 3, 3, 64, 64)).shape == (1, 3, 3, 256, 256)  # longer than its cache: it calls .cuda()


@no_cuda
def test_a_network_of_a_project_has_them_too():
    from basicsr.utils.registry import ARCH_REGISTRY

    class Aligned(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            if torch.cuda.is_available():
                self.align = nn.Conv2d(channels, channels, 3)

    ARCH_REGISTRY.register(Aligned)
    try:
        assert hasattr(Aligned(2), 'align')
        assert not torch.cuda.is_available()
    finally:
        del ARCH_REGISTRY._obj_map['Aligned']


@no_cuda
def test_a_network_that_chooses_its_device_is_left_alone():
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')

    without_cuda.build_as_with_cuda(Placed)
    assert Placed().device.type == 'cpu'


@no_cuda
def test_the_question_is_answered_truly_again_after_an_error():
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            if torch.cuda.is_available():
                raise ValueError

    without_cuda.build_as_with_cuda(Broken)
    with pytest.raises(ValueError):
        Broken()
    assert not torch.cuda.is_available()


@no_cuda
def test_calls_of_cuda_leave_things_on_the_cpu_once_a_model_is_built():
    from basicsr.models.base_model import BaseModel

    opt = {'num_gpu': 8, 'is_train': False}
    assert BaseModel(opt).device.type == 'cpu'
    tensor, module = torch.zeros(1), nn.Linear(1, 1)
    assert tensor.cuda() is tensor
    assert module.cuda() is module


def degrading_options(kind: str) -> dict:
    """The options of BasicSR's Real-ESRGAN models, in a network of one layer's size."""
    opt = {
        'num_gpu': 0,
        'is_train': True,
        'dist': False,
        'scale': 4,
        'gt_size': 32,
        'queue_size': 2,
        'gt_usm': True,
        'resize_prob': [1, 0, 0],
        'resize_range': [0.5, 1.5],
        'gaussian_noise_prob': 0.5,
        'noise_range': [1, 30],
        'poisson_scale_range': [0.05, 3],
        'gray_noise_prob': 0.4,
        'jpeg_range': [30, 95],
        'second_blur_prob': 1,
        'path': {},
        'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 4, 'num_conv': 1, 'upscale': 4},
        'train': {
            'ema_decay': 0.9,
            'optim_g': {'type': 'Adam', 'lr': 1e-4},
            'optim_d': {'type': 'Adam', 'lr': 1e-4},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [9]},
            'pixel_opt': {'type': 'L1Loss'},
        },
    }
    for name in ('resize_prob', 'resize_range', 'gaussian_noise_prob', 'noise_range', 'poisson_scale_range'):
        opt[f'{name}2'] = opt[name]
    opt['gray_noise_prob2'], opt['jpeg_range2'] = opt['gray_noise_prob'], opt['jpeg_range']
    if kind == 'RealESRGANModel':
        opt |= {'l1_gt_usm': True, 'percep_gt_usm': True, 'gan_gt_usm': False}
        opt['network_d'] = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}
        opt['train']['gan_opt'] = {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1}
    return opt


@no_cuda
@pytest.mark.parametrize('kind', ['RealESRNetModel', 'RealESRGANModel'])
def test_basicsrs_degrading_models_train_on_a_cpu(kind):
    from basicsr.models import build_model

    model = build_model(degrading_options(kind) | {'model_type': kind})
    kernels = {name: torch.full((2, 7, 7), 1 / 49) for name in ('kernel1', 'kernel2', 'sinc_kernel')}
    before = [p.detach().clone() for p in model.net_g.parameters()]
    for step in (1, 2):  # the second time its pool of pairs is full
        model.feed_data({'gt': torch.rand(2, 3, 64, 64), **kernels})
        model.optimize_parameters(step)
    assert not all(torch.equal(a, b) for a, b in zip(before, model.net_g.parameters(), strict=True))


@no_cuda
def test_importing_the_package_leaves_torch_alone(tmp_path: Path):
    (tmp_path / 'script.py').write_text(
        'import torch\n'
        'before = torch.Tensor.cuda, torch.nn.Module.cuda, torch.cuda.is_available\n'
        'import basicsr_semantic\n'
        'print(before == (torch.Tensor.cuda, torch.nn.Module.cuda, torch.cuda.is_available))\n'
    )
    done = python('script.py', cwd=tmp_path)
    assert done.stdout.split()[-1] == 'True', done.stderr


def test_edvr_runs_without_compiled_extensions():
    from basicsr.archs import build_network

    net = build_network({'type': 'EDVR', 'num_feat': 8, 'num_frame': 3, 'deformable_groups': 2, 'num_extract_block': 1})
    assert net(torch.rand(1, 3, 3, 16, 16)).shape == (1, 3, 64, 64)
    assert any('dcn_pack' in name for name in net.state_dict())
