"""Option files: read safely, changed by the command line, checked against what they configure, prepared for BasicSR."""

from .prepare import apply_overrides, load_yaml, prepare_options

__all__ = ['apply_overrides', 'load_yaml', 'prepare_options']
