"""Training states: the newest whole one is taken, and the option file has the last word on what it says."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from basicsr.models.base_model import BaseModel
from helpers.states import basicsr_state
from torch import nn

from basicsr_semantic.engine import training_state
from basicsr_semantic.engine.checkpoint import load_file, save_atomic
from basicsr_semantic.engine.training_state import find_resume_state
from basicsr_semantic.utils.errors import UserError


def state(i: int, **changes) -> dict:
    """A whole training state of iteration ``i``."""
    whole = {
        'epoch': 0,
        'iter': i,
        'manual_seed': 3,
        'weights': {'net_g': f'net_g_{i}.pth'},
        'best_metric_results': None,
    }
    whole |= {'optimizers': [{'state': {}, 'param_groups': [{'lr': 0.1, 'params': [0]}]}]}
    return whole | {'schedulers': [{'last_epoch': i - 1}]} | changes


@pytest.fixture
def run(tmp_path):
    """Folders of states and weights, with three states."""
    states, models = tmp_path / 'training_states', tmp_path / 'models'
    states.mkdir()
    models.mkdir()
    for i in (2, 4, 10):
        save_atomic(state(i), states / f'{i}.state')
        save_atomic({'params': {}}, models / f'net_g_{i}.pth')
    return states, models


def test_resume_takes_the_newest_pair_of_state_and_weights_that_is_whole(run):
    states, models = run
    assert find_resume_state(states / 'none', models) is None
    assert find_resume_state(states, models)[1]['iter'] == 10
    weights = models / 'net_g_10.pth'
    weights.write_bytes(weights.read_bytes()[:-30])
    assert find_resume_state(states, models)[1]['iter'] == 4
    (states / '4.state').write_bytes(b'half a state')
    assert find_resume_state(states, models)[1]['iter'] == 2


def test_a_state_that_memory_is_too_short_for_is_not_passed_over(run, monkeypatch):
    def fail(path):
        raise UserError(f'{path} could not be read (out of memory).')

    monkeypatch.setattr(training_state, 'load_file', fail)
    with pytest.raises(UserError, match=r'10\.state could not be read \(out of memory\)\.$'):
        find_resume_state(*run)


GROUPS = [{'lr': 0.1, 'params': [0]}]
WRONG = {
    'a list': [1, 2],
    'a tensor': torch.ones(3),
    'weights': {'params': {'weight': torch.ones(3)}},
    'an option file': {'name': 'x', 'train': {'total_iter': 3}},
    'of mmagic': {'meta': {}, 'state_dict': {}, 'optimizer': {'state': {}, 'param_groups': GROUPS}},
    'iteration as text': state(10, iter='10'),
    'iteration as a float': state(10, iter=10.0),
    'iteration as a truth': state(10, iter=True),
    'negative iteration': state(10, iter=-10),
    'huge iteration': state(10, iter=2**70),
    'no iteration': {key: value for key, value in state(10).items() if key != 'iter'},
    'no optimisers': {key: value for key, value in state(10).items() if key != 'optimizers'},
    'no schedules': {key: value for key, value in state(10).items() if key != 'schedulers'},
    'optimisers as a dict': state(10, optimizers={'state': {}, 'param_groups': GROUPS}),
    'an optimiser without groups': state(10, optimizers=[{'state': {}}]),
    'groups without parameters': state(10, optimizers=[{'state': {}, 'param_groups': [{'lr': 0.1}]}]),
    'moments that are none': state(10, optimizers=[{'state': {0: 3}, 'param_groups': GROUPS}]),
    'optimisers as numbers': state(10, optimizers=[1]),
    'prefixes of a group that are none': state(
        10, optimizers=[{'state': {}, 'param_groups': [{'params': [0], 'prefixes': [torch.ones(2)]}]}]
    ),
    'prefixes as a number': state(10, optimizers=[{'state': {}, 'param_groups': [{'params': [0], 'prefixes': 3}]}]),
    'schedules as numbers': state(10, schedulers=[1]),
    'a schedule without a place': state(10, schedulers=[{'milestones': [3]}]),
    'a schedule at no place': state(10, schedulers=[{'last_epoch': 'x'}]),
    'weights as a list': state(10, weights=['net_g_10.pth']),
    'weights as numbers': state(10, weights={'net_g': 10}),
    'weights elsewhere': state(10, weights={'net_g': '../../secret.pth'}),
    'weights that are gone': state(10, weights={'net_g': 'net_g_11.pth'}),
    'a seed that is none': state(10, manual_seed='x'),
    'a negative seed': state(10, manual_seed=-1),
    'best results as a list': state(10, best_metric_results=[1]),
    'best results of numbers': state(10, best_metric_results={'REDS4': {'psnr': 3}}),
    'a scale that is none': state(10, scaler=3),
    'more that is none': state(10, extra_state=[3]),
}


@pytest.mark.parametrize('name', WRONG)
def test_a_state_of_wrong_content_is_passed_over_or_one_sentence(run, name):
    states, models = run
    torch.save(WRONG[name], states / '10.state')
    assert find_resume_state(states, models)[1]['iter'] == 4
    for i in (2, 4):
        (states / f'{i}.state').unlink()
    with pytest.raises(
        UserError, match=r'has 1 training state and none to go on from\..*10\.state .*without --auto_resume'
    ):
        find_resume_state(states, models)


@pytest.mark.parametrize('content', [None, [1], {}, b'half a file'])
def test_weights_of_wrong_content_make_their_state_no_state(run, content):
    states, models = run
    if isinstance(content, bytes):
        (models / 'net_g_10.pth').write_bytes(content)
    else:
        torch.save(content, models / 'net_g_10.pth')
    assert find_resume_state(states, models)[1]['iter'] == 4


def test_unfinished_files_are_no_states_and_other_names_come_last(run):
    states, models = run
    for i in (2, 4, 10):
        (states / f'{i}.state').rename(states / f'copy_{i}.state')
    assert find_resume_state(states, models)[0].name == 'copy_4.state'
    save_atomic(state(2), states / '2.state')
    assert find_resume_state(states, models)[0].name == '2.state'
    for path in states.iterdir():
        path.rename(states / f'.{path.name}')
    (states / '.12.state.7.tmp').touch()
    assert find_resume_state(states, models) is None


def test_a_state_without_names_of_weights_goes_with_those_of_its_iteration(tmp_path):
    states, models = tmp_path / 'training_states', tmp_path / 'models'
    states.mkdir()
    models.mkdir()
    for i in (2, 4):
        torch.save(basicsr_state(i), states / f'{i}.state')
        for label in ('net_g', 'net_d'):
            save_atomic({'params': {}}, models / f'{label}_{i}.pth')
    networks = ['network_g', 'network_d']
    _, found = find_resume_state(states, models, networks)
    assert found['weights'] == {'net_g': 'net_g_4.pth', 'net_d': 'net_d_4.pth'}
    (models / 'net_d_4.pth').unlink()
    assert find_resume_state(states, models, networks)[1]['iter'] == 2
    assert find_resume_state(states, models, ['network_g'])[1]['iter'] == 4


# ------------------------------------------------------------------------------------------------ taken up by a model


COSINE = {'type': 'CosineAnnealingRestartLR', 'periods': [6], 'restart_weights': [1], 'eta_min': 1e-5}
STEPS = {'type': 'MultiStepLR', 'milestones': [2, 5], 'gamma': 0.5}


class Model(BaseModel):
    """As much of a model of BasicSR's as a training state is about."""

    def __init__(self, folder: Path | None = None, scheduler: dict = COSINE, warmup_iter: int = -1, **optim) -> None:
        metrics = {'psnr': {'type': 'calculate_psnr'}, 'ssim': {'type': 'calculate_ssim'}}
        train = {'scheduler': dict(scheduler), 'warmup_iter': warmup_iter}
        super().__init__(
            {'num_gpu': 0, 'is_train': True, 'rank': 0, 'manual_seed': 0, 'train': train, 'val': {'metrics': metrics}}
        )
        self.opt['path'] = {'training_states': str(folder)}
        torch.manual_seed(0)
        self.net = nn.Linear(3, 2)
        kind = optim.pop('type', 'Adam')
        groups = [{'params': [self.net.weight]}, {'params': [self.net.bias], 'lr': 0.01}][: optim.pop('groups', 2)]
        self.optimizers = [self.get_optimizer(kind, groups, **{'lr': 0.1} | optim)]
        self.setup_schedulers()
        self.rates: list[list[float]] = []

    def step(self, first: int, last: int) -> None:
        for k in range(first, last + 1):
            self.update_learning_rate(k, warmup_iter=self.opt['train']['warmup_iter'])
            self.rates.append(self.get_current_learning_rate())
            self.optimizers[0].zero_grad()
            self.net(torch.full((1, 3), float(k))).square().sum().backward()
            self.optimizers[0].step()


