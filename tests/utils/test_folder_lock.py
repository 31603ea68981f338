"""One running training to a folder: who is alive keeps it, who is dead does not."""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.project import environment

from basicsr_semantic.engine import run
from basicsr_semantic.engine.run import hold_folder
from basicsr_semantic.utils import folder_lock
from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.folder_lock import FolderLock

fcntl = pytest.importorskip('fcntl')

HOLD = """
import fcntl, os, sys, time
from basicsr_semantic.utils import folder_lock

def refuse(descriptor, operation):
    raise OSError({error}, 'not here')

if {error}:
    fcntl.flock = refuse
folder_lock.INTERVAL = 0.4
with folder_lock.FolderLock(sys.argv[1]):
    if {fork}:
        read, write = os.pipe()
        if os.fork() == 0:
            os.write(write, b'.')
            time.sleep(60)
        os.read(read, 1)  # the child runs, and has let go of what it inherited
    print('held', flush=True)
    time.sleep(60)
"""


def hold(folder: Path, error: int = 0, fork: bool = False) -> subprocess.Popen:
    """A process that holds the lock of a folder."""
    command = [sys.executable, '-c', HOLD.format(error=error, fork=fork), str(folder)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None and process.stdout.readline() == 'held\n'
    return process


@pytest.fixture
def processes():
    """The processes of a test, which end with it, their children too."""
    started: list[subprocess.Popen] = []
    yield started
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def no_flock(monkeypatch):
    """A file system without flock."""

    def refuse(descriptor, operation):
        raise OSError(errno.ENOTSUP, 'Operation not supported')

    monkeypatch.setattr(fcntl, 'flock', refuse)
    monkeypatch.setattr(folder_lock, '_SETTLE', 0.01)
    monkeypatch.setattr(folder_lock, 'INTERVAL', 0.1)


def write_holder(folder: Path, age: float = 0.0, **changes) -> Path:
    """The lock file of a holder without flock that touched it ``age`` seconds ago."""
    path = FolderLock(folder).path
    path.parent.mkdir(exist_ok=True)
    holder = {'host': 'elsewhere', 'pid': 7, 'since': '2026-01-01', 'command': 'basicsr', 'interval': 2.0, 'token': 't'}
    path.write_text(json.dumps(holder | changes))
    touched = time.time() - age
    os.utime(path, (touched, touched))
    return path


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, '-c', ''])
    process.wait()
    return process.pid


@pytest.mark.slow
def test_a_folder_in_use_is_refused_and_its_holder_named(tmp_path, processes):
    folder = tmp_path / 'experiments' / 'run'
    processes.append(hold(folder))
    with pytest.raises(UserError) as error, FolderLock(folder):
        pass
    message = str(error.value)
    assert (
        f'{folder} is in use' in message and f'process {processes[0].pid} on {socket.gethostname()} since 2' in message
    )
    assert message.endswith('Wait until it ends, stop it, or give this run another name.')
    with FolderLock(tmp_path / 'experiments' / 'other'):
        pass
    os.kill(processes[0].pid, signal.SIGKILL)
    processes[0].wait()
    with FolderLock(folder):  # the killed process left its file
        assert json.loads(FolderLock(folder).path.read_text())['pid'] == os.getpid()
    assert list((tmp_path / 'experiments').iterdir()) == []


@pytest.mark.slow
def test_children_of_a_killed_holder_do_not_hold_its_lock(tmp_path, processes):
    """As the workers of a loader, which outlive a killed parent by seconds."""
    processes.append(hold(tmp_path / 'run', fork=True))
    os.kill(processes[0].pid, signal.SIGKILL)
    processes[0].wait()
    os.killpg(processes[0].pid, 0)  # the child is still there
    with FolderLock(tmp_path / 'run'):
        pass


def test_the_lock_survives_its_folder_and_leaves_nothing(tmp_path):
    folder = tmp_path / 'a' / 'b' / 'run'
    with FolderLock(folder):
        folder.mkdir()
        folder.rename(folder.with_name('run_archived'))
        folder.mkdir()
        with pytest.raises(UserError, match=f'process {os.getpid()} '):
            FolderLock(folder).acquire()
    assert sorted(p.name for p in folder.parent.iterdir()) == ['run', 'run_archived']
    with FolderLock(tmp_path / 'c' / 'd' / 'run'):
        pass
    assert not (tmp_path / 'c').exists()


def test_a_name_taken_away_while_it_is_locked_is_made_again(tmp_path, monkeypatch):
    """The holder before ends between our opening of its file and our locking of it."""
    lock, real, calls = FolderLock(tmp_path / 'run'), fcntl.flock, []

    def late(descriptor, operation):
        calls.append(descriptor)
        if len(calls) == 2:  # after the probe
            lock.path.unlink()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, 'flock', late)
    with lock:
        assert len(calls) == 3 and lock.path.is_file()
        with pytest.raises(UserError, match='is in use'):
            FolderLock(tmp_path / 'run').acquire()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_who_waits_gets_it(tmp_path, processes, monkeypatch):
    monkeypatch.setattr(folder_lock, '_POLL', 0.05)
    processes.append(hold(tmp_path / 'run'))
    lock = FolderLock(tmp_path / 'run', wait=True)
    tries, real = [], lock._try

    def kill_after_three():
        tries.append(1)
        if len(tries) == 3:
            processes[0].kill()
        return real()

    monkeypatch.setattr(lock, '_try', kill_after_three)
    with lock:
        assert len(tries) >= 3


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match=r'The lock .*\.run\.lock of the run cannot be made'):
        FolderLock(tmp_path / 'file' / 'run').acquire()


