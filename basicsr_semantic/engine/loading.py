"""Batches ahead of time: in a thread, on the GPU, or as they come."""

from __future__ import annotations

import queue
import re
import signal
import threading
from typing import Any

import torch
from basicsr.data.prefetch_dataloader import CPUPrefetcher, CUDAPrefetcher
from basicsr.utils import get_root_logger
from torch.utils.data import DataLoader, Dataset

from ..config.sections import LoaderOptions
from ..utils.errors import UserError


def make_prefetcher(loader: DataLoader, options: LoaderOptions, opt: dict[str, Any]) -> Prefetcher:
    """What gives the batches of a training, by ``prefetch_mode`` of its data set.

    Raises:
        UserError: ``cuda`` without ``pin_memory``.
    """
    if options.prefetch_mode == 'cuda' and torch.cuda.is_available():
        if not options.pin_memory:
            raise UserError('datasets:train:prefetch_mode: cuda needs pin_memory: true.')
        return Prefetcher(CUDAPrefetcher(loader, opt))
    if options.prefetch_mode == 'cpu' and loader.num_workers:
        return ThreadPrefetcher(CPUPrefetcher(loader), options.num_prefetch_queue)
    if options.prefetch_mode == 'cpu':
        # samples of this very process seed its random numbers, which a thread would do in the middle of a step
        get_root_logger().warning(
            'datasets:train:prefetch_mode: cpu needs loader processes; with num_worker_per_gpu: 0 batches are loaded '
            'one after the other.'
        )
    return Prefetcher(CPUPrefetcher(loader))


class Prefetcher:
    """BasicSR's prefetchers, which can be closed: workers that are shut down do not complain when an error ends a run.

    Args:
        source: One of BasicSR's.
    """

    def __init__(self, source: CPUPrefetcher | CUDAPrefetcher) -> None:
        self._source = source

    def next(self) -> dict[str, Any] | None:
        """The next batch, None after the last."""
        return self._source.next()

    def close(self) -> None:
        """End the worker processes."""
        shut_down = getattr(self._source.loader, '_shutdown_workers', None)
        if shut_down is not None:
            shut_down()


class ThreadPrefetcher(Prefetcher):
    """Keeps batches of the worker processes ready in a thread; an error of theirs comes up in `next`.

    Args:
        source: Takes the batches from the worker processes.
        size: Batches to keep ready.
    """

    def __init__(self, source: CPUPrefetcher, size: int) -> None:
        super().__init__(source)
        self._queue: queue.Queue[Any] = queue.Queue(size)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._fill, daemon=True)
        self._thread.start()

    def _fill(self) -> None:
        batch: Any = True
        while batch is not None and not self._closed.is_set():
            try:
                batch = self._source.next()
            except BaseException as error:  # the training is where it belongs
                batch = error
            while not self._closed.is_set():
                try:
                    self._queue.put(batch, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if isinstance(batch, BaseException):
                return

    def next(self) -> dict[str, Any] | None:
        """The next batch, None after the last."""
        batch = self._queue.get()
        if isinstance(batch, BaseException):
            raise batch
        return batch

    def close(self) -> None:
        """End the thread and the worker processes."""
        self._closed.set()
        self._thread.join()
        super().close()


def loader_died(error: BaseException) -> str | None:
    """A sentence for a process of a loader that the system ended, which PyTorch reports as a RuntimeError."""
    found = re.search(
        r'DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal: ([\w ]+)|exited)', str(error)
    )
    if found is None:
        return None
    if found[2] and 'Bus' in found[2]:
        how, why = 'Bus error', 'shared memory (/dev/shm) is short'
    else:
        how, why = found[2] or 'it exited', 'memory is short, most often'
    return (
        f'the system ended process {found[1]} of the loader ({how}): {why}. Lower datasets:train:num_worker_per_gpu or '
        'batch_size_per_gpu, and continue with --auto_resume.'
    )


class FirstItem(Dataset):
    """A data set as if it had one item, for dry runs; in all else it is the data set itself."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Any:
        if index:
            raise IndexError(index)
        return self._dataset[0]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)


def start_worker(worker: int) -> None:
    """Keep BLAS and OpenCV of each worker to one thread, and interrupts to the main process."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
