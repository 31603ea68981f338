"""Degradations against references made by others, against BasicSR, and against themselves on parts of frames."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from basicsr.data.data_util import duf_downsample
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils.matlab_functions import imresize
from helpers.project import REAL_CLIPS, needs_clips
from hypothesis import given, settings
from hypothesis import strategies as st

from basicsr_semantic.data.degradations import DEGRADATIONS, check_degradation, degrade, mod_crop, taps
from basicsr_semantic.utils.errors import UserError

CALENDAR = REAL_CLIPS / 'vid4_calendar'
needs_calendar = needs_clips('vid4_calendar')

KINDS_AND_SCALES = [(kind, scale) for kind in ('BI', 'BD_DUF') for scale in (2, 3, 4)] + [('BD', 4)]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def frame(folder: str, number: int) -> np.ndarray:
    return cv2.imread(str(CALENDAR / folder / f'{number:05d}.png'))


@needs_calendar
def test_bi_is_matlabs_imresize_to_the_last_bit():
    for number in range(0, 31, 10):
        assert np.array_equal(degrade(frame('gt', number), 'BI'), frame('lr_bi', number))


@needs_calendar
def test_bi_of_floats_is_close_to_the_reference():
    difference = np.abs(degrade(frame('gt', 0).astype(np.float32), 'BI') - frame('lr_bi', 0))
    print(f'BI of float32 against the reference: {difference.mean():.3f} of 255')
    assert difference.mean() < 0.35


@needs_calendar
def test_bd_duf_reproduces_the_reference():
    differences, floored = [], []
    for number in range(0, 41, 8):
        gt, reference = frame('gt', number), frame('lr_bd', number).astype(np.float32)
        differences.append(np.abs(degrade(gt, 'BD_DUF') - reference).mean())
        # the reference was cut off, not rounded, and differs in its outermost rows: elsewhere it is ours
        floored.append(np.abs(np.floor(degrade(gt.astype(np.float32), 'BD_DUF')) - reference)[2:-2].mean())
    print(f'BD_DUF against the reference: {np.mean(differences):.3f} of 255, cut off {np.mean(floored):.3f}')
    assert np.mean(differences) < 0.6
    assert np.mean(floored) < 0.15


@needs_calendar
def test_bd_and_bd_duf_are_not_the_same():
    assert np.abs(degrade(frame('gt', 0), 'BD').astype(float) - frame('lr_bd', 0)).mean() > 5


@pytest.mark.slow
@needs_calendar
def test_bicubic_figures_of_calendar_are_the_published_kind():
    psnr, ssim = [], []
    for number in range(0, 41, 4):
        gt = frame('gt', number)
        up = imresize(degrade(gt, 'BI').astype(np.float32) / 255, 4)
        up = (up.clip(0, 1) * 255).round().astype(np.uint8)
        psnr.append(calculate_psnr(up, gt, 0, test_y_channel=True))
        ssim.append(calculate_ssim(up, gt, 0, test_y_channel=True))
    print(f'calendar, bicubic, Y, every fourth frame: {np.mean(psnr):.2f} dB / {np.mean(ssim):.4f}')
    assert np.mean(psnr) == pytest.approx(20.41, abs=0.01)
    assert np.mean(ssim) == pytest.approx(0.5727, abs=0.0005)


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_bi_of_floats_is_basicsrs_imresize(scale):
    image = noise(scale * 13, scale * 17).astype(np.float32) / 255
    ours, theirs = degrade(image, 'BI', scale), imresize(image, 1 / scale)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 2e-6


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_bd_duf_is_basicsrs_duf_downsample(scale):
    image = noise(scale * 13, scale * 17).astype(np.float32) / 255
    theirs = duf_downsample(torch.from_numpy(image.transpose(2, 0, 1)[None].copy()), 13, scale)
    assert np.abs(degrade(image, 'BD_DUF', scale) - theirs[0].numpy().transpose(1, 2, 0)).max() < 2e-6


@pytest.mark.parametrize(('kind', 'centre'), [('BI', 1.5), ('BD', 1.5), ('BD_DUF', 0.0)])
def test_where_an_output_pixel_looks(kind, centre):
    ramp = np.broadcast_to(np.arange(80, dtype=np.float32)[None, :, None], (80, 80, 3)).copy()
    inside = degrade(ramp, kind)[4:-4, 4:-4, 0]
    assert np.allclose(inside, 4 * np.arange(4, 16) + centre, atol=1e-4)


def test_bd_has_twelve_taps_and_repeats_the_edge():
    assert len(taps('BD', 4).weights) == 12
    image = np.zeros((40, 40, 3), np.float32)
    image[0] = 1  # outermost row: seen by output row 0 through itself and the repeated rows above it
    expected = sum(taps('BD', 4).weights[: -taps('BD', 4).first + 1])
    assert degrade(image, 'BD')[0, 5, 0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(('kind', 'scale'), KINDS_AND_SCALES)
def test_flat_frames_stay_flat(kind, scale):
    for value in (0, 77, 255):
        assert (degrade(np.full((scale * 6, scale * 5, 3), value, np.uint8), kind, scale) == value).all()


@settings(max_examples=60, deadline=None)
@given(
    kind_scale=st.sampled_from(KINDS_AND_SCALES),
    size=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    data=st.data(),
    as_float=st.booleans(),
)
def test_a_box_equals_the_box_of_the_whole_frame(kind_scale, size, data, as_float):
    kind, scale = kind_scale
    image = noise(size[0] * scale, size[1] * scale, seed=size[0] * 20 + size[1])
    image = image.astype(np.float32) / 255 if as_float else image
    top, left = (data.draw(st.integers(0, length - 1)) for length in size)
    height, width = data.draw(st.integers(1, size[0] - top)), data.draw(st.integers(1, size[1] - left))
    whole = degrade(image, kind, scale)
    assert whole.shape == (*size, 3)
    assert np.array_equal(
        degrade(image, kind, scale, (top, left, height, width)), whole[top : top + height, left : left + width]
    )


def test_the_bare_crop_would_be_wrong_at_its_border():
    image = cv2.GaussianBlur(noise(160, 160), (0, 0), 1.5)
    right = degrade(image, 'BI', 4, (8, 8, 16, 16)).astype(int)
    bare = degrade(image[32:96, 32:96], 'BI').astype(int)
    assert np.array_equal(right[2:-2, 2:-2], bare[2:-2, 2:-2])
    assert not np.array_equal(right, bare)


def test_eight_bits_are_rounded_and_clipped_and_floats_are_not():
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 255
    floats = degrade(image.astype(np.float32), 'BI')
    assert floats.min() < 0
    assert floats.max() > 255
    eight = degrade(image, 'BI')
    assert eight.dtype == np.uint8
    assert np.abs(eight - floats.clip(0, 255)).max() <= 1


def test_grey_frames_and_views_work():
    image = noise(24, 24)
    assert np.array_equal(degrade(image[..., 0], 'BD'), degrade(image, 'BD')[..., 0])
    assert np.array_equal(degrade(image[..., ::-1], 'BI'), degrade(image, 'BI')[..., ::-1])


def test_mod_crop_cuts_at_the_bottom_and_right():
    image = noise(14, 11)
    assert np.array_equal(mod_crop(image, 4), image[:12, :8])


def test_what_does_not_exist_is_said():
    assert DEGRADATIONS == ('BI', 'BD', 'BD_DUF')
    with pytest.raises(UserError, match=r"no degradation 'bicubic'\. Choose one of BI, BD, BD_DUF"):
        check_degradation('bicubic', 4)
    with pytest.raises(UserError, match="'BD' is defined for scale 4, not for scale 2"):
        degrade(noise(8, 8), 'BD', 2)
    with pytest.raises(ValueError, match='mod_crop'):
        degrade(noise(10, 8), 'BI')
    with pytest.raises(ValueError, match='not inside'):
        degrade(noise(16, 16), 'BI', 4, (2, 0, 3, 3))
    with pytest.raises(ValueError, match='uint8 or float32'):
        degrade(noise(16, 16).astype(np.float64), 'BI')
