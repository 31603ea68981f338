"""The metadata of a store: how its masks, tokens and features were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .segmentations import as_json
from .semantic_priors import CELL

FORMAT = 'basicsr_semantic.priors/1'
META_KEY = b'__meta__'
ORDERS = ('area', 'iou', 'grid', 'id')
TOKEN_SIZES = ('num', 'dim', 'global_dim')
LARGEST_SIZE = 1_000_000
"""Masks or tokens of a frame, and widths, that metadata may name."""


def store_metadata(
    kind: str,
    parameters: dict[str, Any] | None = None,
    checkpoint: dict[str, str] | None = None,
    order: str = 'area',
    max_masks: int = 64,
    tokens: dict[str, int] | None = None,
    seen: dict[str, str] | None = None,
    features: dict[str, int] | None = None,
) -> dict[str, Any]:
    """Compose the metadata of a store.

    Args:
        kind: name of the extractor: 'sam', 'regions', 'annotations' or another.
        parameters: everything that changes the masks, as plain JSON values.
        checkpoint: ``{'file': name, 'sha256': hex digits}`` of the weights, or None.
        order: what the channel index means: 'area' (largest first), 'iou' (most confident first), 'grid' (raster order
            of the prompt), 'id' (one instance a channel through the whole clip).
        max_masks: most masks a frame.
        tokens: ``{'num': K, 'dim': Ct, 'global_dim': Cg}`` of the tokens of each frame, or None for masks alone;
            Cg is 0 where frames have no global token.
        seen: ``{'key', 'sha256'}`` of the pixels of one frame, by which other frames under the same keys are detected.
        features: ``{'dim': Cp, 'cell': 4}`` of the pixel features of each frame, or None for none.

    Raises:
        ValueError: ``order`` is none of these, the parameters are not plain JSON values, or the sizes of the tokens or
            features are not positive numbers under these names.
    """
    if order not in ORDERS:
        raise ValueError(f'The order of masks must be one of {", ".join(ORDERS)}, not {order!r}.')
    if tokens is not None and not _are_token_sizes(tokens):
        raise ValueError(
            f'The sizes of tokens are {", ".join(TOKEN_SIZES)}, each at least 1 (the last: 0), not {tokens!r}.'
        )
    if features is not None and (features.keys() != {'dim', 'cell'} or not _is_count(features['dim'], 1)):
        raise ValueError(f'The sizes of pixel features are dim, at least 1, and cell, not {features!r}.')
    if features is not None and features['cell'] != CELL:
        raise ValueError(f'Pixel features belong to cells of {CELL}x{CELL} pixels, not {features!r}.')
    meta = {
        'format': FORMAT,
        'kind': kind,
        'parameters': dict(parameters or {}),
        'checkpoint': checkpoint,
        'order': order,
        'max_masks': max_masks,
        'tokens': tokens,
    }
    # without features, the metadata are those of a store from before there were any
    if seen is not None:
        meta['seen'] = seen
    if features is not None:
        meta['features'] = features
    try:
        return json.loads(json.dumps(meta))
    except TypeError as error:
        raise ValueError(f'The metadata of a store must be plain JSON values: {error}.') from error


def wrong_metadata(meta: Mapping[str, Any]) -> str | None:
    """What is wrong with metadata that were read, for a message; None where they are as ``store_metadata`` made them.

    Keys that stores older than them lack may be absent.
    """
    checkpoint, tokens, features, seen = (meta.get(name) for name in ('checkpoint', 'tokens', 'features', 'seen'))
    limit = f'{LARGEST_SIZE:,}'
    rules = {
        'kind': (isinstance(meta.get('kind'), str), 'a name'),
        'parameters': (isinstance(meta.get('parameters'), dict), 'an object'),
        'order': (meta.get('order') in ORDERS, f'one of {", ".join(ORDERS)}'),
        'max_masks': (_is_count(meta.get('max_masks'), 0), f'a whole number from 0 to {limit}'),
        'checkpoint': (checkpoint is None or _are_texts(checkpoint, 'sha256'), "null or {'file', 'sha256'}"),
        'tokens': (tokens is None or _are_token_sizes(tokens), f'null or whole numbers {TOKEN_SIZES}, at most {limit}'),
        'features': (
            features is None
            or (isinstance(features, dict) and _is_count(features.get('dim'), 1) and features.get('cell') == CELL),
            f'null or a dim from 1 to {limit} and the cell {CELL}',
        ),
        'seen': (seen is None or _are_texts(seen, 'key', 'sha256'), "{'key', 'sha256'}"),
    }
    return next(
        (f'{name} is {as_json(meta.get(name))}, not {says}' for name, (fine, says) in rules.items() if not fine), None
    )


def _is_count(value: Any, least: int) -> bool:
    return type(value) is int and least <= value <= LARGEST_SIZE


def _are_token_sizes(sizes: Any) -> bool:
    return (
        isinstance(sizes, dict)
        and sizes.keys() == set(TOKEN_SIZES)
        and all(_is_count(size, int(name != 'global_dim')) for name, size in sizes.items())
    )


def _are_texts(value: Any, *names: str) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in names)


def token_shape(meta: dict[str, Any]) -> tuple[int, int, int] | None:
    """(K, Ct, Cg) of the tokens of each frame; None for a store of masks alone."""
    sizes = meta.get('tokens')  # absent from stores that are older than tokens
    return None if sizes is None else (sizes['num'], sizes['dim'], sizes['global_dim'])


def token_origin(checkpoint: Mapping[str, Any] | None, parameters: Mapping[str, Any]) -> str | None:
    """What tokens mean depends on: the weights that made them and, where names chose them, the vocabulary.

    Args:
        checkpoint: ``{'file': name, 'sha256': hex digits}`` of the extractor, or None.
        parameters: Its parameters, as the metadata of a store have them.

    Returns:
        Both, equal for equal ones; None without weights.
    """
    if checkpoint is None:
        return None
    words = parameters.get('text_sha256')
    vocabulary = f', vocabulary with the SHA-256 {str(words)[:12]}' if words else ''
    return f'weights with the SHA-256 {checkpoint["sha256"][:12]}{vocabulary}'


def feature_dim(meta: dict[str, Any]) -> int | None:
    """Width Cp of the pixel features of each frame; None for a store without."""
    sizes = meta.get('features')
    return None if sizes is None else sizes['dim']


def differences(stored: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What differs between the metadata of a store and those of the masks about to be added, one phrase each.

    A checkpoint is its SHA-256; the name of its file may differ. The frame that was seen is not compared.
    """
    stored, wanted = ({name: value for name, value in meta.items() if name != 'seen'} for meta in (stored, wanted))
    if stored.get('kind') != wanted.get('kind'):  # then everything else differs too
        stored, wanted = {'kind': stored.get('kind')}, {'kind': wanted.get('kind')}
    found: list[str] = []

    def walk(path: str, old: Any, new: Any) -> None:
        if isinstance(old, dict) and isinstance(new, dict):
            if path == 'checkpoint' and old.get('sha256') == new.get('sha256'):
                return
            for key in sorted(old.keys() | new.keys()):
                walk(f'{path}.{key}' if path else key, old.get(key), new.get(key))
        elif old != new:
            found.append(f'{path} is {json.dumps(old)} in the store and {json.dumps(new)} now')

    walk('', stored, wanted)
    return found
