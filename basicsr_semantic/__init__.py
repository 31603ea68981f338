"""Video super-resolution that knows what is in the picture: a plugin for BasicSR.

Importing the package repairs BasicSR for the PyTorch that is installed and registers every arch, model, data set,
loss and metric of ours in BasicSR's registries, once. In a plain BasicSR script ``import basicsr_semantic`` before
any ``basicsr`` import is all it takes.
"""

from __future__ import annotations

__version__ = '0.1.0'


def register() -> None:
    """Repair BasicSR and register all components. May be called any number of times."""
    from .compat import repairs

    repairs.apply()
    from . import archs, data, losses, metrics, models  # noqa: F401  (imported for what they register)


register()
