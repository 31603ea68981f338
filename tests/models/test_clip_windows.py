"""How a video is cut into clips."""

from __future__ import annotations

import pytest

from basicsr_semantic.models.clip_windows import clip_windows, new_frames


@pytest.mark.parametrize(
    ('frames', 'length', 'windows'),
    [
        (5, 5, [[0, 1, 2, 3, 4]]),
        (10, 5, [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]),
        (7, 5, [[0, 1, 2, 3, 4], [2, 3, 4, 5, 6]]),  # Vimeo-90K: the last clip is shifted back
        (3, 5, [[0, 1, 2, 1, 0]]),
        (2, 5, [[0, 1, 0, 1, 0]]),
        (1, 3, [[0, 0, 0]]),
        (3, 1, [[0], [1], [2]]),
    ],
)
def test_windows(frames, length, windows):
    assert clip_windows(frames, length) == windows


@pytest.mark.parametrize('length', [1, 2, 5])
@pytest.mark.parametrize('frames', range(1, 13))
def test_every_frame_is_new_once_and_in_its_first_clip(frames, length):
    windows = clip_windows(frames, length)
    shown = [window[place] for window, places in zip(windows, new_frames(windows), strict=True) for place in places]
    assert shown == list(range(frames))
    assert all(len(window) == length for window in windows)
