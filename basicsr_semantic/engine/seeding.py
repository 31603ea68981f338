"""Randomness as a function of (seed, position), so that a resumed run draws what the uninterrupted one drew.

A sample is seeded from (manual_seed, epoch, position in the epoch), in whichever process and whenever it is loaded; the
main process is re-seeded from (manual_seed, rank, iteration) before each step. The seed and the iteration are then the
whole random state, and two processes with half the batch each see the samples of one process with the whole batch.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler


def seed_from(*parts: int) -> None:
    """Seed Python's, NumPy's and torch's generators (all devices) from a tuple of non-negative integers."""
    numpy_seed, torch_seed, python_seed = np.random.SeedSequence(parts).generate_state(3).tolist()
    random.seed(python_seed)
    np.random.seed(numpy_seed)
    torch.manual_seed(torch_seed)


_HAPPENS = 1


def happens(
    probability: float, count: int, seed: int, iteration: int, rank: int = 0, world_size: int = 1
) -> torch.Tensor:
    """What of the samples of a batch happens to, as a function of (seed, iteration, place of the sample) alone.

    It neither reads nor moves any generator, so other random numbers are the same with and without. The processes of a
    run share one batch, as with :class:`ResumableSampler`: two with half of it each decide as one with all of it.

    Args:
        probability: Of each sample on its own.
        count: Samples of this process.
        seed: ``manual_seed`` of the run.
        iteration: From 1.
        rank: This process.
        world_size: Number of processes.

    Returns:
        (count,) bool, on the CPU.
    """
    # with zeros behind them, the three numbers of `seed_from` are four; the last one keeps the streams apart
    drawn = np.random.default_rng((seed, iteration, 0, _HAPPENS)).random(count * world_size)
    return torch.from_numpy(drawn[rank::world_size] < probability)


class SeededDataset(Dataset):
    """Wrap any map-style data set, BasicSR's too, so that a sample depends on its place and not on its loader.

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
        """Return sample ``index`` for ``place = (epoch, position, index)`` as yielded by :class:`ResumableSampler`."""
        epoch, position, index = place
        seed_from(self.seed, epoch, position)
        return self.dataset[index]


LARGEST_EPOCH = 10**8
"""Samples whose order is drawn at once: it takes 4 GB."""


class ResumableSampler(Sampler):
    """BasicSR's shuffling as one endless stream that can start anywhere.

    Yields (epoch, position, index), epoch after epoch. The tail of an epoch that does not fill a batch of all processes
    is left out, so iteration i always starts at sample ``i * batch``; one DataLoader serves the whole run and its
    workers never stop. BasicSR's EnlargedSampler rounds an epoch up to the number of processes before it shuffles, so
    that two processes see another order than one; here the order does not depend on their number.

    Args:
        dataset: The data set to shuffle.
        num_replicas: Number of processes.
        rank: This process.
        ratio: ``dataset_enlarge_ratio``: virtual repetitions of the data set in an epoch.
        batch: Samples of one iteration of this process.
        start_iter: Iterations already done.
        total_iter: Iteration after which the stream ends.

    Raises:
        ValueError: An epoch holds less than one batch, or more than `LARGEST_EPOCH` samples.
    """

    def __init__(
        self, dataset, num_replicas: int, rank: int, ratio: float, batch: int, start_iter: int, total_iter: int
    ):
        self.dataset_size = len(dataset)
        self.epoch_size = math.ceil(self.dataset_size * ratio)
        self.num_replicas = num_replicas
        self.rank = rank
        self.batch = batch
        self.iters_per_epoch = self.epoch_size // (batch * num_replicas)
        if self.iters_per_epoch < 1:
            raise ValueError(
                f'An epoch of {self.epoch_size} samples is smaller than one batch of {batch} in each of {num_replicas} '
                'processes. Raise dataset_enlarge_ratio or lower batch_size_per_gpu.'
            )
        if self.epoch_size > LARGEST_EPOCH:
            raise ValueError(
                f'An epoch of {self.epoch_size:,} samples is more than the {LARGEST_EPOCH:,} that can be put in order. '
                'Lower dataset_enlarge_ratio.'
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
        order = torch.randperm(self.epoch_size, generator=torch.Generator().manual_seed(epoch)).tolist()
        for k in range(self.iters_per_epoch * self.batch):
            position = k * self.num_replicas + self.rank
            yield epoch, position, order[position] % self.dataset_size
