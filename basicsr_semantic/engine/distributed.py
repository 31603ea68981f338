"""Start torch.distributed under torchrun or Slurm, on GPUs (nccl) or CPUs (gloo)."""

from __future__ import annotations

import os
import subprocess

import torch
import torch.distributed as dist

from ..utils.errors import UserError


def init_distributed(launcher: str, backend: str | None = None, port: int | None = None, **kwargs) -> tuple[int, int]:
    """Join the process group that a launcher prepared.

    Args:
        launcher: ``none`` (one process), ``pytorch`` (torchrun) or ``slurm``.
        backend: A torch.distributed backend. None takes nccl where CUDA is present and gloo elsewhere; nccl asked for
            on a machine without CUDA becomes gloo, since BasicSR's option files name nccl.
        port: Master port under Slurm; None takes ``MASTER_PORT`` or 29500.
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
                raise UserError(
                    f'--launcher {launcher} needs the environment variable {name}, which is not set. Start the command '
                    'with torchrun, for example: torchrun --nproc_per_node=2 -m basicsr_semantic train -opt F.yml '
                    '--launcher pytorch'
                )
        if torch.cuda.is_available():
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


def barrier() -> None:
    """Wait for the other processes, if there are any."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()


def gather_lists(rows: list) -> list:
    """Concatenate a list of picklable rows over all processes, on every process, in rank order."""
    if not (dist.is_available() and dist.is_initialized()):
        return rows
    gathered: list = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, rows)
    return [row for part in gathered for row in part]
