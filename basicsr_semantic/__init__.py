"""Video super-resolution that knows what is in the picture: a plugin for BasicSR.

Importing the package costs next to nothing and imports no PyTorch. At the first ``import basicsr`` after it, BasicSR is
repaired for the PyTorch that is installed, and every arch, model, data set, loss and metric of ours is registered in
BasicSR's registries, once. In a plain BasicSR script ``import basicsr_semantic`` before any ``basicsr`` import is all
it takes; where BasicSR is imported already, it is repaired at once.
"""

from __future__ import annotations

import importlib
import os
import pathlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .archs import EDVRSEEM, BasicVSRSEEM, PSRTRecurrent, SeeClear, SemanticLens
    from .diffusion import BlurringResShift
    from .extractors import build_extractor
    from .inference import load
    from .priors import ClipGeometry, PriorStore, SemanticPriors
    from .video import upscale

__version__ = '0.1.0'

_PUBLIC = {
    'load': 'inference',
    'BasicVSRSEEM': 'archs',
    'EDVRSEEM': 'archs',
    'PSRTRecurrent': 'archs',
    'SemanticLens': 'archs',
    'SeeClear': 'archs',
    'BlurringResShift': 'diffusion',
    'SemanticPriors': 'priors',
    'ClipGeometry': 'priors',
    'PriorStore': 'priors',
    'build_extractor': 'extractors',
    'upscale': 'video',
}
"""Public name -> the room it comes from, which is imported when the name is first used."""

__all__ = [
    'EDVRSEEM',
    'BasicVSRSEEM',
    'BlurringResShift',
    'ClipGeometry',
    'PSRTRecurrent',
    'PriorStore',
    'SeeClear',
    'SemanticLens',
    'SemanticPriors',
    '__version__',
    'build_extractor',
    'load',
    'register',
    'upscale',
]


def __getattr__(name: str) -> Any:
    """Import what a public name stands for; ``basicsr_semantic.archs`` and the other rooms, too.

    Raises:
        AttributeError: The package has no such name.
    """
    if name in _PUBLIC:
        value = globals()[name] = getattr(importlib.import_module(f'{__name__}.{_PUBLIC[name]}'), name)
        return value
    if not name.startswith('_') and (pathlib.Path(__file__).parent / name / '__init__.py').is_file():
        return importlib.import_module(f'{__name__}.{name}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def register(repairs: bool | None = None) -> None:
    """Import BasicSR now, repair it, and register all components. May be called any number of times.

    Args:
        repairs: False leaves BasicSR as it is and only registers; that has to be said before the first import of
            ``basicsr``, and holds from then on. The logger ``basicsr_semantic`` names each repair at debug level.
            None takes what was said before, else True.

    Raises:
        UserError: BasicSR cannot be imported or repaired. It is an ImportError, too.
    """
    from .compat import hook

    hook.register(repairs)


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
    """Wait for BasicSR; the command says in a sentence why it cannot go on, where an import raises."""
    from .compat import hook
    from .utils.errors import UserError
    from .utils.interrupts import end_at_interrupt
    from .utils.printing import complain

    is_command = _is_command(sys.argv, sys.orig_argv)
    processes = sys.modules.get('multiprocessing.process')
    if is_command and (processes is None or processes.parent_process() is None):
        end_at_interrupt()  # a spawned loader process has its own way to end
    try:
        hook.install()
    except UserError as error:
        if not is_command or os.environ.get('BASICSR_TRACEBACK'):
            raise
        complain(f'basicsr: {error}')
        raise SystemExit(2) from None


_register_at_import()
