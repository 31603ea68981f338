"""The extraction loop: complete, resumable after any death, and divisible between processes that write one store."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

from basicsr_semantic.extractors import Extractor
from basicsr_semantic.extractors.runner import extract, parse_shard
from basicsr_semantic.priors import PriorStore, PriorStoreWriter, store_metadata
from basicsr_semantic.utils.errors import UserError

KEYS = [f'{clip}/{frame:08d}' for clip in ('000', '001') for frame in range(15)]


class Thresholds(Extractor):
    """An extractor whose masks follow from the frame alone, as slow as wanted."""

    kind = 'thresholds'
    order = 'grid'
    checkpoint = None
    max_masks = 8

    def __init__(self, seconds: float = 0.0, step: int = 40) -> None:
        self.seconds = seconds
        self.parameters = {'step': step}
        self.seen: list[str] = []

    def __call__(self, frame: np.ndarray, key: str) -> tuple[np.ndarray, np.ndarray]:
        assert frame.dtype == np.uint8
        self.seen.append(key)
        time.sleep(self.seconds)
        levels = self.parameters['step'] * np.arange(1, 6)
        return frame[None, ..., 0] > levels[:, None, None], levels / 200


def read(key: str) -> np.ndarray:
    return np.random.default_rng(KEYS.index(key)).integers(0, 255, (12, 10, 3), dtype=np.uint8)


def content(path: Path) -> dict[str, bytes]:
    """Everything in a store, byte by byte."""
    reader = PriorStore(path)
    found = {key: reader._get(key) for key in [*reader.keys(), '__meta__']}
    reader.close()
    return found


@pytest.fixture
def whole(tmp_path) -> dict[str, bytes]:
    """The store of an uninterrupted run."""
    result = extract(Thresholds(), KEYS, read, tmp_path / 'whole', progress=False)
    assert (result.made, result.skipped) == (30, 0)
    return content(tmp_path / 'whole')


def test_every_frame_is_in_the_store(whole, tmp_path):
    assert sorted(whole) == sorted([*KEYS, '__meta__'])
    reader = PriorStore(tmp_path / 'whole')
    assert reader.meta['kind'] == 'thresholds'
    assert reader.meta['parameters'] == {'step': 40}
    assert reader.meta['max_masks'] == 8
    masks, _ = Thresholds()(read(KEYS[7]), KEYS[7])
    assert np.array_equal(reader.masks(KEYS[7], 5), masks)


def test_other_frames_under_the_same_keys_are_refused(whole, tmp_path):
    def blurred(key: str) -> np.ndarray:
        return read(key) // 2

    with pytest.raises(UserError, match=r'was made of other frames: 000/00000000 has other pixels now'):
        extract(Thresholds(), KEYS, blurred, tmp_path / 'whole', progress=False)
    with pytest.raises(UserError, match=r'was made of other frames: 001/00000000 has other pixels now'):
        extract(Thresholds(), KEYS[15:], blurred, tmp_path / 'whole', progress=False)
    assert content(tmp_path / 'whole') == whole
    more = extract(Thresholds(), KEYS[16:], blurred, tmp_path / 'whole', progress=False)  # one frame a clip is compared
    assert (more.made, more.skipped) == (0, 14)


def test_one_clip_of_other_frames_is_refused_whichever_shard_looks(whole, tmp_path):
    def one_replaced(key: str) -> np.ndarray:
        return read(key) // (2 if key.startswith('001') else 1)

    for shard in ((1, 1), (1, 2), (2, 2)):
        with pytest.raises(UserError, match=r'was made of other frames: 001/00000000 has other pixels now'):
            extract(Thresholds(), KEYS, one_replaced, tmp_path / 'whole', shard, progress=False)
    assert content(tmp_path / 'whole') == whole


def test_other_frames_are_refused_also_where_the_first_one_could_not_be_read(tmp_path):
    def damaged(key: str) -> np.ndarray:
        if key == KEYS[0]:
            raise UserError('damaged')
        return read(key)

    with pytest.raises(UserError, match='1 of 30 frames could not be read'):
        extract(Thresholds(), KEYS, damaged, tmp_path / 's', progress=False)
    with pytest.raises(UserError, match='000/00000001 has other pixels now'):
        extract(Thresholds(), KEYS, lambda key: read(key) // 2, tmp_path / 's', progress=False)
    assert extract(Thresholds(), KEYS, read, tmp_path / 's', progress=False).made == 1


def test_a_store_without_frames_takes_other_arguments(tmp_path):
    """A run that failed at its first frame has left it, and is repeated with what was wrong put right."""

    def refuses(frame: np.ndarray, key: str) -> tuple[np.ndarray, np.ndarray]:
        raise UserError('not this frame')

    wrong = Thresholds(step=30)
    wrong.__class__ = type('Refusing', (Thresholds,), {'__call__': lambda self, frame, key: refuses(frame, key)})
    with pytest.raises(UserError, match='not this frame'):
        extract(wrong, KEYS, read, tmp_path / 's', progress=False)
    assert extract(Thresholds(), KEYS, read, tmp_path / 's', progress=False).made == 30
    assert PriorStore(tmp_path / 's').meta['parameters'] == {'step': 40}


def test_two_that_begin_at_once_with_other_arguments_do_not_mix(tmp_path):
    meta = [store_metadata('thresholds', {'step': step}) for step in (30, 40)]
    masks = np.zeros((1, 4, 4), bool)
    with PriorStoreWriter(tmp_path / 's', meta[0]) as second, pytest.raises(UserError, match='by another process, oth'):
        second._agreed = b'{"step": 20}'  # what the store had before that process replaced it
        second.put('a/0', masks)
        second.flush()
    assert PriorStore(tmp_path / 's').keys() == []


def test_a_folder_of_other_things_is_no_store(tmp_path):
    (tmp_path / 'clip').mkdir()
    (tmp_path / 'clip' / '0.png').write_bytes(b'frame')
    with pytest.raises(UserError, match=r'Could not make the store .*clip: the folder holds 0\.png\.'):
        extract(Thresholds(), KEYS, read, tmp_path / 'clip', progress=False)
    assert [path.name for path in (tmp_path / 'clip').iterdir()] == ['0.png']


def test_a_second_run_does_nothing(whole, tmp_path):
    extractor = Thresholds()
    result = extract(extractor, KEYS, read, tmp_path / 'whole', progress=False)
    assert (result.made, result.skipped, extractor.seen) == (0, 30, [])
    assert content(tmp_path / 'whole') == whole


def test_shards_divide_the_frames(whole, tmp_path):
    result = [extract(Thresholds(), KEYS, read, tmp_path / 's', (i, 4), progress=False).made for i in (3, 1, 4, 2)]
    assert sum(result) == 30
    assert max(result) - min(result) <= 1
    assert content(tmp_path / 's') == whole


def run_shard(path: Path, shard: tuple[int, int], seconds: float) -> None:
    # tqdm's lock is shared with forks: a child killed while it holds it would leave the parent waiting for ever
    tqdm.set_lock(threading.RLock())
    extract(Thresholds(seconds), KEYS, read, path, shard, batch_frames=1, progress=False)


def in_process(*arguments) -> multiprocessing.Process:
    child = multiprocessing.get_context('fork').Process(target=run_shard, args=arguments)
    child.start()
    return child


def test_two_shards_at_once_fill_one_store(whole, tmp_path):
    children = [in_process(tmp_path / 's', (i, 2), 0.01) for i in (1, 2)]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert content(tmp_path / 's') == whole


@pytest.mark.parametrize('delay', [0.0, 0.05, 0.2, 0.4])
def test_a_killed_run_is_continued_to_the_same_store(whole, tmp_path, delay):
    """SIGKILL at several moments, from the making of the store on."""
    path = tmp_path / 's'
    child = in_process(path, (1, 1), 0.02)
    while not (path / 'data.mdb').exists():
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    extractor = Thresholds()
    result = extract(extractor, KEYS, read, path, progress=False)
    assert result.made + result.skipped == 30
    assert result.made > 0
    assert len(extractor.seen) == result.made
    assert content(path) == whole


def test_a_shard_killed_beside_another_does_no_harm(whole, tmp_path):
    """The writer that dies may hold LMDB's lock; the other one goes on."""
    path = tmp_path / 's'
    doomed, other = in_process(path, (1, 2), 0.005), in_process(path, (2, 2), 0.02)
    time.sleep(0.1)
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.join()
    other.join(60)
    assert other.exitcode == 0
    assert extract(Thresholds(), KEYS, read, path, progress=False).skipped >= 15
    assert content(path) == whole


