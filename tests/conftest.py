"""What holds for all tests. Fixtures and the order: `plugins/`; functions: `helpers/`; components: `toys/`."""

from __future__ import annotations

import os

from hypothesis import settings

import basicsr_semantic  # noqa: F401  (repairs BasicSR before any test imports it)

pytest_plugins = ['plugins.clips', 'plugins.order']

# The same examples in each run, so that only a change of code turns it red; HYPOTHESIS_PROFILE=default seeks more.
settings.register_profile('repeatable', derandomize=True, database=None)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'repeatable'))
