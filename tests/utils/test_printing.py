"""Text on its way to a terminal: what steers it is escaped, letters of every script stay."""

from __future__ import annotations

import json

import pytest

from basicsr_semantic.utils.printing import LAYOUT, printable

STEERING = '\x00\x07\x08\r\x1b\x7f\x85\x9b\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\udcff'


@pytest.mark.parametrize('character', STEERING)
@pytest.mark.parametrize('keep', ['', LAYOUT])
def test_characters_that_steer_are_escaped(character, keep):
    shown = printable(f'a{character}b', keep)
    assert shown.isprintable() and shown.isascii()
    assert json.loads(f'"{shown}"') == f'a{character}b'  # JSON remains JSON


@pytest.mark.parametrize('text', ['größe', '実験', 'שלום', 'é', '👩\u200d🚀', 'नहीं', 'क\u200cष', "it's 100 % \\n"])
def test_everything_else_stays(text):
    assert printable(text) == text


def test_lines_belong_to_messages_and_not_to_names():
    assert printable('a\n\tb', LAYOUT) == 'a\n\tb'
    assert printable('a\n\tb') == 'a\\n\\tb'
