"""Test from a configuration of MMEngine.

::

    python -m basicsr_semantic.mm.test CONFIG [CHECKPOINT] [--work-dir FOLDER] [--cfg-options KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import sys

from ..utils.errors import UserError
from ..utils.printing import complain
from .running import check_checkpoint, main_of, read_config, runner_of, take_whole


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'checkpoint', nargs='?', help='checkpoint of a training under MMEngine (default: the weights of the model)'
    )


def _run(args: argparse.Namespace) -> None:
    config = read_config(args)
    if 'test_dataloader' not in config:
        raise UserError(f'{args.config} has no test_dataloader. basicsr mm-config makes one from a test file.')
    model = config.get('model') or {}
    ours = str(model.get('type')).startswith('basicsr_semantic.')
    weights = (model.get('weights') or {}) if ours else {}
    if args.checkpoint:
        check_checkpoint(args.checkpoint)
        config.load_from = args.checkpoint
        take_whole(config)
        for name in ('pretrain_network_g', 'pretrain_adapter_g'):  # replaced, and perhaps not there
            weights.pop(name, None)
    elif ours and not config.get('load_from') and not weights.get('pretrain_network_g'):
        complain(f'{args.config} names no weights, and no checkpoint is given, so random weights are tested.')
    runner_of(config).test()


main = main_of('test', 'Test from a configuration of MMEngine.', _add, _run)

if __name__ == '__main__':
    sys.exit(main())
