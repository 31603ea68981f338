"""The nearest of some names, for messages about one that does not exist."""

from __future__ import annotations

from pathlib import Path

import pytest

import basicsr_semantic
from basicsr_semantic.utils.nearest import nearest


@pytest.mark.parametrize(
    ('written', 'meant'),
    [('num_feats', 'num_feat'), ('num-Feat', 'num_feat'), ('min_eta', 'eta_min'), ('NUM_BLOCK', 'num_block')],
)
def test_case_dashes_and_the_order_of_words_make_no_difference(written, meant):
    assert nearest(written, ['num_feat', 'num_block', 'eta_min']) == meant


def test_without_a_similar_name_there_is_none():
    assert nearest('xyz', ['num_feat']) is None
    assert nearest('xyz', []) is None


def test_a_cutoff_asks_for_more_likeness():
    assert nearest('feat', ['num_feat']) == 'num_feat'
    assert nearest('feat', ['num_feat'], 0.8) is None


def test_any_iterable_of_names_will_do():
    assert nearest('baer', {'bear': 1, 'cow': 2}) == 'bear'
    assert nearest('baer', (name for name in ('bear', 'cow'))) == 'bear'


def test_nobody_else_looks_for_similar_names():
    root = Path(basicsr_semantic.__file__).parent
    users = [path for path in root.rglob('*.py') if 'difflib' in path.read_text(encoding='utf-8')]
    assert users == [root / 'utils' / 'nearest.py']
