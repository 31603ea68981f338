"""Import the released code of others from a checkout, without changing a file of it."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path


def package_of(name: str, folder: Path) -> None:
    """Let a folder's modules be imported as those of the package ``name``; its own __init__ is not run."""
    package = types.ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package


def stand_in(name: str, **attributes: object) -> None:
    """Where a module that the released code imports is not installed, put one with these attributes in its place."""
    parent, path = None, ''
    for part in name.split('.'):
        path = f'{path}.{part}' if path else part
        try:
            module = importlib.import_module(path)
        except ImportError:
            module = sys.modules[path] = types.ModuleType(path)
            if parent is not None:
                setattr(parent, part, module)
        parent = module
    if parent is not None and parent.__spec__ is None:  # not a real one, perhaps of an earlier call
        vars(parent).update(attributes)
