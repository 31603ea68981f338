"""The order of masks, and which of them are kept.

The first layer of SEEM is an ordinary convolution, so channel k has weights of its own and the order of masks matters.
The paper gives none. Area is the default: it changes little from frame to frame, while the order of Segment Anything
itself (predicted IoU) reshuffles the channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..utils.errors import UserError

ORDERS = ('area', 'iou', 'grid')
KEEPS = ('area', 'iou')


def check_order(order: str, keep: str) -> None:
    """Refuse unknown names.

    Raises:
        UserError: ``order`` or ``keep`` is none of those known.
    """
    if order not in ORDERS:
        raise UserError(f'The order of masks must be one of {", ".join(ORDERS)}, not {order!r}.')
    if keep not in KEEPS:
        raise UserError(f'keep must be one of {", ".join(KEEPS)}, not {keep!r}.')


def order_and_keep(
    areas: Sequence[int],
    corners: Sequence[tuple[float, float]],
    scores: Sequence[float],
    points: Sequence[tuple[float, float]],
    order: str,
    keep: str,
    limit: int,
) -> list[int]:
    """Choose at most ``limit`` masks by ``keep``, then sort them by ``order``.

    Args:
        areas: pixels of each mask; masks without pixels are left out.
        corners: (top, left) of the bounding box of each mask; decides between equal areas and equal scores.
        scores: confidence of each mask, the predicted IoU of Segment Anything.
        points: (y, x) of the prompt that made each mask.
        order: 'area' (largest first), 'iou' (most confident first) or 'grid' (prompts in rows from the top left).
        keep: 'area' (the largest are kept) or 'iou' (the most confident are kept).
        limit: most masks to keep.

    Returns:
        Indices of the masks in their new order.

    Raises:
        UserError: ``order`` or ``keep`` is none of those known.
    """
    check_order(order, keep)
    keys = {
        'area': lambda i: (-areas[i], *corners[i]),
        'iou': lambda i: (-scores[i], *corners[i]),
        'grid': lambda i: (*points[i], -scores[i]),
    }
    kept = sorted((i for i in range(len(areas)) if areas[i] > 0), key=keys[keep])[:limit]
    return sorted(kept, key=keys[order])


def stack_masks(masks: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """(n, h, w) bool from n masks of (h, w); n may be 0."""
    return np.stack(masks).astype(bool) if masks else np.zeros((0, height, width), bool)
