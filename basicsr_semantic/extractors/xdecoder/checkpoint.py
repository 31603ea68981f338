"""X-Decoder's weights from a file: sizes are read off the tensors, and what is not needed is named."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...errors import UserError
from ..checkpoints import read_network_file, verified_sha256
from .network import XDecoder
from .report import CheckpointReport

DOWNLOAD = 'https://github.com/microsoft/X-Decoder'
#: Official file -> its SHA-256, None where its makers publish none: give the one that was noted at the first download.
OFFICIAL_FILES: dict[str, str | None] = {
    'xdecoder_focalt_last.pt': None,
    'xdecoder_focalt_best_openseg.pt': None,
    'xdecoder_focalt_last_novg.pt': None,
    'xdecoder_focall_last.pt': None,
    'xdecoder_focall_bestseg.pt': None,
}
_PREDICTOR = 'sem_seg_head.predictor.'
_PIXELS = 'sem_seg_head.pixel_decoder.'
LOGIT_SCALE_KEY = f'{_PREDICTOR}lang_encoder.logit_scale'
#: Beginning of a name in released files -> what it serves; none of it enters tokens or masks.
UNUSED: dict[str, str] = {
    f'{_PREDICTOR}lang_encoder.': 'text encoder',
    f'{_PREDICTOR}caping_embed': 'captioning',
    f'{_PREDICTOR}pos_embed_caping.': 'captioning',
    f'{_PREDICTOR}self_attn_mask': 'attention mask, which follows from the sizes',
    'backbone_proj': 'retrieval',
    'criterion.': 'loss',
}
_log = logging.getLogger(__name__)


def load_xdecoder(
    path: str | os.PathLike[str], checksum: str | None = None, device: str | torch.device = 'cpu'
) -> XDecoder:
    """Build X-Decoder from a released file or from one of ours, in evaluation mode.

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
        raise UserError(f'The checkpoint {path} does not exist. The released ones are named at {DOWNLOAD}')
    expected, why = OFFICIAL_FILES.get(path.name), 'that of the official file of this name'
    if checksum is not None:
        expected, why = checksum, 'the checksum that was asked for'
    digest = verified_sha256(path, expected, why)
    state, network = read_network_file(path)
    needed, unused = split_state(state, path)
    config = xdecoder_config(needed, network, path)
    try:
        net = XDecoder(**config)
    except (TypeError, UserError) as error:
        raise UserError(f'The checkpoint {path} names sizes that make no X-Decoder: {error}') from error
    wrong = misfit(net.state_dict(), needed, (LOGIT_SCALE_KEY,))
    if wrong:
        raise UserError(f'The checkpoint {path} does not fit X-Decoder: {wrong}.')
    net.load_state_dict(needed, strict=False)
    net.report = CheckpointReport(path.name, digest, unused, LOGIT_SCALE_KEY in needed)
    _log.info('%s', net.report)
    try:
        return net.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        raise UserError(f'X-Decoder cannot run on the device {device!r}: {str(error).splitlines()[0]}') from error


def split_state(
    state: Mapping[str, torch.Tensor], path: str | os.PathLike[str]
) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    """Divide a state dict into what the vision network needs and a count of the rest by what it serves.

    Args:
        state: The state dict.
        path: Its file, for the message.

    Raises:
        UserError: It is that of another network, or a part is missing.
    """
    for prefix, name in (
        ('image_encoder.', 'Segment Anything'),
        ('backbone.convs.', 'an X-Decoder with a DaViT backbone'),
        ('backbone.neck.', 'an X-Decoder or SEEM with a ViT backbone'),
    ):
        if any(key.startswith(prefix) for key in state):
            raise UserError(
                f'The checkpoint {path} is that of {name}; X-Decoder with a focal backbone is needed: {DOWNLOAD}'
            )
    if not any(key.startswith(('backbone.', _PIXELS)) for key in state) and any(
        'lang_encoder.' in key for key in state
    ):
        raise UserError(f'The checkpoint {path} holds a text encoder alone; the whole X-Decoder is needed: {DOWNLOAD}')
    for prefix, name in (
        ('backbone.patch_embed.', 'backbone'),
        (_PIXELS, 'pixel decoder'),
        (f'{_PREDICTOR}query_feat.', 'transformer decoder'),
    ):
        if not any(key.startswith(prefix) for key in state):
            raise UserError(
                f'The checkpoint {path} is not that of X-Decoder: it has no {name} ({prefix}*). See {DOWNLOAD}'
            )
    needed, unused, unknown = {}, Counter[str](), []
    for key, value in state.items():
        purpose = next((name for prefix, name in UNUSED.items() if key.startswith(prefix)), None)
        if purpose is not None and key != LOGIT_SCALE_KEY:
            unused[purpose] += 1
        elif key.startswith(('backbone.', _PIXELS, _PREDICTOR)):
            needed[key] = value
        else:
            unknown.append(key)
    if unknown:
        raise UserError(
            f'The checkpoint {path} holds tensors that no X-Decoder has: {_some(unknown)}. It is of another network.'
        )
    return needed, dict(unused)


