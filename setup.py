"""Build script. Everything about the package is in pyproject.toml; only the check of the Python version is here.

``requires-python`` says the same, but pip's message for it does not say why, and older pips never read it.
This file is therefore kept to syntax that any Python can read.
"""

import sys

from setuptools import setup

if not (3, 10) <= sys.version_info[:2] < (3, 13):
    raise SystemExit(
        'basicsr_semantic needs Python 3.10, 3.11 or 3.12, and this is Python %d.%d. BasicSR, which it extends, cannot '
        'be built on Python 3.13 or newer. Make a virtual environment with an older Python, for example: '
        'python3.12 -m venv .venv' % (sys.version_info[0], sys.version_info[1])
    )

setup()
