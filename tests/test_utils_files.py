"""Small files are whole or not there."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.files import write_whole


def test_folders_are_made_and_nothing_else_stays(tmp_path):
    write_whole(tmp_path / 'a' / 'b.json', b'{}')
    assert [p.name for p in (tmp_path / 'a').iterdir()] == ['b.json']


def test_a_full_disk_keeps_the_older_file(tmp_path, monkeypatch):
    write_whole(tmp_path / 'b.json', b'old')

    def full(self, content):
        self.touch()
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(UserError, match='No space left on device'):
        write_whole(tmp_path / 'b.json', b'new')
    assert (tmp_path / 'b.json').read_bytes() == b'old'
    assert [p.name for p in tmp_path.iterdir()] == ['b.json']
