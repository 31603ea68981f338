"""Parts of an optimiser step: the average of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from basicsr_semantic.engine.checkpoint import save_atomic
from basicsr_semantic.models.steps import MovingAverage
from basicsr_semantic.utils.errors import UserError

CPU = torch.device('cpu')


def make_net() -> nn.Module:
    """One layer that is frozen, one that trains, and buffers."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    net[0].requires_grad_(False)
    return net


def copy_of(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def change(net: nn.Module) -> None:
    with torch.no_grad():
        for value in net.state_dict().values():
            value.add_(1)


def test_it_starts_as_the_network_and_is_one_of_its_own():
    net = make_net()
    average = MovingAverage(net, CPU).net
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in average.state_dict().items())
    assert not average.training and not any(p.requires_grad for p in average.parameters())
    assert net.training and net[2].weight.requires_grad
    change(net)
    assert not torch.equal(average[2].weight, net[2].weight)


def test_only_what_trains_is_moved():
    net = make_net()
    average = MovingAverage(net, CPU)
    before = copy_of(average.net)
    change(net)
    average.move(net, 0.75)
    after, trains = average.net.state_dict(), {name for name, p in net.named_parameters() if p.requires_grad}
    assert {name for name in after if not torch.equal(after[name], before[name])} == trains
    for name in trains:
        assert torch.equal(after[name], torch.lerp(before[name], net.state_dict()[name], 0.25))


def test_what_is_frozen_for_a_while_is_moved_when_it_trains_later():
    net = make_net()
    average = MovingAverage(net, CPU)
    net[2].requires_grad_(False)
    average.move(net, 0.5)
    before = copy_of(average.net)
    net[2].requires_grad_(True)
    change(net)
    average.move(net, 0.5)
    torch.testing.assert_close(average.net[2].weight, before['2.weight'] + 0.5)


def test_a_network_in_which_nothing_trains_has_an_average_too():
    net = make_net().requires_grad_(False)
    average = MovingAverage(net, CPU)
    average.move(net, 0.5)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in average.net.state_dict().items())


def test_it_goes_on_from_the_average_in_a_checkpoint(tmp_path):
    net, other = make_net(), make_net()
    change(other)
    save_atomic({'params': net.state_dict(), 'params_ema': other.state_dict()}, tmp_path / 'a.pth')
    average = MovingAverage(net, CPU, str(tmp_path / 'a.pth'))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in average.net.state_dict().items())
    save_atomic({'params_ema': nn.Linear(3, 2).state_dict()}, tmp_path / 'b.pth')
    with pytest.raises(UserError, match=r'b\.pth and Sequential differ'):
        MovingAverage(net, CPU, str(tmp_path / 'b.pth'))
