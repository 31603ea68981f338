"""The names and shapes in X-Decoder's released files, written down independently of our network, at any size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

Shapes = dict[str, tuple[int, ...]]
PREDICTOR = 'sem_seg_head.predictor.'
PIXELS = 'sem_seg_head.pixel_decoder.'

FOCAL_T = {
    'embed_dim': 96,
    'depths': (2, 2, 6, 2),
    'levels': 3,
    'depthwise': True,
    'dim': 512,
    'mask_dim': 512,
    'projection_dim': 512,
    'queries': 101,
    'inner': 2048,
    'encoder': 6,
    'decoder': 9,
    'vocabulary': 49408,
    'context': 77,
    'text_layers': 12,
}
FOCAL_L = {**FOCAL_T, 'embed_dim': 192, 'depths': (2, 2, 18, 2), 'levels': 4, 'depthwise': False, 'queries': 201}
#: Small, with all widths different where they may differ; heads and groups cannot be read off: see NETWORK.
TINY = {
    'embed_dim': 8,
    'depths': (1, 1, 2, 1),
    'levels': 2,
    'depthwise': True,
    'dim': 16,
    'mask_dim': 12,
    'projection_dim': 20,
    'queries': 6,
    'inner': 24,
    'encoder': 2,
    'decoder': 4,
    'vocabulary': 40,
    'context': 7,
    'text_layers': 2,
}
#: What is stored with weights of such a size.
NETWORK = {'nheads': 4, 'norm_groups': 4}
#: Constructor arguments of the same size.
TINY_XDECODER: dict[str, Any] = {
    'embed_dim': 8,
    'depths': (1, 1, 2, 1),
    'focal_levels': (2, 2, 2, 2),
    'hidden_dim': 16,
    'mask_dim': 12,
    'projection_dim': 20,
    'num_queries': 6,
    'nheads': 4,
    'dim_feedforward': 24,
    'enc_layers': 2,
    'dec_layers': 4,
    'norm_groups': 4,
}


def released_shapes(size: Mapping[str, Any]) -> Shapes:
    """All tensors of a released file, needed or not."""
    return {**_backbone(size), **_pixel_decoder(size), **_predictor(size), **_rest(size)}


def needed_shapes(size: Mapping[str, Any]) -> Shapes:
    """Those that the vision network keeps."""
    scale: Shapes = {f'{PREDICTOR}lang_encoder.logit_scale': ()}
    return {**_backbone(size), **_pixel_decoder(size), **_predictor(size), **scale}


def random_state(shapes: Shapes, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors; norms and residual scales near 1, so that every part shows in the result."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        state[name] = 0.3 * torch.randn(shape, generator=generator)
        if 'gamma' in name or ('norm' in name and name.endswith('weight')):
            state[name] += 1
        if name.endswith('self_attn_mask'):
            state[name] = torch.zeros(shape, dtype=torch.bool)
    return state


def released_file(path: Path, size: Mapping[str, Any] = TINY, **changes: torch.Tensor | None) -> Path:
    """A file with the names of the released ones and, since it is tiny, heads and groups with them.

    Args:
        path: Where to write it.
        size: Its size.
        changes: Tensors to replace or to add; None removes.
    """
    state = {**random_state(released_shapes(size)), **changes}
    torch.save({'params': {k: v for k, v in state.items() if v is not None}, 'network': NETWORK}, path)
    return path


def _with_bias(name: str, *shape: int) -> Shapes:
    return {f'{name}.weight': shape, f'{name}.bias': shape[:1]}


def _attention(name: str, dim: int) -> Shapes:
    return {
        f'{name}.in_proj_weight': (3 * dim, dim),
        f'{name}.in_proj_bias': (3 * dim,),
        **_with_bias(f'{name}.out_proj', dim, dim),
    }


def _feed_forward(name: str, dim: int, inner: int) -> Shapes:
    return _with_bias(f'{name}.linear1', inner, dim) | _with_bias(f'{name}.linear2', dim, inner)


def _backbone(size: Mapping[str, Any]) -> Shapes:
    shapes = {
        **_with_bias('backbone.patch_embed.proj', size['embed_dim'], 3, 7, 7),
        **_with_bias('backbone.patch_embed.norm', size['embed_dim']),
    }
    for i, depth in enumerate(size['depths']):
        dim = size['embed_dim'] * 2**i
        for j in range(depth):
            block = f'backbone.layers.{i}.blocks.{j}'
            shapes |= {f'{block}.gamma_1': (dim,), f'{block}.gamma_2': (dim,)}
            if size['depthwise']:
                shapes |= _with_bias(f'{block}.dw1', dim, 1, 3, 3) | _with_bias(f'{block}.dw2', dim, 1, 3, 3)
            shapes |= _with_bias(f'{block}.norm1', dim) | _with_bias(f'{block}.norm2', dim)
            shapes |= _with_bias(f'{block}.modulation.f', 2 * dim + size['levels'] + 1, dim)
            shapes |= _with_bias(f'{block}.modulation.h', dim, dim, 1, 1)
            shapes |= _with_bias(f'{block}.modulation.proj', dim, dim)
            for level in range(size['levels']):
                side = 3 + 2 * level
                shapes[f'{block}.modulation.focal_layers.{level}.0.weight'] = (dim, 1, side, side)
            shapes |= _with_bias(f'{block}.mlp.fc1', 4 * dim, dim) | _with_bias(f'{block}.mlp.fc2', dim, 4 * dim)
        if i < 3:
            step = f'backbone.layers.{i}.downsample'
            shapes |= _with_bias(f'{step}.proj', 2 * dim, dim, 3, 3) | _with_bias(f'{step}.norm', 2 * dim)
        shapes |= _with_bias(f'backbone.norm{i}', dim)
    return shapes


def _pixel_decoder(size: Mapping[str, Any]) -> Shapes:
    dim = size['dim']
    shapes = _with_bias(f'{PIXELS}input_proj', dim, 8 * size['embed_dim'], 1, 1)
    for i in range(1, 5):
        shapes[f'{PIXELS}layer_{i}.weight'] = (dim, dim, 3, 3)
        shapes |= _with_bias(f'{PIXELS}layer_{i}.norm', dim)
    for i in range(1, 4):
        shapes[f'{PIXELS}adapter_{i}.weight'] = (dim, size['embed_dim'] * 2 ** (i - 1), 1, 1)
        shapes |= _with_bias(f'{PIXELS}adapter_{i}.norm', dim)
    for i in range(size['encoder']):
        layer = f'{PIXELS}transformer.encoder.layers.{i}'
        shapes |= _attention(f'{layer}.self_attn', dim)
        shapes |= _with_bias(f'{layer}.linear1', size['inner'], dim) | _with_bias(
            f'{layer}.linear2', dim, size['inner']
        )
        shapes |= _with_bias(f'{layer}.norm1', dim) | _with_bias(f'{layer}.norm2', dim)
    return shapes | _with_bias(f'{PIXELS}mask_features', size['mask_dim'], dim, 3, 3)


def _predictor(size: Mapping[str, Any]) -> Shapes:
    dim = size['dim']
    shapes: Shapes = {
        f'{PREDICTOR}query_feat.weight': (size['queries'], dim),
        f'{PREDICTOR}query_embed.weight': (size['queries'], dim),
        f'{PREDICTOR}level_embed.weight': (3, dim),
        f'{PREDICTOR}class_embed': (dim, size['projection_dim']),
    }
    for i in range(size['decoder']):
        cross, own, inner = (
            f'{PREDICTOR}transformer_{name}_layers.{i}' for name in ('cross_attention', 'self_attention', 'ffn')
        )
        shapes |= _attention(f'{cross}.multihead_attn', dim) | _attention(f'{own}.self_attn', dim)
        shapes |= _with_bias(f'{inner}.linear1', size['inner'], dim) | _with_bias(
            f'{inner}.linear2', dim, size['inner']
        )
        for part in (cross, own, inner):
            shapes |= _with_bias(f'{part}.norm', dim)
    for i in range(3):
        shapes |= _with_bias(f'{PREDICTOR}mask_embed.layers.{i}', size['mask_dim'] if i == 2 else dim, dim)
    return shapes | _with_bias(f'{PREDICTOR}decoder_norm', dim)


def _rest(size: Mapping[str, Any]) -> Shapes:
    dim, projection_dim, context = size['dim'], size['projection_dim'], size['context']
    text = f'{PREDICTOR}lang_encoder.lang_encoder.'
    shapes: Shapes = {
        f'{PREDICTOR}lang_encoder.logit_scale': (),
        f'{PREDICTOR}lang_encoder.lang_proj': (dim, projection_dim),
        f'{text}token_embedding.weight': (size['vocabulary'], dim),
        f'{text}positional_embedding': (context, dim),
        f'{PREDICTOR}caping_embed': (dim, projection_dim),
        f'{PREDICTOR}pos_embed_caping.weight': (context, dim),
        f'{PREDICTOR}self_attn_mask': (1, size['queries'] + context, size['queries'] + context),
        'backbone_proj': (8 * size['embed_dim'], projection_dim),
        'criterion.empty_weight': (134,),
    }
    for i in range(size['text_layers']):
        block = f'{text}resblocks.{i}'
        shapes |= _attention(f'{block}.attn', dim) | _with_bias(f'{block}.ln_1', dim) | _with_bias(f'{block}.ln_2', dim)
        shapes |= _with_bias(f'{block}.mlp.c_fc', 4 * dim, dim) | _with_bias(f'{block}.mlp.c_proj', dim, 4 * dim)
    return shapes | _with_bias(f'{text}ln_final', dim)
