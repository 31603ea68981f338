"""The command: verbs, one sentence an error, exit codes."""

from __future__ import annotations

import pytest

from basicsr_semantic import __version__, cli
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
