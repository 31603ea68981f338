"""The names and shapes in OpenSeeD's released file, written down independently of our network, at any size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

Shapes = dict[str, tuple[int, ...]]
PREDICTOR = 'sem_seg_head.predictor.'
PIXELS = 'sem_seg_head.pixel_decoder.'

SWIN_T: dict[str, Any] = {
    'embed_dim': 96,
    'depths': (2, 2, 6, 2),
    'num_heads': (3, 6, 12, 24),
    'window_size': 7,
    'mlp_ratio': 4.0,
    'hidden_dim': 256,
    'mask_dim': 256,
    'projection_dim': 512,
    'num_queries': 300,
    'nheads': 8,
    'num_points': 4,
    'dim_feedforward': 2048,
    'enc_layers': 6,
    'dec_layers': 9,
    'norm_groups': 32,
}
#: Small, with all widths different where they may differ.
TINY: dict[str, Any] = {
    'embed_dim': 8,
    'depths': (1, 2, 1, 1),
    'num_heads': (1, 2, 2, 4),
    'window_size': 3,
    'mlp_ratio': 2.0,
    'hidden_dim': 16,
    'mask_dim': 12,
    'projection_dim': 20,
    'num_queries': 6,
    'nheads': 2,
    'num_points': 3,
    'dim_feedforward': 24,
    'enc_layers': 2,
    'dec_layers': 3,
    'norm_groups': 4,
}
#: What is stored with weights of such a size, since they do not show it.
NETWORK = {name: TINY[name] for name in ('num_queries', 'nheads', 'norm_groups')}


def released_shapes(size: Mapping[str, Any], text_width: int = 16) -> Shapes:
    """All tensors of a released file, needed or not; the text encoder has one layer."""
    return {**needed_shapes(size), **_second_names(size), **_rest(size, text_width)}


def needed_shapes(size: Mapping[str, Any]) -> Shapes:
    """Those that the vision network keeps."""
    scale: Shapes = {f'{PREDICTOR}lang_encoder.logit_scale': ()}
    return {**_backbone(size), **_pixel_decoder(size), **_predictor(size), **scale}


def random_state(shapes: Shapes, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors; norms near 1, and one value for all names of a tensor."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        state[name] = 0.3 * torch.randn(shape, generator=generator)
        if 'norm' in name and name.endswith('weight'):
            state[name] += 1
    for name in state:
        if name.startswith(f'{PREDICTOR}decoder.norm.'):
            state[name] = state[name.replace('decoder.norm', 'decoder_norm')]
        elif 'predictor.bbox_embed' in name or 'decoder.bbox_embed' in name:
            state[name] = state[f'{PREDICTOR}_bbox_embed.layers.{name.partition("layers.")[2]}']
    return state


def released_file(path: Path, size: Mapping[str, Any] = TINY, **changes: torch.Tensor | None) -> Path:
    """A file with the names of the released one and, since it is tiny, what weights do not show with them.

    Args:
        path: Where to write it.
        size: Its size.
        changes: Tensors to replace or to add; None removes.
    """
    state = {**random_state(released_shapes(size)), **changes}
    torch.save({'params': {k: v for k, v in state.items() if v is not None}, 'network': NETWORK}, path)
    return path


def text_file(path: Path, seed: int = 0, count: int = 5, **more: Any) -> Path:
    """Text embeddings of random names, as ``basicsr prepare text`` writes them."""
    width = TINY['projection_dim']
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    names = [f'name {i}' for i in range(count)]
    torch.save({'names': names, 'embeddings': rows, 'background': torch.zeros(width), **more}, path)
    return path


def openseed_files(folder: Path) -> dict[str, str]:
    """Both files of a tiny extractor, by the names of its arguments."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {'checkpoint': released_file(folder / 'openseed.pt'), 'text_embeddings': text_file(folder / 'words.pt')}
    return {name: str(path) for name, path in files.items()}


