"""The model class of SeeClear: what its stages train and are fed, what a checkpoint remembers, what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_archs  # noqa: F401  (registers TinyVSR)
import torch
from helpers.options import problems_of
from helpers.seeclear import TINY, awake, build, priors

from basicsr_semantic.models.base_upsamplers import enlarge_bicubic, make_base_upsampler
from basicsr_semantic.models.seeclear_model import SeeClearModel
from basicsr_semantic.models.seeclear_sampling import sample_video
from basicsr_semantic.utils.errors import UserError

NET = {'type': 'SeeClear', **TINY}
DIFFUSION = {'steps': 4}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    """Experiments and results are made in the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def stage(options):
    """A function: the options of a stage; sections given replace keys of it."""

    def make(name: str = 'condenser', **sections) -> dict:
        train = {'total_iter': 4, 'stage': name, **sections.pop('train', {})}
        network = {**NET, **sections.pop('network_g', {})}
        opt = options(name=f'tiny_{name}', model_type='SeeClearModel', network_g=network, train=train, **sections)
        opt['diffusion'] = DIFFUSION | (sections.get('diffusion') or {})
        opt['datasets']['train'] |= {'num_frame': 3 if name == 'condenser' else 6, 'gt_size': 32, 'interval_list': [1]}
        return opt

    return make


@pytest.fixture
def model(stage):
    """A function: a model of a stage, on the CPU, with its batch."""

    def make(name: str = 'condenser', **sections) -> SeeClearModel:
        opt = stage(name, **sections)
        opt |= {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1}
        if name != 'condenser':
            torch.save({'params': awake(build()).state_dict()}, 'condenser.pth')
            opt['path'] |= {'pretrain_network_g': 'condenser.pth'}
        return SeeClearModel(opt)

    return make


def batch(frames: int, size: int = 2) -> dict:
    given = priors(size, frames, cells=(2, 2))
    tensors = {'frame_tokens': given.frame_tokens, 'pixel_features': given.pixel_features}
    return {'lq': torch.rand(size, frames, 3, 8, 8), 'gt': torch.rand(size, frames, 3, 32, 32), **tensors}


@pytest.mark.parametrize('name', ['condenser', 'memory', 'joint'])
def test_a_stage_trains_what_its_name_says(model, name):
    one = model(name)
    before = {key: value.clone() for key, value in one.net_g.named_parameters()}
    one.feed_data(batch(3 if name == 'condenser' else 6))
    for iteration in (1, 2):
        one.optimize_parameters(iteration)
    moved = {key for key, value in one.net_g.named_parameters() if not torch.equal(value, before[key])}
    memory = {key for key in before if one.net_g.is_of_memory(key)}
    assert memory and memory != set(before)
    if name == 'joint':
        assert moved & memory and moved - memory
    else:
        assert moved and moved <= (memory if name == 'memory' else set(before) - memory)
    assert any(key.startswith('memory.') for key in moved) == (name != 'condenser')


def test_the_network_sees_scaled_states_of_the_process(model, monkeypatch):
    """At the step that it is told, and the loss compares frames in [0, 1]."""
    one = model()
    data = batch(3)
    one.feed_data(data)
    torch.manual_seed(7)
    [((x, t, lq, base, given, with_memory), gt)] = one._parts(1)
    assert x.shape == (2, 1, 3, 3, 32, 32) and t.shape == (2, 1) and not with_memory
    assert torch.equal(gt[:, 0], data['gt']) and torch.equal(lq[:, 0], 2 * data['lq'] - 1)
    torch.testing.assert_close(base[:, 0], 2 * enlarge_bicubic(data['lq'], 4) - 1)
    assert torch.equal(given[0].frame_tokens, data['frame_tokens'])
    torch.manual_seed(7)
    assert torch.equal(t, torch.randint(1, 5, (2, 1)))
    noise = torch.randn(6, 3, 32, 32)
    for k in range(2):
        step = int(t[k, 0])
        mean, std = one.diffusion.marginal(2 * data['gt'][k] - 1, base[k, 0], step)
        state = mean + std * noise[3 * k : 3 * k + 3]
        torch.testing.assert_close(x[k, 0], one.diffusion.scale_input(state, step))
    perfect, _ = one._losses(2 * gt - 1, gt, 1)
    assert perfect.item() == pytest.approx(1e-6, rel=0.1)  # Charbonnier's own floor
    shifted, _ = one._losses(2 * gt - 1 + 0.2, gt, 1)
    assert shifted.item() == pytest.approx(0.1, rel=1e-3)


