"""One process at a time works in a folder: a training in that of its experiment, a preparation in that of its LMDBs.

Two processes in one folder would overwrite each other's files, and a second training moves the folder of the first one
away. The lock is a file *next to* the folder, ``experiments/.NAME.lock`` for ``experiments/NAME``: BasicSR renames the
folder of an older run, and a lock inside would go with it.

The kernel's ``flock`` holds it and releases it however the process ends. Where a file system has no ``flock`` (some
of clusters, and Windows), the file itself is the lock. The first process makes it and then touches it regularly; a
holder that has stopped doing so is taken for dead.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import logging
import os
import socket
import sys
import threading
import time
import uuid
import weakref
from pathlib import Path
from typing import Any

from .errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

INTERVAL = 10.0
"""Seconds between two touches of a lock without ``flock``."""

MISSED = 5
"""Touches that must be missing before a holder is taken for dead."""

_logger = logging.getLogger('basicsr_semantic')
_POLL = 1.0
_SETTLE = 0.2
_NO_FLOCK = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class FolderLock:
    """The lock of a folder, from ``with`` or :meth:`acquire` to :meth:`release`.

    The holder removes the file at the end, while it still holds it; a process that opened it just before sees that its
    name is gone and makes a new one. A killed holder leaves the file, which does no harm.

    Args:
        folder: The folder, which need not exist and may be renamed or replaced in the meantime.
        wait: Wait until the folder is free, instead of refusing.
        path: The lock's file, if not the one next to the folder.
        otherwise: What else to do where the folder is in use.
    """

    def __init__(
        self,
        folder: str | Path,
        wait: bool = False,
        path: Path | None = None,
        otherwise: str = 'give this run another name',
    ) -> None:
        self.folder = Path(folder)
        self.wait, self._otherwise = wait, otherwise
        path = path or self.folder.with_name(f'.{self.folder.name}.lock')
        self.path = path.parent.resolve() / path.name
        self._token = uuid.uuid4().hex
        self._descriptor: int | None = None  # of the file, where flock holds it
        self._beat: _Heartbeat | None = None  # where it does not
        self._made: list[Path] = []
        _locks.add(self)

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(self, *exception) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            UserError: Another process has it, or the file cannot be made.
        """
        told = False
        try:
            while (holder := self._try()) is not None:
                if not self.wait:
                    raise UserError(
                        f'{self.folder} is in use: {_describe(holder)}. Wait until it ends, stop it, or '
                        f'{self._otherwise}.'
                    )
                if not told:
                    _logger.info(f'Waiting for {self.folder}: {_describe(holder)}.')
                    told = True
                time.sleep(_POLL)
        except OSError as error:
            self._remove_made()
            raise UserError(f'The lock {self.path} of the run cannot be made: {error}.') from error
        except BaseException:
            self._remove_made()
            raise

    def release(self) -> None:
        """Release the lock and remove its file; a second call does nothing."""
        with contextlib.suppress(OSError):  # a missing disk must not hide why a run ended
            if self._descriptor is not None:
                self.path.unlink(missing_ok=True)  # before closing: afterwards it may be another's
            elif self._beat is not None:
                self._beat.stop()
                if _read(self.path).get('token') == self._token:
                    self.path.unlink(missing_ok=True)
        self._close()
        self._beat = None
        self._remove_made()

    def _try(self) -> dict[str, Any] | None:
        """Take the lock and return None, or return what is known of its holder."""
        for folder in (self.path.parent, *self.path.parent.parents):
            if folder.exists():
                break
            if folder not in self._made:
                self._made.append(folder)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with contextlib.suppress(FileNotFoundError):  # another run, ending, removed the folder that it had made
                has_flock, now = self._probe()
                return self._try_flock(now) if has_flock else self._try_heartbeat(now)
            self.path.parent.mkdir(parents=True, exist_ok=True)

    def _probe(self) -> tuple[bool, float]:
        """(whether the file system has ``flock``, its time now: hosts' clocks differ, and files have the server's)."""
        probe = self.path.with_name(f'{self.path.name}.{self._token}.tmp')
        descriptor = os.open(probe, os.O_RDWR | os.O_CREAT)
        try:
            os.utime(probe)
            return _flock(descriptor), probe.stat().st_mtime
        finally:
            os.close(descriptor)
            probe.unlink(missing_ok=True)

    def _try_flock(self, now: float) -> dict[str, Any] | None:
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                if not _flock(descriptor):  # it had them a moment ago
                    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
                if not _is_file(descriptor, self.path):
                    continue  # the holder before removed it between our opening and locking
                if _is_alive(holder := _read(self.path), self.path, now) and holder.get('interval'):
                    return holder  # on a host that has no flock here
                os.ftruncate(descriptor, 0)
                os.write(descriptor, self._content(None))
                self._descriptor, descriptor = descriptor, -1
                return None
            except BlockingIOError:
                return _read(self.path)
            finally:
                if descriptor >= 0:
                    os.close(descriptor)

    def _try_heartbeat(self, now: float) -> dict[str, Any] | None:
        while True:
            try:
                descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                holder = _read(self.path)
                if _is_alive(holder, self.path, now):
                    return holder
                self._move_dead(holder)
                continue
            try:
                os.write(descriptor, self._content(INTERVAL))
            finally:
                os.close(descriptor)
            time.sleep(_SETTLE)  # another that found the holder dead may have moved ours, see _move_dead
            holder = _read(self.path)
            if holder.get('token') != self._token:
                return holder
            self._beat = _Heartbeat(self.path, self._token)
            return None

    def _move_dead(self, holder: dict[str, Any]) -> None:
        """Take the file of a dead holder away, and no other: of two that try, one finds the file of the first."""
        aside = self.path.with_name(f'{self.path.name}.{self._token}.tmp')
        with contextlib.suppress(FileNotFoundError):
            self.path.replace(aside)
            if _read(aside).get('token') == holder.get('token'):
                aside.unlink()
            else:
                aside.replace(self.path)

    def _content(self, interval: float | None) -> bytes:
        command = Path(sys.argv[0] or 'python')
        holder = {
            'host': socket.gethostname(),
            'pid': os.getpid(),
            'since': datetime.datetime.now().astimezone().isoformat(' ', 'seconds'),
            'command': command.parent.name if command.name == '__main__.py' else command.name,
            'interval': interval,
            'token': self._token,
        }
        return json.dumps(holder).encode()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _remove_made(self) -> None:
        """Remove folders that were made for the lock alone: a refused run leaves nothing."""
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:  # by now there is something in it
                break
        self._made = []


