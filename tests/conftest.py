"""What holds for all tests. Fixtures and the order: `plugins/`; functions: `helpers/`; components: `toys/`."""

from __future__ import annotations

import contextlib
import os

import pytest
from hypothesis import settings

import basicsr_semantic  # noqa: F401  (repairs BasicSR before any test imports it)

pytest_plugins = ['plugins.clips', 'plugins.order']

# The same examples in each run, so that only a change of code turns it red; HYPOTHESIS_PROFILE=default seeks more.
settings.register_profile('repeatable', derandomize=True, database=None)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'repeatable'))


def pytest_configure(config: pytest.Config) -> None:
    """Let what mmengine imports write its cache before there are several processes: one could read half of it."""
    if not hasattr(config, 'workerinput'):
        with contextlib.suppress(ImportError):
            import yapf  # noqa: F401
