"""Small videos of a texture that moves, and what OpenCV decodes of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 48, 64


def picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(height, width, 3) uint8: a texture that moves, so that each frame depends on the ones before."""
    texture = cv2.GaussianBlur(
        np.random.default_rng(0).random((3 * height, 3 * width, 3)).astype(np.float32), (0, 0), 3
    )
    texture = (texture - texture.min()) / (texture.max() - texture.min()) * 255
    return texture[number : number + height, 2 * number : 2 * number + width].astype(np.uint8)


def make_video(path: Path, count: int = 40, height: int = HEIGHT, width: int = WIDTH) -> Path:
    """Write a video: an MP4 with frames between key frames, or an AVI of JPEG frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    code = 'mp4v' if path.suffix == '.mp4' else 'MJPG'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 10, (width, height))
    assert writer.isOpened()
    for number in range(count):
        writer.write(picture(number, height, width))
    writer.release()
    return path


def cut_short(path: Path, share: float = 0.6) -> Path:
    """Leave the first part of a video, whose header goes on to announce all of it."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def decoded(path: Path) -> list[np.ndarray]:
    """All frames in order, (h, w, 3) uint8 BGR."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (image := capture.read()[1]) is not None:
        frames.append(image)
    return frames
