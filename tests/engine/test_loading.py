"""Batches ahead of time: in order, with the worker's error, and ended when the run ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from basicsr_semantic.config.sections import LoaderOptions
from basicsr_semantic.engine.loading import FirstItem, Prefetcher, ThreadPrefetcher, loader_died, make_prefetcher
from basicsr_semantic.engine.pipeline import in_words
from basicsr_semantic.utils.errors import UserError


class Numbers(Dataset):
    """0, 1, 2, ...; one of them may be damaged."""

    opt = {'name': 'numbers'}

    def __init__(self, damaged: int = -1) -> None:
        self.damaged = damaged

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict:
        if index == self.damaged:
            raise UserError(f'Frame {index} is damaged.')
        return {'x': torch.tensor(index)}


def prefetcher(workers: int, mode: str | None, damaged: int = -1) -> Prefetcher:
    options = LoaderOptions(name='x', type='x', prefetch_mode=mode, num_prefetch_queue=2)
    return make_prefetcher(DataLoader(Numbers(damaged), batch_size=2, num_workers=workers), options, {})


def values(source: Prefetcher) -> list[list[int]]:
    found = []
    while (batch := source.next()) is not None:
        found.append(batch['x'].tolist())
    return found


@pytest.mark.parametrize(('workers', 'mode'), [(0, None), (1, None), (1, 'cpu')])
def test_all_batches_come_in_order(workers, mode):
    source = prefetcher(workers, mode)
    assert isinstance(source, ThreadPrefetcher) == (mode == 'cpu')
    assert values(source) == [[0, 1], [2, 3], [4, 5]]
    source.close()


def test_an_error_of_a_worker_comes_up_where_the_batch_is_wanted():
    source = prefetcher(1, 'cpu', damaged=2)
    assert source.next()['x'].tolist() == [0, 1]
    with pytest.raises(UserError, match='Frame 2 is damaged'):
        source.next()
    source.close()


def test_closing_ends_the_thread_while_batches_wait():
    before = threading.active_count()
    source = prefetcher(1, 'cpu')
    source.next()
    source.close()
    assert threading.active_count() <= before + 1  # torch's own thread may live on


def test_without_processes_there_is_no_thread(caplog):
    """Samples of this very process seed its random numbers, which a thread would do in the middle of a step."""
    source = prefetcher(0, 'cpu')
    assert not isinstance(source, ThreadPrefetcher) and values(source)[0] == [0, 1]


def test_the_first_item_stands_for_the_data_set_in_all_else():
    first = FirstItem(Numbers())
    assert len(first) == 1 and first.opt == {'name': 'numbers'} and len(list(DataLoader(first))) == 1
    with pytest.raises(IndexError):
        first[1]


class Killed(Numbers):
    """A process that reads it is killed, as by a system without memory."""

    def __getitem__(self, index: int) -> dict:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}


def test_a_process_that_the_system_killed_is_a_sentence():
    options = LoaderOptions(name='x', type='x')
    with (
        pytest.raises(UserError, match=r'^The training ended: the system ended process \d+ of the loader \(.*Lower'),
        in_words('The training', 1),
        contextlib.closing(make_prefetcher(DataLoader(Killed(), num_workers=1), options, {})) as source,
    ):
        source.next()


@pytest.mark.parametrize(
    ('message', 'said'),
    [
        ('DataLoader worker (pid 7) is killed by signal: Killed. ', r'process 7 of the loader \(Killed\): memory is'),
        ('DataLoader worker (pid(s) 7, 8) exited unexpectedly', r'process 7, 8 of the loader \(it exited\): memory is'),
        (
            'DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that ...',
            r'\(Bus error\): shared memory \(/dev/shm\) is short',
        ),
    ],
)
def test_what_killed_it_is_said(message, said):
    assert re.search(said, loader_died(RuntimeError(message)) or '')
    assert loader_died(RuntimeError('CUDA error')) is None