def test_an_interrupt_keeps_what_is_done(tmp_path):
    class Interrupted(Thresholds):
        def __call__(self, frame, key):
            if key == KEYS[20]:
                raise KeyboardInterrupt
            return super().__call__(frame, key)

    with pytest.raises(KeyboardInterrupt):
        extract(Interrupted(), KEYS, read, tmp_path / 's', progress=False)
    assert PriorStore(tmp_path / 's').keys() == KEYS[:20]


def test_frames_that_cannot_be_read_are_named_after_the_others_are_done(tmp_path, capsys):
    def broken(key: str) -> np.ndarray:
        if key in (KEYS[4], KEYS[9]):
            raise UserError(f'--frames: {key}.png is truncated.')
        return read(key)

    with pytest.raises(UserError) as caught:
        extract(Thresholds(), KEYS, broken, tmp_path / 's')
    text = str(caught.value)
    assert text.startswith('2 of 30 frames could not be read')
    assert f'The first: --frames: {KEYS[4]}.png is truncated.' in text
    assert f'{KEYS[9]}.png is truncated' in capsys.readouterr().out
    assert PriorStore(tmp_path / 's').keys() == [key for i, key in enumerate(KEYS) if i not in (4, 9)]
    assert extract(Thresholds(), KEYS, read, tmp_path / 's', progress=False).made == 2


def test_what_the_extractor_refuses_stops_at_once(tmp_path):
    class Refusing(Thresholds):
        def __call__(self, frame, key):
            if key == KEYS[2]:
                raise UserError('no such frame')
            return super().__call__(frame, key)

    with pytest.raises(UserError, match='no such frame'):
        extract(Refusing(), KEYS, read, tmp_path / 's', progress=False)
    assert PriorStore(tmp_path / 's').keys() == KEYS[:2]


def test_another_extractor_may_not_add_to_a_store(whole, tmp_path):
    with pytest.raises(UserError, match=r'parameters.step is 40 in the store and 41 now'):
        extract(Thresholds(step=41), KEYS, read, tmp_path / 'whole', progress=False)
    assert content(tmp_path / 'whole') == whole


def test_the_bar_counts_frames(tmp_path, capsys):
    extract(Thresholds(), KEYS[:10], read, tmp_path / 's', progress=False)
    extract(Thresholds(), KEYS, read, tmp_path / 's', (2, 2))
    shown = capsys.readouterr().err
    assert 'thresholds 2/2' in shown
    assert '15/15' in shown
    assert 'frame/s' in shown


def test_shards():
    assert parse_shard('1/1') == (1, 1)
    assert parse_shard(' 4/16 ') == (4, 16)
    for text in ('0/2', '3/2', '1', '1/0', 'a/b', '1/2/3', '-1/2', ''):
        with pytest.raises(UserError, match='not of the form i/n with i from 1 to n'):
            parse_shard(text)
