"""Samples depend on their place in the run, not on who loads them or when."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from basicsr_semantic.engine.seeding import ResumableSampler, SeededDataset, seed_from


class Draws(Dataset):
    """A sample is its index and one draw from each generator."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index, random.random(), np.random.rand(), torch.rand(()).item()], dtype=torch.float64)


def stream(start: int = 0, total: int = 9, batch: int = 2, rank: int = 0, world: int = 1, workers: int = 0, ratio=2):
    dataset = SeededDataset(Draws(), seed=5)
    sampler = ResumableSampler(dataset, world, rank, ratio, batch, start, total)
    return list(DataLoader(dataset, batch_size=batch, sampler=sampler, num_workers=workers, drop_last=True))


@pytest.mark.parametrize('start', [1, 6, 7, 8])
def test_a_stream_started_late_equals_the_tail_of_the_whole(start):
    """An epoch of 14 samples holds 7 batches, so the starts lie in, at the end of and beyond the first epoch."""
    assert torch.equal(torch.stack(stream(start)), torch.stack(stream())[start:])


def test_worker_processes_change_nothing():
    assert torch.equal(torch.stack(stream(workers=2)), torch.stack(stream()))


@pytest.mark.parametrize('ratio', [2, 3])
def test_two_processes_share_the_samples_of_one(ratio):
    """Also where an epoch (of 21 samples) is odd and BasicSR's sampler would shuffle another length."""
    whole = stream(batch=4, total=8, ratio=ratio)
    halves = zip(*(stream(batch=2, total=8, rank=rank, world=2, ratio=ratio) for rank in (0, 1)), strict=True)
    for one, (left, right) in zip(whole, halves, strict=True):
        both = torch.cat([left, right])
        assert torch.equal(one[one[:, 1].argsort()], both[both[:, 1].argsort()])


def test_one_process_has_the_order_of_basicsr():
    from basicsr.data.data_sampler import EnlargedSampler

    theirs = EnlargedSampler(Draws(), 1, 0, 2)
    theirs.set_epoch(0)
    assert torch.cat(stream(total=7))[:, 0].tolist() == list(theirs)


def test_samples_differ_between_places():
    drawn = torch.cat(stream())
    assert len(set(drawn[:, 1].tolist())) == len(drawn)
    assert len(set(drawn[:, 2].tolist())) == len(drawn)


def test_every_index_comes_once_an_epoch_before_the_enlargement():
    first_epoch = torch.cat(stream(total=7))[:, 0]
    assert sorted(first_epoch.tolist()) == sorted(2 * list(range(7)))


def test_seed_from_sets_all_three_generators():
    def draw():
        seed_from(1, 2, 3)
        return random.random(), np.random.rand(), torch.rand(()).item()

    assert draw() == draw()


def test_an_epoch_smaller_than_a_batch_is_refused():
    with pytest.raises(ValueError, match='dataset_enlarge_ratio'):
        ResumableSampler(Draws(), 1, 0, 1, 8, 0, 10)
