"""Batches ahead of time: in order, with the worker's error, and ended when the run ends."""

from __future__ import annotations

import threading

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from basicsr_semantic.config.sections import LoaderOptions
from basicsr_semantic.engine.loading import FirstItem, Prefetcher, ThreadPrefetcher, make_prefetcher
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
