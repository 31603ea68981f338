"""A run's name is the plain name of one folder."""

from __future__ import annotations

import re

import pytest

from basicsr_semantic.utils.names import LONGEST, wrong_folder_name


@pytest.mark.parametrize(
    'name',
    ['a', 'edvr_x4', 'two words', 'v1.2', '.hidden', '...', 'größe', '実験', 'a' * LONGEST, 'é' * (LONGEST // 2), '-x'],
)
def test_plain_names_are_fine(name):
    assert wrong_folder_name(name) is None


@pytest.mark.parametrize(
    ('name', 'why'),
    [
        ('', 'empty'),
        (' ', 'blanks'),
        ('\t\n', 'blanks'),
        ('\u3000', 'blanks'),
        ('.', 'not one of its own'),
        ('..', 'not one of its own'),
        ('a/b', 'path'),
        ('/', 'path'),
        ('../a', 'path'),
        ('a\\b', 'path'),
        ('a\nb', r'U\+000A'),
        ('a\tb', r'U\+0009'),
        ('a\0b', r'U\+0000'),
        ('a\x7fb', r'U\+007F'),
        ('a\x85b', r'U\+0085'),
        ('a\x9bb', r'U\+009B'),
        ('a\u202eb', r'formatting character U\+202E'),
        ('a\u2066b', r'U\+2066'),
        ('\ufeffa', r'U\+FEFF'),
        ('a\u200b', r'U\+200B'),
        ('a\u2028b', r'U\+2028'),
        ('a\ud800', 'half a character'),
        (' a', 'blank'),
        ('a ', 'blank'),
        ('a\u00a0', 'blank'),
        ('a' * (LONGEST + 1), '201 bytes'),
        ('é' * (LONGEST // 2 + 1), '202 bytes'),
    ],
)
def test_other_names_are_refused_with_the_reason(name, why):
    said = wrong_folder_name(name)
    assert said is not None
    assert re.search(why, said)
    assert said.isprintable()  # it goes to a terminal
