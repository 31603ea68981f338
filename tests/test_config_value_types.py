"""Type hints as rules for values from YAML: does it fit, in words, in JSON Schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Optional, Union

import jsonschema
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from basicsr_semantic.config.value_types import describe, fits, hint_from_default, to_schema


@dataclass
class Section:
    a: int = 1


CASES = [
    (int, [0, -3], [True, 1.0, '1', None, [1]]),
    (float, [0, 0.5], [True, '1', None]),
    (bool, [True, False], [0, 1, 'true', None]),
    (str, ['', 'x'], [1, None, ['x']]),
    (Path, ['x'], [1]),
    (int | None, [1, None], ['~', 1.5]),
    (Optional[int], [1, None], ['~']),  # noqa: UP045
    (Union[int, str], [1, 'x'], [None, 1.5]),  # noqa: UP007
    (list[int], [[], [1, 2]], [[1, 'a'], 1, None, {'a': 1}]),
    (Sequence[float], [[1, 0.5]], [['x'], 'text']),
    (tuple[int, ...], [[1, 2, 3]], [[1, 'x']]),
    (tuple[float, float], [[1, 2.5]], [[1], [1, 2, 3], ['a', 'b']]),
    (dict[str, int], [{'a': 1}], [{'a': 'b'}, [1]]),
    (dict, [{}], [[], 1]),
    (Literal['a', 'b'], ['a'], ['c', None]),
    (Literal['a'] | None, ['a', None], ['b']),
    (int | Literal['auto'], [3, 'auto'], ['all']),
    (Section, [{'a': 1}], [3]),
    (Any, [1, None, 'x', {}], []),
    (torch.Tensor, [1, 'x'], []),
    (float | torch.Tensor, [0.5], []),
    (Callable[[int], int], ['relu'], []),
    (type[torch.nn.Module], ['relu'], []),
]


@pytest.mark.parametrize(('hint', 'good', 'bad'), CASES, ids=lambda case: str(case)[:40])
def test_values_and_schema_agree(hint, good, bad):
    schema = to_schema(hint)
    jsonschema.Draft202012Validator.check_schema(schema)
    for value in good:
        assert fits(value, hint)
        jsonschema.validate(value, schema)
    for value in bad:
        assert not fits(value, hint)
        if value != 1.0 or hint is not int:  # JSON knows one kind of number
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(value, schema)


@pytest.mark.parametrize(
    ('hint', 'words'),
    [
        (int | None, 'an integer or ~'),
        (Literal['BI', 'BD'] | None, 'one of BI, BD or ~'),
        (float | torch.Tensor, 'a number'),
        (tuple[float, float], 'a list of 2, each a number'),
        (tuple[int, str], 'a list of 2, an integer, text'),
        (list[str], 'a list, each text'),
        (list, 'a list'),
        (dict[str, Any], 'a section of keys'),
        (int | Literal['auto'], 'an integer or auto'),
        (Path, 'a path'),
        (Any, 'anything'),
    ],
)
def test_words(hint, words):
    assert describe(hint) == words


@given(
    st.one_of(
        st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.lists(st.integers()), st.none(),
        st.dictionaries(st.text(), st.integers()),
    )
)  # fmt: skip
def test_a_default_always_fits_the_hint_made_of_it(default):
    hint = hint_from_default(default)
    assert fits(default, hint) and fits(None, hint)


def test_a_number_may_replace_any_number_but_not_a_switch():
    assert fits(0.1, hint_from_default(1)) and fits(1, hint_from_default(0.5))
    assert not fits(True, hint_from_default(1)) and not fits(1, hint_from_default(True))
    assert fits([1], hint_from_default((2, 3))) and not fits(1, hint_from_default((2, 3)))
