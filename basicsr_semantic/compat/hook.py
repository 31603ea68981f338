"""When BasicSR is repaired and our components are registered: at the first ``import basicsr``, wherever that is.

A finder at the head of ``sys.meta_path`` waits for two kinds of names and is taken off once everything is in place:

* ``basicsr``. The module is found by the usual finder; only its loader is wrapped. What BasicSR cannot be
  imported without is repaired, then its own code runs, then come the other repairs and our components. So an error in
  BasicSR's code arrives as it is, ``find_spec('basicsr')`` starts nothing, and other threads wait until all is done.
* our own modules that need BasicSR. ``basicsr`` is imported before their code runs: the repairs and registrations
  import them too, and would otherwise find them half loaded.

Where a step fails, the modules that came with it are dropped again, so that a second import starts from the beginning.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

from ..utils.errors import UserError
from . import repairs as all_repairs
from .installation import hiding_folder, why_basicsr_fails

PACKAGE = __name__.partition('.')[0]
LIGHT = ('cli', 'utils', 'compat', 'config', 'engine', 'extractors')
"""Packages of ours whose ``__init__`` needs no BasicSR; ``cli`` and ``utils`` are light throughout."""
LIGHT_MODULES = ('compat.hook', 'compat.installation', 'compat.late', 'compat.repairs', 'config.plugins')
LIGHT_MODULES += ('config.problems', 'engine.arguments', 'extractors.names')


class UnusableBasicSRError(UserError, ImportError):
    """BasicSR cannot be imported or repaired: an ImportError for programs, a sentence for people."""


def register(repairs: bool | None = None) -> None:
    """Import BasicSR, repair it, and register all components; see :func:`basicsr_semantic.register`.

    Args:
        repairs: Whether BasicSR is repaired; None for what was said before.

    Raises:
        UserError: BasicSR cannot be imported or repaired. It is an ImportError, too.
    """
    _finder.decide(repairs)
    if _finder.done or _finder.is_at_work():
        return
    try:
        import basicsr  # noqa: F401
    except UserError:
        raise
    except (ImportError, AttributeError) as error:
        if isinstance(error, AttributeError) and not hiding_folder():
            raise  # a defect that is not the installation's
        raise UnusableBasicSRError(why_basicsr_fails(error)) from error
    if not _finder.done:  # imported before us, or through a finder that left ours out
        _finder.run(lambda: None)


def install() -> None:
    """Wait for the first ``import basicsr``; where it is imported already, do now what can still be done.

    Raises:
        UserError: It is imported already and cannot be repaired.
    """
    if not _finder.done and _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    if sys.modules.get('basicsr') is not None:
        register()


class _Finder:
    """The entry of ``sys.meta_path``."""

    def __init__(self) -> None:
        self.done = False
        self.wanted = True
        self._thread: int | None = None

    def is_at_work(self) -> bool:
        """Whether this thread is importing, repairing or registering just now."""
        return self._thread == threading.get_ident()

    def decide(self, repairs: bool | None) -> None:
        """Record whether repairs are wanted; warn where that comes too late."""
        if repairs is None or repairs is self.wanted:
            return
        if not self.done and not self.is_at_work():
            self.wanted = repairs
            return
        so = f'repaired already ({", ".join(all_repairs.applied())})' if self.wanted else 'imported without repairs'
        warnings.warn(
            f'register(repairs={repairs}) comes too late: BasicSR is {so} and stays so. Call it before the first '
            'import of basicsr.',
            stacklevel=4,
        )

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The spec that the other finders give, with a loader of ours; None for all other modules."""
        if self.done or self.is_at_work() or not (name == 'basicsr' or _needs_basicsr(name)):
            return None
        others = sys.meta_path[sys.meta_path.index(self) + 1 :] if self in sys.meta_path else []
        for finder in others:
            find = getattr(finder, 'find_spec', None)
            spec = find(name, path, target) if find else None
            if spec is not None:
                if spec.loader is not None:  # a folder without __init__.py has none
                    spec.loader = (_BasicSRLoader if name == 'basicsr' else _OwnLoader)(spec.loader)
                return spec
        return None

    def run(self, execute: Callable[[], None]) -> None:
        """Repair what comes before BasicSR's code, execute that, repair the rest and register.

        Raises:
            UserError: BasicSR was imported, but it cannot be repaired.
        """
        before = set(sys.modules)
        self._thread = threading.get_ident()
        try:
            if self.wanted:
                all_repairs.apply_before()
            try:
                execute()
            finally:
                all_repairs.end_import()
            _complete(self.wanted)
            self.done = True
        except BaseException:
            _forget(before)
            raise
        finally:
            self._thread = None
        if self in sys.meta_path:
            sys.meta_path.remove(self)


class _RepairingLoader:
    """A loader in the place of another, which stays the loader of the module."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        if name == '_loader':
            raise AttributeError(name)
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        """The module that the loader makes; None for an ordinary one."""
        return self._loader.create_module(spec)

    def _give_back(self, module: Any) -> None:
        module.__spec__.loader = module.__loader__ = self._loader


class _BasicSRLoader(_RepairingLoader):
    """Runs BasicSR's code between the repairs."""

    def exec_module(self, module: Any) -> None:
        """Run the code of ``basicsr/__init__.py``, which imports all of it."""
        self._give_back(module)
        try:
            _finder.run(lambda: self._loader.exec_module(module))
        except ImportError as error:
            if not isinstance(error, UserError) and sys.version_info >= (3, 11):
                error.add_note(why_basicsr_fails(error))
            raise


class _OwnLoader(_RepairingLoader):
    """Imports BasicSR before a module of ours."""

    _made: Any = None

    def create_module(self, spec: Any) -> Any:
        """The module if the registrations have imported it by now, else a new one."""
        register()
        self._made = sys.modules.get(spec.name)
        return self._loader.create_module(spec) if self._made is None else self._made

    def exec_module(self, module: Any) -> None:
        """Run the code of a module, unless that was done while BasicSR was imported."""
        self._give_back(module)
        if module is not self._made:
            self._loader.exec_module(module)


def _needs_basicsr(name: str) -> bool:
    package, _, rest = name.partition('.')
    head = rest.partition('.')[0]
    return package == PACKAGE and not (rest in (*LIGHT, *LIGHT_MODULES) or head in ('cli', 'utils', '__main__'))


def _complete(with_repairs: bool) -> None:
    """What follows BasicSR's own code.

    Raises:
        UserError: The BasicSR that was imported cannot be repaired.
    """
    try:
        if with_repairs:
            all_repairs.apply()
        from .. import archs, data, losses, metrics, models  # noqa: F401  (imported for what they register)
    except (ImportError, AttributeError) as error:
        if isinstance(error, UserError) or (isinstance(error, AttributeError) and not hiding_folder()):
            raise
        raise UnusableBasicSRError(why_basicsr_fails(error)) from error
    hidden = hiding_folder()
    if hidden:
        warnings.warn(f'{hidden} It is the one that runs.', stacklevel=2)


def _forget(before: set[str]) -> None:
    """Drop what an import that failed has left of BasicSR and of us."""
    all_repairs.forget()
    for name in [name for name in sys.modules if name not in before]:
        if name.partition('.')[0] in ('basicsr', PACKAGE):
            del sys.modules[name]
            parent, _, child = name.rpartition('.')
            if parent in sys.modules:
                vars(sys.modules[parent]).pop(child, None)


_finder = _Finder()
