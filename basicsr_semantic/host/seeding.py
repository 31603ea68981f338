"""Randomness as a function of (seed, where we are), so that a resumed run draws what the uninterrupted one drew.

A sample is seeded from (manual_seed, epoch, position in the epoch), whoever loads it and whenever; the main process
is re-seeded from (manual_seed, rank, iteration) before each step. The seed and the iteration are then the whole random
state, and two processes with half the batch each see the samples of one process with the whole batch.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import numpy as np
import torch
from basicsr.data.data_sampler import EnlargedSampler
from torch.utils.data import Dataset


def seed_from(*parts: int) -> None:
    """Seed Python's, NumPy's and torch's generators (all devices) from a tuple of non-negative integers."""
    numpy_seed, torch_seed, python_seed = np.random.SeedSequence(parts).generate_state(3).tolist()
    random.seed(python_seed)
    np.random.seed(numpy_seed)
    torch.manual_seed(torch_seed)


class SeededDataset(Dataset):
    """Wrap any map-style data set, BasicSR's too, so that a sample depends on its place and not on who loads it.

    Args:
        dataset: The data set; its ``__getitem__`` may use ``random``, ``numpy.random`` and ``torch`` freely.
        seed: ``manual_seed`` of the run.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, place: tuple[int, int, int]):
        """Return sample ``index`` for ``place = (epoch, position, index)`` as yielded by :class:`PlaceSampler`."""
        epoch, position, index = place
        seed_from(self.seed, epoch, position)
        return self.dataset[index]


class PlaceSampler(EnlargedSampler):
    """BasicSR's shuffling as one endless stream that can start anywhere.

    Yields (epoch, position, index), epoch after epoch. The tail of an epoch that does not fill a batch is left out, so
    iteration i always starts at sample ``i * batch``; one DataLoader serves the whole run and its workers never stop.

    Args:
        dataset: The data set to shuffle.
        num_replicas: Number of processes.
        rank: This process.
        ratio: ``dataset_enlarge_ratio``: virtual repetitions of the data set in an epoch.
        batch: Samples of one iteration of this process.
        start_iter: Iterations already done.
        total_iter: Iteration after which the stream ends.

    Raises:
        ValueError: An epoch holds less than one batch.
    """

    def __init__(self, dataset, num_replicas: int, rank: int, ratio: int, batch: int, start_iter: int, total_iter: int):
        super().__init__(dataset, num_replicas, rank, ratio)
        self.batch = batch
        self.iters_per_epoch = self.num_samples // batch
        if self.iters_per_epoch < 1:
            raise ValueError(
                f'An epoch of {self.num_samples} samples a process is smaller than one batch of {batch}. '
                'Raise dataset_enlarge_ratio or lower batch_size_per_gpu.'
            )
        self.start_iter = start_iter
        self.total_iter = total_iter

    def __len__(self) -> int:
        return max(self.total_iter - self.start_iter, 0) * self.batch

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        start_epoch, done = divmod(self.start_iter, self.iters_per_epoch)
        stream = (place for epoch in itertools.count(start_epoch) for place in self._epoch(epoch))
        return itertools.islice(stream, done * self.batch, done * self.batch + len(self))

    def _epoch(self, epoch: int) -> Iterator[tuple[int, int, int]]:
        self.set_epoch(epoch)
        indices = list(super().__iter__())[: self.iters_per_epoch * self.batch]
        for k, index in enumerate(indices):
            yield epoch, k * self.num_replicas + self.rank, index
