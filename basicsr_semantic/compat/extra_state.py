"""What BasicSR's models keep from one iteration to the next, apart from weights, optimisers and schedulers.

The models of Real-ESRGAN (BasicSR's and those made from them) mix their batches from a pool of earlier pairs, and
StyleGAN2's keeps a running mean for its penalty. BasicSR saves neither, so a resumed training gave other results.
"""

from __future__ import annotations

from typing import Any

import torch

KEY = 'extra_state'
POOL, MEAN = 'queue_', 'mean_path_length'


def extra_state(model: Any) -> dict[str, Any]:
    """The attributes of a model to save, by name; images of eight bits are stored as such.

    The pool of each process is its own and only that of the first is saved.
    """
    return {
        name: _pack(value)
        for name, value in vars(model).items()
        if (name == MEAN or (name.startswith(POOL) and name != 'queue_size'))
        and isinstance(value, torch.Tensor | int | float)
    }


def restore_extra_state(model: Any, saved: dict[str, Any]) -> None:
    """Give a model its attributes back, in the first process; the others fill a pool of their own again."""
    for name, value in saved.items():
        if name == MEAN or model.opt.get('rank', 0) == 0:
            setattr(model, name, _unpack(value, model.device))


def _pack(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach().cpu()
    bytes_ = (value * 255).round().clamp(0, 255).to(torch.uint8)
    # a quarter of the size, where nothing is lost: the pool of an official option file has 150 MB
    return bytes_ if value.ndim == 4 and torch.equal(bytes_.float() / 255, value) else value.clone()


def _unpack(value: Any, device: torch.device) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return (value.float() / 255 if value.dtype == torch.uint8 else value).to(device)