class _Heartbeat:
    """Touches a lock file in a thread, as long as it is its own."""

    def __init__(self, path: Path, token: str) -> None:
        self._path, self._token = path, token
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name='run lock', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(INTERVAL):
            with contextlib.suppress(OSError):  # a server that does not answer now may do so in time
                if (token := _read(self._path).get('token')) is not None and token != self._token:
                    _logger.warning(
                        f'{self._path} was taken over: this process stood still, and another runs in its folder now.'
                    )
                    return
                os.utime(self._path)


def _flock(descriptor: int) -> bool:
    """Lock an open file; False where the file system has no such locks.

    Raises:
        BlockingIOError: Another has it.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_FLOCK:
            return False
        raise
    return True


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _read(path: Path) -> dict[str, Any]:
    """What a lock file says of its holder; nothing where it is not whole or gone."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_alive(holder: dict[str, Any], path: Path, now: float) -> bool:
    """Whether the holder of a lock without ``flock`` still runs; if it has not written yet, its file shows that."""
    if holder.get('host') == socket.gethostname() and not _runs(holder.get('pid')):
        return False
    interval = holder.get('interval')
    try:
        age = now - path.stat().st_mtime
    except FileNotFoundError:
        return False
    return age <= MISSED * (interval if isinstance(interval, int | float) and interval > 0 else INTERVAL)


def _runs(pid: Any) -> bool:
    if os.name != 'posix':  # there is no signal 0 on Windows; the heartbeat shows it
        return True
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError, TypeError, ValueError):
        return False
    except PermissionError:
        pass
    return True


def _describe(holder: dict[str, Any]) -> str:
    if not holder.get('pid'):
        return 'another process runs there'
    return (
        f'{holder.get("command")} runs there as process {holder["pid"]} on {holder.get("host")} '
        f'since {holder.get("since")}'
    )


_locks: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _let_go_in_child() -> None:
    """A forked loader worker shares the open file, and would hold the lock for a while when its parent is killed."""
    for lock in _locks:
        lock._close()
        lock._beat, lock._made = None, []


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_let_go_in_child)
