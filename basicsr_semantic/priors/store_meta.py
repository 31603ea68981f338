"""The metadata of a mask store: how its masks were made."""

from __future__ import annotations

import json
from typing import Any

FORMAT = 'basicsr_semantic.priors/1'
META_KEY = b'__meta__'
ORDERS = ('area', 'iou', 'grid', 'id')


def store_metadata(
    kind: str,
    parameters: dict[str, Any] | None = None,
    checkpoint: dict[str, str] | None = None,
    order: str = 'area',
    max_masks: int = 64,
) -> dict[str, Any]:
    """Compose the metadata of a store.

    Args:
        kind: name of the extractor: 'sam', 'regions', 'annotations' or another.
        parameters: everything that changes the masks, as plain JSON values.
        checkpoint: ``{'file': name, 'sha256': hex digits}`` of the weights, or None.
        order: what the channel index means: 'area' (largest first), 'iou' (most confident first), 'grid' (raster order
            of the prompt), 'id' (one instance a channel through the whole clip).
        max_masks: most masks a frame.

    Raises:
        ValueError: ``order`` is none of these, or the parameters are no plain JSON values.
    """
    if order not in ORDERS:
        raise ValueError(f'The order of masks must be one of {", ".join(ORDERS)}, not {order!r}.')
    meta = {
        'format': FORMAT,
        'kind': kind,
        'parameters': dict(parameters or {}),
        'checkpoint': checkpoint,
        'order': order,
        'max_masks': max_masks,
    }
    try:
        return json.loads(json.dumps(meta))
    except TypeError as error:
        raise ValueError(f'The metadata of a mask store must be plain JSON values: {error}.') from error


def differences(stored: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What differs between the metadata of a store and those of the masks about to be added, one phrase each.

    A checkpoint is its SHA-256; the name of its file may differ.
    """
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