def test_every_step_is_drawn(model):
    one = model()
    one.feed_data(batch(3, 8))
    drawn = {int(t) for _ in range(20) for t in one._parts(1)[0][0][1].flatten()}
    assert drawn == {1, 2, 3, 4}


def test_a_sample_becomes_clips_and_the_last_one_is_shifted_back(model):
    one = model('memory')
    data = batch(5)
    one.feed_data(data)
    [((_, t, lq, _, given, with_memory), gt)] = one._parts(1)
    assert with_memory and gt.shape == (2, 2, 3, 3, 32, 32) and t.shape == (2, 2)
    assert torch.equal(gt[:, 1], data['gt'][:, 2:]) and torch.equal(lq[:, 1], 2 * data['lq'][:, 2:] - 1)
    assert torch.equal(given[1].pixel_features, data['pixel_features'][:, 2:])


def test_gradients_of_an_accumulated_batch_are_those_of_the_whole(model):
    found = []
    data = batch(6)
    for accumulate in (1, 2):
        one = model('joint', train={'accumulate': accumulate, 'optim_g': {'type': 'SGD', 'lr': 1.0}})
        one.feed_data(data)
        torch.manual_seed(0)
        one.optimize_parameters(1)
        found.append({key: value.detach() for key, value in one.net_g.named_parameters()})
    for key, value in found[0].items():
        torch.testing.assert_close(value, found[1][key], atol=2e-6, rtol=1e-4)


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ('name', 'sections', 'message'),
    [
        ('memory', {'path': {'pretrain_network_g': None}}, 'train:stage: It is memory, which goes on from a trained'),
        ('joint', {'path': {'pretrain_network_g': None}}, 'train:stage: It is joint, which goes on from a trained'),
        ('memory', {'network_g': {'category': False}}, 'train:stage: .* leaves no memory to train'),
        ('condenser', {'val': {'sample_steps': 5}}, 'val:sample_steps: It is 5; a diffusion of 4 steps'),
        ('condenser', {'val': {'sample_steps': 0}}, 'val:sample_steps: It is 0'),
        ('condenser', {'diffusion': {'kappa': -1}}, 'diffusion: kappa -1'),
        ('condenser', {'diffusion': {'kappa': float('inf')}}, 'diffusion: kappa inf'),
        ('condenser', {'diffusion': {'posterior': 'exact'}}, "diffusion: The posterior is 'exact'"),
        ('condenser', {'diffusion': {'patch': 3}}, 'diffusion:patch: It is 3, but frames are padded'),
        ('condenser', {'diffusion': {'step': 3}}, 'diffusion: .*step'),
        ('condenser', {'base_upsampler': 'bicubik'}, "base_upsampler: It is 'bicubik'. Say bicubic"),
        ('condenser', {'base_upsampler': {'type': 'TinyVSR'}}, 'base_upsampler: A TinyVSR without weights'),
        ('condenser', {'path': {'pretrain_base_upsampler': 'a.pth'}}, 'pretrain_base_upsampler: It has no effect'),
        ('condenser', {'datasets:train:num_frame': 6}, 'datasets:train:num_frame: It is 6; stage condenser takes .* 3'),
        ('memory', {'datasets:train:num_frame': 3, 'path:pretrain_network_g': 'a'}, 'num_frame: It is 3, one clip.* 6'),
        ('condenser', {'network_g': {'window': 0}}, 'network_g: .*window are at least 1'),
        ('condenser', {'network_g:type': 'TinyVSR'}, 'SeeClearModel trains and tests type: SeeClear'),
    ],
)  # fmt: skip
def test_refused_options(stage, name, sections, message):
    flat = {key: value for key, value in sections.items() if ':' in key}
    opt = stage(name, **{key: value for key, value in sections.items() if key not in flat})
    for key, value in flat.items():
        *path, last = key.split(':')
        section = opt
        for part in path:
            section = section[part]
        section[last] = value
    if 'network_g:type' in flat:
        opt['network_g'] = {'type': 'TinyVSR'}
    opt |= {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1}
    with pytest.raises(UserError, match=message):
        SeeClearModel(opt)
    if 'network_g' not in str(sections) or 'category' in str(sections):  # all but what the network itself refuses
        found = [str(problem) for problem in problems_of(opt, True)]
        assert any(re.search(message, line) for line in found), 'the option checker does not say it'


