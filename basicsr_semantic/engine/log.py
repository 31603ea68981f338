"""The log of a run: on the terminal from the first line on, in a file as soon as the run has a folder."""

from __future__ import annotations

import contextlib
import logging
import sys
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from basicsr.utils import get_env_info, get_root_logger, get_time_str
from basicsr.utils.logger import initialized_logger
from basicsr.utils.options import dict2str

from ..utils.errors import UserError, full_stop
from ..utils.printing import LAYOUT, complain, printable


def start_log(opt: dict[str, Any]) -> logging.Logger:
    """Start BasicSR's log again, also when an earlier run of the same process had one.

    A run that is refused while it is built must not have moved the folder of an older one of its name aside, so its
    lines are kept in memory until :func:`write_log`.

    Args:
        opt: Prepared options of the run.
    """
    logger = logging.getLogger('basicsr')
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    initialized_logger.pop('basicsr', None)
    logger = get_root_logger()
    for handler in logger.handlers:
        handler.setFormatter(_Printable(handler.formatter))
    if opt['rank'] == 0:
        logger.setLevel(logging.INFO)  # which it does only when it is given a file
        logger.addHandler(MemoryHandler(sys.maxsize, flushLevel=sys.maxsize, flushOnClose=False))
    logger.info(get_env_info())
    logger.info(dict2str(opt))
    return logger


def write_log(opt: dict[str, Any], verb: str) -> None:
    """Write what was said since :func:`start_log` to the file of the run, and all that follows.

    Args:
        opt: Prepared options of the run, whose folders exist.
        verb: train or test.

    Raises:
        UserError: The file cannot be made.
    """
    logger = logging.getLogger('basicsr')
    for memory in [handler for handler in logger.handlers if isinstance(handler, MemoryHandler)]:
        path = Path(opt['path']['log']) / f'{verb}_{opt["name"]}_{get_time_str()}.log'
        try:
            file = _LogFile(path, 'w')
        except OSError as error:
            raise UserError(f'The log {path} cannot be made: {full_stop(error.strerror or error)}') from error
        file.setFormatter(logger.handlers[0].formatter)
        memory.setTarget(file)
        memory.flush()
        logger.removeHandler(memory)
        memory.close()
        logger.addHandler(file)


class _Printable(logging.Formatter):
    """The lines of another formatter, with names from files escaped so that they do not steer the terminal."""

    def __init__(self, inner: logging.Formatter | None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        return printable(self._inner.format(record), LAYOUT)


class _LogFile(logging.FileHandler):
    """A log that says once that it cannot be written; ``logging`` prints a trace for each line."""

    _said = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (its name)
        """Go on without this line: only a checkpoint that cannot be written is worth a stop."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._said:
            self._said = True
            why = full_stop(error.strerror or error)
            complain(
                f'basicsr: The log {self.baseFilename} cannot be written: {why} The run goes on; lines are missing.'
            )

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what could not be written before
            super().close()
