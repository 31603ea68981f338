"""OpenSeeD's weights from a file: sizes are read off the tensors, and what is not needed is named."""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...errors import UserError
from ..checkpoints import read_network_file, verified_sha256
from ..xdecoder.checkpoint import merge_config, misfit
from ..xdecoder.report import CheckpointReport
from .network import OpenSeeD
from .pixel_decoder import LEVELS

DOWNLOAD = 'https://github.com/IDEA-Research/OpenSeeD/releases/download/openseed/model_state_dict_swint_51.2ap.pt'
#: Official file -> its SHA-256, None where its makers publish none: give the one that was noted at the first download.
OFFICIAL_FILES: dict[str, str | None] = {'model_state_dict_swint_51.2ap.pt': None}
_PREDICTOR = 'sem_seg_head.predictor.'
_PIXELS = 'sem_seg_head.pixel_decoder.'
LOGIT_SCALE_KEY = f'{_PREDICTOR}lang_encoder.logit_scale'
#: Beginning of a name in released files -> what it serves; none of it enters tokens, scores or masks.
UNUSED: dict[str, str] = {
    f'{_PREDICTOR}lang_encoder.': 'text encoder',
    f'{_PREDICTOR}lang_mapper': 'denoising in training',
    f'{_PREDICTOR}label_enc.': 'denoising in training',
    'criterion': 'loss',
}
_SECOND_NAMES = 'second names of tensors'
_INDICES = 'relative positions, which follow from the window size'
_log = logging.getLogger(__name__)


