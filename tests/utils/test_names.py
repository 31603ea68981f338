"""A run's name is the plain name of one folder, and names from data stay inside the folder they are joined to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.names import LONGEST, inside, wrong_folder_name


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
    message = wrong_folder_name(name)
    assert message is not None
    assert re.search(why, message)
    assert message.isprintable()  # it goes to a terminal


OUTSIDE = [
    '',
    '.',
    '..',
    '/',
    './.',
    '../a',
    'a/..',
    'a/../../b',
    'a/../b',
    '/etc',
    '//a',
    'a\\b',
    '..\\a',
    '\\\\host\\a',
]
OUTSIDE += ['C:\\a', 'C:/a', 'c:a', 'a\0', '\0']


@pytest.mark.parametrize('name', OUTSIDE)
def test_names_that_lead_out_of_a_folder_are_refused_wherever_they_stand(name):
    for names in ([name], ['set', name], [name, 'frame.png']):
        with pytest.raises(UserError, match='Rename it: it must stay inside results') as raised:
            inside('results', *names, where='a.json')
        assert str(raised.value).startswith(f'a.json: the name {name!r} ')


@pytest.mark.parametrize('name', ['000', '00001/0001', 'a..b', '...', '..a', './a', 'a//b', 'größe', 'two words', '-x'])
def test_names_with_folders_in_them_stay_inside(name):
    assert inside('results', 'set', name) == Path('results/set') / name