def test_a_misspelt_option_is_one_problem(stage):
    opt = stage(base_upsampler={'type': 'TinyVSR'}, path={'pretrain_base_upsamplr': 'base.pth'})
    Path('base.pth').touch()
    found = problems_of(opt, True)
    assert [problem.key for problem in found] == ['path:pretrain_base_upsamplr']


def test_videos_are_not_cut_for_a_network_with_memory(stage):
    opt = stage() | {'is_train': False, 'dist': False, 'rank': 0, 'world_size': 1}
    opt['datasets'] = {'test_1': {'max_frames': 5}}
    with pytest.raises(UserError, match='datasets:test_1:max_frames: It cuts videos'):
        SeeClearModel(opt)
    opt['network_g'] = {**NET, 'category': False}
    SeeClearModel(opt)


def test_another_stage_is_not_resumed(model, stage):
    one = model()
    torch.save({'params': one.net_g.state_dict(), **one.checkpoint_metadata()}, 'net.pth')
    opt = stage('memory') | {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1}
    opt['path'] |= {'pretrain_network_g': 'net.pth', 'resume_state': '2.state'}
    with pytest.raises(UserError, match='is of stage condenser, but train:stage is memory'):
        SeeClearModel(opt)
    opt['path']['resume_state'] = None
    SeeClearModel(opt)


@pytest.fixture
def warned(monkeypatch) -> list[str]:
    """What the model warns of in the log."""
    messages: list[str] = []
    log = SimpleNamespace(warning=messages.append, info=lambda *_: None)
    monkeypatch.setattr('basicsr_semantic.models.seeclear_model.get_root_logger', lambda: log)
    return messages


def test_the_printed_posterior_is_a_warning_in_the_log(stage, warned, recwarn):
    opt = stage() | {'is_train': False, 'dist': False, 'rank': 0, 'world_size': 1}
    opt['diffusion'] = DIFFUSION | {'posterior': 'paper'}
    SeeClearModel(opt)
    assert len(warned) == 1 and 'is Eq. 34-36 as printed' in warned[0] and not list(recwarn)


def test_another_base_is_a_warning(model, stage, warned):
    one = model()
    torch.save({'params': one.net_g.state_dict(), **one.checkpoint_metadata(), 'base_upsampler': 'BasicVSR'}, 'net.pth')
    opt = stage() | {'is_train': False, 'dist': False, 'rank': 0, 'world_size': 1}
    opt['path']['pretrain_network_g'] = 'net.pth'
    SeeClearModel(opt)
    assert 'was trained on the base of BasicVSR, but base_upsampler is bicubic' in warned[0]


def test_a_checkpoint_knows_its_diffusion(model, stage):
    one = model()
    torch.save({'params': one.net_g.state_dict(), **one.checkpoint_metadata()}, 'net.pth')
    opt = stage() | {'is_train': False, 'dist': False, 'rank': 0, 'world_size': 1}
    opt['path']['pretrain_network_g'] = 'net.pth'
    opt['diffusion'] = {**DIFFUSION, 'posterior': 'resshift'}
    assert SeeClearModel(opt).diffusion.posterior == 'resshift'
    opt['diffusion'] = {**DIFFUSION, 'kappa': 1.0}
    with pytest.raises(UserError, match=r'was trained with diffusion:kappa: 2.0, but the options say 1.0'):
        SeeClearModel(opt)


def test_fewer_digits_are_the_same_diffusion(model, stage):
    """Option files write the root of 2 with nine digits."""
    one = model(diffusion={'sigma_max': 1.41421356})
    torch.save({'params': one.net_g.state_dict(), **one.checkpoint_metadata()}, 'net.pth')
    opt = stage() | {'is_train': False, 'dist': False, 'rank': 0, 'world_size': 1}
    opt['path']['pretrain_network_g'] = 'net.pth'
    SeeClearModel(opt)


