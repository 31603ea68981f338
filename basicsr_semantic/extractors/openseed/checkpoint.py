"""OpenSeeD's weights from a file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import torch

from ..pretrained import PIXELS, PREDICTOR, Released, Sizes, load_released, merge_config
from .network import OpenSeeD
from .pixel_decoder import LEVELS

#: Official file -> its SHA-256, None where its makers publish none: give the one that was noted at the first download.
OFFICIAL_FILES: dict[str, str | None] = {'model_state_dict_swint_51.2ap.pt': None}


def load_openseed(
    path: str | os.PathLike[str], checksum: str | None = None, device: str | torch.device = 'cpu'
) -> OpenSeeD:
    """Build OpenSeeD from a released file or from one of ours, frozen; see :func:`load_released`."""
    return load_released(RELEASED, OpenSeeD, path, checksum, device).requires_grad_(False)


def first_name(key: str) -> str:
    """The name that our network has for a tensor which the released one holds under several."""
    decoder_norm, boxes = f'{PREDICTOR}decoder.norm.', (f'{PREDICTOR}bbox_embed.', f'{PREDICTOR}decoder.bbox_embed.')
    if key.startswith(decoder_norm):
        return f'{PREDICTOR}decoder_norm.{key.removeprefix(decoder_norm)}'
    for prefix in boxes:
        if key.startswith(prefix):
            return f'{PREDICTOR}_bbox_embed.{key.removeprefix(prefix).partition(".")[2]}'
    return key


def openseed_config(
    state: Mapping[str, torch.Tensor], network: Mapping[str, Any] | None = None, path: str | os.PathLike[str] = ''
) -> dict[str, Any]:
    """Constructor arguments of :class:`OpenSeeD` read off its weights.

    Weights do not show the number of queries, the decoders' heads and the groups of norms. Those are taken from
    ``network``; where it is missing, the released ones are used.

    Args:
        state: State dict with the released names.
        network: Constructor arguments stored with the weights.
        path: File, for the message.

    Raises:
        UserError: A tensor that shows a size is missing or has another form, or ``network`` contradicts the weights.
    """

    read_off = Sizes(state, 'OpenSeeD', path)
    count, size = read_off.count, read_off.size
    stages = [f'backbone.layers.{i}.blocks.' for i in range(4)]
    layer = f'{PIXELS}transformer.encoder.layers.0.'
    embed_dim = size('backbone.patch_embed.proj.weight', 0)
    read = {
        'embed_dim': embed_dim,
        'depths': [count(stage) for stage in stages],
        'num_heads': [size(f'{stage}0.attn.relative_position_bias_table', 1) for stage in stages],
        'window_size': (math.isqrt(size(f'{stages[0]}0.attn.relative_position_bias_table', 0)) + 1) // 2,
        'mlp_ratio': size(f'{stages[0]}0.mlp.fc1.weight', 0) / embed_dim,
        'hidden_dim': size(f'{PREDICTOR}class_embed', 0),
        'mask_dim': size(f'{PIXELS}mask_features.weight', 0),
        'projection_dim': size(f'{PREDICTOR}class_embed', 1),
        'dim_feedforward': size(f'{layer}linear1.weight', 0),
        'enc_layers': count(f'{PIXELS}transformer.encoder.layers.'),
        'dec_layers': count(f'{PREDICTOR}decoder.layers.'),
    }
    # Heads and points are known as a product only.
    nheads = (network or {}).get('nheads', 8)
    if isinstance(nheads, int) and nheads > 0:
        read['num_points'] = size(f'{layer}self_attn.attention_weights.bias', 0) // (LEVELS * nheads)
    return merge_config(read, network, path)


RELEASED = Released(
    name='OpenSeeD',
    form='OpenSeeD with a Swin backbone',
    download='https://github.com/IDEA-Research/OpenSeeD/releases/download/openseed/model_state_dict_swint_51.2ap.pt',
    files=OFFICIAL_FILES,
    unused={
        f'{PREDICTOR}lang_encoder.': 'text encoder',
        f'{PREDICTOR}lang_mapper': 'denoising in training',
        f'{PREDICTOR}label_enc.': 'denoising in training',
        'criterion': 'loss',
    },
    others={
        'image_encoder.': 'Segment Anything',
        f'{PREDICTOR}transformer_cross_attention_layers.': 'X-Decoder',
        'backbone.layers.0.blocks.0.modulation.': 'an OpenSeeD with a focal backbone',
    },
    parts={
        'backbone.patch_embed.': 'backbone',
        PIXELS: 'pixel decoder',
        f'{PREDICTOR}decoder.': 'query decoder',
    },
    config=openseed_config,
    first_name=first_name,
    follows={'.relative_position_index': 'relative positions, which follow from the window size'},
)
