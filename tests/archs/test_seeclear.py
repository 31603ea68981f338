"""SeeClear's network: its sizes, its rows of the tables, its identities, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from helpers.seeclear import awake, build, priors

import basicsr_semantic  # noqa: F401
from basicsr_semantic.archs import SeeClear
from basicsr_semantic.utils.errors import MissingError

ROWS = {  # Table 2
    1: {'semantic': False, 'mfsa': False, 'incam': False, 'category': False},
    2: {'mfsa': False, 'incam': False, 'category': False},
    3: {'incam': False, 'category': False},
    4: {'category': False},
    5: {'mfsa': False, 'incam': False},
    6: {'dwt': False},
    7: {},
}


def clip(batch: int = 1, frames: int = 3, size: tuple[int, int] = (16, 24)):
    generator = torch.Generator().manual_seed(6)
    lq = torch.rand(batch, frames, 3, *size, generator=generator) * 2 - 1
    x, base = torch.randn(2, batch, frames, 3, 4 * size[0], 4 * size[1], generator=generator)
    return lq, x, base


def test_the_default_is_the_full_size():
    with torch.device('meta'):
        net = SeeClear()
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in net.named_children()}
    assert counts['instances'] == 12_769_792
    assert sum(counts.values()) == 112_227_800


@pytest.mark.parametrize('row', ROWS)
def test_every_row_of_table_2_trains_all_it_has(row):
    net = awake(build(**ROWS[row]))
    lq, x, base = (z.unsqueeze(1).repeat(1, 2, 1, 1, 1, 1) for z in clip())
    given = [priors()] * 2
    net(x, torch.tensor([[1, 9]]), lq, base, given).square().mean().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize('changes', [{'unet': 'wavediff'}, {'unet': 'swin'}, {'skip': 'full'}, {'upscale': 2}])
def test_variants_have_the_right_size(changes):
    net = awake(build(**changes))
    lq, x, base = clip()
    side = net.scale * 16
    x, base = x[..., :side, : side * 3 // 2], base[..., :side, : side * 3 // 2]
    found, features = net.denoise(x, torch.tensor([3]), base, net.condition(lq, priors()))
    assert found.shape == x.shape
    assert [tuple(f.shape[2:]) for f in features] == [(48, 4, 6), (48, 8, 12), (24, 16, 24), (24, 16, 24)]


def test_it_starts_with_the_base():
    lq, x, base = clip()
    net = build()
    found, _ = net.denoise(x, torch.tensor([3]), base, net.condition(lq, priors()))
    assert torch.equal(found, base)


def test_semantics_and_memory_start_as_the_identity():
    """The same weights without them, given a last layer that lets their work be seen."""
    lq, x, base = clip()
    results = []
    for changes in ({}, ROWS[3]):
        net = build(**changes)
        other = build(**ROWS[3]).state_dict()
        net.load_state_dict({name: value for name, value in other.items() if name in net.state_dict()}, strict=False)
        torch.manual_seed(1)
        torch.nn.init.normal_(net.last.weight)
        condition = net.condition(lq, priors(), net.initial_memory(1))
        results.append(net.denoise(x, torch.tensor([3]), base, condition)[0])
    torch.testing.assert_close(*results)


def test_memory_runs_from_clip_to_clip_and_not_between_videos():
    net = awake(build())
    lq, x, base = (z.unsqueeze(1).repeat(1, 2, 1, 1, 1, 1) for z in clip(2))
    t = torch.tensor([[4, 4], [4, 4]])
    first = net(x, t, lq, base, [priors(2)] * 2)
    assert (first[:, 0] - first[:, 1]).abs().max() > 1e-6  # the same clip again, but remembered
    changed = lq.clone()
    changed[1, 0] = -changed[1, 0]
    second = net(x, t, changed, base, [priors(2)] * 2)
    torch.testing.assert_close(first[0], second[0])
    assert (first[1, 1] - second[1, 1]).abs().max() > 1e-6
    without = net(x, t, lq, base, [priors(2)] * 2, with_memory=False)
    torch.testing.assert_close(without[:, 0], without[:, 1])


def test_steps_and_noise_reach_the_prediction():
    net = awake(build())
    lq, x, base = clip()
    condition = net.condition(lq, priors())
    one, _ = net.denoise(x, torch.tensor([1]), base, condition)
    assert (one - net.denoise(x, torch.tensor([15]), base, condition)[0]).abs().max() > 1e-5
    assert (one - net.denoise(-x, torch.tensor([1]), base, condition)[0]).abs().max() > 1e-5


def test_what_does_not_depend_on_the_step_runs_once_a_clip():
    net = awake(build())
    calls: dict[str, int] = {}

    def count(name):
        def hook(*_):
            calls[name] = calls.get(name, 0) + 1

        return hook

    for name, part in net.named_modules():
        part.register_forward_hook(count(name))
    lq, x, base = clip()
    condition = net.condition(lq, priors(), net.initial_memory(1))
    before = dict(calls)
    once = [name for name in calls if name.startswith(('instances', 'pyramid')) or '.conv' in name or 'key' in name]
    assert any(name.startswith('instances') for name in once) and 'middle.0.align.conv1' in once
    assert 'decoder.3.textures.key' in once and 'decoder.0.align.key' in once
    for t in (3, 2, 1):
        net.denoise(x, torch.tensor([t]), base, condition)
    assert {name: calls[name] for name in before} == before
    assert calls['middle.0.stage'] == 3


def three_clips() -> tuple[torch.Tensor, ...]:
    """lq, states, base (1, 3, 3, 3, ., .) of three clips of a video, and their steps."""
    parts = [torch.stack(z, dim=1) for z in zip(*(clip() for _ in range(3)), strict=True)]
    generator = torch.Generator().manual_seed(9)
    return *(z + 0.3 * torch.randn(z.shape, generator=generator) for z in parts), torch.tensor([[2, 1, 3]])


def test_checkpointing_changes_no_gradient():
    lq, x, base, t = three_clips()
    grads = []
    for checkpointing in (False, True):
        net = awake(build(checkpointing=checkpointing))
        net(x, t, lq, base, [priors()] * 3).square().mean().backward()
        grads.append({name: p.grad for name, p in net.named_parameters()})
    assert all(grad is not None for grad in grads[0].values())
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad)


def test_a_clip_learns_from_what_the_one_before_wrote_and_no_further():
    """The loss of the third clip reaches the frames of none before: what they showed is detached."""
    lq, x, base, t = three_clips()
    net = awake(build())
    x.requires_grad_()
    loss = net(x, t, lq, base, [priors()] * 3)[:, 2].square().mean()
    shown, written, learned = torch.autograd.grad(loss, [x, net.memory.write.weight, net.memory.textures])
    assert not shown[:, :2].any() and shown[:, 2].any()
    assert written.any() and learned.any()


@pytest.mark.parametrize('incam', [True, False])
def test_what_trains_with_the_memory(incam):
    """Without InCAM, tokens of the clip serve nothing else."""
    net = build(incam=incam)
    parts = {name.split('.')[0] for name, _ in net.named_parameters() if net.is_of_memory(name)}
    assert parts == {'memory', 'middle', 'decoder'} | (set() if incam else {'instances'})
    rest = [name for name, _ in net.named_parameters() if not net.is_of_memory(name)]
    lq, x, base = (z.unsqueeze(1) for z in clip())
    net = awake(net)
    net(x, torch.tensor([[2]]), lq, base, [priors()], False).square().mean().backward()
    assert all(net.get_parameter(name).grad is not None for name in rest), 'a part of the condenser has no gradient'


def test_further_tokens_of_a_frame_have_no_effect_and_too_few_are_refused():
    net = awake(build())
    lq, x, base = clip()
    many, five = priors(tokens=9), priors(tokens=9)
    five.frame_tokens = five.frame_tokens[:, :, :5]
    one, other = (net.denoise(x, torch.tensor([2]), base, net.condition(lq, p))[0] for p in (many, five))
    assert torch.equal(one, other)
    with pytest.raises(ValueError, match=r'frame_tokens .* \(1, 3, 4, 16\).* at least 5, 16'):
        net.condition(lq, priors(tokens=4))


def test_tokens_of_another_width_pass_a_layer():
    net = awake(build(token_dim=20))
    given = priors()
    given.frame_tokens = torch.randn(1, 3, 5, 20)
    lq, x, base = clip()
    assert net.denoise(x, torch.tensor([2]), base, net.condition(lq, given))[0].shape == x.shape
    with pytest.raises(ValueError, match='frame_tokens'):
        net.condition(lq, priors())


def test_missing_priors():
    lq, x, base = clip()
    with pytest.raises(MissingError, match='needs frame_tokens, pixel_features with the frames') as caught:
        build().condition(lq)
    assert caught.value.what == 'features'
    net = awake(build(missing_priors='neutral'))
    assert net.denoise(x, torch.tensor([2]), base, net.condition(lq))[0].isfinite().all()
    bare = build(**ROWS[1])
    assert bare.prior_fields == () and bare.condition(lq).guides is None


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        ({'head_dim': 7}, 'head_dim divides'),
        ({'multipliers': [1, 2]}, 'multipliers are four'),
        ({'unet': 'resshift'}, 'unet is seeclear, wavediff or swin'),
        ({'semantic': False}, 'set semantic: true, or incam: false'),
        ({'upscale': 3}, 'upscale is 2 or 4, not 3'),
        ({'missing_priors': 'zero'}, "'error' or 'neutral'"),
        ({'clip_length': 0}, 'at least 1'),
    ],
)
def test_arguments_out_of_range(changes, says):
    with pytest.raises(ValueError, match=says):
        build(**changes)


def test_clips_of_another_length_or_size_are_refused():
    net = build()
    lq = clip()[0]
    with pytest.raises(ValueError, match='clips of 3 frames; this one has 2'):
        net.condition(lq[:, :2], priors())
    with pytest.raises(ValueError, match='multiples of 8'):
        net.condition(lq[..., :20], priors())
