"""The extraction loop with an extractor of tokens and features of single frames."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.extraction import content, kill_while_writing
from tqdm import tqdm

from basicsr_semantic.extractors.base import Extractor, FramePriors
from basicsr_semantic.extractors.runner import extract
from basicsr_semantic.priors import PriorStore
from basicsr_semantic.utils.errors import UserError

KEYS = [f'{clip}/{frame:08d}' for clip in 'ab' for frame in range(6)]


class Colours(Extractor):
    """The token is the frame's mean; a feature is the mean colour of a cell."""

    kind = 'colours'
    order = 'id'
    checkpoint = None
    parameters: dict = {}
    max_masks = 0
    tokens = {'num': 1, 'dim': 3, 'global_dim': 0}
    features = {'dim': 3, 'cell': 4}

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.calls = 0

    def describe_frame(self, frame: np.ndarray) -> FramePriors:
        time.sleep(self.seconds)
        self.calls += 1
        cells = frame.reshape(3, 4, 2, 4, 3).mean((1, 3)).transpose(2, 0, 1)
        nothing = np.zeros((0, *frame.shape[:2]), bool)
        return FramePriors(frame.mean((0, 1))[None], np.zeros(0, np.float32), cells, nothing)


def read(key: str) -> np.ndarray:
    return np.random.default_rng(KEYS.index(key)).integers(0, 255, (12, 8, 3), dtype=np.uint8)


@pytest.fixture
def whole(tmp_path) -> dict[bytes, bytes]:
    """The store of an uninterrupted run."""
    result = extract(Colours(), KEYS, read, tmp_path / 'whole', progress=False)
    assert (result.made, result.skipped) == (12, 0)
    return content(tmp_path / 'whole')


def test_every_frame_has_tokens_and_features(whole, tmp_path):
    assert len(whole) == 1 + 2 + 3 * 12  # metadata, what was seen of the two clips, and what was made of each frame
    reader = PriorStore(tmp_path / 'whole')
    assert (reader.keys(), reader.has_masks, reader.meta['features']) == (KEYS, False, Colours.features)
    expected = read(KEYS[7]).reshape(3, 4, 2, 4, 3).mean((1, 3)).transpose(2, 0, 1)
    assert np.allclose(reader.clip_features(KEYS[7:8])[0], expected, rtol=1e-3)
    assert np.allclose(reader.clip_tokens(KEYS[7:8])[0][0, 0], read(KEYS[7]).mean((0, 1)), rtol=1e-3)


def test_what_is_divided_and_resumed_is_a_frame(whole, tmp_path):
    extractor = Colours()
    extract(extractor, KEYS, read, tmp_path / 's', (2, 3), progress=False)
    assert extractor.calls == 4
    assert PriorStore(tmp_path / 's').keys() == KEYS[1::3]
    extract(extractor, KEYS, read, tmp_path / 's', progress=False)
    assert extractor.calls == 12
    assert content(tmp_path / 's') == whole


def run_slowly(path: Path) -> None:
    tqdm.set_lock(threading.RLock())  # that of tqdm is shared with forks, and dies with a killed child
    extract(Colours(0.02), KEYS, read, path, batch_frames=1, progress=False)


@pytest.mark.parametrize('delay', [0.0, 0.05, 0.15])
def test_a_killed_run_is_continued_to_the_same_store(whole, tmp_path, delay):
    path = tmp_path / 's'
    left = set(kill_while_writing(run_slowly, path, delay))
    for key in KEYS:
        if key.encode() in left:
            assert {f'__tokens__/{key}'.encode(), f'__features__/{key}'.encode()} <= left
    extract(Colours(), KEYS, read, path, progress=False)
    assert content(path) == whole


def test_a_frame_that_cannot_be_read_is_left_out_and_named(tmp_path):
    def broken(key: str) -> np.ndarray:
        if key == KEYS[3]:
            raise UserError(f'--frames: {key}.png is truncated.')
        return read(key)

    with pytest.raises(UserError, match=r'1 of 12 frames could not be read, so the store .* lacks their priors') as one:
        extract(Colours(), KEYS, broken, tmp_path / 's', progress=False)
    assert f'The first: --frames: {KEYS[3]}.png is truncated.' in str(one.value)
    assert len(PriorStore(tmp_path / 's')) == 11