def xdecoder_config(
    state: Mapping[str, torch.Tensor], network: Mapping[str, Any] | None = None, path: str | os.PathLike[str] = ''
) -> dict[str, Any]:
    """Constructor arguments of :class:`XDecoder` read off its weights.

    Weights do not tell heads, groups of norms and what matters in training alone; those are taken from ``network``,
    and where it is missing they are the released ones.

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
            raise UserError(f'The checkpoint {path} is not that of X-Decoder: {key} is missing or has another form.')
        return state[key].shape[axis]

    stages = [f'backbone.layers.{i}.blocks.' for i in range(4)]
    embed_dim = size('backbone.patch_embed.proj.weight', 0)
    read = {
        'embed_dim': embed_dim,
        'depths': [count(stage) for stage in stages],
        'focal_levels': [count(f'{stage}0.modulation.focal_layers.') for stage in stages],
        'focal_windows': [size(f'{stage}0.modulation.focal_layers.0.0.weight', 3) for stage in stages],
        'mlp_ratio': size(f'{stages[0]}0.mlp.fc1.weight', 0) / embed_dim,
        'depthwise': f'{stages[0]}0.dw1.weight' in state,
        'hidden_dim': size(f'{_PREDICTOR}query_feat.weight', 1),
        'mask_dim': size(f'{_PIXELS}mask_features.weight', 0),
        'projection_dim': size(f'{_PREDICTOR}class_embed', 1),
        'num_queries': size(f'{_PREDICTOR}query_feat.weight', 0),
        'dim_feedforward': size(f'{_PREDICTOR}transformer_ffn_layers.0.linear1.weight', 0),
        'enc_layers': count(f'{_PIXELS}transformer.encoder.layers.'),
        'dec_layers': count(f'{_PREDICTOR}transformer_self_attention_layers.'),
    }
    return merge_config(read, network, path)


def merge_config(
    read: Mapping[str, Any], network: Mapping[str, Any] | None, path: str | os.PathLike[str]
) -> dict[str, Any]:
    """Constructor arguments read off weights, completed by those stored beside them.

    Args:
        read: What the weights tell.
        network: What is stored; ``type`` is left out.
        path: File, for the message.

    Raises:
        UserError: The two contradict each other.
    """
    stored = {name: value for name, value in (network or {}).items() if name != 'type'}
    for name in sorted(read.keys() & stored.keys()):
        value = list(stored[name]) if isinstance(stored[name], tuple) else stored[name]
        if value is not None and value != read[name]:
            raise UserError(
                f'The checkpoint {path} contradicts itself: it says {name}: {value}, its weights say {read[name]}.'
            )
    return {**stored, **read}


def misfit(own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], optional: tuple[str, ...] = ()) -> str:
    """What keeps weights from fitting a network, in words; nothing if they do.

    Args:
        own: State dict of the network.
        state: The weights.
        optional: Names that the weights may lack.
    """
    said = []
    if missing := own.keys() - state.keys() - set(optional):
        said.append(f'{_some(missing)} missing')
    if unknown := state.keys() - own.keys():
        said.append(f'{_some(unknown)} unknown to it')
    for key in sorted(own.keys() & state.keys()):
        if own[key].shape != state[key].shape:
            shapes = f'{tuple(state[key].shape)}, but its other tensors ask for {tuple(own[key].shape)}'
            said.append(f'{key} is {shapes}')
            break
    if broken := [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]:
        said.append(f'{_some(broken)} not made of finite numbers')
    return '; '.join(said)


def _some(keys: Any) -> str:
    """The first names of many."""
    ordered = sorted(keys)
    return ', '.join(ordered[:3]) + (f' and {len(ordered) - 3} more' if len(ordered) > 3 else '')
