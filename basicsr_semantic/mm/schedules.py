"""The one schedule of BasicSR that MMEngine has otherwise."""

from __future__ import annotations

import math

from mmengine.optim.scheduler.lr_scheduler import CosineRestartLR

from .registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class LateCosineRestartLR(CosineRestartLR):
    """Cosines with restarts as BasicSR's ``CosineAnnealingRestartLR``: a period ends with its least rate.

    MMEngine's restarts one iteration earlier, so that the least rate is never reached.
    """

    def _get_value(self) -> list[float]:
        ends = self.cumulative_periods
        number = next((k for k, end in enumerate(ends) if self.last_step <= end), None)
        if number is None:
            return [group[self.param_name] for group in self.optimizer.param_groups]
        step = self.last_step - (ends[number - 1] if number else 0)
        share = (1 + math.cos(math.pi * step / self.periods[number])) / 2
        least, weight = self.eta_min or 0, self.restart_weights[number]
        return [least + weight * (base - least) * share for base in self.base_values]
