"""torch.distributed under torchrun or Slurm, on GPUs (nccl) or CPUs (gloo): what all processes do and decide together.

Gradients travel in the default group. What is decided together (to stop, to fail) and results of validations travel in
a second group, by gloo on any machine: it costs the GPU nothing, and it waits as long as the slowest process needs.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..utils.errors import MissingError, UserError, full_stop, missing_in, reason

_PATIENCE = datetime.timedelta(days=7)
"""How long processes wait for one that restores a large validation set alone; one that dies is noticed immediately."""


def init_distributed(
    launcher: str, backend: str | None = None, port: int | None = None, on_cpu: bool = False, **kwargs
) -> tuple[int, int]:
    """Join the process group that a launcher prepared.

    Args:
        launcher: ``none`` (one process), ``pytorch`` (torchrun) or ``slurm``.
        backend: A torch.distributed backend. None takes nccl where CUDA is present and gloo elsewhere; nccl asked for
            on a machine without CUDA becomes gloo, since BasicSR's option files name nccl.
        port: Master port under Slurm; None takes ``MASTER_PORT`` or 29500.
        on_cpu: The run stays on the CPU (``num_gpu: 0``), so the backend is gloo whatever the machine has.
        kwargs: Passed on to ``torch.distributed.init_process_group``.

    Returns:
        (rank, world size).

    Raises:
        UserError: The launcher's environment variables are missing.
    """
    if launcher == 'none':
        return 0, 1
    if not dist.is_initialized():
        if launcher == 'slurm':
            _export_slurm_environment(port)
        elif launcher != 'pytorch':
            raise UserError(f'--launcher {launcher!r} is not known. Use none, pytorch (torchrun) or slurm.')
        for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
            if name not in os.environ:
                raise MissingError(
                    f'--launcher {launcher} needs the environment variable {name}, which is not set; torchrun sets it.',
                    'processes',
                )
        if torch.cuda.is_available() and not on_cpu:
            torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', os.environ['RANK'])) % torch.cuda.device_count())
            backend = backend or 'nccl'
        else:
            backend = 'gloo'
        dist.init_process_group(backend=backend, **kwargs)
    return dist.get_rank(), dist.get_world_size()


def _export_slurm_environment(port: int | None) -> None:
    """Translate Slurm's variables into those that torch.distributed reads."""
    try:
        rank, world, nodes = (os.environ[k] for k in ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'))
    except KeyError as error:
        raise UserError(
            f'--launcher slurm needs the environment variable {error.args[0]}, which is not set. Start with srun.'
        ) from error
    if 'MASTER_ADDR' not in os.environ:
        shown = subprocess.run(['scontrol', 'show', 'hostname', nodes], capture_output=True, text=True, check=False)
        if shown.returncode != 0 or not shown.stdout.split():
            raise UserError(f'scontrol could not name the hosts of SLURM_NODELIST={nodes}: {shown.stderr.strip()}')
        os.environ['MASTER_ADDR'] = shown.stdout.split()[0]
    if port is not None:
        os.environ['MASTER_PORT'] = str(port)
    os.environ.setdefault('MASTER_PORT', '29500')
    os.environ.update(RANK=rank, WORLD_SIZE=world, LOCAL_RANK=os.environ.get('SLURM_LOCALID', rank))


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Leave the group when the work is done; raise an error in a sentence where another process has ended.

    Raises:
        UserError: Another process ended during a joint operation.
    """
    try:
        yield
    except RuntimeError as error:  # by gloo, and of nccl, which calls it a DistBackendError
        gone = ('Connection closed by peer', 'Connection reset by peer', 'remote process exited', 'Broken pipe')
        if not (dist.is_available() and dist.is_initialized()) or not any(one in str(error) for one in gone):
            raise
        message = f'Process {dist.get_rank()} ends because another one ended; that process says why'
        raise UserError(f'{message}. Continue with --auto_resume.') from error
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


_control: tuple[Any, Any] = (None, None)
"""The default group and the one for decisions that was made for it."""


def _group() -> Any:
    """The group for decisions, None in a single process; made at first use, which all processes come to together."""
    global _control
    if not (dist.is_available() and dist.is_initialized()):
        return None
    if _control[0] is not dist.group.WORLD:
        _control = dist.group.WORLD, dist.new_group(backend='gloo', timeout=_PATIENCE)
    return _control[1]


def barrier() -> None:
    """Wait for the other processes, if there are any."""
    if (group := _group()) is not None:
        dist.barrier(group)


def gather_lists(rows: list) -> list:
    """Concatenate a list of picklable rows over all processes, on every process, in rank order."""
    if (group := _group()) is None:
        return rows
    gathered: list = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, rows, group)
    return [row for part in gathered for row in part]


def any_process(flag: bool) -> bool:
    """Whether a flag is set in at least one process; all must ask."""
    if (group := _group()) is None:
        return flag
    count = torch.tensor([int(flag)])
    dist.all_reduce(count, group=group)
    return bool(count.item())


@contextlib.contextmanager
def together() -> Iterator[None]:
    """A part of the run that ends in all processes if it fails in one of them.

    Code in it may communicate with other processes only in ways in which all of them fail together.

    Raises:
        UserError: In the processes in which it did not fail, with the sentence of one in which it did.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    if not any_process(error is not None):
        return
    text = str(error) if isinstance(error, UserError) or error is None else reason(error)
    failure = [] if error is None else [(text, missing_in(error))]
    failed = [(rank, *one) for rank, rows in enumerate(gather_lists([failure])) for one in rows]
    if error is not None:
        raise error
    rank, sentence, missing = failed[0]
    raise UserError(f'Process {rank} of {dist.get_world_size()} failed: {full_stop(sentence)}') from missing


class DistributedNetwork(DistributedDataParallel):
    """DistributedDataParallel for networks whose set of trained parameters changes.

    DDP counts the gradients of those parameters that trained when it was made, and waits forever for one that has been
    frozen since. BasicSR freezes and thaws as it goes (``fix_flow``, ``tsa_iter``, discriminators). Here a forward that
    finds another set of parameters in training makes the reduction again for that set; a network in which nothing
    trains at the moment, or whose result needs no gradient, is called as it is, without communication. As long as the
    set is the same, this costs a comparison of flags.
    """

    def __init__(self, module: nn.Module, **kwargs: Any) -> None:
        super().__init__(module, **kwargs)
        self._kwargs = kwargs
        self._trains = self._flags()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the network's own."""
        flags = self._flags()
        if not torch.is_grad_enabled() or True not in flags:
            return self.module(*args, **kwargs)
        if flags != self._trains:
            syncs, training = self.require_backward_grad_sync, self.training
            self.__init__(self.module, **self._kwargs)
            self.require_backward_grad_sync, self.training = syncs, training
        return super().forward(*args, **kwargs)

    def _flags(self) -> list[bool]:
        return [parameter.requires_grad for parameter in self.module.parameters()]
