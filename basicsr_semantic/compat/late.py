"""SciPy when it is first used: BasicSR imports it for a few functions, which costs more than all of BasicSR.

While BasicSR is imported, modules that replace SciPy's are in ``sys.modules``. What is imported from them is an
object that looks up SciPy's own when it is called or an attribute of it is asked for.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

MODULES = {
    'scipy.ndimage': 'scipy.ndimage',
    'scipy.ndimage.filters': 'scipy.ndimage',
    'scipy.special': 'scipy.special',
    'scipy.stats': 'scipy.stats',
}
"""What BasicSR imports -> where it really is: ``scipy.ndimage.filters`` is an old name that SciPy 2 drops."""

_DEGRADATIONS = 'basicsr.data.degradations'


def stand_in() -> None:
    """Replace the modules of SciPy that are not imported yet."""
    for name, real in MODULES.items():
        if name not in sys.modules:
            sys.modules[name] = _LateModule(name, real)


def step_aside() -> None:
    """Let everybody else import SciPy as it is."""
    for name in MODULES:
        if isinstance(sys.modules.get(name), _LateModule):
            del sys.modules[name]


def load_for(dataset: Any) -> None:
    """Import SciPy for a data set whose module uses BasicSR's degradations, or each of its workers would do it."""
    module = sys.modules.get(type(dataset).__module__)
    used = vars(module).values() if module else ()
    if any(_DEGRADATIONS in (getattr(one, '__module__', ''), getattr(one, '__name__', '')) for one in used):
        importlib.import_module('scipy.stats')


class _LateModule(types.ModuleType):
    def __init__(self, name: str, real: str) -> None:
        super().__init__(name)
        vars(self)['real'] = real

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            return _Late(vars(self)['real'], name)
        return getattr(importlib.import_module(vars(self)['real']), name)


class _Late:
    """A function or object of SciPy that is not imported yet."""

    def __init__(self, module: str, name: str) -> None:
        self._place = module, name

    def _found(self) -> Any:
        module, name = self._place
        return getattr(importlib.import_module(module), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        return self._found()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or name == '_place':
            raise AttributeError(name)
        return getattr(self._found(), name)
