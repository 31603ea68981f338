"""LMDB environments that survive forks, grow by themselves and fail in sentences."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import lmdb

from ..utils.errors import UserError

Result = TypeVar('Result')


@contextlib.contextmanager
def lmdb_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn what LMDB and the file system raise into a UserError that names the store.

    Args:
        path: the store.
        doing: what was tried, to complete the sentence 'could not ...'.
    """
    try:
        yield
    except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.VersionMismatchError) as error:
        raise UserError(
            f'Could not {doing} {path}: it is damaged or not an LMDB ({error}). Delete it and make it again.'
        ) from error
    except (lmdb.Error, OSError) as error:
        text = str(error)
        advice = ''
        if 'No space left' in text or 'File too large' in text:
            advice = ' Free some space and run the same command again: what is already in the store is kept.'
        elif 'Input/output error' in text:
            # LMDB reports so a write that was cut short, as the last one is on a disk that becomes full
            advice = ' Is the disk full? Free some space and run the same command again: what is already there is kept.'
        elif 'Permission denied' in text or 'Read-only' in text or isinstance(error, lmdb.ReadonlyError):
            advice = ' Choose a folder that you may write to.'
        raise UserError(f'Could not {doing} {path}: {text.rstrip(".")}.{advice}') from error


class SharedReadEnv:
    """A read-only environment, opened when first used and opened again after a fork.

    LMDB must not be open twice in one process, so readers of one path share an environment. It is opened without
    LMDB's lock file: stores may be on read-only media, and nobody writes to a store while it is read for training.
    """

    _open: dict[Path, tuple[lmdb.Environment, int]] = {}
    _users: dict[Path, int] = {}
    _lock = threading.RLock()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._key = path.resolve()
        self._holds = False

    def get(self) -> lmdb.Environment:
        """The environment of this process.

        Raises:
            UserError: There is no intact LMDB at the path.
        """
        with self._lock:
            known = self._open.get(self._key)
            if known is not None and known[1] != os.getpid():
                # inherited by a fork: this closes the child's copy of the map only; LMDB forbids to use it here
                known[0].close()
                known = None
            if known is None:
                self._open.pop(self._key, None)
                known = (self._open_env(), os.getpid())
                self._open[self._key] = known
            if not self._holds:
                self._holds = True
                self._users[self._key] = self._users.get(self._key, 0) + 1
            return known[0]

    def close(self) -> None:
        """Release the environment; it is closed when its last reader in this process has released it."""
        with self._lock:
            if not self._holds:
                return
            self._holds = False
            self._users[self._key] -= 1
            if self._users[self._key] == 0:
                del self._users[self._key]
                env, _ = self._open.pop(self._key)
                env.close()

    def _open_env(self) -> lmdb.Environment:
        data = self.path / 'data.mdb'
        if not data.is_file():
            kind = 'has no data.mdb, so it is not an LMDB' if self.path.exists() else 'does not exist'
            raise UserError(f'The store {self.path} {kind}.')
        with lmdb_errors(self.path, 'open the store'):
            env = lmdb.open(
                str(self.path),
                readonly=True,
                lock=False,
                readahead=False,
                create=False,
                max_spare_txns=4,
            )
        _check_whole(env, self.path)
        return env


def truncated_to(env: lmdb.Environment, path: Path) -> tuple[int, int] | None:
    """(bytes that data.mdb has, bytes that its header gives) where it was cut short, else None.

    LMDB maps the file into memory, so reading beyond the end of a truncated one would kill the process with SIGBUS.
    """
    needed, size = (env.info()['last_pgno'] + 1) * env.stat()['psize'], (path / 'data.mdb').stat().st_size
    return (size, needed) if size < needed else None


def _check_whole(env: lmdb.Environment, path: Path) -> None:
    """Look at the size before reading.

    Raises:
        UserError: The file is truncated; the environment is closed.
    """
    if (sizes := truncated_to(env, path)) is not None:
        env.close()
        raise UserError(
            f'The store {path} is damaged: data.mdb has {sizes[0]} bytes where {sizes[1]} are expected. Copy it again, '
            'or delete it and make it again.'
        )


def _new_lock() -> None:
    SharedReadEnv._lock = threading.RLock()


if hasattr(os, 'register_at_fork'):  # absent on Windows, which has no fork
    # another thread may hold the lock while a process forks, and in the child nobody would release it
    os.register_at_fork(after_in_child=_new_lock)


class GrowingEnv:
    """A writable environment whose map grows as needed; several processes may write to one store at once.

    LMDB lets one process write at a time and makes the others wait, so writers need no lock of their own.

    Args:
        path: folder of the store, made if absent.
        map_size: size of the map in bytes to begin with.

    Raises:
        UserError: The folder cannot be made or opened, or holds other things.
    """

    def __init__(self, path: Path, map_size: int = 1 << 26) -> None:
        self.path = path
        with lmdb_errors(path, 'make the store'):
            path.mkdir(parents=True, exist_ok=True)
            is_new = not (path / 'data.mdb').exists()
            others = sorted(one.name for one in path.iterdir() if one.name[:1] != '.' and one.suffix != '.mdb')
            if is_new and others:
                raise UserError(
                    f'Could not make the store {path}: the folder holds {others[0]}. Choose a folder of its own for it.'
                )
            self._env = lmdb.open(str(path), map_size=map_size, readahead=False, max_readers=512)
        if not is_new:
            _check_whole(self._env, path)

    def write(self, action: Callable[[lmdb.Transaction], Result], at_least: int = 0) -> Result:
        """Run ``action`` in one durable transaction; all of it is written, or nothing.

        Args:
            action: called with the transaction, again from the start whenever the map had to grow.
            at_least: bytes about to be written, a hint for the growth.

        Raises:
            UserError: The disk is full, the file is read-only, or the store is damaged.
        """
        with lmdb_errors(self.path, 'write to the store'):
            while True:
                try:
                    with self._env.begin(write=True) as transaction:
                        return action(transaction)
                except lmdb.MapFullError:
                    size = self._env.info()['map_size']
                    self._env.set_mapsize(max(2 * size, size + 2 * at_least))
                except lmdb.MapResizedError:
                    self._env.set_mapsize(0)  # another process made it grow: adopt its size

    def read(self, action: Callable[[lmdb.Transaction], Result]) -> Result:
        """Run ``action`` in one reading transaction."""
        with lmdb_errors(self.path, 'read the store'):
            while True:
                try:
                    with self._env.begin() as transaction:
                        return action(transaction)
                except lmdb.MapResizedError:
                    self._env.set_mapsize(0)

    def close(self) -> None:
        """Close the environment; may be called again."""
        self._env.close()
