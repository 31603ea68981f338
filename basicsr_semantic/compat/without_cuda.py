"""Machines without CUDA: the same parameters as on a GPU, and ``.cuda()`` calls that leave things where they are.

BasicSR and the projects built on it write ``.cuda()`` into models and networks, and leave modules out of a network
where there is no CUDA, so that its checkpoints do not load. Nothing here changes a machine that has CUDA.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def allow_cuda_calls() -> None:
    """From now on ``.cuda()`` of a tensor or module returns it unchanged while there is no CUDA.

    PyTorch itself is changed, so this is done only once a model or network that needs it is built on such a machine.
    """
    if torch.cuda.is_available() or hasattr(torch.Tensor.cuda, 'stays'):
        return
    for cls in (torch.Tensor, nn.Module):
        setattr(cls, 'cuda', _staying(cls.cuda))  # noqa: B010 (pyright knows no other cuda)


def _staying(cuda: Callable) -> Callable:
    @functools.wraps(cuda)
    def stay(self: Any, *args: Any, **kwargs: Any) -> Any:
        return cuda(self, *args, **kwargs) if torch.cuda.is_available() else self

    vars(stay)['stays'] = True
    return stay


def with_cuda_calls(init: Callable) -> Callable:
    """Wrap ``BaseModel.__init__``: on a machine without CUDA the model is on the CPU, whatever ``num_gpu`` says."""

    @functools.wraps(init)
    def wrapped(self: Any, opt: dict[str, Any]) -> None:
        if not torch.cuda.is_available():
            opt['num_gpu'] = 0
            allow_cuda_calls()
        init(self, opt)

    return wrapped


def build_as_with_cuda(cls: Any) -> None:
    """Let a network that leaves modules out where there is no CUDA have them everywhere.

    Those are the networks whose constructor asks ``torch.cuda.is_available()`` and names no device itself.
    """
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        return
    init: Any = cls.__dict__.get('__init__')
    code = getattr(init, '__code__', None)
    if code is None or 'is_available' not in code.co_names or {'cuda', 'cpu'} & set(map(str, code.co_consts)):
        return

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        is_available = torch.cuda.is_available
        if not is_available():
            allow_cuda_calls()
            torch.cuda.is_available = lambda: True
        try:
            init(self, *args, **kwargs)
        finally:
            torch.cuda.is_available = is_available

    setattr(cls, '__init__', wrapped)  # noqa: B010


def watch_registry(registry: Any) -> None:
    """Apply :func:`build_as_with_cuda` to what is in a registry of networks and to what will be registered."""
    for _, cls in registry:
        build_as_with_cuda(cls)
    register = registry._do_register

    @functools.wraps(register)
    def wrapped(name: str, obj: Any, suffix: str | None = None) -> None:
        build_as_with_cuda(obj)
        register(name, obj, suffix)

    registry._do_register = wrapped
