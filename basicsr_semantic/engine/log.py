"""The log of a run: on the terminal from the first line on, in a file as soon as the run has a folder."""

from __future__ import annotations

import logging
import sys
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from basicsr.utils import get_env_info, get_root_logger, get_time_str
from basicsr.utils.logger import initialized_logger
from basicsr.utils.options import dict2str


def start_log(opt: dict[str, Any]) -> logging.Logger:
    """Start BasicSR's log anew, also when another run of the same process had one.

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
    """
    logger = logging.getLogger('basicsr')
    for memory in [handler for handler in logger.handlers if isinstance(handler, MemoryHandler)]:
        file = logging.FileHandler(Path(opt['path']['log']) / f'{verb}_{opt["name"]}_{get_time_str()}.log', 'w')
        file.setFormatter(logger.handlers[0].formatter)
        memory.setTarget(file)
        memory.flush()
        logger.removeHandler(memory)
        memory.close()
        logger.addHandler(file)
