"""``train.prior_dropout``: which clips lose their priors, that they are then as clips without, and that runs resume."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import tiny_archs  # noqa: F401  (registers TinyVSR)
import torch
import toy_arch  # noqa: F401  (registers ToyArch)
from helpers import seeclear
from helpers.clips import data_sets
from helpers.instances import make_options
from helpers.options import problems_of
from helpers.project import training_options, write_options
from helpers.runs import equal
from helpers.seeclear import small_see_clear_model
from torch import nn

from basicsr_semantic.archs import EDVRSEEM, BasicVSRSEEM, SeeClear, SemanticLens
from basicsr_semantic.archs.semantic_arch import SemanticArch, arch_of
from basicsr_semantic.cli import main
from basicsr_semantic.engine.checkpoint import load_file
from basicsr_semantic.engine.seeding import happens
from basicsr_semantic.models import SeeClearModel, SemanticVSRModel
from basicsr_semantic.priors import SemanticPriors
from basicsr_semantic.utils.errors import UserError

# ------------------------------------------------------------------------------------------------------ the networks


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def masks(*shape: int) -> torch.Tensor:
    return (numbers(*shape, seed=1) < 0.4).byte()


Restores = Callable[[torch.Tensor, SemanticPriors | None], torch.Tensor]


def edvr() -> tuple[nn.Module, Restores, torch.Tensor, SemanticPriors]:
    small = {'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1, 'num_frame': 3}
    net = EDVRSEEM(num_feat=8, num_masks=4, reduction=4, zero_init=False, missing_priors='neutral', **small)
    return net, net, numbers(2, 3, 3, 8, 8), SemanticPriors(masks=masks(2, 3, 4, 8, 8))


def basicvsr() -> tuple[nn.Module, Restores, torch.Tensor, SemanticPriors]:
    small = {'num_feat': 8, 'num_block': 1, 'zero_flow': True}
    net = BasicVSRSEEM(num_masks=4, reduction=4, zero_init=False, missing_priors='neutral', **small)
    return net, net, numbers(2, 2, 3, 33, 33), SemanticPriors(masks=masks(2, 2, 4, 33, 33))


def lens(instances: int = 3) -> tuple[nn.Module, Restores, torch.Tensor, SemanticPriors]:
    small = {'embed_dim': 8, 'mid_channels': 4, 'depths': [1], 'num_heads': [2], 'window_size': [3, 4, 4]}
    net = SemanticLens(**small, token_dim=6, global_dim=5, image_window=5, missing_priors='neutral')
    tokens = {'global_tokens': numbers(2, 3, 5, seed=2), 'instance_tokens': numbers(2, 4, 6, seed=3)}
    return net, net, numbers(2, 3, 3, 6, 9), SemanticPriors(masks=masks(2, 3, instances, 6, 9), **tokens)


def see_clear() -> tuple[nn.Module, Restores, torch.Tensor, SemanticPriors]:
    """Two clips of a video, so that the memory takes part; more tokens than it takes, and cells of another size."""
    net = seeclear.build(missing_priors='neutral')

    def restores(lq: torch.Tensor, priors: SemanticPriors | None) -> torch.Tensor:
        b = lq.size(0)
        state, steps = lq.repeat_interleave(4, -1).repeat_interleave(4, -2).view(b, 2, 3, 3, 32, 32), torch.ones(b, 2)
        clips = None if priors is None else [priors.frames(slice(0, 3)), priors.frames(slice(3, 6))]
        return net(state, steps, lq.view(b, 2, 3, 3, 8, 8), state, clips)

    given = seeclear.priors(2, 6, tokens=7, cells=(3, 5)).present()
    doubles = SemanticPriors(**{field: value.double() for field, value in given.items()})
    return net, restores, numbers(2, 6, 3, 8, 8), doubles


NETWORKS = {'EDVR': edvr, 'BasicVSR': basicvsr, 'Lens': lens, 'Lens40': lambda: lens(40), 'SeeClear': see_clear}


@torch.no_grad()
@pytest.mark.parametrize('name', NETWORKS)
def test_a_clip_that_lost_its_priors_is_restored_as_one_without(name):
    """And the others of its batch as with theirs; 40 instances are more than a word of labels holds."""
    torch.manual_seed(0)
    net, restores, lq, priors = NETWORKS[name]()
    for part, parameter in net.double().eval().named_parameters():
        if not parameter.any() and not part.startswith('spynet'):
            parameter.normal_(std=0.1)
    if isinstance(net, SeeClear):
        net.step.float()  # it embeds steps in float32, and gives frames in float32
    close = {'rtol': 0, 'atol': 2e-6 if isinstance(net, SeeClear) else 1e-12}
    given = {field: value.clone() for field, value in priors.present().items()}
    dropped = torch.tensor([False, True])
    mixed = restores(lq, arch_of(net).without_priors(priors, dropped))
    assert equal(given, priors.present())
    own = replace(priors, **{field: value[:1] for field, value in given.items()})
    torch.testing.assert_close(mixed[:1], restores(lq[:1], own), **close)
    without = restores(lq[1:], None)
    torch.testing.assert_close(mixed[1:], without, **close)
    own = replace(priors, **{field: value[1:] for field, value in given.items()})
    assert (restores(lq[1:], own) - without).abs().max() > 1e-4


def test_a_network_may_say_itself_what_says_nothing():
    class Asks(nn.Module):
        prior_fields = ('masks',)

        def without_priors(self, priors, clips):
            return replace(priors, masks=torch.where(clips.view(-1, 1, 1, 1, 1), 1, priors.masks))

    priors, clips = SemanticPriors(masks=torch.zeros(2, 1, 1, 2, 2, dtype=torch.uint8)), torch.tensor([True, False])
    changed = arch_of(Asks()).without_priors(priors, clips).masks
    assert changed is not None and changed[0].all() and not changed[1].any()
    assert not SemanticArch().without_priors(SemanticPriors(), clips).present()


# -------------------------------------------------------------------------------------------------------- the draws


def test_what_happens_is_a_function_of_seed_iteration_and_place():
    drawn = torch.stack([happens(0.3, 8, 5, iteration) for iteration in range(1, 501)])
    assert drawn.float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert (drawn.float().mean(0) - 0.3).abs().max() < 0.1
    assert torch.equal(drawn, torch.stack([happens(0.3, 8, 5, iteration) for iteration in range(1, 501)]))
    assert not torch.equal(drawn[0:9], drawn[1:10])
    assert not torch.equal(drawn, torch.stack([happens(0.3, 8, 6, iteration) for iteration in range(1, 501)]))
    halves = [happens(0.3, 4, 5, 7, rank, 2) for rank in (0, 1)]
    assert torch.equal(torch.stack(halves, 1).flatten(), happens(0.3, 8, 5, 7))


def test_it_leaves_all_generators_as_they_are():
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = states()
    assert happens(0.5, 64, 0, 1).any()
    assert states() == before


# -------------------------------------------------------------------------------------------------------- the models


@pytest.fixture
def toy(tmp_path, monkeypatch) -> dict:
    """The options of a network that masks tint, on clips with masks; experiments are made in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data').mkdir()
    sections = data_sets(tmp_path / 'data', 18, 22, gt_size=32)
    return training_options(tmp_path / 'data', datasets=sections, network_g={'type': 'ToyArch'})


