"""Runs commands of ours in child processes, within bounds, and measures what they take.

A server forks the children, so that they begin with everything imported: a hundred inputs a minute. A fresh child
instead starts Python itself, as a user's command does.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[2]
Start = Literal['everything', 'libraries', 'fresh']
NOT_ENDED = 137
"""Exit code of a child that was ended because it took too long."""


@dataclass(frozen=True)
class Setting:
    """What is odd about a process, not about its files."""

    stdout: str = ''
    """A file to write to; 'closed' for none, 'unread' for a pipe that nobody reads; empty: it is kept."""
    limits: dict[str, int] = field(default_factory=dict)
    """Of resources: AS (bytes of address space beyond those of the start), FSIZE (bytes of a file), NOFILE (files)."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables more."""
    kill_after: float = 0
    """Seconds after which SIGKILL ends the child and all it started; 0 for never."""
    signal_at: str = ''
    """What stderr says when the child gets a signal; empty for never."""
    signal: int = signal.SIGTERM
    """That signal."""


@dataclass(frozen=True)
class Outcome:
    """How a child ended."""

    code: int
    """Exit code; negative for a signal."""
    stdout: str
    stderr: str
    seconds: float
    """From its start to its end."""
    megabytes: float
    """The most memory that it held."""

    @property
    def output(self) -> str:
        """What it wrote to stdout and stderr, in that order."""
        return self.stdout + self.stderr


class Children:
    """Starts children one after the other.

    Args:
        start: What the children are forks of: a process that has imported ``everything``, or the ``libraries`` alone,
            without BasicSR and this package. Or ``fresh``: Python starts for each, as for a user's command.
    """

    def __init__(self, start: Start = 'everything') -> None:
        path = os.pathsep.join(map(str, (ROOT, ROOT / 'tests', ROOT / 'tests' / 'toys')))
        env = os.environ | {'PYTHONPATH': path, 'OMP_NUM_THREADS': '1', 'COLUMNS': '100'}
        command = [sys.executable, '-m', 'helpers.children', start]
        self._server = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(
        self, arguments: Sequence[str], folder: Path, seconds: float = 60, setting: Setting | None = None
    ) -> Outcome:
        """Run ``basicsr ARGUMENTS`` in a folder, at most so many seconds; a script if the first one is its name."""
        setting = setting or Setting()
        request = {'arguments': list(arguments), 'folder': str(folder), 'seconds': seconds, **vars(setting)}
        assert self._server.stdin is not None and self._server.stdout is not None
        print(json.dumps(request), file=self._server.stdin, flush=True)
        answer = json.loads(self._server.stdout.readline())
        return Outcome(**answer)

    def close(self) -> None:
        """End the server."""
        if self._server.stdin is not None:
            self._server.stdin.close()
        self._server.wait()

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(start: str) -> None:
    if start == 'everything':
        _import_all()
    elif start == 'libraries':
        _import_libraries()
    answers = os.dup(1)
    os.dup2(2, 1)  # what else is printed here is no answer
    for line in sys.stdin:
        os.write(answers, (json.dumps(_run(json.loads(line), start == 'fresh')) + '\n').encode())


def _import_all() -> None:
    import torch

    torch.set_num_threads(1)
    import basicsr_semantic.engine.pipeline  # noqa: F401  (and BasicSR, repaired)
    from basicsr_semantic.config.plugins import load_plugins

    load_plugins()
    import scipy.optimize  # noqa: F401


def _import_libraries() -> None:
    """Those that BasicSR and this package import."""
    for name in ('cv2', 'lmdb', 'pydantic', 'requests', 'scipy.optimize', 'torchvision', 'tqdm', 'yaml'):
        importlib.import_module(name)


def _run(request: dict[str, Any], fresh: bool) -> dict[str, Any]:
    kept = [os.memfd_create(name) for name in ('stdout', 'stderr')]
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(request, kept, fresh)
    deadline = begin + (request['kill_after'] or request['seconds'])
    ended, awaited = False, request['signal_at'].encode()
    while not ended and time.monotonic() < deadline:
        found, status, usage = os.wait4(child, os.WNOHANG)
        ended = found == child
        if awaited and awaited in os.pread(kept[1], 1 << 20, 0):
            os.kill(child, request['signal'])
            awaited = b''
        if not ended:
            time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it has left behind, too
    if not ended:
        _, _, usage = os.wait4(child, 0)
    seconds = time.monotonic() - begin
    code = os.waitstatus_to_exitcode(status) if ended else NOT_ENDED
    stdout, stderr = (os.pread(one, 1 << 20, 0).decode(errors='backslashreplace') for one in kept)
    for one in kept:
        os.close(one)
    return {
        'code': code,
        'stdout': stdout,
        'stderr': stderr,
        'seconds': seconds,
        'megabytes': usage.ru_maxrss / 1024,
    }


def _become(request: dict[str, Any], kept: list[int], fresh: bool) -> None:
    """Turn this fork into the command; does not return."""
    code = 70
    try:
        os.setsid()
        os.chdir(request['folder'])
        _redirect(request['stdout'], kept)
        for name, most in request['limits'].items():
            if name == 'AS':
                most += int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(getattr(resource, f'RLIMIT_{name}'), (most, most))
        os.environ.update(request['environment'])
        if fresh:
            os.execv(sys.executable, [sys.executable, '-m', 'basicsr_semantic', *request['arguments']])
        code = _call(request['arguments'])
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode(errors='backslashreplace'))
    finally:
        os._exit(code)


def _call(arguments: list[str]) -> int:
    """The exit code of the command, or of a script."""
    try:
        if arguments and arguments[0].endswith('.py'):
            sys.argv, sys.path[0] = arguments, str(Path.cwd())
            runpy.run_path(arguments[0], run_name='__main__')
            return 0
        from basicsr_semantic.cli import main

        sys.argv = ['basicsr', *arguments]
        return main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _redirect(stdout: str, kept: list[int]) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(kept[1], 2)
    if stdout == 'unread':
        read, write = os.pipe()
        os.close(read)
        os.dup2(write, 1)
    elif stdout == 'closed':
        os.close(1)
        sys.stdout = None
        return
    else:
        os.dup2(os.open(stdout, os.O_WRONLY) if stdout else kept[0], 1)
    # of files, not of the terminal that the server may have
    sys.stdout = open(1, 'w', encoding='utf-8', errors='strict', closefd=False)  # noqa: SIM115
    sys.stderr = open(2, 'w', encoding='utf-8', errors='backslashreplace', closefd=False)  # noqa: SIM115


if __name__ == '__main__':
    _serve(sys.argv[1])
