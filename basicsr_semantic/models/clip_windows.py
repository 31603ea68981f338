"""Cutting a video into clips of one length, for networks that need it."""

from __future__ import annotations


def clip_windows(frames: int, length: int) -> list[list[int]]:
    """Positions of the frames of each clip: one clip after the other, the last one shifted back to end with the video.

    A video that is shorter than a clip is played to and fro until it fills one; see :func:`new_frames`.

    Args:
        frames: Frames of the video, at least 1.
        length: Frames of a clip.

    Returns:
        For every clip, ``length`` positions in [0, frames).
    """
    if frames < length:
        period = max(2 * (frames - 1), 1)
        places = [k % period for k in range(length)]
        return [[min(place, period - place) if frames > 1 else 0 for place in places]]
    starts = [min(start, frames - length) for start in range(0, frames, length)]
    return [list(range(start, start + length)) for start in starts]


def new_frames(windows: list[list[int]]) -> list[list[int]]:
    """For every clip, the positions in it of the frames that no earlier clip had, each frame once."""
    seen: set[int] = set()
    fresh = []
    for window in windows:
        places = []
        for place, position in enumerate(window):
            if position not in seen:
                seen.add(position)
                places.append(place)
        fresh.append(places)
    return fresh
