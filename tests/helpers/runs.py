"""Runs of several processes, and whether two of them ended alike."""

from __future__ import annotations

import torch
from helpers.project import free_port


def torchrun(processes: int) -> list[str]:
    """Arguments of Python that start a module in several processes, on a free port."""
    return ['-m', 'torch.distributed.run', f'--nproc_per_node={processes}', f'--master_port={free_port()}']


def equal(a, b) -> bool:
    """Whether two nested containers of tensors are equal bit for bit."""
    if torch.is_tensor(a):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b
