"""Why BasicSR or a module built on it cannot be imported, in one sentence."""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

INSTALL = (
    'Install it with "pip install cython numpy torch" and then "pip install --no-build-isolation basicsr==1.4.2"; '
    'it needs Python 3.10 to 3.12, and on 3.12 setuptools.'
)
# Packages that the index has under another name than the one that is imported.
ON_THE_INDEX = {
    'PIL': 'pillow',
    'cv2': 'opencv-python',
    'ffmpeg': 'ffmpeg-python',
    'skimage': 'scikit-image',
    'sklearn': 'scikit-learn',
    'yaml': 'pyyaml',
}


def missing_package(error: BaseException, module: str) -> str | None:
    """A sentence for an import that failed because a package is not installed.

    Args:
        error: What the import raised.
        module: The module that was to be imported.

    Returns:
        None where the import failed for another reason.
    """
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    package = error.name.partition('.')[0]
    if package == module.partition('.')[0]:
        if error.name == package:
            return f'There is no module {package}, neither installed nor in the current folder.'
        return f'{package} has no module {error.name}: install the project that it belongs to, or give the right name.'
    if sys.modules.get(package) is not None or importlib.util.find_spec(package) is not None:
        return f'{module} needs {error.name}, which the {package} that is installed does not have.'
    to_install = ON_THE_INDEX.get(package, package)
    return f'{module} needs the package {package}, which is not installed: pip install {to_install}.'


def why_basicsr_fails(error: Exception) -> str:
    """The sentence for a BasicSR that cannot be imported or repaired."""
    hidden = hiding_folder()
    if hidden:
        return f'{hidden} It cannot be used here ({error}): start from another folder, or remove it from PYTHONPATH.'
    needed = missing_package(error, 'basicsr')
    if needed and isinstance(error, ModuleNotFoundError) and (error.name or '').partition('.')[0] != 'basicsr':
        return needed
    return f'BasicSR cannot be imported ({error}). {INSTALL}'


def hiding_folder() -> str | None:
    """A sentence about a ``basicsr`` folder that is found before the installed BasicSR; None where there is none."""
    found = _found()
    try:
        installed = distribution('basicsr')
    except PackageNotFoundError:
        return None  # with a folder alone, that one is meant
    if found is None or _is_editable(installed) or found == Path(str(installed.locate_file('basicsr'))).resolve():
        return None
    return f'The folder {found} hides the installed BasicSR {installed.version}.'


def _found() -> Path | None:
    module = sys.modules.get('basicsr')
    origin = getattr(module, '__file__', None)
    if origin is None:
        try:
            spec = importlib.util.find_spec('basicsr')
        except (ImportError, ValueError):
            return None
        origin = spec.origin if spec else None
    return Path(origin).resolve().parent if origin else None


def _is_editable(installed: Distribution) -> bool:
    """Whether the distribution was installed as a link to a checkout, which is then the BasicSR that is meant."""
    text = installed.read_text('direct_url.json')
    return bool(text and (json.loads(text).get('dir_info') or {}).get('editable'))