def small_openseed(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The tiny one, of few tokens."""
    return {**openseed_files(folder), 'num_tokens': 4, 'short_side': 32}


def _with_bias(name: str, *shape: int) -> Shapes:
    return {f'{name}.weight': shape, f'{name}.bias': shape[:1]}


def _norm(name: str, dim: int) -> Shapes:
    return _with_bias(name, dim)


def _mlp(name: str, *widths: int) -> Shapes:
    shapes: Shapes = {}
    for i in range(len(widths) - 1):
        shapes |= _with_bias(f'{name}.layers.{i}', widths[i + 1], widths[i])
    return shapes


def _backbone(size: Mapping[str, Any]) -> Shapes:
    shapes = _with_bias('backbone.patch_embed.proj', size['embed_dim'], 3, 4, 4)
    shapes |= _norm('backbone.patch_embed.norm', size['embed_dim'])
    for i, (depth, heads) in enumerate(zip(size['depths'], size['num_heads'], strict=True)):
        dim = size['embed_dim'] * 2**i
        inner = int(dim * size['mlp_ratio'])
        for j in range(depth):
            block = f'backbone.layers.{i}.blocks.{j}'
            shapes[f'{block}.attn.relative_position_bias_table'] = ((2 * size['window_size'] - 1) ** 2, heads)
            shapes |= _norm(f'{block}.norm1', dim) | _norm(f'{block}.norm2', dim)
            shapes |= _with_bias(f'{block}.attn.qkv', 3 * dim, dim) | _with_bias(f'{block}.attn.proj', dim, dim)
            shapes |= _with_bias(f'{block}.mlp.fc1', inner, dim) | _with_bias(f'{block}.mlp.fc2', dim, inner)
        if i < 3:
            shapes[f'backbone.layers.{i}.downsample.reduction.weight'] = (2 * dim, 4 * dim)
            shapes |= _norm(f'backbone.layers.{i}.downsample.norm', 4 * dim)
        shapes |= _norm(f'backbone.norm{i}', dim)
    return shapes


def _deformable(name: str, size: Mapping[str, Any]) -> Shapes:
    dim, places = size['hidden_dim'], 4 * size['nheads'] * size['num_points']
    return {
        **_with_bias(f'{name}.sampling_offsets', 2 * places, dim),
        **_with_bias(f'{name}.attention_weights', places, dim),
        **_with_bias(f'{name}.value_proj', dim, dim),
        **_with_bias(f'{name}.output_proj', dim, dim),
    }


def _feed_forward(name: str, size: Mapping[str, Any]) -> Shapes:
    dim, inner = size['hidden_dim'], size['dim_feedforward']
    return _with_bias(f'{name}.linear1', inner, dim) | _with_bias(f'{name}.linear2', dim, inner)


def _pixel_decoder(size: Mapping[str, Any]) -> Shapes:
    dim, first = size['hidden_dim'], size['embed_dim']
    shapes: Shapes = {f'{PIXELS}transformer.level_embed': (4, dim)}
    for i, (width, kernel) in enumerate([(2 * first, 1), (4 * first, 1), (8 * first, 1), (8 * first, 3)]):
        shapes |= _with_bias(f'{PIXELS}input_proj.{i}.0', dim, width, kernel, kernel)
        shapes |= _norm(f'{PIXELS}input_proj.{i}.1', dim)
    for i in range(size['enc_layers']):
        layer = f'{PIXELS}transformer.encoder.layers.{i}'
        shapes |= _deformable(f'{layer}.self_attn', size) | _feed_forward(layer, size)
        shapes |= _norm(f'{layer}.norm1', dim) | _norm(f'{layer}.norm2', dim)
    shapes |= {f'{PIXELS}adapter_1.weight': (dim, first, 1, 1), f'{PIXELS}layer_1.weight': (dim, dim, 3, 3)}
    shapes |= _norm(f'{PIXELS}adapter_1.norm', dim) | _norm(f'{PIXELS}layer_1.norm', dim)
    return shapes | _with_bias(f'{PIXELS}mask_features', size['mask_dim'], dim, 1, 1)


def _predictor(size: Mapping[str, Any]) -> Shapes:
    dim = size['hidden_dim']
    shapes: Shapes = {f'{PREDICTOR}class_embed': (dim, size['projection_dim'])}
    shapes |= _with_bias(f'{PREDICTOR}enc_output', dim, dim) | _norm(f'{PREDICTOR}enc_output_norm', dim)
    for i in range(size['dec_layers']):
        layer = f'{PREDICTOR}decoder.layers.{i}'
        shapes |= _deformable(f'{layer}.cross_attn', size) | _feed_forward(layer, size)
        shapes |= {f'{layer}.self_attn.in_proj_weight': (3 * dim, dim), f'{layer}.self_attn.in_proj_bias': (3 * dim,)}
        shapes |= _with_bias(f'{layer}.self_attn.out_proj', dim, dim)
        for j in (1, 2, 3):
            shapes |= _norm(f'{layer}.norm{j}', dim)
    shapes |= _mlp(f'{PREDICTOR}decoder.ref_point_head', 2 * dim, dim, dim)
    shapes |= _mlp(f'{PREDICTOR}_bbox_embed', dim, dim, dim, 4)
    shapes |= _mlp(f'{PREDICTOR}mask_embed', dim, dim, dim, size['mask_dim'])
    return shapes | _norm(f'{PREDICTOR}decoder_norm', dim)


def _second_names(size: Mapping[str, Any]) -> Shapes:
    dim = size['hidden_dim']
    shapes = _norm(f'{PREDICTOR}decoder.norm', dim)
    for i in range(size['dec_layers']):
        for name in ('bbox_embed', 'decoder.bbox_embed'):
            shapes |= _mlp(f'{PREDICTOR}{name}.{i}', dim, dim, dim, 4)
    return shapes


def _rest(size: Mapping[str, Any], width: int) -> Shapes:
    text = f'{PREDICTOR}lang_encoder.'
    block = f'{text}lang_encoder.resblocks.0'
    shapes: Shapes = {
        f'{PREDICTOR}lang_mapper': (size['projection_dim'], size['hidden_dim']),
        'criterion.empty_weight': (134,),
        f'{text}lang_proj': (width, size['projection_dim']),
        f'{text}lang_encoder.token_embedding.weight': (40, width),
        f'{text}lang_encoder.positional_embedding': (5, width),
        f'{block}.attn.in_proj_weight': (3 * width, width),
        f'{block}.attn.in_proj_bias': (3 * width,),
    }
    for i, depth in enumerate(size['depths']):
        for j in range(depth):
            side = size['window_size'] ** 2
            shapes[f'backbone.layers.{i}.blocks.{j}.attn.relative_position_index'] = (side, side)
    for name in (f'{block}.ln_1', f'{block}.ln_2', f'{text}lang_encoder.ln_final'):
        shapes |= _norm(name, width)
    shapes |= _with_bias(f'{block}.attn.out_proj', width, width)
    return (
        shapes | _with_bias(f'{block}.mlp.c_fc', 4 * width, width) | _with_bias(f'{block}.mlp.c_proj', width, 4 * width)
    )
