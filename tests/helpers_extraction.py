"""What the tests of the extraction loop share: all that a store holds, and a run that is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import lmdb


def content(path: Path) -> dict[bytes, bytes]:
    """Everything in a store, byte by byte."""
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as transaction:
        return {bytes(key): bytes(value) for key, value in transaction.cursor()}


def kill_while_writing(run: Callable[[Path], None], path: Path, delay: float) -> dict[bytes, bytes]:
    """Start a run in a process of its own, kill it some seconds after its store has appeared, and say what is there.

    Args:
        run: Fills a store; forked, so a function of a test module will do.
        path: The store.
        delay: Seconds.
    """
    child = multiprocessing.get_context('fork').Process(target=run, args=(path,))
    child.start()
    while not (path / 'data.mdb').exists():
        time.sleep(0.001)
    time.sleep(delay)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    return content(path) if (path / 'data.mdb').stat().st_size else {}
