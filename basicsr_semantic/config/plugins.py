"""Third-party components: entry points of the group ``basicsr.plugins``, and ``--import``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

from ..compat.installation import missing_package
from ..utils.errors import UserError

GROUP = 'basicsr.plugins'


def has_plugins() -> bool:
    """Whether any package brings plugins."""
    return bool(entry_points(group=GROUP))


def load_plugins(modules: Iterable[str] = ()) -> list[str]:
    """Import every installed plugin and the modules named, for the components they register.

    Args:
        modules: Dotted module names (``--import my_pkg.my_archs``); the current folder is searched too.

    Returns:
        Names of what was loaded.

    Raises:
        UserError: A plugin or module cannot be imported, or registers a name that is taken.
    """
    loaded = []
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        try:
            component = entry.load()
            # a callable is a register() function; a module has registered by being imported
            if callable(component) and not isinstance(component, type):
                component()
        except Exception as error:
            distribution = entry.dist.name if entry.dist else 'an unknown package'
            raise UserError(
                f'The plugin {entry.name} = {entry.value} of {distribution} could not be loaded: {_reason(error)} '
                f'Repair it or uninstall it.'
            ) from error
        loaded.append(entry.name)
    cwd = str(Path.cwd())
    if cwd not in sys.path:
        sys.path.insert(0, cwd)
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            needed = missing_package(error, module)
            raise UserError(f'--import {module} failed: {needed or _reason(error)}') from error
        loaded.append(module)
    return loaded


def _reason(error: Exception) -> str:
    return f'{type(error).__name__}: {error}.'
