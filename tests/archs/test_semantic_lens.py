"""Semantic Lens: its sizes, its start, what each prior does, and clips of every kind."""

from __future__ import annotations

import itertools

import pytest
import torch
from basicsr.archs import build_network
from torch import nn

from basicsr_semantic.archs import PSRTRecurrent, SemanticLens
from basicsr_semantic.archs.layers.recurrent_enhancer import BRANCHES, Step
from basicsr_semantic.archs.semantic_arch import SemanticArch
from basicsr_semantic.engine.checkpoint import load_weights
from basicsr_semantic.priors import SemanticPriors
from basicsr_semantic.utils.errors import MissingError

CORE = {'embed_dim': 8, 'mid_channels': 4, 'depths': [1, 2], 'num_heads': [2, 1], 'window_size': [3, 4, 4]}
SMALL = {**CORE, 'token_dim': 6, 'global_dim': 5, 'image_window': 5}
SWITCHES = list(itertools.product([False, True], repeat=3))
PARTS = ('gps', 'isee', 'image')


def clip(b=1, t=3, h=6, w=9, instances=3, tokens=4, seed=0):
    """Frames and priors."""
    generator = torch.Generator().manual_seed(seed)
    priors = SemanticPriors(
        masks=(torch.rand(b, t, instances, h, w, generator=generator) < 0.3).byte(),
        global_tokens=torch.randn(b, t, 5, generator=generator),
        instance_tokens=torch.randn(b, tokens, 6, generator=generator),
    )
    return torch.rand(b, t, 3, h, w, generator=generator), priors


def lively(net, seed=0):
    """Random weights everywhere, so that every part has a say."""
    torch.manual_seed(seed)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.15)
    return net.eval()


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def run(net, *inputs):
    with torch.no_grad():
        return net(*inputs)


def test_parameter_counts_are_those_of_the_design():
    with torch.device('meta'):
        net = SemanticLens()
        assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 17_027_107
        assert count(net.space) == 12 * (389_160 + 58_320)
        assert count(net.image) == 4 * 43_560
        assert count(net.compress_global) == count(net.compress_instance) == 61_560 + 240
        for gps, isee, image in SWITCHES:
            parts = gps * (12 * 389_160 + 61_800) + isee * (12 * 58_320 + 61_800) + image * 4 * 43_560
            assert count(SemanticLens(gps=gps, isee=isee, image=image)) == 11_359_507 + parts


def test_is_built_by_basicsr_and_says_what_it_needs():
    net = build_network({'type': 'SemanticLens', **SMALL})
    assert isinstance(net, SemanticLens) and isinstance(net, SemanticArch)
    assert net.prior_fields == SemanticLens.prior_fields == ('masks', 'global_tokens', 'instance_tokens')
    assert (net.scale, net.size_requirements.minimum, net.size_requirements.multiple_of) == (4, 1, 1)
    needs = {'masks': 'image', 'global_tokens': 'gps', 'instance_tokens': 'isee'}
    for switches in SWITCHES:
        given = dict(zip(PARTS, switches, strict=True))
        assert set(SemanticLens(**SMALL, **given).prior_fields) == {f for f, part in needs.items() if given[part]}


@pytest.mark.parametrize('image', [True, False])
@pytest.mark.parametrize('training', [True, False])
def test_starts_as_the_network_without_space_to_the_bit(image, training):
    torch.manual_seed(0)
    net, plain = SemanticLens(**SMALL, image=image), SemanticLens(**SMALL, image=image, gps=False, isee=False)
    assert not plain.load_state_dict(net.state_dict(), strict=False).missing_keys
    lq, priors = clip(b=2)
    outputs = []
    for one in (net, plain):
        torch.manual_seed(1)
        with torch.set_grad_enabled(training):
            outputs.append(one.train(training)(lq, priors))
    assert torch.equal(*outputs)


def test_without_its_parts_it_is_psrt_without_flow_to_the_bit():
    psrt = lively(PSRTRecurrent(**CORE, align='none'))
    bare = SemanticLens(**CORE, gps=False, isee=False, image=False).eval()
    bare.load_state_dict(psrt.state_dict(), strict=True)
    lq, _ = clip(b=2, t=4)
    assert torch.equal(run(bare, lq), run(psrt, lq))


def test_weights_of_psrt_warm_start_it(tmp_path):
    psrt = lively(PSRTRecurrent(**CORE))
    torch.save({'params': psrt.state_dict()}, tmp_path / 'psrt.pth')
    net = SemanticLens(**SMALL)
    missing, unexpected = load_weights(net, tmp_path / 'psrt.pth', strict=False)
    assert not unexpected
    assert {key.split('.')[0] for key in missing} == {'compress_global', 'compress_instance', 'image', 'space'}
    shared = {k: v for k, v in psrt.state_dict().items() if not k.startswith('spynet')}
    assert all(torch.equal(net.state_dict()[key], value) for key, value in shared.items())


