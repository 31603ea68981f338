"""The order of the tests."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The quick tests first, so that most mistakes show within a minute; then the slow ones, the slowest first.

    Two processes share the tests, and one of them should not be left alone with a test of minutes at the end.
    """

    def seconds(item: pytest.Item) -> float:
        marker = item.get_closest_marker('slow')
        return 0 if marker is None else marker.args[0] if marker.args else 10

    items.sort(key=lambda item: (seconds(item) > 0, -seconds(item)))
