"""The command: verbs, one sentence an error, exit codes."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from helpers.project import environment

from basicsr_semantic import __version__, _is_command, cli
from basicsr_semantic.data.frame_reader import FrameReader
from basicsr_semantic.data.images import MAX_MEGAPIXELS
from basicsr_semantic.utils.errors import UserError


def test_help_names_every_verb(capsys):
    with pytest.raises(SystemExit):
        cli.main(['--help'])
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in ('train', 'test', 'extract', 'prepare', 'check', 'components'))


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(['--version'])
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ('error', 'code', 'said'),
    [
        (UserError('The file x is missing.'), 2, 'basicsr: The file x is missing.\n'),
        (PermissionError(13, 'Permission denied', 'y'), 2, "basicsr: [Errno 13] Permission denied: 'y'\n"),
        (KeyboardInterrupt(), 130, 'Interrupted.\n'),
        (
            UserError('Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n'
                      '  File "x"\nbasicsr_semantic.errors.UserError: Frame 3 is broken.\n'),
            2,
            'basicsr: Frame 3 is broken.\n',
        ),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(monkeypatch, capsys, error, code, said):
    def fail(args):
        raise error

    monkeypatch.setattr(cli.components, 'run', fail)
    assert cli.main(['components']) == code
    assert capsys.readouterr().err == said


def test_defects_keep_their_trace(monkeypatch):
    monkeypatch.setattr(cli.components, 'run', lambda args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(['components'])


def test_the_trace_of_a_mistake_can_be_asked_for(monkeypatch):
    def fail(args):
        raise UserError('The file x is missing.')

    monkeypatch.setattr(cli.components, 'run', fail)
    monkeypatch.setenv('BASICSR_TRACEBACK', '1')
    with pytest.raises(UserError):
        cli.main(['components'])


def test_messages_do_not_steer_the_terminal(monkeypatch, capsys):
    def fail(args):
        raise UserError('There is no clip a\x1b[2J\u202e\rb.\n  Choose another.')

    monkeypatch.setattr(cli.components, 'run', fail)
    assert cli.main(['components']) == 2
    assert capsys.readouterr().err == 'basicsr: There is no clip a\\u001b[2J\\u202e\\rb.\n  Choose another.\n'
    with pytest.raises(SystemExit):
        cli.main(['components', '--a\x1b\u2066'])
    assert '--a\\u001b\\u2066' in capsys.readouterr().err


def closed_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, 'w')


def full_disk():
    return Path('/dev/full').open('w')


@pytest.mark.parametrize('arguments', [['components'], ['components', '--json'], ['--help']])
@pytest.mark.parametrize(
    ('output', 'code', 'said'),
    [(closed_pipe, 141, ''), (full_disk, 2, 'basicsr: The output could not be written: [Errno 28] No space left')],
)
def test_an_output_that_nobody_takes_ends_the_command_without_a_trace(
    monkeypatch, capsys, arguments, output, code, said
):
    with output() as stream:
        monkeypatch.setattr(sys, 'stdout', stream)
        assert cli.main(arguments) == code
    # leaving closes the stream, as Python does at its end: what could not be written is no longer in it
    assert capsys.readouterr().err.rstrip('\n').removesuffix(' on device.') == said


@pytest.mark.parametrize(
    'error',
    [
        MemoryError(),
        OSError(12, 'Cannot allocate memory'),
        lmdb.MemoryError('mdb_env_open: Cannot allocate memory'),
        RuntimeError("[enforce fail] can't allocate memory: you tried to allocate 9 bytes.\nException raised from x"),
        torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.'),
    ],
)
def test_a_lack_of_memory_is_said_as_such(monkeypatch, capsys, error):
    def fail(args):
        raise error

    monkeypatch.setattr(cli.components, 'run', fail)
    assert cli.main(['components']) == 2
    message = capsys.readouterr().err
    assert message.count('\n') == 1 and '. Memory is short, or a limit' in message


def test_an_lmdb_that_does_not_fit_into_the_address_space_is_not_damaged(tmp_path, monkeypatch, capsys):
    resource = pytest.importorskip('resource')
    with lmdb.open(str(tmp_path / 'a.lmdb'), map_size=1 << 42) as env, env.begin(write=True) as transaction:
        transaction.put(b'a/0', np.zeros(9, np.uint8).tobytes())
    limits = resource.getrlimit(resource.RLIMIT_AS)
    monkeypatch.setattr(
        cli.components,
        'run',
        lambda args: FrameReader(tmp_path / 'a.lmdb', {'type': 'lmdb', 'map_size': 1 << 42}, 'dataroot_gt').read('a/0'),
    )
    resource.setrlimit(resource.RLIMIT_AS, (1 << 41, limits[1]))
    try:
        assert cli.main(['components']) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    message = capsys.readouterr().err
    assert 'a.lmdb' in message and 'Memory is short' in message and 'again' not in message


def test_the_limit_of_megapixels_is_that_of_the_decoder():
    parser = cli.build_parser()
    for words in (['prepare', 'clips', 'a', 'b'], ['prepare', 'ytvis', 'a', 'b'], ['extract', '--frames', 'a']):
        words += ['--extractor', 'regions', '--out', 'b'] if words[0] == 'extract' else []
        assert parser.parse_args(words).max_megapixels == MAX_MEGAPIXELS
    assert inspect.signature(cli.extract.open_frames).parameters['max_megapixels'].default == MAX_MEGAPIXELS


@pytest.mark.parametrize(
    'command',
    [
        ['-m', 'basicsr_semantic'],
        ['-u', '-m', 'basicsr_semantic'],  # torchrun --module
        ['-X', 'dev', '-Wignore', '-um', 'basicsr_semantic'],
        ['-mbasicsr_semantic'],
        ['basicsr'],
        ['-u', 'basicsr'],
    ],
)
def test_ctrl_c_while_the_command_is_imported_is_one_word(tmp_path, command):
    """An import that is interrupted and, as some do, swallows that."""
    (tmp_path / 'torch.py').write_text(
        'import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept BaseException:\n    pass\n'
    )
    (tmp_path / 'basicsr').write_text('from basicsr_semantic.cli import main\nraise SystemExit(main())\n')
    command = [str(tmp_path / one) if one == 'basicsr' else one for one in command]
    done = subprocess.run(
        [sys.executable, *command, 'components'],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, '', 'Interrupted.\n')


@pytest.mark.parametrize(
    ('argv', 'whole'),
    [
        (['-m', '-m', 'basicsr_semantic'], ['python', '-m', 'other', '-m', 'basicsr_semantic']),
        (['-m', 'x'], ['python', '-m', 'basicsr_semantic_more', 'x']),
        (['-c', '-m', 'basicsr_semantic'], ['python', '-c', 'pass', '-m', 'basicsr_semantic']),
        (['train.py'], ['python', 'train.py']),
        ([''], ['python']),
        (['-m'], []),
        ([], []),
    ],
)
def test_other_programs_are_not_the_command(argv, whole):
    assert not _is_command(argv, whole)
