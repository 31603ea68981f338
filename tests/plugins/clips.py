"""Fixtures: tiny clips on disk, and the options of a tiny training on them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.project import training_options


@pytest.fixture(scope='session')
def clips(tmp_path_factory) -> Path:
    """Three clips of 7 frames: ``gt`` (3, 96, 96) and ``lq`` a quarter of it, smooth random texture that moves."""
    root = tmp_path_factory.mktemp('clips')
    generator = np.random.default_rng(0)
    for clip in ('000', '001', '002'):
        texture = cv2.GaussianBlur(generator.random((160, 160, 3)).astype(np.float32), (0, 0), 2)
        texture = (texture - texture.min()) / (texture.max() - texture.min())
        for i in range(7):
            frame = (texture[i : i + 96, 2 * i : 2 * i + 96] * 255).round().astype(np.uint8)
            small = cv2.resize(frame, (24, 24), interpolation=cv2.INTER_AREA)
            for kind, image in (('gt', frame), ('lq', small)):
                folder = root / kind / clip
                folder.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(folder / f'{i:08d}.png'), image)
    return root


@pytest.fixture
def options(clips):
    """A function that gives the options of a tiny training run; see `training_options`."""
    return partial(training_options, clips)