@pytest.mark.slow
@pytest.mark.parametrize('number', [errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK])
def test_without_flock_a_living_holder_is_refused_and_a_killed_one_is_not(tmp_path, processes, no_flock, number):
    processes.append(hold(tmp_path / 'run', number))
    time.sleep(2.5)  # more than five of its intervals: it is its touching that counts
    with pytest.raises(UserError, match=f'process {processes[0].pid} on {socket.gethostname()}'):
        FolderLock(tmp_path / 'run').acquire()
    processes[0].kill()
    processes[0].wait()
    with FolderLock(tmp_path / 'run') as lock:
        assert json.loads(lock.path.read_text())['pid'] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_without_flock_the_heartbeat_of_another_host_decides(tmp_path, no_flock):
    write_holder(tmp_path / 'run', age=5)
    with pytest.raises(UserError, match='process 7 on elsewhere since 2026-01-01'):
        FolderLock(tmp_path / 'run').acquire()
    write_holder(tmp_path / 'run', age=15)
    with FolderLock(tmp_path / 'run'):
        pass


def test_without_flock_a_process_of_this_host_that_is_gone_does_not_count(tmp_path, no_flock):
    write_holder(tmp_path / 'run', host=socket.gethostname(), pid=os.getpid())
    with pytest.raises(UserError, match=f'process {os.getpid()}'):
        FolderLock(tmp_path / 'run').acquire()
    for pid in (dead_pid(), None, 'x', 10**30):
        write_holder(tmp_path / 'run', host=socket.gethostname(), pid=pid)
        with FolderLock(tmp_path / 'run'):
            pass


@pytest.mark.parametrize('content', ['', '{"pid": 3', '[1]', '\0'])
def test_without_flock_a_file_that_says_nothing_is_judged_by_its_age(tmp_path, no_flock, content):
    path = write_holder(tmp_path / 'run')
    path.write_text(content)
    with pytest.raises(UserError, match='another process runs there'):
        FolderLock(tmp_path / 'run').acquire()
    os.utime(path, (time.time() - 60,) * 2)
    with FolderLock(tmp_path / 'run'):
        pass


def test_a_living_holder_without_flock_is_respected_where_there_is_flock(tmp_path):
    write_holder(tmp_path / 'run', age=5)
    with pytest.raises(UserError, match='elsewhere'):
        FolderLock(tmp_path / 'run').acquire()


def test_without_flock_a_holder_that_was_taken_for_dead_leaves_the_file_of_the_next(tmp_path, no_flock):
    lock = FolderLock(tmp_path / 'run')
    with lock:
        path = write_holder(tmp_path / 'run')
        time.sleep(0.5)
        touched = path.stat().st_mtime
        time.sleep(0.3)
        assert path.stat().st_mtime == touched  # not by us
    assert path.is_file()


def test_without_flock_the_file_of_a_quicker_one_is_put_back(tmp_path, no_flock):
    """Two find a dead holder; the slower one moves the file of the quicker and must see it."""
    write_holder(tmp_path / 'run', age=60)
    slow = FolderLock(tmp_path / 'run')
    dead = json.loads(slow.path.read_text())
    with FolderLock(tmp_path / 'run') as quick:
        slow._move_dead(dead)
        assert json.loads(quick.path.read_text())['token'] == quick._token
        with pytest.raises(UserError, match='is in use'):
            slow.acquire()


def _contend(folder: str, start, results) -> None:
    start.wait()
    try:
        with FolderLock(folder):
            results.put('held')
            time.sleep(2)
    except UserError:
        results.put('refused')


@pytest.mark.parametrize('flock', [True, False])
def test_of_many_at_once_one_gets_it(tmp_path, monkeypatch, request, flock):
    if not flock:
        request.getfixturevalue('no_flock')
        monkeypatch.setattr(folder_lock, '_SETTLE', 0.3)
        monkeypatch.setattr(folder_lock, 'INTERVAL', 10.0)
    write_holder(tmp_path / 'run', age=60)
    context = multiprocessing.get_context('fork')
    start, results = context.Event(), context.Queue()
    contenders = [context.Process(target=_contend, args=(str(tmp_path / 'run'), start, results)) for _ in range(6)]
    for contender in contenders:
        contender.start()
    start.set()
    assert sorted(results.get(timeout=30) for _ in contenders) == ['held'] + ['refused'] * 5
    for contender in contenders:
        contender.join()


def test_a_refusal_of_rank_0_reaches_every_rank(tmp_path, monkeypatch):
    def gather(rows):
        asked.append(rows)
        return rows or ['rank 0 said no']

    asked: list[list] = []
    monkeypatch.setattr(run, 'gather_lists', gather)
    opt = {'rank': 1, 'path': {'experiments_root': str(tmp_path / 'run')}}
    with pytest.raises(UserError, match='rank 0 said no'), hold_folder(opt):
        pass
    with FolderLock(tmp_path / 'run'), pytest.raises(UserError, match='is in use'), hold_folder(opt | {'rank': 0}):
        pass
    assert asked[0] == [] and len(asked[1]) == 1 and 'is in use' in asked[1][0]
    assert list(tmp_path.iterdir()) == []
