"""Sampling of videos: clip after clip, what is worked out how often, seeds, memory, sizes."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from helpers.seeclear import awake, build, priors

from basicsr_semantic.diffusion import BlurringResShift
from basicsr_semantic.models.base_upsamplers import enlarge_bicubic
from basicsr_semantic.models.seeclear_sampling import clip_seed, sample_video

STEPS = BlurringResShift(steps=3)


def video(frames: int = 8, size: tuple[int, int] = (16, 24)) -> tuple[torch.Tensor, torch.Tensor]:
    lq = torch.rand(frames, 3, *size, generator=torch.Generator().manual_seed(1))
    return lq, enlarge_bicubic(lq[None], 4)[0]


def run(net, frames: int = 8, size: tuple[int, int] = (16, 24), diffusion=STEPS, lq=None, name='a', **more):
    given, base = video(frames, size)
    cells = (-(-size[0] // 4), -(-size[1] // 4))
    net.eval()
    return sample_video(net, diffusion, given if lq is None else lq, base, priors(1, frames, cells=cells), name, **more)


@pytest.fixture(scope='module')
def net():
    return awake(build()).eval()


@pytest.mark.parametrize('frames', [1, 2, 3, 7, 9])
def test_an_oracle_gets_its_video_back_whatever_its_length(frames, monkeypatch):
    """Every frame of the result is that of the first clip that shows it."""
    net = build()
    gt = torch.rand(frames, 3, 64, 96)
    lq, base = video(frames)

    def positions(clip, *_):
        """Where the frames of a clip (1, t, 3, h, w) lie in the video; this stands for the condition."""
        return [int((2 * lq - 1 - frame).abs().sum((1, 2, 3)).argmin()) for frame in clip[0]]

    monkeypatch.setattr(net, 'condition', positions)
    monkeypatch.setattr(net, 'denoise', lambda x, t, base, shown: (2 * gt[shown][None] - 1, []))
    monkeypatch.setattr('basicsr_semantic.models.seeclear_sampling.remember', lambda net, memory, *_: memory)
    result = sample_video(net, STEPS, lq, base, None, 'a')
    torch.testing.assert_close(result, gt)


def test_what_does_not_depend_on_the_step_is_worked_out_once_a_clip(net, monkeypatch):
    calls: Counter[str] = Counter()

    def counted(owner, name):
        method = getattr(owner, name)

        def wrapper(*args, **kwargs):
            calls[name] += 1
            return method(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapper)

    for name in ('condition', 'denoise', 'update_memory'):
        counted(net, name)
    counted(net.instances, 'associate')
    counted(net.memory, 'read')
    counted(net.pyramid, 'forward')
    counted(net.decoder[0].align, 'guide')
    run(net, frames=8, diffusion=BlurringResShift(steps=15))
    assert calls == {
        'condition': 3, 'associate': 3, 'read': 3, 'forward': 3, 'guide': 3, 'denoise': 45, 'update_memory': 2,
    }  # fmt: skip


def test_the_memory_sees_the_last_step(net, monkeypatch):
    steps, seen = [], []
    denoise, update = net.denoise, net.update_memory

    def watched(x, t, base, condition):
        result = denoise(x, t, base, condition)
        steps.append((int(t), result[1]))
        return result

    def updated(memory, features):
        seen.append(features)
        return update(memory, features)

    monkeypatch.setattr(net, 'denoise', watched)
    monkeypatch.setattr(net, 'update_memory', updated)
    run(net, frames=6)
    last = next(features for t, features in steps if t == 1)
    assert len(seen) == 1 and all(torch.equal(a, b) for a, b in zip(seen[0], last, strict=True))


def test_the_memory_runs_from_clip_to_clip_and_starts_again_with_a_video(net):
    lq, _ = video()
    other = lq.clone()
    other[0] = 1 - other[0]
    with_memory, changed = run(net), run(net, lq=other)
    assert (with_memory[3:] - changed[3:]).abs().max() > 1e-6
    alone, alone_changed = run(net, with_memory=False), run(net, lq=other, with_memory=False)
    assert torch.equal(alone[3:], alone_changed[3:]) and not torch.equal(alone[:3], alone_changed[:3])
    assert torch.equal(with_memory, run(net))


def test_the_noise_follows_from_seed_video_and_clip(net):
    first = run(net, seed=1)
    assert torch.equal(first, run(net, seed=1))
    assert not torch.equal(first, run(net, seed=2)) and not torch.equal(first, run(net, seed=1, name='b'))
    seeds = [clip_seed(seed, name, k) for seed in range(3) for name in 'ab' for k in range(3)]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**63 for seed in seeds)


def test_frames_of_a_clip_may_share_their_noise(net, monkeypatch):
    states = []
    denoise = net.denoise

    def watched(x, t, base, condition):
        states.append((x * (1 + STEPS.kappa**2 * STEPS.etas[-1]).sqrt() - base)[0])
        return denoise(x, t, base, condition)

    monkeypatch.setattr(net, 'denoise', watched)
    run(net, frames=3, noise_repeat=True)
    torch.testing.assert_close(states[0][0], states[0][1], atol=1e-5, rtol=0)


@pytest.mark.parametrize('size', [(16, 24), (17, 23), (9, 12)])
def test_any_size(net, size):
    result = run(net, frames=4, size=size)
    assert result.shape == (4, 3, 4 * size[0], 4 * size[1]) and result.isfinite().all()
    assert result.min() >= 0 and result.max() <= 1


def test_frames_are_padded_and_their_features_stay_in_place(net, monkeypatch):
    """Frames of 17x23 are mirrored to 24x24, their base block by block; 5x6 cells cover 20x24 of them."""
    given = []

    def seen(lq, priors, memory, shown):
        given.append((lq, shown))
        return condition(lq, priors, memory, shown)

    condition, denoise = net.condition, net.denoise
    bases = []
    monkeypatch.setattr(net, 'condition', seen)
    monkeypatch.setattr(net, 'denoise', lambda x, t, base, c: bases.append(base) or denoise(x, t, base, c))
    run(net, frames=3, size=(17, 23))
    lq, base = video(3, (17, 23))
    rows, columns = [*range(17), *range(15, 8, -1)], [*range(23), 21]

    def blocks(places):
        return [4 * place + k for place in places for k in range(4)]

    [(frames, shown)] = given
    assert torch.equal(frames[0], 2 * lq[:, :, rows][..., columns] - 1) and shown == (20, 24)
    assert torch.equal(bases[0][0], 2 * base[:, :, blocks(rows)][..., blocks(columns)] - 1)


def test_features_of_another_grid_are_refused(net):
    lq, base = video(3)
    with pytest.raises(ValueError, match='have 4x6 cells, one for each 4x4 pixels; these have 8x12'):
        sample_video(net, STEPS, lq, base, priors(1, 3, cells=(8, 12)), 'a')


def test_progress_is_told_after_every_step(net):
    told = []
    run(net, frames=4, progress=lambda *place: told.append(place))
    assert told == [(clip, 2, step) for clip in range(2) for step in (1, 2, 3)]
