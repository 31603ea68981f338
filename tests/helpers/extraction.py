"""What the tests of extractors and of their loop share: clips, all that a store holds, and a run that is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import lmdb
import numpy as np

CLIPS: dict[str, tuple[int, int, int]] = {'one': (1, 16, 24), 'odd': (3, 13, 21), 'several': (5, 16, 16)}
"""Name -> frames, height and width of the clips that every extractor is shown."""


def keys_of(clip: str) -> list[str]:
    """The keys of the frames of such a clip."""
    return [f'{clip}/{t:08d}' for t in range(CLIPS[clip][0])]


def frames_of(clip: str) -> list[np.ndarray]:
    """Its frames, (h, w, 3) uint8: a texture that moves."""
    count, height, width = CLIPS[clip]
    noise = np.random.default_rng(len(clip)).random((height + 8, width + 8, 3)).astype(np.float32)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)
    return [np.ascontiguousarray(texture[t : t + height, t : t + width].round().astype(np.uint8)) for t in range(count)]


def content(path: Path) -> dict[bytes, bytes]:
    """Everything in a store, byte by byte."""
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as transaction:
        return {bytes(key): bytes(value) for key, value in transaction.cursor()}


def kill_while_writing(run: Callable[[Path], None], path: Path, delay: float) -> dict[bytes, bytes]:
    """Start a run in a process of its own, kill it some seconds after its store has appeared, and say what is there.

    Args:
        run: Fills a store; forked, so a function of a test module will do.
        path: The store.
        delay: Seconds.
    """
    child = multiprocessing.get_context('fork').Process(target=run, args=(path,))
    child.start()
    while not (path / 'data.mdb').exists():
        time.sleep(0.001)
    time.sleep(delay)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    return content(path) if (path / 'data.mdb').stat().st_size else {}
