"""Plain stand-ins for BasicSR's compiled extensions, and its filter on every layout of memory."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from basicsr_semantic.compat import ops


def test_the_biased_leaky_relu():
    from basicsr.ops.fused_act import FusedLeakyReLU

    layer = FusedLeakyReLU(3)
    layer.bias.data = torch.tensor([1.0, -1.0, 0.0])
    out = layer(torch.tensor([[1.0, 0.0, -5.0]]))
    assert torch.allclose(out, torch.tensor([[2.0, -0.2, -1.0]]) * 2**0.5)
    image = layer(torch.zeros(2, 3, 4, 4))
    assert image.shape == (2, 3, 4, 4)
    assert image[0, 1, 2, 2] == out[0, 1]


def test_stylegan2_trains_with_its_penalties():
    """The path penalty and r1 differentiate twice through both stand-ins."""
    from basicsr.archs import build_network
    from basicsr.losses.gan_loss import r1_penalty

    net = build_network({'type': 'StyleGAN2Generator', 'out_size': 8, 'num_style_feat': 8, 'narrow': 0.02})
    image, latents = net([torch.rand(1, 8)], return_latents=True)
    (gradient,) = torch.autograd.grad(image.square().sum(), latents, create_graph=True)
    gradient.square().sum().backward()
    assert net.style_conv1.modulated_conv.weight.grad.abs().sum() > 0

    judge = build_network({'type': 'StyleGAN2Discriminator', 'out_size': 8, 'narrow': 0.02})
    real = torch.rand(2, 3, 8, 8, requires_grad=True)
    r1_penalty(judge(real), real).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in judge.parameters())


@pytest.mark.parametrize('groups', [1, 2])
def test_deformable_convolutions_without_offsets_are_convolutions(groups):
    from basicsr.ops.dcn import DeformConvPack, ModulatedDeformConvPack

    x = torch.rand(2, 4, 6, 6)
    options = {'padding': 1, 'stride': 2, 'groups': groups, 'deformable_groups': 2}
    plain = DeformConvPack(4, 4, 3, **options)
    expected = F.conv2d(x, plain.weight, None, 2, 1, groups=groups)
    assert torch.allclose(plain(x), expected, atol=1e-6)
    modulated = ModulatedDeformConvPack(4, 4, 3, **options)
    expected = F.conv2d(x, modulated.weight, None, 2, 1, groups=groups) / 2  # the mask starts as sigmoid(0)
    assert torch.allclose(modulated(x), expected, atol=1e-6)


def test_a_deformable_convolution_reads_rows_before_columns():
    """An offset of one row down is the image moved up, as the compiled extension has it."""
    from basicsr.ops.dcn import modulated_deform_conv

    x = torch.rand(1, 1, 5, 5)
    offset = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 5, 5)
    out = modulated_deform_conv(x, offset, torch.ones(1, 1, 5, 5), torch.ones(1, 1, 1, 1), None, 1, 0, 1, 1, 1)
    assert torch.allclose(out[:, :, :4], x[:, :, 1:])


@pytest.mark.parametrize('kernels', [1, 2])
def test_images_are_filtered_whatever_their_layout(kernels):
    from basicsr.models.realesrnet_model import filter2D

    assert filter2D is ops.filter2d  # also where it had been imported by name
    image, kernel = torch.rand(2, 3, 9, 7), torch.rand(kernels, 5, 5)
    out = filter2D(image, kernel)
    assert torch.equal(filter2D(image.to(memory_format=torch.channels_last), kernel), out)
    assert torch.equal(filter2D(image.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2), kernel), out)
    padded = F.pad(image, [2] * 4, mode='reflect')
    own = kernel[-1].view(1, 1, 5, 5)
    assert torch.allclose(out[1, 2], F.conv2d(padded[1:, 2:], own)[0, 0], atol=1e-6)
    with pytest.raises(ValueError):
        filter2D(image, torch.rand(1, 4, 4))
