"""The log of a run: what it escapes, and what it says where it cannot be written."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from basicsr_semantic.engine import log
from basicsr_semantic.utils.errors import UserError


@pytest.fixture
def opt(tmp_path):
    """Options of a run whose log ends with the test."""
    logger = logging.getLogger('basicsr')
    before = list(logger.handlers)
    yield {'path': {'log': str(tmp_path)}, 'name': 'x', 'rank': 0}
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    for handler in before:
        logger.addHandler(handler)


def test_names_do_not_steer_who_reads_the_log_and_lines_stay_lines(opt, tmp_path, capsys):
    log.start_log(opt)
    log.write_log(opt, 'train')
    logging.getLogger('basicsr').info('Clip a\x1b[2J\r\u202eb\n\tnext')
    (file,) = tmp_path.glob('train_x_*.log')
    for text in (file.read_text(), capsys.readouterr().err):
        assert 'INFO: Clip a\\u001b[2J\\r\\u202eb\n\tnext\n' in text
    assert '/ __ ) ____ _ _____' in file.read_text()  # BasicSR's logo, in lines of its own


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_a_full_disk_is_said_once_and_the_run_goes_on(opt, monkeypatch, capsys):
    monkeypatch.setattr(log._LogFile, '_open', lambda self: Path('/dev/full').open('w'))  # noqa: SIM115
    log.start_log(opt)
    log.write_log(opt, 'train')
    for number in range(3):
        logging.getLogger('basicsr').info(number)
    for handler in logging.getLogger('basicsr').handlers:
        handler.close()
    message = capsys.readouterr().err
    assert message.count('cannot be written: No space left on device. The run goes on; lines are missing.') == 1
    assert 'Traceback' not in message and 'INFO: 2\n' in message


def test_a_log_that_cannot_be_made_is_a_sentence(opt, tmp_path):
    log.start_log(opt)
    with pytest.raises(UserError, match=r'The log .*train_x_.*\.log cannot be made: No such file or directory\.'):
        log.write_log(opt | {'path': {'log': str(tmp_path / 'gone')}}, 'train')
