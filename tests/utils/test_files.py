"""Files are whole or not there."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest
from helpers.project import python

from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.files import remove_leftovers, whole_file, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def old(tmp_path):
    """A file that is there already."""
    (tmp_path / 'b.json').write_bytes(b'old')
    return tmp_path / 'b.json'


def test_a_file_takes_its_place_when_the_block_ends(old):
    with whole_file(old) as file:
        file.write(b'ne')
        file.flush()
        assert old.read_bytes() == b'old'
        file.write(b'w')
    assert old.read_bytes() == b'new'
    assert names(old.parent) == ['b.json']


@pytest.mark.parametrize('error', [KeyError('x'), UserError('x'), KeyboardInterrupt()])
def test_a_block_that_fails_half_way_leaves_the_older_file_and_nothing_else(old, error):
    with pytest.raises(type(error)) as raised, whole_file(str(old)) as file:
        file.write(b'ne')
        raise error
    assert raised.value is error
    assert old.read_bytes() == b'old'
    assert names(old.parent) == ['b.json']


@pytest.mark.parametrize('failing', ['the block', 'fsync', 'rename'])
def test_a_failed_write_is_one_sentence_and_leaves_the_older_file(old, monkeypatch, failing):
    full = OSError(errno.ENOSPC, 'No space left on device')

    def fail(*args):
        raise full

    if failing != 'the block':
        monkeypatch.setattr(*{'fsync': (os, 'fsync'), 'rename': (Path, 'replace')}[failing], fail)
    with pytest.raises(UserError) as raised, whole_file(old) as file:
        file.write(b'ne')
        if failing == 'the block':
            raise full
    assert str(raised.value) == (
        f'{old} could not be written: [Errno 28] No space left on device. Earlier files are untouched.'
    )
    assert raised.value.__cause__ is full
    assert old.read_bytes() == b'old'
    assert names(old.parent) == ['b.json']


def test_folders_are_made_for_a_file_written_in_one_go_and_only_for_it(tmp_path):
    write_whole(tmp_path / 'a' / 'b.json', b'{}')
    assert (tmp_path / 'a' / 'b.json').read_bytes() == b'{}'
    assert names(tmp_path / 'a') == ['b.json']
    with pytest.raises(UserError, match=r'c/b\.json could not be written'), whole_file(tmp_path / 'c' / 'b.json'):
        pass
    assert names(tmp_path) == ['a']


def test_a_folder_that_cannot_be_made_is_the_same_sentence(old):
    with pytest.raises(UserError, match=r'b\.json/c could not be written: .*Earlier files are untouched\.'):
        write_whole(old / 'c', b'new')
    assert names(old.parent) == ['b.json']


def test_what_a_killed_process_leaves_is_removed_and_no_file_of_others(old):
    script = (
        'import os, signal\n'
        'from basicsr_semantic.utils.files import whole_file\n'
        "with whole_file('b.json') as file:\n"
        '    os.kill(os.getpid(), signal.SIGKILL)\n'
    )
    assert python('-c', script, cwd=old.parent).returncode == -signal.SIGKILL
    left = [name for name in names(old.parent) if name != 'b.json']
    assert len(left) == 1 and old.read_bytes() == b'old'
    others = ['.lock.0a1b.tmp', 'b.77.tmp', 'b.json']
    for name in others[:2]:
        (old.parent / name).touch()
    remove_leftovers(old.parent)
    assert names(old.parent) == others
    remove_leftovers(old.parent / 'absent')
