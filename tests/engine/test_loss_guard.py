"""No step on a loss that is not finite, and a count of steps left out. Two processes: engine/test_ranks.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from basicsr.losses import build_loss
from basicsr.models.base_model import BaseModel

from basicsr_semantic.engine import loss_guard
from basicsr_semantic.utils.errors import UserError


@pytest.fixture
def training():
    """A linear network, its optimiser and loss, as BasicSR's models make them."""
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 1)
    model = BaseModel.__new__(BaseModel)
    optimizer = BaseModel.get_optimizer(model, 'SGD', net.parameters(), lr=0.1)
    loss_guard.begin_iteration(7)
    return net, optimizer, build_loss({'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'})


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_step_on_a_loss_that_is_not_finite_is_refused_and_changes_nothing(training, value):
    net, optimizer, loss = training
    before = net.weight.clone()
    loss(net(torch.ones(2, 3)) + value, torch.zeros(2, 1)).backward()
    with pytest.raises(UserError, match=f'L1Loss is {value} at iteration 7; training stopped before the step'):
        optimizer.step()
    assert torch.equal(net.weight, before)


def test_losses_of_a_validation_do_not_count_and_the_next_iteration_begins_again(training):
    net, optimizer, loss = training
    with torch.no_grad():
        loss(net(torch.full((2, 3), float('nan'))), torch.zeros(2, 1))
    loss(net(torch.full((2, 3), float('nan'))), torch.zeros(2, 1))
    loss_guard.begin_iteration(8)
    loss(net(torch.ones(2, 3)), torch.zeros(2, 1)).backward()
    optimizer.step()


def test_a_loss_that_a_scaler_left_out_of_a_step_is_refused_after_it(training):
    net, optimizer, loss = training
    scaler = torch.amp.GradScaler('cpu', init_scale=4.0)
    scaler.scale(loss(net(torch.full((2, 3), float('nan'))), torch.zeros(2, 1))).backward()
    scaler.step(optimizer)  # leaves the step out, and so the optimiser does not look
    with pytest.raises(UserError, match='L1Loss is nan at iteration 7'):
        loss_guard.check_seen()


def test_infinite_gradients_of_a_finite_loss_pass_fifty_times_in_a_row(training):
    net, optimizer, loss = training
    scaler = torch.amp.GradScaler('cpu', init_scale=2.0**120)
    skipped = loss_guard.SkippedSteps(scaler)
    for current_iter in range(1, loss_guard.MOST_SKIPPED + 1):
        optimizer.zero_grad()
        scaler.scale(loss(net(torch.full((2, 3), 1e30)), torch.zeros(2, 1))).backward()
        scaler.step(optimizer)
        scaler.update()
        loss_guard.check_seen()
        if current_iter < loss_guard.MOST_SKIPPED:
            skipped.look(current_iter)
    with pytest.raises(UserError, match='At iteration 50 the gradients are not finite for the 50th time in a row'):
        skipped.look(loss_guard.MOST_SKIPPED)


def test_a_step_in_between_begins_the_row_again():
    scales = iter([1024.0, 512.0, 256.0, 256.0, *(256.0 / 2**k for k in range(1, loss_guard.MOST_SKIPPED))])
    skipped = loss_guard.SkippedSteps(SimpleNamespace(get_scale=lambda: next(scales)))
    for _ in range(loss_guard.MOST_SKIPPED + 2):
        skipped.look(1)
    assert next(scales, None) is None


def test_averages_for_the_log_are_those_of_the_losses():
    losses = {'l_pix': torch.tensor(0.5), 'grad_norm': torch.tensor(float('inf'))}
    assert loss_guard.agree_on_losses(losses, 3, False) == {'l_pix': 0.5, 'grad_norm': float('inf')}
    with pytest.raises(UserError, match='grad_norm is inf at iteration 3'):
        loss_guard.agree_on_losses(losses, 3, False, ('grad_norm',))


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    net = torch.nn.Linear(3, 1)
    model = BaseModel.__new__(BaseModel)
    model.opt = {'path': {'models': str(tmp_path)}}
    with torch.no_grad():
        net.weight[0, 1] = float('nan')
    with pytest.raises(UserError, match=r'weight of net_g \[params\] is not finite after iteration 5, so it was not'):
        model.save_network(net, 'net_g', 5)
    assert not list(tmp_path.iterdir())
