"""Train from a configuration of MMEngine.

::

    python -m basicsr_semantic.mm.train CONFIG --work-dir FOLDER [--resume] [--amp] [--cfg-options KEY=VALUE ...]
    torchrun --nproc_per_node=8 -m basicsr_semantic.mm.train CONFIG --launcher pytorch
"""

from __future__ import annotations

import argparse
import sys

from ..utils.errors import UserError
from .running import main_of, read_config, runner_of


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help="go on from a checkpoint; without a file from the newest of the run's folder",
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision: bfloat16 on a CPU, float16 elsewhere')


def _run(args: argparse.Namespace) -> None:
    config = read_config(args)
    for part in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
        if part not in config:
            raise UserError(f'{args.config} has no {part}: it is for a test. Use basicsr_semantic.mm.test.')
    if args.amp:
        import torch

        config.optim_wrapper.type = 'AmpOptimWrapper'
        on_gpu = torch.cuda.is_available()
        config.optim_wrapper.setdefault('dtype', 'float16' if on_gpu else 'bfloat16')
    if args.resume == 'auto':
        config.resume, config.load_from = True, None
    elif args.resume:
        config.resume, config.load_from = True, args.resume
    runner_of(config).train()


main = main_of('train', 'Train from a configuration of MMEngine.', _add, _run)

if __name__ == '__main__':
    sys.exit(main())
