"""The probe's worlds: LR frames say nothing of the classes, and priors tell what is true of the clips."""

from __future__ import annotations

import probe_priors
import probe_world
import pytest
import torch
from probe_arms import ARMS
from probe_world import AMPLITUDE, NUM_CLASSES, World, make_clips, psnr, shown_share, textures
from torch.nn import functional as F

WORLDS = {name: arm.world for name, arm in ARMS.items()}


def drawn(world: World, seed: int = 0, held_out: bool = False):
    return make_clips(world, 4, torch.Generator().manual_seed(seed), held_out)


@pytest.mark.parametrize('scale', [2, 4])
def test_textures_leave_nothing_in_a_block_and_have_neither_mean_nor_median(scale):
    found = textures(scale)
    assert found.shape == (NUM_CLASSES, scale, scale) and len({str(one.tolist()) for one in found}) == NUM_CLASSES
    assert torch.equal(found.sum((1, 2)), torch.zeros(NUM_CLASSES)) and torch.equal(found.sum(0), found[0] * 0)
    assert torch.equal(found.sort(0).values[2] + found.sort(0).values[3], found[0] * 0)


@pytest.mark.parametrize('world', [w for w in dict.fromkeys(WORLDS.values()) if w.revealed == 'none'])
def test_lr_frames_are_the_same_bit_for_bit_whatever_the_classes(world, monkeypatch):
    right = drawn(world)
    draw = probe_world._distinct

    def other_classes(batch, count, numbers, generator):
        numbers_drawn = draw(batch, count, numbers, generator)
        return (numbers_drawn + 1) % NUM_CLASSES if numbers == NUM_CLASSES else numbers_drawn

    monkeypatch.setattr(probe_world, '_distinct', other_classes)
    wrong = drawn(world)
    assert torch.equal(right.lq, wrong.lq) and torch.equal(right.plain, wrong.plain)
    assert not torch.equal(right.gt, wrong.gt) and not torch.equal(right.classes, wrong.classes)


@pytest.mark.parametrize('held_out', [False, True])
def test_frames_are_images_and_show_the_texture_of_each_pixels_class(held_out):
    world = World(scale=4)
    clips = drawn(world, held_out=held_out)
    assert clips.lq.shape == (4, 3, 3, 12, 12) and clips.gt.shape == (4, 3, 3, 48, 48)
    assert clips.gt.min() > 0 and clips.gt.max() < 1 and torch.equal(clips.gt, clips.plain + AMPLITUDE * clips.texture)
    shown = clips.class_map()[1, 2, 5, 7]
    assert torch.equal(clips.texture[1, 2, 0, 20:24, 28:32], textures(4)[shown])


def test_held_out_clips_are_of_other_photographs():
    assert set(probe_world._TRAINING).isdisjoint(probe_world._HELD_OUT)


def test_a_class_is_revealed_where_the_world_says_so():
    revealed, hidden = (drawn(World(scale=2, revealed=which)) for which in ('first', 'none'))
    differs = (revealed.lq != hidden.lq).flatten(2).any(2)
    assert differs[:, 0].all() and not differs[:, 1:].any()


def test_what_is_measured():
    clips = drawn(World(scale=2))
    assert shown_share(clips.gt, clips) == pytest.approx(1, abs=1e-5)
    assert shown_share(clips.plain, clips) == 0
    assert shown_share(2 * clips.plain - clips.gt, clips) == pytest.approx(-1, abs=1e-5)
    assert psnr(clips.plain, clips.gt) == pytest.approx(float(-20 * torch.tensor(AMPLITUDE).log10()), abs=1e-3)


@pytest.mark.parametrize('tell', ['class_masks', 'scene_class', 'tinted_instances', 'class_pixels', 'class_tokens'])
def test_wrong_priors_tell_another_class_of_everything_and_neutral_ones_nothing(tell):
    clips = drawn(World(scale=2, tinted=True))
    function = getattr(probe_priors, tell)
    oracle, wrong, other, neutral = (
        probe_priors.priors_of(clips, function, mode, torch.Generator().manual_seed(0)) for mode in probe_priors.MODES
    )
    assert not neutral.present() and oracle.present().keys() == wrong.present().keys() == other.present().keys()
    for name, value in oracle.present().items():
        if (tell, name) in (('tinted_instances', 'masks'), ('class_tokens', 'pixel_features')):
            assert torch.equal(value, getattr(wrong, name)), 'shapes are where they are, whatever their class'
        else:
            assert not torch.equal(value, getattr(wrong, name)) and not torch.equal(value, getattr(other, name))
    if tell == 'class_masks':
        assert not (oracle.masks & wrong.masks).any(), 'some pixel is told its true class'


def test_the_class_is_told_in_one_frame_alone():
    clips = drawn(World(scale=2, size=16))
    tokens = probe_priors.class_in_one_frame(clips).frame_tokens
    whole = probe_priors.class_tokens(clips).frame_tokens
    same = (tokens == whole).flatten(2).all(2)
    assert torch.equal(same, F.one_hot(clips.told, 3).bool())
