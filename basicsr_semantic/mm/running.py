"""What ``python -m basicsr_semantic.mm.train`` and ``test`` share: arguments, configuration, errors in a sentence."""

from __future__ import annotations

import argparse
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from ..config.plugins import load_plugins
from ..engine.checkpoint import load_file
from ..engine.distributed import init_distributed
from ..utils.errors import UserError, full_stop, reason
from ..utils.printing import complain


def parser_of(verb: str, about: str) -> argparse.ArgumentParser:
    """The arguments that OpenMMLab's own tools take."""
    parser = argparse.ArgumentParser(prog=f'python -m basicsr_semantic.mm.{verb}', description=about)
    parser.add_argument('config', help='configuration of MMEngine: basicsr mm-config writes one')
    parser.add_argument('--work-dir', help='folder of the run (default: that of the configuration)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='change keys, for example train_cfg.max_iters=1000 model.scale=2',
    )
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none', help='who starts it')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def read_config(args: argparse.Namespace) -> Config:
    """The configuration with what the command line says.

    Raises:
        UserError: There is no such file, or it is no configuration.
    """
    if not Path(args.config).is_file():
        raise UserError(f'There is no configuration {args.config}. basicsr mm-config makes one from an option file.')
    try:
        config = Config.fromfile(args.config)
    except (SyntaxError, KeyError, AttributeError, TypeError, ValueError, ImportError) as error:
        raise UserError(f'{args.config} is no configuration of MMEngine: {full_stop(error)}') from error
    config.launcher = args.launcher
    if args.cfg_options:
        config.merge_from_dict(args.cfg_options)
    if args.work_dir:
        config.work_dir = args.work_dir
    config.setdefault('work_dir', str(Path('work_dirs') / Path(args.config).stem))
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return config


def check_checkpoint(path: str) -> None:
    """Refuse a file that MMEngine would read without taking anything of it.

    Args:
        path: What ``--resume`` names, or the checkpoint of a test; a folder is one of shards.

    Raises:
        UserError: There is no such file, or it is a checkpoint of ``basicsr train``.
    """
    if not Path(path).exists():
        raise UserError(f'There is no checkpoint {path}.')
    content = load_file(path) if Path(path).is_file() else {}
    if Path(path).is_file() and not (isinstance(content, dict) and 'state_dict' in content):
        raise UserError(
            f"{path} is no checkpoint of MMEngine: it has no state_dict. Weights of BasicSR's loop are taken by the "
            f'model: --cfg-options model.weights.pretrain_network_g={path}'
        )


def take_whole(config: Config) -> None:
    """Let the checkpoint of a test, or of a run that goes on, be taken as a whole or not at all."""
    config.custom_hooks = [*config.get('custom_hooks', []), {'type': 'basicsr_semantic.WholeWeights'}]


def runner_of(config: Config) -> Any:
    """The runner; a configuration of FlexibleRunner's, with a strategy, gets that.

    Several processes meet before MMEngine would have them meet, since it asks each for a GPU.

    Raises:
        UserError: The configuration has no model, or the launcher has not said where the processes meet.
    """
    if 'model' not in config:
        raise UserError('The configuration has no model.')
    if config.launcher in ('pytorch', 'slurm'):
        init_distributed(config.launcher)
        if not torch.cuda.is_available() and 'strategy' not in config:
            wrapper = {'type': 'MMDistributedDataParallel', 'broadcast_buffers': False, 'device_ids': None}
            wrapper['find_unused_parameters'] = config.get('find_unused_parameters', False)
            config.setdefault('model_wrapper_cfg', wrapper)
    config.setdefault('env_cfg', {'dist_cfg': {'backend': 'nccl'}})  # FlexibleRunner has no default
    kind: Any = Runner
    if 'strategy' in config:
        from mmengine.runner import FlexibleRunner

        kind = FlexibleRunner
    try:
        return kind.from_cfg(config)
    except (TypeError, ValueError, KeyError, AssertionError, ImportError, OSError) as error:
        if os.environ.get('BASICSR_TRACEBACK') or isinstance(error, UserError):
            raise
        raise UserError(f'The runner cannot be built: {reason(error)}') from error


def in_a_sentence(run: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> int:
    """Run, and turn what users can mend into a sentence and the exit code 2.

    ``BASICSR_TRACEBACK=1`` shows where an error arose.
    """
    try:
        load_plugins()
        run(args)
    except KeyboardInterrupt:
        return 130
    except (UserError, pickle.UnpicklingError, RuntimeError) as error:
        if os.environ.get('BASICSR_TRACEBACK'):
            raise
        message = _sentence(error)
        if message is None:
            raise
        complain(f'{Path(sys.argv[0]).stem}: {message}')
        return 2
    return 0


def _sentence(error: Exception) -> str | None:
    if isinstance(error, UserError):
        return str(error)
    if 'weights_only' in str(error).replace('Weights only', 'weights_only') and 'HistoryBuffer' in str(error):
        return (
            'The checkpoint holds objects of MMEngine, as it writes them without the hook '
            'basicsr_semantic.PlainCheckpoint, and PyTorch does not load objects. Put the hook into custom_hooks '
            "before you train; a file that you trust can be written again without its entry 'message_hub'."
        )
    return None


def main_of(verb: str, about: str, add: Callable[[argparse.ArgumentParser], Any], run: Callable[..., Any]) -> Callable:
    """The main function of a verb."""

    def main(arguments: Sequence[str] | None = None) -> int:
        parser = parser_of(verb, about)
        add(parser)
        return in_a_sentence(run, parser.parse_args(arguments))

    return main
