"""What is frozen stays frozen."""

from __future__ import annotations

import pytest
from torch import nn

from basicsr_semantic.engine.freezing import Stages, group_of_each, is_flow, optimizer_groups, train_only
from basicsr_semantic.utils.errors import UserError


def network() -> nn.Module:
    return nn.ModuleDict({'spynet': nn.Linear(2, 2), 'body': nn.Linear(2, 2), 'seem_pre': nn.Linear(2, 2)})


def trains(net: nn.Module) -> set[str]:
    return {name.split('.')[0] for name, p in net.named_parameters() if p.requires_grad}


def test_train_only_freezes_everything_else():
    net = network()
    train_only(net, ['seem_'])
    assert trains(net) == {'seem_pre'}
    train_only(net, None)
    assert trains(net) == {'seem_pre'}


def test_a_misspelt_prefix_names_the_nearest_part():
    with pytest.raises(UserError, match=r"'boddy'.*Did you mean body\?"):
        train_only(network(), ['boddy'])
    with pytest.raises(UserError, match='empty list'):
        train_only(network(), [])


def test_a_stage_is_a_function_of_the_iteration():
    net = network()
    stages = Stages(net)
    stages.freeze_until(5, is_flow)
    for iteration in (1, 4):
        stages.apply(iteration)
        assert trains(net) == {'body', 'seem_pre'}
    stages.apply(5)
    assert trains(net) == {'spynet', 'body', 'seem_pre'}
    stages.apply(3)  # a resumed run
    assert trains(net) == {'body', 'seem_pre'}


def test_the_end_of_a_stage_does_not_thaw_what_the_user_froze():
    net = network()
    train_only(net, ['spynet', 'seem_'])
    stages = Stages(net)
    stages.freeze_until(5, is_flow)
    stages.apply(1)
    stages.apply(5)
    assert trains(net) == {'spynet', 'seem_pre'}


def test_norms_and_queries_may_go_without_decay():
    net = nn.ModuleDict({'body': nn.Linear(2, 2), 'norm': nn.LayerNorm(2), 'spynet': nn.Embedding(3, 2)})
    groups = optimizer_groups(net, 1e-3, {'spynet': 0.5}, (nn.LayerNorm, nn.Embedding))
    found = [(len(group['params']), group['lr'], group.get('weight_decay')) for group in groups]
    assert found == [(2, 1e-3, None), (2, 1e-3, 0.0), (1, 5e-4, 0.0)]


def test_groups_with_rates_come_after_those_without_and_keep_their_prefixes():
    net = nn.ModuleDict({'body': nn.Linear(2, 2), 'norm': nn.LayerNorm(2), 'spynet': nn.Linear(2, 2)})
    rates = [(['spynet.', 'norm.w'], 4.0), (['body.bias'], 0.5)]
    assert group_of_each(net, rates) == {'norm.weight': 0, 'spynet.weight': 0, 'spynet.bias': 0, 'body.bias': 1}
    groups = optimizer_groups(net, 0.25, {'spynet': 0.5}, (nn.LayerNorm,), rates)
    found = [(len(g['params']), g['lr'], g.get('weight_decay'), g.get('prefixes')) for g in groups]
    first = ['norm.w', 'spynet.']
    assert found == [
        (1, 0.25, None, None),  # body.weight
        (1, 0.25, 0.0, None),  # norm.bias
        (1, 1.0, 0.0, first),  # norm.weight
        (2, 0.5, None, first),  # spynet
        (1, 0.125, None, ['body.bias']),
    ]


def test_optimizer_groups_hold_only_what_trains_with_its_rate():
    net = network()
    train_only(net, ['spynet', 'body'])
    groups = optimizer_groups(net, 1e-3, {'spynet': 0.25, 'dcn': 1})
    assert [(len(g['params']), g['lr']) for g in groups] == [(2, 1e-3), (2, 2.5e-4)]
    train_only(net, ['body'])
    assert len(optimizer_groups(net, 1e-3, {'spynet': 0.25})) == 1
    net.requires_grad_(False)
    with pytest.raises(UserError, match='everything is frozen'):
        optimizer_groups(net, 1e-3, {})
