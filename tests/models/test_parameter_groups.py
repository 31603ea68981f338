"""``train.optim_g.groups``: parameters with a learning rate of their own, in our models, their states and the check."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import helpers.instances
import pytest
import tiny_archs  # noqa: F401  (registers TinyVSR)
import torch
from helpers.options import problems_of
from helpers.project import write_options
from helpers.seeclear import TINY

from basicsr_semantic.cli import main
from basicsr_semantic.config.option_file import OptionFile
from basicsr_semantic.engine.checkpoint import load_file
from basicsr_semantic.models import SeeClearModel, SemanticVSRModel
from basicsr_semantic.utils.errors import UserError

ADAM = {'type': 'Adam', 'lr': 0.001, 'betas': [0.9, 0.99]}
BODY = {'prefixes': ['body.'], 'lr_scale': 4}


def grouped(*groups: dict, **optim) -> dict:
    """A section train:optim_g with these groups."""
    return {'optim_g': {**ADAM, **optim, 'groups': list(groups)}}


def completed(opt: dict, folder: Path) -> dict:
    """Options as a run hands them to a model, with folders for what it writes."""
    opt = copy.deepcopy(opt) | {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1}
    for name in ('models', 'training_states'):
        (folder / name).mkdir(exist_ok=True)
        opt['path'][name] = str(folder / name)
    torch.manual_seed(0)
    return opt


def batch() -> dict:
    generator = torch.Generator().manual_seed(1)
    size = {'lq': (2, 2, 3, 8, 8), 'gt': (2, 2, 3, 32, 32)}
    return {name: torch.rand(shape, generator=generator) for name, shape in size.items()}


@pytest.fixture
def model(options, tmp_path):
    """A function: a model of TinyVSR, whose parameters are those of ``spynet`` and ``body``."""

    def make(path: dict | None = None, **train) -> SemanticVSRModel:
        opt = options(train=train)
        opt['path'] |= path or {}
        return SemanticVSRModel(completed(opt, tmp_path))

    return make


def step(model, first: int, last: int, warmup_iter: int = -1) -> list[list[float]]:
    """Train on one batch; the learning rates of each iteration."""
    rates = []
    for k in range(first, last + 1):
        model.update_learning_rate(k, warmup_iter=warmup_iter)
        model.feed_data(batch())
        model.optimize_parameters(k)
        rates.append(model.get_current_learning_rate())
    return rates


def names_of_groups(model) -> list[set[str]]:
    of = {id(parameter): name for name, parameter in model.net_g.named_parameters()}
    return [{of[id(p)] for p in group['params']} for group in model.optimizer_g.param_groups]


# ------------------------------------------------------------------------------------------------------------- rates


def test_what_begins_so_has_its_rate_and_all_else_the_usual_one(model):
    one = model(**grouped(BODY))
    assert names_of_groups(one) == [{'spynet.weight', 'spynet.bias'}, {'body.weight', 'body.bias'}]
    assert one.get_current_learning_rate() == [0.001, 0.004]  # the first is the usual one, in the log as well
    deeper = model(**grouped({'prefixes': ['body.bias', 'spynet.b'], 'lr_scale': 0.5}))
    assert names_of_groups(deeper) == [{'spynet.weight', 'body.weight'}, {'spynet.bias', 'body.bias'}]
    assert len(model().optimizer_g.param_groups) == 1


def test_a_step_is_as_many_times_as_long(model):
    moved = []
    for groups in ([], [BODY]):
        one = model(optim_g={'type': 'SGD', 'lr': 0.5, 'groups': groups})
        before = {name: p.detach().clone() for name, p in one.net_g.named_parameters()}
        step(one, 1, 1)
        moved.append({name: p.detach() - before[name] for name, p in one.net_g.named_parameters()})
    for name, usual in moved[0].items():
        factor = 4 if name.startswith('body') else 1
        assert usual.any()
        torch.testing.assert_close(moved[1][name], factor * usual, rtol=1e-4, atol=1e-7)


def test_the_ratio_stays_through_warm_up_and_cosine(model):
    schedule = {'type': 'CosineAnnealingRestartLR', 'periods': [6, 6], 'restart_weights': [1, 0.5]}
    one = model(**grouped(BODY), scheduler=schedule)
    plain = model(scheduler=schedule)
    rates, usual = (step(each, 1, 11, warmup_iter=4) for each in (one, plain))
    assert [rate[0] for rate in rates] == [rate[0] for rate in usual]
    assert len({round(rate[0], 9) for rate in rates}) > 6
    for first, second in rates:
        assert second == pytest.approx(4 * first, rel=1e-12)


def test_factors_of_parts_and_of_groups_multiply(model):
    """The usual rate, the flow's, the group's, and that of the flow in the group."""
    biases = {'prefixes': ['spynet.bias', 'body.bias'], 'lr_scale': 4}
    one = model(**grouped(biases), flow_lr_mul=0.5)
    assert one.get_current_learning_rate() == [0.001, 0.0005, 0.004, 0.002]
    assert names_of_groups(one) == [{'body.weight'}, {'spynet.weight'}, {'body.bias'}, {'spynet.bias'}]
    assert model(flow_lr_mul=0.5).get_current_learning_rate() == [0.001, 0.0005]


def test_stage_one_has_groups_too(tmp_path):
    """Norms and queries of a group go without decay as those outside."""
    begins = ('query_feat', 'transformer_ffn')
    group = {'prefixes': [f'instance.{begin}' for begin in begins], 'lr_scale': 2}
    optim = {'type': 'AdamW', 'lr': 0.001, 'weight_decay': 0.05, 'groups': [group]}
    opt = helpers.instances.make_options(tmp_path, ['instance'], optim_g=optim)
    assert problems_of(opt, True) == []
    one = helpers.instances.make_model(opt, tmp_path)
    groups = one.optimizer_g.param_groups
    assert {group['lr'] for group in groups} == {0.001, 0.002} and groups[0]['lr'] == 0.001
    of = {id(parameter): name for name, parameter in one.net_g.named_parameters()}
    found = {of[id(p)] for each in groups if each['lr'] == 0.002 for p in each['params']}
    assert found == {name for name in of.values() if name.startswith(begins)} != set(of.values())
    found = {(each['lr'], each['weight_decay']) for each in groups}
    assert found == {(rate, decay) for rate in (0.001, 0.002) for decay in (0, 0.05)}
    group['prefixes'] = ['frame_decoder.']  # which is frozen
    assert [problem.key for problem in problems_of(opt, True)] == ['train:optim_g:groups']


# ----------------------------------------------------------------------------------------------------------- resuming


def test_a_resumed_run_goes_on_with_the_same_bits(model, tmp_path):
    whole = model(**grouped(BODY))
    step(whole, 1, 4, warmup_iter=3)
    before = model(**grouped(BODY))
    step(before, 1, 2, warmup_iter=3)
    before.save(0, 2)
    state = load_file(tmp_path / 'training_states/2.state')
    path = {'pretrain_network_g': str(tmp_path / 'models/net_g_2.pth'), 'resume_state': '2.state'}
    after = model(path, **grouped(BODY))
    after.resume_training(copy.deepcopy(state))
    step(after, 3, 4, warmup_iter=3)
    for name, value in whole.net_g.state_dict().items():
        assert torch.equal(after.net_g.state_dict()[name], value), name
    faster = model(path, **grouped(BODY | {'lr_scale': 8}))
    faster.resume_training(copy.deepcopy(state))
    usual, rate = faster.get_current_learning_rate()
    assert rate == pytest.approx(8 * usual)


@pytest.mark.parametrize(
    ('groups', 'said'),
    [
        ([], r"with train:optim_g:groups of \[\['body\.'\]\], but this one has no train:optim_g:groups"),
        ([{'prefixes': ['spynet.'], 'lr_scale': 4}], r"\['body\.'\]\], but this one has .* of \[\['spynet\.'\]\]"),
        ([{'prefixes': ['body.w'], 'lr_scale': 4}], r"this one has train:optim_g:groups of \[\['body\.w'\]\]"),
    ],
)
def test_a_resumed_run_with_other_groups_is_refused(model, tmp_path, groups, said):
    """Also where as many parameters are in each, whose moments would be mixed up."""
    before = model(**grouped(BODY))
    step(before, 1, 1)
    before.save(0, 1)
    with pytest.raises(UserError, match=said) as caught:
        model(**grouped(*groups)).resume_training(load_file(tmp_path / 'training_states/1.state'))
    assert 'To begin a new training' in str(caught.value)


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ('groups', 'said'),
    [
        (
            [{'prefixes': ['bdy.'], 'lr_scale': 2}],
            r"names 'bdy\.', but no parameter of TinyVSR starts so\. Did you mean",
        ),
        (
            [{'prefixes': ['body.wieght'], 'lr_scale': 2}],
            r"names 'body\.wieght', .* Did you mean body\.weight\? .* train are body, spynet\.",
        ),
        (
            [BODY, {'prefixes': ['spynet', 'body.b'], 'lr_scale': 2}],
            r"has body\.bias in two groups, by 'body\.' of group 1 and 'body\.b' of group 2\.",
        ),
    ],
)
def test_groups_that_do_not_fit_the_network(model, options, groups, said):
    with pytest.raises(UserError, match=f'train:optim_g:groups {said}'):
        model(**grouped(*groups))
    (problem,) = problems_of(options(train=grouped(*groups)), True)
    assert problem.key == 'train:optim_g:groups' and re.search(f'It {said}', str(problem))


def test_what_is_frozen_has_no_rate(model, options):
    train = {**grouped(BODY), 'trainable': ['spynet']}
    with pytest.raises(UserError, match=r"names 'body\.', but what starts so in TinyVSR is frozen"):
        model(**train)
    assert 'what starts so in TinyVSR is frozen' in str(problems_of(options(train=train), True)[0])


def test_what_a_stage_of_seeclear_freezes_has_no_rate(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = {'type': 'SeeClear', **TINY, 'missing_priors': 'neutral'}
    opt = options(model_type='SeeClearModel', network_g=network, diffusion={'steps': 3})
    opt['datasets']['train'] |= {'num_frame': 3, 'gt_size': 32}
    opt['train'] |= grouped({'prefixes': ['middle.0.align.', 'decoder.0.align.'], 'lr_scale': 4})
    assert problems_of(opt, True) == []
    assert SeeClearModel(completed(opt, tmp_path)).get_current_learning_rate() == [0.001, 0.004]
    opt['train']['optim_g']['groups'].append({'prefixes': ['memory.'], 'lr_scale': 2})
    said = r"names 'memory\.', but what starts so in SeeClear is frozen"
    (problem,) = problems_of(opt, True)
    assert problem.key == 'train:optim_g:groups' and re.search(said, problem.message)
    with pytest.raises(UserError, match=said):
        SeeClearModel(completed(opt, tmp_path))


def test_a_run_logs_the_rates_of_all_groups(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    opt = options(train=grouped(BODY) | {'total_iter': 1})
    opt['datasets']['train'] |= {'gt_size': 32}
    opt['train']['scheduler'] = {'type': 'MultiStepLR', 'milestones': [5]}
    file = write_options(opt, tmp_path / 'a.yml')
    assert problems_of(OptionFile.read(file), True) == []
    assert main(['train', '-opt', str(file)]) == 0
    (log,) = (tmp_path / 'experiments/tiny').glob('train_tiny_*.log')
    assert 'lr:(1.000e-03,4.000e-03,)' in log.read_text()
