"""Train from a configuration of MMEngine.

::

    python -m basicsr_semantic.mm.train CONFIG --work-dir FOLDER [--resume] [--amp] [--cfg-options KEY=VALUE ...]
    torchrun --nproc_per_node=8 -m basicsr_semantic.mm.train CONFIG --launcher pytorch
"""

from __future__ import annotations

import argparse
import sys

from mmengine.device import get_device

from ..utils.errors import UserError
from .running import check_checkpoint, main_of, read_config, runner_of, take_whole


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help="go on from a checkpoint; without a file from the newest of the run's folder",
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision; needs a GPU')


def _run(args: argparse.Namespace) -> None:
    config = read_config(args)
    for part in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
        if part not in config:
            raise UserError(f'{args.config} has no {part}: it is for a test. Use basicsr_semantic.mm.test.')
    if args.amp:
        config.optim_wrapper.type = 'AmpOptimWrapper'
    if config.optim_wrapper.get('type') == 'AmpOptimWrapper' and get_device() == 'cpu':
        raise UserError(
            "MMEngine's mixed precision (AmpOptimWrapper, --amp) needs a GPU, and there is none. Train without it, or "
            "in BasicSR's loop, whose amp: bf16 runs on a CPU."
        )
    if args.resume:
        take_whole(config)
    if args.resume == 'auto':
        config.resume, config.load_from = True, None
    elif args.resume:
        check_checkpoint(args.resume)
        config.resume, config.load_from = True, args.resume
    runner_of(config).train()


main = main_of('train', 'Train from a configuration of MMEngine.', _add, _run)

if __name__ == '__main__':
    sys.exit(main())
