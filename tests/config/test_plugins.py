"""Third-party components by --import; installed plugins are in engine/test_pipeline.py."""

from __future__ import annotations

import pytest

from basicsr_semantic.config import plugins
from basicsr_semantic.utils.errors import UserError


def test_a_module_of_the_current_folder_is_imported(tmp_path, monkeypatch):
    (tmp_path / 'mine_archs.py').write_text('LOADED = True\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert 'mine_archs' in plugins.load_plugins(['mine_archs'])


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (None, 'There is no module theirs_there,'),
        ('raise ValueError("their defect")', 'their defect'),
        ('def broken(', 'SyntaxError'),
    ],
)
def test_what_cannot_be_imported_is_one_sentence(tmp_path, monkeypatch, content, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f'theirs_{said.split()[0].lower()}'
    if content:
        (tmp_path / f'{name}.py').write_text(content)
    with pytest.raises(UserError, match=f'--import {name} failed: .*{said}'):
        plugins.load_plugins([name])


def test_a_package_that_a_module_needs_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'theirs_with_needs.py').write_text('import no_such_package.part\n')
    with pytest.raises(UserError, match=r'needs the package no_such_package, .*: pip install no_such_package'):
        plugins.load_plugins(['theirs_with_needs'])


def test_an_entry_point_may_be_a_function_or_a_module(monkeypatch):
    called = []

    class Entry:
        value, dist = 'x:y', None

        def __init__(self, name, content):
            self.name, self.content = name, content

        def load(self):
            return self.content

    entries = [Entry('function', lambda: called.append('function')), Entry('module', pytest)]
    monkeypatch.setattr(plugins, 'entry_points', lambda group: entries if group == 'basicsr.plugins' else [])
    assert plugins.load_plugins() == ['function', 'module']
    assert called == ['function']


def test_a_broken_plugin_names_its_package(monkeypatch):
    class Entry:
        name, value, dist = 'theirs', 'theirs.archs', None

        def load(self):
            raise AssertionError("An object named 'EDVR' was already registered")

    monkeypatch.setattr(plugins, 'entry_points', lambda group: [Entry()])
    with pytest.raises(UserError, match=r'theirs = theirs\.archs of an unknown package.*already registered'):
        plugins.load_plugins()
