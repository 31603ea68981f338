"""BasicVSRLite: what it starts from, what it takes, and that it is BasicVSR in all but size."""

from __future__ import annotations

import pytest
import torch
from helpers.seem import randomise
from torch.nn import functional as F

from basicsr_semantic.archs import BasicVSRLite, BasicVSRSEEM
from basicsr_semantic.archs.layers.shared_flow import SharedFlow

SMALL = {'num_feat': 8, 'num_block': 1, 'flow_feat': 4}


def test_it_starts_as_bicubic_interpolation():
    frames = torch.rand(2, 3, 3, 19, 34)
    restored = BasicVSRLite(**SMALL)(frames)
    wanted = F.interpolate(frames.flatten(0, 1), scale_factor=4, mode='bicubic', align_corners=False)
    assert torch.equal(restored.flatten(0, 1), wanted)


@pytest.mark.parametrize(('frames', 'height', 'width'), [(1, 16, 16), (2, 1, 1), (3, 7, 45), (5, 33, 20)])
def test_any_size_and_number_of_frames(frames, height, width):
    net = randomise(BasicVSRLite(**SMALL), 1)
    restored = net(torch.rand(1, frames, 3, height, width))
    assert restored.shape == (1, frames, 3, 4 * height, 4 * width)


def test_every_weight_learns():
    net = BasicVSRLite(**SMALL, num_masks=4, reduction=2, branches=['backward', 'forward'])
    randomise(net, 1)
    masks = torch.rand(1, 3, 4, 24, 24) > 0.5
    net(torch.rand(1, 3, 3, 24, 24), masks).abs().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


def test_seem_adds_to_its_keys_and_starts_as_nothing():
    torch.manual_seed(0)
    plain = randomise(BasicVSRLite(**SMALL), 1)
    net = BasicVSRLite(**SMALL, num_masks=4, branches=['backward', 'forward'])
    missing, unexpected = net.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all(name.startswith(BasicVSRSEEM.adapter_prefixes) for name in missing)
    frames, masks = torch.rand(1, 3, 3, 18, 18), torch.rand(1, 3, 4, 18, 18) > 0.5
    assert torch.equal(net(frames, masks), plain(frames))


def test_both_ends_of_a_clip_reach_each_other():
    net = randomise(BasicVSRLite(**SMALL), 1).eval()
    frames = torch.rand(1, 4, 3, 16, 16)
    for changed, seen in ((0, 3), (3, 0)):
        other = frames.clone()
        other[:, changed] = torch.rand(1, 3, 16, 16)
        assert not torch.equal(net(frames)[:, seen], net(other)[:, seen])


def test_at_the_shipped_size_it_is_small():
    net = BasicVSRLite()
    assert sum(parameter.numel() for parameter in net.parameters()) < 200_000
    assert 'spynet.step.0.weight' in net.state_dict() and not hasattr(net, 'conv_hr')


@pytest.mark.parametrize('arguments', [{'num_feat': 0}, {'num_level': 0}, {'radius': 0}])
def test_sizes_of_the_flow_network_are_positive(arguments):
    with pytest.raises(ValueError, match='num_feat, num_level and radius must be positive'):
        SharedFlow(**arguments)


def test_flow_is_in_pixels_of_the_frames_and_its_sign_that_of_spynet():
    """A step that always says (1, 2) at its level adds up to the sum over the levels, in pixels of the frames."""
    flow = SharedFlow(4, num_level=2)
    with torch.no_grad():
        flow.step[-1].bias.copy_(torch.tensor([1.0, 2.0]))
    grey = torch.full((1, 3, 16, 32), 0.5)  # all neighbourhoods are alike
    found = flow(grey, grey)
    assert torch.allclose(found[0, 0], torch.full((16, 32), 2.0 * (1 + 2)))
    assert torch.allclose(found[0, 1], torch.full((16, 32), 4.0 * (1 + 2)))
    odd = flow(grey[..., :13, :30], grey[..., :13, :30])
    assert torch.allclose(odd[0, 0], torch.full((13, 30), 6.0 * 30 / 32))


def test_flow_finds_a_shift_before_it_has_learned_anything():
    """The nearest neighbourhood is found without weights; what a network learns is to be right where there is none."""
    texture = F.interpolate(torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0)), scale_factor=4)
    texture = F.avg_pool2d(texture, 5, 1, 2)
    first, second = texture[..., 20:116, 20:148], texture[..., 14:110, 24:152]  # what is at p is at p + (-4, 6)
    found = SharedFlow(4)(first, second)[0, :, 16:-16, 16:-16].flatten(1).median(dim=1).values
    assert (found - torch.tensor([-4.0, 6.0])).abs().max() < 1
