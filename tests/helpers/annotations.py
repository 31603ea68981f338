"""Annotations of the clips that every extractor is shown, as a folder of DAVIS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.extraction import CLIPS
from PIL import Image


def small_annotations(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, str]:
    """Two instances that move, drawn at twice the size of the frames."""
    for clip, (count, height, width) in CLIPS.items():
        (folder / clip).mkdir()
        for t in range(count):
            labels = np.zeros((2 * height, 2 * width), np.uint8)
            labels[2:10, 2 + 2 * t : 10 + 2 * t], labels[12:22, 4:12] = 1, 2
            image = Image.fromarray(labels, mode='P')
            image.putpalette(bytes(range(256)) * 3)
            image.save(folder / clip / f'{t:08d}.png')
    return {'annotations': str(folder)}
