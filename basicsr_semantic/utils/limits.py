"""Limits that the command names in its help, in a module without heavy imports."""

from __future__ import annotations

MAX_MEGAPIXELS = 100.0
"""Larger images are not decoded unless somebody says so: a file of kilobytes can ask for gigabytes."""
