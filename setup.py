"""Build script. Everything about the package is in pyproject.toml; only the check of the Python version is here.

``requires-python`` says the same, but pip's message for it does not say why. The check is before the import because
a new Python comes without setuptools, and it is kept to syntax that any Python can read.
"""

import sys

if not (3, 10) <= sys.version_info[:2] < (3, 13):
    raise SystemExit(
        'basicsr_semantic needs Python 3.10, 3.11 or 3.12, and this is Python {}.{}: BasicSR, which it extends, cannot '
        'be built on Python 3.13 or newer. Make a virtual environment with one of them, for example: '
        'python3.12 -m venv .venv'.format(*sys.version_info[:2])
    )

from setuptools import setup

setup()
