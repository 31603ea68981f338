"""What a metric asks for, and tests that would measure nothing and keep nothing."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..utils.errors import UserError
from .components import find


@dataclass(frozen=True)
class Wants:
    """What a metric asks for, read off the signature of its function."""

    gt: bool
    """Whether it needs GT: ``img2`` has no default."""
    over_time: bool
    """Whether it compares a frame with the one before: it has an argument ``previous``."""
    takes: frozenset[str]
    """Those of img, img2, previous and previous2 that it has arguments for."""


@functools.lru_cache(maxsize=256)
def _wants_of(target: Any) -> Wants:
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):  # not a Python function: treated as BasicSR's own
        return Wants(True, False, frozenset({'img', 'img2'}))
    given = {name for name in ('img', 'img2', 'previous', 'previous2') if name in parameters}
    gt = 'img2' in parameters and parameters['img2'].default is inspect.Parameter.empty
    return Wants(gt, 'previous' in parameters, frozenset(given))


def wants(options: Mapping[str, Any]) -> Wants:
    """What the metric of a section of ``val:metrics`` asks for.

    Raises:
        UserError: No such metric.
    """
    component = find('metric', options.get('type'))
    if component is None:
        raise UserError(f'No metric is registered as {options.get("type")!r}.')
    return _wants_of(component.target)


def pointless_test(val: Mapping[str, Any] | None, dataset: Any) -> str | None:
    """Say why a test on a data set would produce nothing.

    Args:
        val: The section ``val``.
        dataset: A data set; those that may lack GT say so by ``has_gt``.

    Returns:
        A sentence; None where frames are saved or something can be measured.

    Raises:
        UserError: The section names a metric that does not exist.
    """
    val = val or {}
    if getattr(dataset, 'has_gt', True) or val.get('save_img') is not False:
        return None
    if any(not wants(metric).gt for metric in (val.get('metrics') or {}).values()):
        return None
    return (
        f"Data set '{dataset.opt['name']}' has no GT, and val:metrics has no metric that works without it: the test "
        'would measure nothing and save nothing. Remove val:save_img (or set it to ~ or true) to save the frames.'
    )
