"""What this room needs and the package does not: mmengine, plain or the maintained fork."""

from __future__ import annotations

import pickle
import time
from importlib.metadata import PackageNotFoundError, version

from ..utils.errors import UserError

OLDEST = (0, 10, 7)


def check_mmengine() -> None:
    """Refuse to go on without a usable mmengine.

    Raises:
        UserError: It is not installed, too old, or cannot be imported.
    """
    wanted = '.'.join(map(str, OLDEST))
    _import_yapf()
    try:
        import mmengine
    except ModuleNotFoundError as error:
        if error.name == 'mmengine':
            raise UserError(
                "basicsr_semantic.mm needs mmengine, which is not installed: pip install 'basicsr-semantic[mm]'."
            ) from error
        raise UserError(f'mmengine cannot be imported: the package {error.name} is missing.') from error
    except ImportError as error:
        raise UserError(f'mmengine cannot be imported: {error}.') from error
    numbers = [int(part) for part in mmengine.__version__.split('.')[:3] if part.isdecimal()]
    if tuple(numbers) < OLDEST:
        raise UserError(f'mmengine is {mmengine.__version__}, but basicsr_semantic.mm needs {wanted} or newer.')
    _check_mmcv()


def _import_yapf() -> None:
    """Import what mmengine imports, also where several processes are the first to do so, as under torchrun.

    yapf gives its cached grammar the final name before all of it is written, so another process may read half of it.
    """
    for _ in range(30):
        try:
            import yapf  # noqa: F401
        except (EOFError, pickle.UnpicklingError):
            time.sleep(0.1)
        except ImportError:  # told by mmengine, which may do without
            return
        else:
            return
    raise UserError('mmengine cannot be imported: yapf has a damaged cache. Remove its folder, ~/.cache/YAPF on Linux.')


def _check_mmcv() -> None:
    """mmcv is not needed here, but a configuration that uses it breaks late and oddly with mmcv 1."""
    for name in ('mmcv', 'mmcv-lite'):
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        if found.split('.')[0] in ('0', '1'):
            raise UserError(f'{name} is {found}, which belongs to the MMEngine of before 2022: install {name}>=2.')
