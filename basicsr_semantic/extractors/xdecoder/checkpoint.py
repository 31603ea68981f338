"""X-Decoder's weights from a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from ..pretrained import PIXELS, PREDICTOR, Released, Sizes, load_released, merge_config
from .network import XDecoder

#: Official file -> its SHA-256, None where its makers publish none: give the one that was noted at the first download.
OFFICIAL_FILES: dict[str, str | None] = {
    'xdecoder_focalt_last.pt': None,
    'xdecoder_focalt_best_openseg.pt': None,
    'xdecoder_focalt_last_novg.pt': None,
    'xdecoder_focall_last.pt': None,
    'xdecoder_focall_bestseg.pt': None,
}


def load_xdecoder(
    path: str | os.PathLike[str], checksum: str | None = None, device: str | torch.device = 'cpu'
) -> XDecoder:
    """Build X-Decoder from a released file or from one of ours; see :func:`load_released`."""
    return load_released(RELEASED, XDecoder, path, checksum, device)


def xdecoder_config(
    state: Mapping[str, torch.Tensor], network: Mapping[str, Any] | None = None, path: str | os.PathLike[str] = ''
) -> dict[str, Any]:
    """Constructor arguments of :class:`XDecoder` read off its weights.

    Weights do not show heads, groups of norms and what matters in training only. Those are taken from ``network``;
    where it is missing, the released ones are used.

    Args:
        state: State dict with the released names.
        network: Constructor arguments stored with the weights.
        path: File, for the message.

    Raises:
        UserError: A tensor that shows a size is missing or has another form, or ``network`` contradicts the weights.
    """

    read_off = Sizes(state, 'X-Decoder', path)
    count, size = read_off.count, read_off.size
    stages = [f'backbone.layers.{i}.blocks.' for i in range(4)]
    embed_dim = size('backbone.patch_embed.proj.weight', 0)
    read = {
        'embed_dim': embed_dim,
        'depths': [count(stage) for stage in stages],
        'focal_levels': [count(f'{stage}0.modulation.focal_layers.') for stage in stages],
        'focal_windows': [size(f'{stage}0.modulation.focal_layers.0.0.weight', 3) for stage in stages],
        'mlp_ratio': size(f'{stages[0]}0.mlp.fc1.weight', 0) / embed_dim,
        'depthwise': f'{stages[0]}0.dw1.weight' in state,
        'hidden_dim': size(f'{PREDICTOR}query_feat.weight', 1),
        'mask_dim': size(f'{PIXELS}mask_features.weight', 0),
        'projection_dim': size(f'{PREDICTOR}class_embed', 1),
        'num_queries': size(f'{PREDICTOR}query_feat.weight', 0),
        'dim_feedforward': size(f'{PREDICTOR}transformer_ffn_layers.0.linear1.weight', 0),
        'enc_layers': count(f'{PIXELS}transformer.encoder.layers.'),
        'dec_layers': count(f'{PREDICTOR}transformer_self_attention_layers.'),
    }
    return merge_config(read, network, path)


RELEASED = Released(
    name='X-Decoder',
    form='X-Decoder with a focal backbone',
    download='https://github.com/microsoft/X-Decoder',
    files=OFFICIAL_FILES,
    unused={
        f'{PREDICTOR}lang_encoder.': 'text encoder',
        f'{PREDICTOR}caping_embed': 'captioning',
        f'{PREDICTOR}pos_embed_caping.': 'captioning',
        f'{PREDICTOR}self_attn_mask': 'attention mask, which follows from the sizes',
        'backbone_proj': 'retrieval',
        'criterion.': 'loss',
    },
    others={
        'image_encoder.': 'Segment Anything',
        'backbone.convs.': 'an X-Decoder with a DaViT backbone',
        'backbone.neck.': 'an X-Decoder or SEEM with a ViT backbone',
    },
    parts={
        'backbone.patch_embed.': 'backbone',
        PIXELS: 'pixel decoder',
        f'{PREDICTOR}query_feat.': 'transformer decoder',
    },
    config=xdecoder_config,
)
