"""The extraction loop with an extractor of clips: a clip is in the store whole or not at all."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import lmdb
import numpy as np
import pytest
from helpers.extraction import content, kill_while_writing
from tqdm import tqdm

from basicsr_semantic.extractors.base import ClipPriors, Extractor
from basicsr_semantic.extractors.runner import extract
from basicsr_semantic.priors import PriorStore
from basicsr_semantic.utils.errors import UserError

CLIPS = {'a': 5, 'b/c': 3, 'b/d': 4, 'e': 1}
KEYS = [f'{clip}/{frame:08d}' for clip, count in CLIPS.items() for frame in range(count)]


class Means(Extractor):
    """Tokens are the frames' means; instances are where a frame is brighter than the first frame of its clip."""

    kind = 'means'
    order = 'id'
    checkpoint = None
    parameters: dict = {}
    max_masks = 2
    tokens = {'num': 1, 'dim': 3, 'global_dim': 1}

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.lengths: list[int] = []

    def describe_clip(self, count, read) -> ClipPriors:
        self.lengths.append(count)
        means = np.stack([read(number).mean((0, 1)) for number in range(count)])
        first = read(0)

        def masks():
            for number in range(count):
                time.sleep(self.seconds)
                yield (read(number) > first).transpose(2, 0, 1)[:2]

        return ClipPriors(means[:, None], means.mean(1, keepdims=True), masks(), np.array([0.9, 0.5]))


def read(key: str) -> np.ndarray:
    return np.random.default_rng(KEYS.index(key)).integers(0, 255, (12, 10, 3), dtype=np.uint8)


def test_a_clip_ends_where_the_numbers_of_its_frames_jump(tmp_path):
    extractor = Means()
    extract(extractor, [key for key in KEYS if key != 'a/00000002'], read, tmp_path / 'store', progress=False)
    assert extractor.lengths == [2, 2, 3, 4, 1]


@pytest.fixture
def whole(tmp_path) -> dict[bytes, bytes]:
    """The store of an uninterrupted run."""
    result = extract(Means(), KEYS, read, tmp_path / 'whole', progress=False)
    assert (result.made, result.skipped) == (13, 0)
    return content(tmp_path / 'whole')


def test_every_clip_is_in_the_store_with_masks_and_tokens(whole, tmp_path):
    assert len(whole) == 1 + 4 + 2 * 13  # metadata, what was seen of the four clips, and what was made of each frame
    reader = PriorStore(tmp_path / 'whole')
    assert reader.keys() == sorted(KEYS)
    assert reader.meta['order'] == 'id' and reader.meta['tokens'] == Means.tokens
    tokens, global_tokens = reader.clip_tokens(KEYS[5:8])
    expected = np.stack([read(key).mean((0, 1)) for key in KEYS[5:8]])
    assert np.allclose(tokens[:, 0], expected, rtol=1e-3)
    assert np.allclose(global_tokens[:, 0], expected.mean(1), rtol=1e-3)
    masks = reader.clip_masks(KEYS[5:8], 2)
    assert not masks[0].any()  # a clip starts again: its first frame is not brighter than itself
    assert np.array_equal(masks[2].astype(bool), (read(KEYS[7]) > read(KEYS[5])).transpose(2, 0, 1)[:2])


def test_a_clip_is_one_call(tmp_path):
    extractor = Means()
    extract(extractor, KEYS, read, tmp_path / 's', progress=False)
    assert extractor.lengths == [5, 3, 4, 1]
    result = extract(extractor, KEYS, read, tmp_path / 's', progress=False)
    assert (result.made, result.skipped, extractor.lengths) == (0, 13, [5, 3, 4, 1])


def test_shards_divide_the_clips(whole, tmp_path):
    extractors = [Means(), Means()]
    for number, extractor in enumerate(extractors, 1):
        extract(extractor, KEYS, read, tmp_path / 's', (number, 2), progress=False)
    assert [extractor.lengths for extractor in extractors] == [[5, 4], [3, 1]]
    assert content(tmp_path / 's') == whole


def test_a_clip_that_lacks_a_frame_is_made_again(whole, tmp_path):
    with lmdb.open(str(tmp_path / 'whole')) as env, env.begin(write=True) as transaction:
        transaction.delete(KEYS[6].encode())
    extractor = Means()
    assert extract(extractor, KEYS, read, tmp_path / 'whole', progress=False).made == 3
    assert extractor.lengths == [3]
    assert content(tmp_path / 'whole') == whole