@pytest.mark.parametrize('switches', SWITCHES)
def test_after_two_steps_every_parameter_has_had_a_gradient(switches):
    torch.manual_seed(0)
    net = SemanticLens(**SMALL, **dict(zip(PARTS, switches, strict=True)), drop_path_rate=0.0).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    lq, priors = clip(b=2)
    moved = set()
    for _ in range(2):
        optimizer.zero_grad()
        (net(lq, priors) - 0.5).square().mean().backward()
        assert all(p.grad is not None for p in net.parameters()), 'DDP would wait for it'
        moved |= {name for name, p in net.named_parameters() if p.grad.any()}
        optimizer.step()
    # the bias of a key adds the same to all scores of a query, which softmax does not see
    silent = {name for name, _ in net.named_parameters()} - moved
    assert all(name.endswith('key.bias') for name in silent), silent


@pytest.mark.parametrize(
    'sizes',
    [
        {'t': 1, 'h': 1, 'w': 1},
        {'t': 2, 'h': 4, 'w': 8},
        {'b': 2, 't': 5, 'h': 7, 'w': 10},
        {'t': 3, 'instances': 0, 'tokens': 0},
        {'t': 3, 'instances': 11, 'tokens': 11},
    ],
)
@pytest.mark.parametrize('upscale', [2, 3, 4])
def test_clips_of_every_kind(sizes, upscale):
    net = lively(SemanticLens(**SMALL, upscale=upscale))
    lq, priors = clip(**sizes)
    out = run(net, lq, priors)
    assert out.shape == (*lq.shape[:3], upscale * lq.shape[3], upscale * lq.shape[4]) and out.isfinite().all()
    assert net.scale == upscale


def test_clips_of_a_batch_do_not_touch():
    net = lively(SemanticLens(**SMALL))
    lq, priors = clip(b=3)
    single = []
    for i in range(3):
        part = {name: value[i : i + 1] for name, value in priors.present().items()}
        single.append(run(net, lq[i : i + 1], SemanticPriors(**part)))
    torch.testing.assert_close(run(net, lq, priors), torch.cat(single), atol=1e-5, rtol=1e-5)


def test_an_instance_that_comes_and_goes():
    """Where it is absent, every frame is background; where it shows, its pixels meet its pixels only."""
    net = lively(SemanticLens(**SMALL))
    lq, priors = clip(t=5, instances=2)
    priors.masks.zero_()
    empty = run(net, lq, priors)
    priors.masks[:, 1:4, 1, 2:4, 3:6] = 1
    shown = run(net, lq, priors)
    assert shown.isfinite().all() and not torch.allclose(shown, empty)
    other_channel = SemanticPriors(**{**priors.present(), 'masks': priors.masks.flip(2)})
    assert torch.equal(run(net, lq, other_channel), shown), 'only identity over time counts, not the channel'
    swapped = priors.masks.clone()
    swapped[:, 2] = swapped[:, 2].flip(1)
    assert not torch.allclose(run(net, lq, SemanticPriors(**{**priors.present(), 'masks': swapped})), shown)


def test_each_slot_has_the_global_token_of_its_frame():
    net = SemanticLens(**SMALL)
    seen = []

    def watch(branch):
        block = net.space[branch][0]
        return block.register_forward_hook(lambda _, inputs, __: seen.append((branch, inputs[1], inputs[2])))

    for branch in BRANCHES:
        watch(branch)
    lq, priors = clip(t=4)
    run(net, lq, priors)
    tokens = run(net.compress_global, priors.global_tokens)
    forward, backward = [(0, 0, 0), (0, 1, 1), (1, 2, 0), (2, 3, 1)], [(3, 3, 3), (3, 2, 2), (2, 1, 3), (1, 0, 2)]
    for branch in BRANCHES:
        shown = [given for name, given, _ in seen if name == branch]
        for given, frames in zip(shown, forward if branch.startswith('forward') else backward, strict=True):
            assert torch.equal(given, tokens[:, list(frames)])
    instances = run(net.compress_instance, priors.instance_tokens)
    assert all(torch.equal(given, instances) for _, _, given in seen)


def test_image_aligns_both_neighbours_within_their_instances():
    net = lively(SemanticLens(**SMALL))
    lq, priors = clip(t=3)
    guide = net._guide(lq, priors)
    current, first, second = torch.randn(3, 1, 6, 9, 8)
    labels, image = guide.labels, net.image['forward_1']
    with torch.no_grad():
        near, far = net._align(guide, Step('forward_1', 2, 1, 0), current, first, second)
        assert torch.equal(near, image(current, first, labels[:, 2], labels[:, 1]))
        assert torch.equal(far, image(current, second, labels[:, 2], labels[:, 0]))
        assert net._align(guide, Step('forward_1', 1, 0), current, first, None)[1] is None


