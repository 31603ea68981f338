"""The instance encoder and decoder from a file, as stage 1 of Semantic Lens writes it."""

from __future__ import annotations

import os
from pathlib import Path

from ...archs.layers.instance_transformer import InstanceTransformer, instance_config
from ...utils.errors import UserError
from ..checkpoints import read_network_file
from ..pretrained import merge_config, misfit


def load_instance_transformer(path: str | os.PathLike[str]) -> InstanceTransformer:
    """Build the instance network from its weights, on the CPU and in evaluation mode.

    Args:
        path: {'params': state dict, 'network': constructor arguments, ...} or a state dict alone, which is taken to
            have the default heads and windows, since weights do not show them.

    Raises:
        UserError: The file is missing, damaged, or of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f'The instance checkpoint {path} does not exist. Stage 1 (model_type: VideoInstanceModel) trains one.'
        )
    state, network = read_network_file(path)
    try:
        read = instance_config(state)
    except ValueError as error:
        raise UserError(
            f'{path} is not an instance checkpoint, as stage 1 (model_type: VideoInstanceModel) trains one: {error}'
        ) from error
    config = merge_config(read, network, path)
    try:
        net = InstanceTransformer(**config)
    except (TypeError, ValueError) as error:
        raise UserError(f'The checkpoint {path} names sizes that make no InstanceTransformer: {error}') from error
    wrong = misfit(net.state_dict(), state)
    if wrong:
        raise UserError(f'The checkpoint {path} does not fit InstanceTransformer: {wrong}.')
    net.load_state_dict(state)
    return net.eval()