def load_openseed(
    path: str | os.PathLike[str], checksum: str | None = None, device: str | torch.device = 'cpu'
) -> OpenSeeD:
    """Build OpenSeeD from a released file or from one of ours, in evaluation mode and frozen.

    What the file holds beside the vision network is logged in one line and kept as ``report`` of the network.

    Args:
        path: State dict with the released names, or {'params': state dict, 'network': constructor arguments}.
        checksum: SHA-256 that the file must have; None: not checked, but recorded all the same.
        device: Where the network goes.

    Raises:
        UserError: The file is missing, damaged or of another network, or the device cannot be used.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'The checkpoint {path} does not exist. The released one is at {DOWNLOAD}')
    expected, why = OFFICIAL_FILES.get(path.name), 'that of the official file of this name'
    if checksum is not None:
        expected, why = checksum, 'the checksum that was asked for'
    digest = verified_sha256(path, expected, why)
    state, network = read_network_file(path)
    needed, unused = split_state(state, path)
    config = openseed_config(needed, network, path)
    try:
        net = OpenSeeD(**config)
    except (TypeError, UserError) as error:
        raise UserError(f'The checkpoint {path} names sizes that make no OpenSeeD: {error}') from error
    if wrong := misfit(net.state_dict(), needed, (LOGIT_SCALE_KEY,)):
        raise UserError(f'The checkpoint {path} does not fit OpenSeeD with a Swin backbone: {wrong}.')
    net.load_state_dict(needed, strict=False)
    net.report = CheckpointReport(path.name, digest, unused, LOGIT_SCALE_KEY in needed, 'OpenSeeD')
    _log.info('%s', net.report)
    try:
        return net.requires_grad_(False).to(device).eval()
    except (RuntimeError, AssertionError) as error:
        raise UserError(f'OpenSeeD cannot run on the device {device!r}: {str(error).splitlines()[0]}') from error


def split_state(
    state: Mapping[str, torch.Tensor], path: str | os.PathLike[str]
) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    """Divide a state dict into what the vision network needs and a count of the rest by what it serves.

    Args:
        state: The state dict.
        path: Its file, for the message.

    Raises:
        UserError: It is that of another network, a part is missing, or two names of one tensor have different values.
    """
    _refuse_others(state, path)
    needed, unused, unknown = {}, Counter[str](), []
    for key, value in state.items():
        purpose = next((name for prefix, name in UNUSED.items() if key.startswith(prefix)), None)
        if purpose is not None and key != LOGIT_SCALE_KEY:
            unused[purpose] += 1
        elif (first := first_name(key)) != key:
            if first not in state or not torch.equal(state[first], value):
                raise UserError(
                    f'The checkpoint {path} is not that of OpenSeeD as released: {key} is another tensor than {first}.'
                )
            unused[_SECOND_NAMES] += 1
        elif key.startswith('backbone.') and key.endswith('.relative_position_index'):
            unused[_INDICES] += 1
        elif key.startswith(('backbone.', _PIXELS, _PREDICTOR)):
            needed[key] = value
        else:
            unknown.append(key)
    if unknown:
        raise UserError(
            f'The checkpoint {path} holds tensors that no OpenSeeD has: {", ".join(sorted(unknown)[:3])}. It is of '
            'another network.'
        )
    return needed, dict(unused)


def first_name(key: str) -> str:
    """The name that our network has for a tensor which the released one holds under several."""
    decoder_norm, boxes = f'{_PREDICTOR}decoder.norm.', (f'{_PREDICTOR}bbox_embed.', f'{_PREDICTOR}decoder.bbox_embed.')
    if key.startswith(decoder_norm):
        return f'{_PREDICTOR}decoder_norm.{key.removeprefix(decoder_norm)}'
    for prefix in boxes:
        if key.startswith(prefix):
            return f'{_PREDICTOR}_bbox_embed.{key.removeprefix(prefix).partition(".")[2]}'
    return key


def openseed_config(
    state: Mapping[str, torch.Tensor], network: Mapping[str, Any] | None = None, path: str | os.PathLike[str] = ''
) -> dict[str, Any]:
    """Constructor arguments of :class:`OpenSeeD` read off its weights.

    Weights do not tell the number of queries, the decoders' heads and the groups of norms; those are taken from
    ``network``, and where it is missing they are the released ones.

    Args:
        state: State dict with the released names.
        network: Constructor arguments stored beside the weights.
        path: File, for the message.

    Raises:
        UserError: A tensor that tells a size is missing or has another form, or ``network`` contradicts the weights.
    """

    def count(prefix: str) -> int:
        return len({key[len(prefix) :].split('.')[0] for key in state if key.startswith(prefix)})

    def size(key: str, axis: int) -> int:
        if key not in state or state[key].dim() <= axis:
            raise UserError(f'The checkpoint {path} is not that of OpenSeeD: {key} is missing or has another form.')
        return state[key].shape[axis]

    stages = [f'backbone.layers.{i}.blocks.' for i in range(4)]
    layer = f'{_PIXELS}transformer.encoder.layers.0.'
    embed_dim = size('backbone.patch_embed.proj.weight', 0)
    read = {
        'embed_dim': embed_dim,
        'depths': [count(stage) for stage in stages],
        'num_heads': [size(f'{stage}0.attn.relative_position_bias_table', 1) for stage in stages],
        'window_size': (math.isqrt(size(f'{stages[0]}0.attn.relative_position_bias_table', 0)) + 1) // 2,
        'mlp_ratio': size(f'{stages[0]}0.mlp.fc1.weight', 0) / embed_dim,
        'hidden_dim': size(f'{_PREDICTOR}class_embed', 0),
        'mask_dim': size(f'{_PIXELS}mask_features.weight', 0),
        'projection_dim': size(f'{_PREDICTOR}class_embed', 1),
        'dim_feedforward': size(f'{layer}linear1.weight', 0),
        'enc_layers': count(f'{_PIXELS}transformer.encoder.layers.'),
        'dec_layers': count(f'{_PREDICTOR}decoder.layers.'),
    }
    # Heads and points are known as a product only.
    nheads = (network or {}).get('nheads', 8)
    if isinstance(nheads, int) and nheads > 0:
        read['num_points'] = size(f'{layer}self_attn.attention_weights.bias', 0) // (LEVELS * nheads)
    return merge_config(read, network, path)


def _refuse_others(state: Mapping[str, torch.Tensor], path: str | os.PathLike[str]) -> None:
    """Raise UserError if a state dict is that of another network."""
    for part, name in (
        ('image_encoder.', 'Segment Anything'),
        (f'{_PREDICTOR}transformer_cross_attention_layers.', 'X-Decoder'),
        ('backbone.layers.0.blocks.0.modulation.', 'an OpenSeeD with a focal backbone'),
    ):
        if any(key.startswith(part) for key in state):
            raise UserError(
                f'The checkpoint {path} is that of {name}; OpenSeeD with a Swin backbone is needed: {DOWNLOAD}'
            )
    if not any(key.startswith(('backbone.', _PIXELS)) for key in state) and any(
        'lang_encoder.' in key for key in state
    ):
        raise UserError(f'The checkpoint {path} holds a text encoder alone; the whole OpenSeeD is needed: {DOWNLOAD}')
    for prefix, name in (
        ('backbone.patch_embed.', 'backbone'),
        (_PIXELS, 'pixel decoder'),
        (f'{_PREDICTOR}decoder.', 'query decoder'),
    ):
        if not any(key.startswith(prefix) for key in state):
            raise UserError(
                f'The checkpoint {path} is not that of OpenSeeD: it has no {name} ({prefix}*). See {DOWNLOAD}'
            )
