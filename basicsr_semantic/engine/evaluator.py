"""Which metrics look at which frames: with and without GT, one frame or two that follow one another."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils import get_root_logger

from ..config.components import find
from ..config.metric_wants import wants
from ..utils.errors import UserError
from .distributed import gather_lists

Values = dict[str, float]

_NO_NUMBER = {'undefined': 'not a number', 'infinite': 'as PSNR is for a frame equal to its GT'}
"""Values that are left out of a mean, and how messages describe them."""


def prepare_metrics(opt: Mapping[str, Any]) -> None:
    """Make the networks of all metrics, so that a missing package or file ends a run before it has begun.

    Args:
        opt: The options of a run.

    Raises:
        UserError: A package or a file that a metric needs is missing.
    """
    for options in ((opt.get('val') or {}).get('metrics') or {}).values():
        component = find('metric', options.get('type'))
        prepare = getattr(component.target, 'prepare', None) if component else None
        if prepare is not None:
            known = inspect.signature(prepare).parameters
            prepare(**{key: value for key, value in options.items() if key in known})


class Evaluator:
    """Measures restored frames one after the other and knows the one before, of the same item.

    Args:
        metrics: The section ``val:metrics``.
        dataset: Name of the data set, for messages.
    """

    def __init__(self, metrics: Mapping[str, Mapping[str, Any]], dataset: str) -> None:
        self.metrics = dict(metrics)
        self.dataset = dataset
        self.wants = {name: wants(options) for name, options in self.metrics.items()}
        self._without_gt = False
        self._left_out = {name: dict.fromkeys(_NO_NUMBER, 0) for name in self.metrics}
        self._warned = False
        self.begin_item()

    def begin_item(self) -> None:
        """Forget the frame before: processes share the items, so no metric may compare frames of two items."""
        self._before: tuple[int, np.ndarray, np.ndarray | None] | None = None
        self._frames = 0

    def measure(self, index: int, img: np.ndarray, img2: np.ndarray | None) -> Values:
        """The values of all metrics that have one for a frame.

        Args:
            index: Position of the frame in its clip.
            img: The restored frame, (H, W, 3) uint8, BGR.
            img2: The GT, or None.

        Raises:
            UserError: A metric's ``crop_border`` leaves nothing of the frame.
        """
        self._without_gt |= img2 is None
        frames = {'img': img, 'img2': img2}
        if self._before is not None and self._before[0] == index - 1:
            frames |= {'previous': self._before[1], 'previous2': self._before[2]}
        self._before, self._frames = (index, img, img2), self._frames + 1
        values = {}
        for name, options in self.metrics.items():
            asked = self.wants[name]
            if (asked.gt and img2 is None) or (asked.over_time and 'previous' not in frames):
                continue
            data = {key: frame for key, frame in frames.items() if key in asked.takes and frame is not None}
            self._check_border(name, options.get('crop_border'), img)
            value = float(calculate_metric(data, dict(options)))
            if not math.isfinite(value):
                self._left_out[name]['undefined' if math.isnan(value) else 'infinite'] += 1
            else:
                values[name] = value
        return values

    def _check_border(self, name: str, border: Any, img: np.ndarray) -> None:
        if isinstance(border, int) and 2 * border >= min(img.shape[:2]):
            raise UserError(
                f'val:metrics:{name}:crop_border: {border} on each side leaves nothing of the frames of '
                f'{self.dataset}, {img.shape[1]}x{img.shape[0]} pixels.'
            )

    def end_item(self) -> None:
        """Log once where a metric that compares consecutive frames will not get any."""
        over_time = [name for name, asked in self.wants.items() if asked.over_time]
        if self._frames == 1 and over_time and not self._warned:
            self._warned = True
            get_root_logger().warning(
                f'{self.dataset}: an item has one frame, and {", ".join(over_time)} compares consecutive frames of an '
                'item, so it has no value there. It needs whole clips: a data set without num_frame, and '
                'no center_frame_only.'
            )

    def remarks(self, measured: set[str]) -> list[str]:
        """Sentences on what could not be measured by any process; all must call it.

        Args:
            measured: Names of the metrics that have a value for at least one frame.
        """
        sentences = []
        without_gt = any(gather_lists([self._without_gt]))
        left_out = gather_lists([self._left_out])
        lacking = [name for name, asked in self.wants.items() if asked.gt and name not in measured]
        if self.metrics and not measured and without_gt:
            sentences.append(f'{self.dataset} has no GT: frames were restored, nothing was measured.')
        elif lacking and without_gt:
            sentences.append(f'{self.dataset} has no GT: {", ".join(lacking)} could not be measured.')
        for name in self.metrics:
            for kind, why in _NO_NUMBER.items():
                if count := sum(one[name][kind] for one in left_out):
                    frames = f'{count} frame{"s" * (count > 1)}'
                    sentences.append(f'{self.dataset}: {name} is {kind} for {frames} ({why}), not counted.')
        return sentences