def test_too_few_tokens_are_one_sentence(model):
    with pytest.raises(UserError, match='num_tokens is 5, but the priors have 4 tokens a frame'):
        model().feed_data(batch(3) | {'frame_tokens': torch.rand(2, 3, 4, 16)})


# ---------------------------------------------------------------------------------------------------------- tests


@pytest.fixture
def restored(stage):
    """A function: what a model with such options of section val makes of a video of 7 frames."""

    def run(train: bool = False, **val):
        opt = stage(val=val) | {'is_train': train, 'dist': False, 'rank': 0, 'world_size': 1}
        if not train:
            del opt['train']
            opt['path']['pretrain_network_g'] = 'net.pth'
        torch.save({'params': awake(build()).state_dict()}, 'net.pth')
        model = SeeClearModel(opt)
        if train:  # an average that differs from the weights
            model.net_g_ema.load_state_dict(awake(build()).state_dict())
        generator = torch.Generator().manual_seed(4)
        given = priors(1, 7, cells=(2, 3))
        tensors = {'frame_tokens': given.frame_tokens, 'pixel_features': given.pixel_features}
        data = {'lq': torch.rand(1, 7, 3, 8, 12, generator=generator), 'clip': 'a', **tensors}
        model.feed_data(data)
        model.test()
        if train:
            video = (data['lq'][0], enlarge_bicubic(data['lq'], 4)[0], given, 'a')
            return model.output, sample_video(model.net_g_ema, model.sampler, *video, with_memory=False)[None]
        return model.output

    return run


def test_options_of_sampling_have_their_effect(restored):
    whole = restored()
    assert whole.shape == (1, 7, 3, 32, 48) and torch.equal(whole, restored())
    assert not torch.equal(whole, restored(seed=1))
    assert not torch.equal(whole, restored(noise_repeat=True))
    assert not torch.equal(whole, restored(sample_steps=2))
    assert torch.equal(whole, restored(sample_steps=4))
    rough = restored(amp='bf16')
    assert not torch.equal(whole, rough) and (whole - rough).abs().mean() < 0.02
    assert torch.equal(restored(center_frame_only=True), whole[:, 3])


def test_while_the_condenser_trains_its_average_is_sampled_without_the_memory(restored):
    found, expected = restored(train=True)
    assert torch.equal(found, expected) and not torch.equal(found, restored())


# ---------------------------------------------------------------------------------------------------------- bases


def test_bicubic_enlarges_as_matlab_does():
    from basicsr.utils.matlab_functions import imresize

    frame = torch.rand(3, 12, 16, dtype=torch.float64)
    expected = imresize(frame.float(), 4).clamp(0, 1)
    found = enlarge_bicubic(frame.float()[None, None], 4)[0, 0]
    inside = (slice(None), slice(8, -8), slice(8, -8))
    torch.testing.assert_close(found[inside], expected[inside], atol=1e-5, rtol=0)


def test_another_network_makes_the_base(clips):
    from basicsr.archs import build_network

    net = build_network({'type': 'TinyVSR'})
    torch.save({'params': net.state_dict()}, 'base.pth')
    lq = torch.rand(1, 3, 3, 8, 8)
    enlarge = make_base_upsampler({'type': 'TinyVSR'}, 4, 'base.pth')
    with torch.no_grad():
        assert torch.equal(enlarge(lq), net.eval()(lq).clamp(0, 1))


@pytest.mark.parametrize(
    ('section', 'checkpoint', 'message'),
    [
        ('bilinear', None, "base_upsampler is 'bilinear'. Say bicubic, or name an arch"),
        ({'type': 'TinyVSR'}, None, 'TinyVSR without weights'),
        ({'type': 'TinyVSR'}, 'no.pth', 'does not exist'),
        ({'type': 'SeeClear'}, 'no.pth', 'which takes priors of its own'),
    ],
)
def test_refused_bases(section, checkpoint, message):
    with torch.device('meta'), pytest.raises(UserError, match=re.escape(message)):
        make_base_upsampler(section, 4, checkpoint)
