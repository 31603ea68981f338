"""No step on a loss that is not finite, and no endless series of steps that a gradient scaler leaves out.

Our models check the losses that they log. BasicSR's models, and those that other projects made from them, log after
the step; for them every loss that is built is recorded, and every optimiser checks the record before it steps. The
losses are looked at, not the gradients, which a gradient scaler may make infinite on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from ..utils.errors import UserError
from .distributed import any_process, gather_lists

MOST_SKIPPED = 50
"""Steps in a row that a gradient scaler may leave out; it halves its scale each time, so these are 2**50."""
_seen: list[tuple[str, torch.Tensor]] = []
_iteration: int | None = None
"""The running iteration, where the loop gives it."""


def watch_loss(loss: Any) -> Any:
    """Remember what a loss gives in training, until the next step or iteration; returns the loss."""
    if isinstance(loss, nn.Module):
        loss.register_forward_hook(_remember)
    return loss


def _remember(loss: nn.Module, given: Any, output: Any) -> None:
    for value in output if isinstance(output, tuple | list) else (output,):
        if torch.is_tensor(value) and value.requires_grad:
            _seen.append((type(loss).__name__, value.detach().float().mean()))


def watch_optimizer(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Let an optimiser refuse to step on recorded losses that are not finite; returns the optimiser."""
    optimizer.register_step_pre_hook(lambda *_: check_seen())
    return optimizer


def begin_iteration(current_iter: int) -> None:
    """Clear the record, and remember the iteration for messages."""
    global _iteration
    _seen.clear()
    _iteration = current_iter


def check_seen() -> None:
    """Refuse recorded losses that are not finite in one of the processes; all processes must call it.

    Raises:
        UserError: One of them is not finite.
    """
    if not _seen:
        return
    losses = _seen.copy()
    _seen.clear()
    if any_process(not torch.isfinite(torch.stack([value for _, value in losses])).all().item()):
        _check(losses, _iteration)


def agree_on_losses(
    losses: Mapping[str, torch.Tensor], current_iter: int, distributed: bool, also: Iterable[str] = ()
) -> dict[str, float]:
    """The losses of a step, averaged over the processes, for the log; before the step.

    Whether they are finite travels with them, so that all processes go on or none does.

    Args:
        losses: By name; those that begin with ``l_`` must be finite.
        current_iter: The iteration, for the message.
        distributed: Whether there are several processes.
        also: Further names that must be finite.

    Raises:
        UserError: One of them is not finite in one of the processes; nothing was changed.
    """
    _seen.clear()  # they are parts of these
    values = torch.stack([value.detach().float().mean() for value in losses.values()])
    watched = [(name, values[k]) for k, name in enumerate(losses) if name.startswith('l_') or name in also]
    bad = ~torch.isfinite(torch.stack([value for _, value in watched])).all()
    table = torch.cat([values, bad[None].to(values)])
    if distributed:
        torch.distributed.all_reduce(table)
    *averages, count = table.tolist()
    if count:
        _check(watched, current_iter)
    world = torch.distributed.get_world_size() if distributed else 1
    return {name: value / world for name, value in zip(losses, averages, strict=True)}


def _check(losses: Iterable[tuple[str, torch.Tensor]], current_iter: int | None) -> None:
    bad = [(name, float(value)) for name, value in losses if not torch.isfinite(value)][:1]
    everywhere = [(rank, *one) for rank, rows in enumerate(gather_lists([bad])) for one in rows]
    rank, name, value = everywhere[0]
    where = f' of process {rank}' if torch.distributed.is_initialized() else ''
    when = f' at iteration {current_iter}' if current_iter is not None else ''
    raise UserError(
        f'{name}{where} is {value}{when}; training stopped before the step. Lower the learning rate, set '
        'train:grad_clip, or look for broken frames, then continue with --auto_resume.'
    )


class SkippedSteps:
    """Counts the steps in a row that a gradient scaler left out.

    Args:
        scaler: A ``torch.amp.GradScaler``, or None, which leaves out none.
    """

    def __init__(self, scaler: torch.amp.GradScaler | None) -> None:
        self._scaler = scaler
        self._scale = scaler.get_scale() if scaler else 1.0
        self._row = 0

    def look(self, current_iter: int) -> None:
        """After each iteration.

        Raises:
            UserError: There were too many in a row: it is not the scale that is wrong.
        """
        if self._scaler is None:
            return
        before, self._scale = self._scale, self._scaler.get_scale()
        self._row = self._row + 1 if self._scale < before else 0
        if self._row >= MOST_SKIPPED:
            raise UserError(
                f'At iteration {current_iter} the gradients are not finite for the {self._row}th time in a row, at a '
                f'scale of {self._scale:g}. Train with amp: bf16 or without it; the last checkpoint is whole.'
            )
