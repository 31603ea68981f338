"""Batches for MMEngine's loaders: the same samples in the same order as under ``basicsr train``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from mmengine import dist
from mmengine.model import BaseDataPreprocessor
from torch.utils.data import Dataset, Sampler, default_collate

from ..data.video_instance_dataset import VideoInstanceDataset
from ..engine.loading import start_worker
from ..engine.seeding import ResumableSampler, SeededDataset
from ..utils.errors import UserError
from .registry import DATA_SAMPLERS, DATASETS, FUNCTIONS, MODELS


@MODELS.register_module()
class ClipPreprocessor(BaseDataPreprocessor):
    """Moves a batch of clips and priors to the device of the model; its frames are in [0, 1] already."""


@DATASETS.register_module()
class SeededClips(Dataset):
    """A training data set whose samples depend on their place in the run alone, see :class:`SeededDataset`.

    Args:
        dataset: The data set: its type and options.
        seed: Seed of the run.
    """

    def __init__(self, dataset: dict[str, Any], seed: int = 0) -> None:
        self.dataset = DATASETS.build(dataset)
        self._seeded = SeededDataset(self.dataset, seed)

    def __len__(self) -> int:
        return len(self._seeded)

    def __getitem__(self, place: tuple[int, int, int]) -> dict[str, Any]:
        """The sample of a place that :class:`PlacedSampler` gives."""
        return self._seeded[place]


@DATASETS.register_module()
class TestedClips(Dataset):
    """A test data set whose items know how to read their GT, frame by frame.

    Args:
        dataset: The data set: its type and options.
    """

    def __init__(self, dataset: dict[str, Any]) -> None:
        self.dataset = DATASETS.build(dataset)
        options = getattr(self.dataset, 'opt', {})
        self.metainfo = {'name': str(options.get('name', '')), 'clips': list(getattr(self.dataset, 'clip_lengths', ()))}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The item, with ``read_gt`` for data sets of clips and ``annotated`` for those of instances."""
        item = dict(self.dataset[index])
        if hasattr(self.dataset, 'read_gt'):
            item['read_gt'] = partial(self.dataset.read_gt, index)
        if hasattr(self.dataset, 'categories'):
            item['num_categories'] = len(self.dataset.categories)
            item['dataset'] = self.dataset
            item['index'] = index
        return item


@DATA_SAMPLERS.register_module()
class PlacedSampler(Sampler):
    """:class:`ResumableSampler` as MMEngine builds it: the order of ``basicsr train``, from any iteration.

    Args:
        dataset: A :class:`SeededClips`.
        batch_size: Samples of one iteration of this process.
        total_iter: Iterations of the run.
        ratio: ``dataset_enlarge_ratio``.
        seed: Not used: the order depends on the epoch alone, the samples on the seed of the data set.

    Raises:
        UserError: An epoch holds less than one batch.
    """

    def __init__(
        self, dataset: Any, batch_size: int, total_iter: int, ratio: float = 1, seed: int | None = None
    ) -> None:
        rank, world = dist.get_dist_info()
        try:
            self._places = ResumableSampler(dataset, world, rank, ratio, batch_size, 0, total_iter)
        except ValueError as error:
            raise UserError(f'train_dataloader of {len(dataset)} samples: {error}') from error

    @property
    def iters_per_epoch(self) -> int:
        """Iterations in which every sample comes ``ratio`` times."""
        return self._places.iters_per_epoch

    def start_after(self, iteration: int) -> None:
        """Begin the next pass with the samples that come after so many iterations."""
        self._places.start_iter = iteration

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        return iter(self._places)

    def set_epoch(self, epoch: int) -> None:
        """Nothing: one pass is the whole run."""


@FUNCTIONS.register_module()
def collate_clips(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A training batch of clips, or of videos with their instances.

    Raises:
        UserError: The clips are of several sizes.
    """
    if 'instances' in items[0]:
        return VideoInstanceDataset.collate(items)
    sizes = sorted({tuple(item['lq'].shape[-2:]) for item in items})
    if len(sizes) > 1:
        shown = ' and '.join(f'{width}x{height}' for height, width in sizes)
        raise UserError(f'The clips of a batch have {shown} pixels. Give gt_size, or set batch_size=1.')
    return default_collate(list(items))


@FUNCTIONS.register_module()
def collate_item(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The only item of a test batch, its tensors with a batch of one, those of instances as they are.

    Raises:
        UserError: Several items: clips differ in length, so they are restored one by one.
    """
    if len(items) != 1:
        raise UserError(f'A test takes one item at a time, not {len(items)}: set batch_size=1.')
    item = dict(items[0])
    if 'num_categories' in item:
        return item
    return {key: value[None] if torch.is_tensor(value) else value for key, value in item.items()}


FUNCTIONS.register_module()(start_worker)