def build(opt: dict) -> SemanticVSRModel:
    cls = SeeClearModel if opt['model_type'] == 'SeeClearModel' else SemanticVSRModel
    torch.manual_seed(0)
    return cls(copy.deepcopy(opt) | {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1})


def fed_priors(model: SemanticVSRModel, data: dict, iterations: int) -> list[list[SemanticPriors]]:
    """What the network gets in each iteration; the priors of SeeClear's clips one by one."""
    seen: list[list[SemanticPriors]] = []

    def look(module, inputs):
        given = next(one for one in inputs if isinstance(one, SemanticPriors | list))
        seen.append(given if isinstance(given, list) else [given])

    handle = model.net_g.register_forward_pre_hook(look)
    for iteration in range(1, iterations + 1):
        model.feed_data(data)
        model.optimize_parameters(iteration)
    handle.remove()
    return seen


def silent(value: torch.Tensor) -> list[bool]:
    return [not one.any() for one in value]


def test_in_training_some_clips_of_a_batch_are_without_masks(toy):
    toy['train'] |= {'prior_dropout': 0.5}
    model = build(toy)
    data = {'lq': torch.rand(2, 1, 3, 8, 8), 'gt': torch.rand(2, 1, 3, 32, 32), 'prior_kind': ['sam'] * 2}
    data['masks'] = torch.ones(2, 1, 3, 8, 8, dtype=torch.uint8)
    seen = [silent(priors.masks) for (priors,) in fed_priors(model, data, 6)]
    assert seen == [happens(0.5, 2, toy['manual_seed'], iteration).tolist() for iteration in range(1, 7)]
    assert [True, False] in seen or [False, True] in seen
    assert torch.equal(model.priors.masks, data['masks']), 'what was fed stays'
    toy['train']['prior_dropout'] = 0
    ((priors,),) = fed_priors(build(toy), data, 1)
    assert silent(priors.masks) == [False, False]


