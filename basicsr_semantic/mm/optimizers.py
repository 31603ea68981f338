"""Optimisers of MMEngine with the groups that option files describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from ..engine.freezing import optimizer_groups
from ..models.common_options import rate_groups
from ..utils.errors import UserError
from .models import bare_model
from .registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupedOptimizer:
    """An optimiser of what trains, with the rates of ``train:optim_g:groups`` and of factors such as ``flow_lr_mul``.

    ::

        optim_wrapper = dict(
            constructor='basicsr_semantic.GroupedOptimizer',
            optimizer=dict(type='Adam', lr=1e-4),
            paramwise_cfg=dict(factors=dict(spynet=0.125), groups=[dict(prefixes=['seem_'], lr_scale=4)]),
        )

    Args:
        optim_wrapper_cfg: See MMEngine.
        paramwise_cfg: ``factors``: word in the name of a parameter -> factor on its rate; ``groups``: see
            :class:`RateGroup`.

    Raises:
        UserError: Other keys in ``paramwise_cfg``, groups that do not fit the network, or nothing that trains.
    """

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        self._wrapper, self._paramwise = dict(optim_wrapper_cfg), dict(paramwise_cfg or {})
        if strange := sorted(set(self._paramwise) - {'factors', 'groups'}):
            raise UserError(f'paramwise_cfg:{strange[0]} is unknown; GroupedOptimizer takes factors and groups.')

    def __call__(self, model: nn.Module) -> Any:
        """Build optimiser and wrapper for a model of this package, wrapped for several processes or not."""
        bare = bare_model(model)
        net, no_decay = bare.trained()
        options = dict(self._wrapper.pop('optimizer'))
        rates = rate_groups({'groups': self._paramwise['groups']}) if self._paramwise.get('groups') else []
        factors = dict(self._paramwise.get('factors') or {})
        groups = optimizer_groups(net, options['lr'], factors, no_decay, rates)
        optimizer = OPTIMIZERS.build({**options, 'params': groups})
        wrapper = {'type': 'OptimWrapper', **self._wrapper, 'optimizer': optimizer}
        return OPTIM_WRAPPERS.build(wrapper)
