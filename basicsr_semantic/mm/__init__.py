"""The same components under MMEngine, and under MMagic where that can be imported.

One line in a configuration brings everything in::

    custom_imports = dict(imports='basicsr_semantic.mm')

After it ``basicsr_semantic.NAME`` is every arch, loss, data set, metric and extractor that is registered in BasicSR's
registries, those of plugins too, and what `docs/mmagic.md` lists. The package itself never imports this room.

Raises:
    UserError: mmengine is missing or too old, or another package has registered the scope ``basicsr_semantic``.
"""

from __future__ import annotations

from .requirements import check_mmengine

check_mmengine()

from . import averages, data, hooks, loops, metrics, models, optimizers, schedules  # noqa: E402, F401  (they register)
