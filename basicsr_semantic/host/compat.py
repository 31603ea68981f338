"""Repairs of BasicSR 1.4.2 and its git head for current PyTorch, CPUs, and exact resume."""

from __future__ import annotations

import importlib.util
import sys
import types

_applied = False


def apply() -> None:
    """Apply every repair, once."""
    global _applied
    if _applied:
        return
    _restore_functional_tensor()
    _applied = True


def _restore_functional_tensor() -> None:
    """basicsr/data/degradations.py line 8 imports a torchvision module that 0.17 removed."""
    name = 'torchvision.transforms.functional_tensor'
    if importlib.util.find_spec('torchvision') is None or name in sys.modules or importlib.util.find_spec(name):
        return
    from torchvision.transforms.functional import rgb_to_grayscale

    module = types.ModuleType(name)
    module.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[name] = module