def test_every_prior_matters():
    net = lively(SemanticLens(**SMALL))
    lq, priors = clip()
    out = run(net, lq, priors)
    for name, value in priors.present().items():
        other = SemanticPriors(**{**priors.present(), name: 1 - value if name == 'masks' else value + 1})
        assert not torch.allclose(run(net, lq, other), out), name


def test_isee_without_residual_is_another_network():
    lq, priors = clip()
    outputs = [run(lively(SemanticLens(**SMALL, isee_residual=residual)), lq, priors) for residual in (True, False)]
    assert not torch.allclose(*outputs)


@pytest.mark.parametrize('switches', SWITCHES)
def test_missing_priors_are_an_error_that_says_what_to_do(switches):
    net = SemanticLens(**SMALL, **dict(zip(PARTS, switches, strict=True)))
    lq, priors = clip()
    if not any(switches):
        assert run(net, lq).isfinite().all()
        return
    for field in net.prior_fields:
        with pytest.raises(MissingError, match=rf'needs {field} with the frames.*missing_priors') as caught:
            net(lq, SemanticPriors(**{k: v for k, v in priors.present().items() if k != field}))
        assert caught.value.what == 'tokens'
    with pytest.raises(MissingError):
        net(lq)


def test_neutral_priors_are_one_background_and_zero_tokens():
    net = lively(SemanticLens(**SMALL, missing_priors='neutral'))
    lq, priors = clip(b=2)
    zeros = SemanticPriors(
        masks=torch.zeros_like(priors.masks),
        global_tokens=torch.zeros_like(priors.global_tokens),
        instance_tokens=torch.zeros(2, 1, 6),
    )
    assert torch.equal(run(net, lq), run(net, lq, zeros))
    assert torch.equal(run(net, lq, SemanticPriors(masks=priors.masks)), run(net, lq, _with(zeros, masks=priors.masks)))
    assert not torch.allclose(run(net, lq, priors), run(net, lq))


def _with(priors, **fields):
    return SemanticPriors(**{**priors.present(), **fields})


@pytest.mark.parametrize(
    ('field', 'shape', 'message'),
    [
        ('masks', (1, 2, 3, 6, 9), r'masks .* \(1, 3, I, 6, 9\)'),
        ('masks', (1, 3, 3, 9, 6), r'masks .* \(1, 3, I, 6, 9\)'),
        ('global_tokens', (1, 3, 6), r'global_tokens .* \(1, 3, 5\)'),
        ('instance_tokens', (1, 4, 5), r'instance_tokens .* \(1, N, 6\)'),
        ('instance_tokens', (2, 4, 6), r'instance_tokens .* \(1, N, 6\)'),
    ],
)
def test_priors_of_a_wrong_shape_are_refused(field, shape, message):
    lq, priors = clip()
    given = {**priors.present(), field: torch.zeros(shape, dtype=getattr(priors, field).dtype)}
    with pytest.raises(ValueError, match=message):
        net = SemanticLens(
            **SMALL, gps=field == 'global_tokens', isee=field == 'instance_tokens', image=field == 'masks'
        )
        net(lq, SemanticPriors(**{field: given[field]}))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'image_window': 8}, '5, 7, 9, 11'),
        ({'missing_priors': 'ignore'}, "'error' or 'neutral'"),
        ({'upscale': 8}, '2, 3 or 4'),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SemanticLens(**{**SMALL, **arguments})


def test_checkpointing_and_main_memory_change_nothing():
    lq, priors = clip()
    gradients, outputs = [], []
    for options in ({}, {'checkpointing': True}, {'cpu_cache_length': 2}):
        net = lively(SemanticLens(**SMALL, **options)).train()
        torch.manual_seed(7)
        out = net(lq, priors)
        out.square().mean().backward()
        outputs.append(out.detach())
        gradients.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    for i in (1, 2):
        assert torch.equal(outputs[i], outputs[0])
        torch.testing.assert_close(gradients[i], gradients[0], atol=1e-6, rtol=1e-4)


def test_runs_in_mixed_precision():
    net = lively(SemanticLens(**SMALL, checkpointing=True, drop_path_rate=0.0))
    lq, priors = clip(b=2)
    exact = run(net, lq, priors)
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(run(net, lq, priors).float(), exact, atol=0.1, rtol=0.1)
        output = net.train()(lq, priors)
    output.float().mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