def resumed(folder: Path, before: Model, at: int, **changes) -> Model:
    """A model of changed options that goes on from iteration ``at`` of another one."""
    before.step(1, at)
    before.save_training_state(0, at)
    after = Model(folder, **changes)
    after.net.load_state_dict(before.net.state_dict())
    after.resume_training(load_file(folder / f'{at}.state'))
    return after


@pytest.mark.parametrize('at', [1, 3, 4])
@pytest.mark.parametrize('scheduler', [COSINE, STEPS])
@pytest.mark.parametrize('warmup_iter', [-1, 3])
def test_the_same_options_go_on_with_the_same_bits(tmp_path, scheduler, warmup_iter, at):
    options = {'scheduler': scheduler, 'warmup_iter': warmup_iter}
    whole = Model(**options)
    whole.step(1, 6)
    after = resumed(tmp_path, Model(tmp_path, **options), at, **options)
    after.step(at + 1, 6)
    assert after.rates == whole.rates[at:]
    assert torch.equal(after.net.weight, whole.net.weight)


LONGER = COSINE | {'periods': [12]}


@pytest.mark.parametrize(
    'changes',
    [
        {'scheduler': LONGER},
        {'scheduler': COSINE | {'periods': [3, 9], 'restart_weights': [1, 0.5]}},
        {'scheduler': COSINE | {'eta_min': 1e-3, 'periods': [12]}},
        {'scheduler': STEPS},
        {'scheduler': LONGER, 'lr': 0.02},
        {'scheduler': LONGER, 'warmup_iter': 8},
        {'scheduler': STEPS, 'warmup_iter': 5},
    ],
)  # fmt: skip
def test_another_schedule_is_evaluated_at_the_iteration(tmp_path, changes):
    """From then on the learning rates are those of a run that had that schedule from the beginning."""
    meant = Model(**changes)
    meant.step(1, 12)
    after = resumed(tmp_path, Model(tmp_path), 5, **changes)
    after.step(6, 12)
    assert after.rates == meant.rates[5:]


