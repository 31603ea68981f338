"""The nearest valid name to one that was misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


def nearest(name: Any, names: Iterable[Any], cutoff: float = 0.6) -> str | None:
    """The most similar of some names, None if none is similar.

    Upper and lower case, dashes and underscores, and the order of words make no difference: ``min-eta`` is ``eta_min``.

    Args:
        name: What was written.
        names: What could have been meant.
        cutoff: Similarity asked for, 0 to 1 (as in difflib).
    """
    known = [str(one) for one in names]
    for simplify in (_plain, _sorted_words):
        simple = {simplify(one): one for one in known}
        near = difflib.get_close_matches(simplify(str(name)), list(simple), n=1, cutoff=cutoff)
        if near:
            return simple[near[0]]
    return None


def _plain(name: str) -> str:
    return name.lower().replace('-', '_')


def _sorted_words(name: str) -> str:
    return '_'.join(sorted(_plain(name).split('_')))
