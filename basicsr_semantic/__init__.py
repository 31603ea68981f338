"""Video super-resolution that knows what is in the picture: a plugin for BasicSR.

Importing the package repairs BasicSR for the PyTorch that is installed and registers every arch, model, data set,
loss and metric of ours in BasicSR's registries, once. In a plain BasicSR script ``import basicsr_semantic`` before
any ``basicsr`` import is all it takes.
"""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import sys

__version__ = '0.1.0'


def register() -> None:
    """Repair BasicSR and register all components. May be called any number of times."""
    from .compat import repairs

    repairs.apply()
    from . import archs, data, losses, metrics, models  # noqa: F401  (imported for what they register)


def _is_command(argv: list[str], whole: list[str]) -> bool:
    """Whether this process is ``basicsr`` or ``python -m basicsr_semantic``, with options of Python's or without.

    Args:
        argv: ``sys.argv``; while Python looks for the module of ``-m``, that is in place of its name.
        whole: ``sys.orig_argv``, with Python's own options.
    """
    if argv[:1] != ['-m']:
        return pathlib.Path(argv[0] if argv else '').stem == 'basicsr'
    module = next(iter(whole[-len(argv) :]), '')
    return module == __name__ or (module[:1] == '-' and module.endswith(f'm{__name__}'))


def _register_at_import() -> None:
    """Register; the command says in a sentence why it cannot, where an import raises."""
    from .utils.errors import UserError
    from .utils.interrupts import end_at_interrupt
    from .utils.printing import complain

    is_command = _is_command(sys.argv, sys.orig_argv)
    if is_command and multiprocessing.parent_process() is None:  # a spawned loader process has its own way to end
        end_at_interrupt()
    try:
        register()
    except UserError as error:
        if not is_command or os.environ.get('BASICSR_TRACEBACK'):
            raise
        complain(f'basicsr: {error}')
        raise SystemExit(2) from None


_register_at_import()