def test_what_the_option_file_says_of_the_optimiser_holds(tmp_path):
    after = resumed(tmp_path, Model(tmp_path, betas=[0.9, 0.99]), 3, betas=[0.5, 0.9], weight_decay=0.1, lr=0.3)
    assert [group['betas'] for group in after.optimizers[0].param_groups] == [(0.5, 0.9)] * 2
    assert [group['weight_decay'] for group in after.optimizers[0].param_groups] == [0.1] * 2
    assert [group['initial_lr'] for group in after.optimizers[0].param_groups] == [0.3, 0.01]
    assert after.optimizers[0].state[after.net.weight]['step'] == 3, 'the moments are those of the state'


def test_another_optimiser_begins_again_and_says_so(tmp_path, monkeypatch):
    messages: list[str] = []
    log = SimpleNamespace(warning=messages.append, info=lambda *_: None)
    monkeypatch.setattr('basicsr_semantic.engine.training_state.get_root_logger', lambda: log)
    after = resumed(tmp_path, Model(tmp_path, type='SGD', momentum=0.9), 3)
    assert messages == ['The optimiser was SGD and is Adam; it starts again.']
    after.step(4, 6)
    meant = Model()
    meant.step(1, 6)
    assert after.rates == meant.rates[3:]


def test_a_schedule_that_ends_before_is_one_sentence(tmp_path):
    with pytest.raises(
        UserError, match='train:scheduler has no learning rate at iteration 5, from which the run goes on'
    ):
        resumed(tmp_path, Model(tmp_path), 5, scheduler=COSINE | {'periods': [2]})


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda s: s['optimizers'].append(s['optimizers'][0]), 'has 2 optimizers, but this training has 1'),
        (lambda s: s['schedulers'].clear(), 'has 0 schedulers, but this training has 1'),
        (lambda s: s['optimizers'][0]['param_groups'].pop(), r'has groups of \[1\] parameters, here of \[1, 1\]'),
        (lambda s: s['optimizers'][0]['state'][0].update(exp_avg=torch.ones(7, 3)), r'exp_avg .* shape \(7, 3\)'),
    ],
)  # fmt: skip
def test_a_state_of_another_training_is_one_sentence(tmp_path, change, said):
    before = Model(tmp_path)
    before.step(1, 2)
    before.save_training_state(0, 2)
    saved = load_file(tmp_path / '2.state')
    change(saved)
    with pytest.raises(UserError, match=f'{said}.*path:pretrain_network_g'):
        Model(tmp_path).resume_training(saved)


def test_best_values_of_metrics_that_came_went_or_were_infinite(tmp_path):
    before = Model(tmp_path)
    best = {
        'psnr': {'better': 'higher', 'val': math.inf, 'iter': 2},
        'gone': {'better': 'higher', 'val': 3.0, 'iter': 2},
    }
    before.best_metric_results = {'REDS4': best | {'ssim': {'better': 'higher', 'val': 0.5, 'iter': 2}}}
    after = resumed(tmp_path, before, 2)
    after._initialize_best_metric_results('REDS4')
    for metric, value in (('psnr', 30.0), ('psnr', math.inf), ('ssim', 0.25)):
        after._update_best_metric_result('REDS4', metric, value, 4)
    kept = {name: (one['val'], one['iter']) for name, one in after.best_metric_results['REDS4'].items()}
    assert kept == {'psnr': (30.0, 4), 'ssim': (0.5, 2)}
