"""How much memory there is, and how much a piece of work takes."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_GROUP = Path('/sys/fs/cgroup')


def peak_memory() -> int:
    """Bytes that the process has had at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else 1024 * peak


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device; None where the system does not say.

    On Linux it is what the kernel calls available, within the limit of the container; on a GPU what is free, with what
    PyTorch has reserved and does not use.
    """
    if device.type == 'cuda':
        import torch

        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    sizes = [_kernel_says('/proc/meminfo', 'MemAvailable')]
    limit, used = _number(_GROUP / 'memory.max'), _number(_GROUP / 'memory.current')
    if limit is not None and used is not None:
        sizes.append(limit - used)
    return min((size for size in sizes if size is not None), default=None)


def memory_of(work: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that a piece of work takes at most, more than there were; None where the system does not say.

    Args:
        work: Is called once.
        device: Where its tensors are.
    """
    if device.type == 'cuda':
        import torch

        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    try:
        Path('/proc/self/clear_refs').write_text('5')  # the peak begins again from here
    except OSError:
        return None
    before = _kernel_says('/proc/self/status', 'VmRSS')
    work()
    peak = _kernel_says('/proc/self/status', 'VmHWM')
    return None if before is None or peak is None else max(peak - before, 0)


def _kernel_says(file: str, name: str) -> int | None:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f'{name}:')), None)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # none, or "max"
        return None