def run_slowly(path: Path) -> None:
    tqdm.set_lock(threading.RLock())  # that of tqdm is shared with forks, and dies with a killed child
    extract(Means(0.02), KEYS, read, path, batch_frames=1, progress=False)


@pytest.mark.parametrize('delay', [0.0, 0.05, 0.15, 0.25])
def test_a_killed_run_leaves_whole_clips_and_is_continued_to_the_same_store(whole, tmp_path, delay):
    path = tmp_path / 's'
    left = kill_while_writing(run_slowly, path, delay).keys() - {b'__meta__'}
    for clip in CLIPS:
        of_clip = {key for key in whole if key.startswith((f'{clip}/'.encode(), f'__tokens__/{clip}/'.encode()))}
        assert of_clip <= left or not of_clip & left
    extract(Means(), KEYS, read, path, progress=False)
    assert content(path) == whole


def test_an_interrupt_writes_no_half_clip(tmp_path):
    def interrupted(key: str) -> np.ndarray:
        if key == KEYS[10]:
            raise KeyboardInterrupt
        return read(key)

    with pytest.raises(KeyboardInterrupt):
        extract(Means(), KEYS, interrupted, tmp_path / 's', progress=False)
    assert PriorStore(tmp_path / 's').keys() == KEYS[:8]


@pytest.mark.parametrize('when', ['at first', 'while the masks are made'])
def test_a_clip_with_a_frame_that_cannot_be_read_is_left_out_and_named(tmp_path, capsys, when):
    calls: list[str] = []

    def broken(key: str) -> np.ndarray:
        calls.append(key)
        if key == KEYS[7] and (when == 'at first' or calls.count(key) > 1):
            raise UserError(f'--frames: {key}.png is truncated.')
        return read(key)

    with pytest.raises(UserError) as caught:
        extract(Means(), KEYS, broken, tmp_path / 's')
    text = str(caught.value)
    assert text.startswith('1 of 4 clips could not be read')
    assert f'The first: --frames: {KEYS[7]}.png is truncated.' in text
    assert '13/13' in capsys.readouterr().err
    assert PriorStore(tmp_path / 's').keys() == sorted(KEYS[:5] + KEYS[8:])
    assert extract(Means(), KEYS, read, tmp_path / 's', progress=False).made == 3


def test_what_the_extractor_refuses_stops_at_once_and_names_the_clip(tmp_path):
    class Refusing(Means):
        def describe_clip(self, count, read):
            if count == 4:
                raise UserError('Too long.')
            return super().describe_clip(count, read)

    with pytest.raises(UserError, match=r"Clip 'b/d': Too long\."):
        extract(Refusing(), KEYS, read, tmp_path / 's', progress=False)
    assert PriorStore(tmp_path / 's').keys() == sorted(KEYS[:8])


def test_the_bar_counts_frames(tmp_path, capsys):
    extract(Means(), KEYS, read, tmp_path / 's', (2, 2))
    shown = capsys.readouterr().err
    assert 'means 2/2' in shown and '4/4' in shown and 'frame/s' in shown


class Cells(Means):
    """Features, too: the mean of each channel in a cell."""

    features = {'dim': 3, 'cell': 4}

    def describe_clip(self, count, read) -> ClipPriors:
        found = super().describe_clip(count, read)
        frames = (np.pad(read(number), ((0, 0), (0, 2), (0, 0)), 'edge') for number in range(count))
        found.pixel_features = (frame.reshape(3, 4, 3, 4, 3).mean((1, 3)).transpose(2, 0, 1) for frame in frames)
        return found


def test_pixel_features_are_written_before_the_clip_counts(tmp_path):
    extract(Cells(), KEYS, read, tmp_path / 'whole', progress=False)
    calls: list[str] = []

    def interrupted(key: str) -> np.ndarray:
        calls.append(key)
        if calls.count(KEYS[10]) == 3:  # its features are written, its masks are being made
            raise KeyboardInterrupt
        return read(key)

    with pytest.raises(KeyboardInterrupt):
        extract(Cells(), KEYS, interrupted, tmp_path / 's', progress=False)
    reader = PriorStore(tmp_path / 's')
    assert reader.keys() == KEYS[:8] and reader.has_features
    assert reader.clip_features(KEYS[8:12]).shape == (4, 3, 3, 3)
    reader.close()
    extract(Cells(), KEYS, read, tmp_path / 's', progress=False)
    assert content(tmp_path / 's') == content(tmp_path / 'whole')
