"""How what is registered is made small enough for a test: said by a function of its name in the helpers of its tests.

`tests/contract/` has the same checks for all extractors and all models and names none. What needs files or sizes to be
built in a test says so in any file of ``tests/helpers``:

- ``small_KIND(folder, patch)`` of an extractor: the arguments of its constructor. The clips that it is shown are
  `helpers.extraction.CLIPS`. One whose arguments all have defaults needs no such function.
- ``small_MODEL(folder, patch)`` of a model, its class in small letters with underscores (``small_see_clear_model``):
  the options of a training, with a data set ``val``.

``folder`` is an empty folder for its files, ``patch`` pytest's monkeypatch, undone when the checks are over.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Small = Callable[[Path, pytest.MonkeyPatch], dict[str, Any]]


def hook_of(name: str) -> str:
    """The name of that function: ``small_see_clear_model`` of SeeClearModel, ``small_sam`` of sam."""
    words = re.sub(r'(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[.-]', '_', name)
    return f'small_{words.lower()}'


def has_small(name: str) -> bool:
    """Whether any helper has such a function."""
    return _find(hook_of(name)) is not None


def make_small(name: str, folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the function of an extractor or a model gives; without one the test fails and says what to add."""
    make = _find(hook_of(name))
    if make is None:
        pytest.fail(
            f'{name} needs more than its defaults to be checked. Add a function {hook_of(name)}(folder, patch) to a '
            'file in tests/helpers: arguments of a small extractor, options of a small training; see helpers/small.py.',
            pytrace=False,
        )
    return make(folder, patch)


def _find(wanted: str) -> Small | None:
    for file in sorted(Path(__file__).parent.glob('*.py')):
        if f'def {wanted}(' in file.read_text(encoding='utf-8'):
            return getattr(importlib.import_module(f'helpers.{file.stem}'), wanted)
    return None
