"""Ctrl-C while the command is still being imported, which takes seconds and should not end in a trace."""

from __future__ import annotations

import os
import signal
import threading


def end_at_interrupt() -> None:
    """Until `raise_at_interrupt`, let Ctrl-C end the process quietly: an import may swallow a KeyboardInterrupt."""
    here = threading.current_thread() is threading.main_thread()
    if here and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_at_interrupt() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, if `end_at_interrupt` changed that."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: object) -> None:
    os.write(2, b'Interrupted.\n')
    os._exit(130)
