"""docs/python.md describes every public name, and its examples run as they stand."""

from __future__ import annotations

import re
import shlex

import pytest
from helpers.project import ROOT

import basicsr_semantic
from basicsr_semantic.cli import main

TEXT = (ROOT / 'docs/python.md').read_text(encoding='utf-8')


def test_every_public_name_has_a_section_with_an_example():
    sections = dict(re.findall(r'^## (.*?)\n(.*?)(?=^## |\Z)', TEXT, re.MULTILINE | re.DOTALL))
    described = {name: text for title, text in sections.items() for name in re.findall(r'`(\w+)`', title)}
    assert described.keys() == set(basicsr_semantic.__all__)
    for name, text in described.items():
        examples = ''.join(re.findall(r'```python\n(.*?)```', text, re.DOTALL))
        assert name in examples, name


@pytest.mark.slow
def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for language, text in re.findall(r'```(\w+)\n(.*?)```', TEXT, re.DOTALL):
        if language == 'sh':
            assert main(shlex.split(text)[1:]) == 0
        else:
            exec(compile(text, 'docs/python.md', 'exec'), namespace)