def test_seeclear_drops_tokens_and_features_of_all_clips_of_a_sample(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opt = small_see_clear_model(tmp_path, monkeypatch)
    torch.save({'params': seeclear.build().state_dict()}, 'condenser.pth')
    opt['path'] |= {'pretrain_network_g': 'condenser.pth'}
    opt['datasets']['train'] |= {'num_frame': 6}
    opt['train'] |= {'stage': 'joint', 'prior_dropout': 0.5, 'accumulate': 2}
    opt['manual_seed'] = next(seed for seed in range(99) if happens(0.5, 2, seed, 1).tolist() == [False, True])
    model = build(opt)
    given = seeclear.priors(2, 6, cells=(2, 2)).present()
    data = {'lq': torch.rand(2, 6, 3, 8, 8), 'gt': torch.rand(2, 6, 3, 32, 32), 'prior_kind': ['openseed'] * 2, **given}
    halves = fed_priors(model, data, 1)
    for field in ('frame_tokens', 'pixel_features'):
        for clip in (0, 1):
            found = [one for half in halves for one in silent(getattr(half[clip], field))]
            assert found == [False, True]
    assert len(halves) == 2


# -------------------------------------------------------------------------------------------------------------- runs


@pytest.fixture
def train(toy, tmp_path):
    """A function: run the command, and give the weights that it has saved last."""

    def run(name: str, *flags: str, **keys) -> dict:
        keys = toy['train'] | {'total_iter': 4} | keys
        file = write_options(toy | {'name': name, 'train': keys}, tmp_path / f'{name}.yml')
        assert main(['train', '-opt', str(file), *flags]) == 0
        return load_file(tmp_path / f'experiments/{name}/models/net_g_{keys["total_iter"]}.pth')

    return run


def test_a_run_that_was_stopped_drops_what_the_whole_run_drops(train):
    whole = train('whole', prior_dropout=0.5)
    train('stopped', prior_dropout=0.5, total_iter=2)
    resumed = train('stopped', '--auto_resume', prior_dropout=0.5)
    assert equal(whole['params'], resumed['params']) and equal(whole['params_ema'], resumed['params_ema'])
    plain = train('plain')
    assert equal(plain['params'], train('zero', prior_dropout=0)['params'])
    assert not equal(plain['params'], whole['params'])


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize('network', [{'type': 'TinyVSR'}, {'type': 'EDVRSEEM', 'num_frame': 3, 'positions': []}])
def test_a_network_that_takes_no_priors_has_none_to_lose(options, network):
    opt = options(network_g=network, train={'prior_dropout': 0.25})
    said = f'It is 0.25, but this {network["type"]} takes no priors that could be dropped.'
    (problem,) = problems_of(opt, True)
    assert (problem.key, problem.message) == ('train:prior_dropout', f'{said} Remove it, or set it to 0.')
    with pytest.raises(UserError, match=f'train:prior_dropout: {said}'):
        build(opt)
    opt['train']['prior_dropout'] = 0
    assert problems_of(opt, True) == []


def test_only_probabilities_and_only_where_there_are_priors(options, tmp_path):
    for value, said in ((1, 'It is 1, but must be less than 1.'), (-0.1, 'It is -0.1, but must be at least 0.')):
        (problem,) = problems_of(options(train={'prior_dropout': value}), True)
        assert (problem.key, problem.message) == ('train:prior_dropout', said)
    (problem,) = problems_of(make_options(tmp_path, ['instance'], prior_dropout=0.1), True)
    assert problem.key == 'train:prior_dropout' and 'It is a key of' in problem.suggestion
