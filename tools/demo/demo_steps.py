"""Runs the demo's commands one after the other, and remembers which are done.

A step is one command as a reader would type it. It is done when it has ended well with the same command, the same
option files and the same steps before it; then it is skipped. A step that was interrupted is run again with the flag
that makes it go on from where it was.

Commands of `basicsr` are forked from a process that has imported PyTorch and BasicSR: to import them again for each of
eleven commands took longer than a training.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO

from tqdm import tqdm

from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.files import write_whole

# "[epoch: 3, iter:   1,200, lr:(...,)] l_pix: 1e-2" of BasicSR's log; "12/32 [00:01<00:02" of tqdm
ITERATION = re.compile(r'\[epoch:\s*[\d,]+,\s*iter:\s*([\d,]+)')
BAR = re.compile(r'\|\s*(\d+)/(\d+) \[')
MOST_THREADS = 4
IMPORTED = ('basicsr_semantic.engine.pipeline', 'basicsr.models', 'scipy.optimize')


@dataclass(frozen=True)
class Step:
    """One command of the demo.

    Attributes:
        name: short name, unique.
        title: what it does, for the reader.
        command: as typed, `basicsr` or `python` first; paths are relative to the working folder.
        needs: names of the steps whose outcome it uses.
        makes: files or folders that exist when it is done.
        iterations: length of a training, for the progress bar; 0 where the command draws its own.
        resume: flag that makes it go on after an interruption; empty where running it again does that.
        replaces: what is removed before a start from the beginning, because the command would not overwrite it.
        reads: further files whose content the outcome depends on.
        restart: flag that makes it do everything again although its outcome is there; used by --fresh.
    """

    name: str
    title: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    iterations: int = 0
    resume: str = ''
    replaces: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    restart: str = ''


class Runner:
    """Runs steps in a working folder and keeps their record in `record/steps.json`.

    Args:
        root: the working folder; commands run in it.
        record: folder of the record and of the commands' full output (`logs/NAME.log`).
        fresh: forget what is done.
    """

    def __init__(self, root: Path, record: Path, fresh: bool = False) -> None:
        self.root = root
        self.record = record
        self.file = record / 'steps.json'
        self.steps: dict[str, dict] = {} if fresh else self._read()
        self.digests: dict[str, str] = {}
        self.fresh = fresh

    def _read(self) -> dict[str, dict]:
        try:
            return json.loads(self.file.read_text(encoding='utf-8'))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def _write(self) -> None:
        write_whole(self.file, (json.dumps(self.steps, indent=1) + '\n').encode())

    def digest(self, step: Step) -> str:
        """What the outcome of a step depends on: its command, the files it reads, and the steps before it."""
        files = {}
        for word in (*step.command, *step.reads):
            path = self.root / word
            if word in step.reads or path.suffix == '.yml':
                files[word] = sha256(path.read_bytes()).hexdigest()
        content = [step.command, files, [self.digests[name] for name in step.needs]]
        return sha256(json.dumps(content).encode()).hexdigest()

    def run(self, step: Step, number: int, count: int) -> bool:
        """Runs a step unless it is done.

        Returns:
            True if the command ran, False if the step was done already.

        Raises:
            UserError: the command failed; the message ends with the last lines it printed.
            KeyboardInterrupt: after the command was given time to save.
        """
        digest = self.digests[step.name] = self.digest(step)
        known = self.steps.get(step.name, {})
        same = known.get('digest') == digest
        print(f'\n[{number}/{count}] {step.title}')
        if same and known['done'] and all((self.root / path).exists() for path in step.makes):
            print('      done before, skipped')
            return False
        command = step.command
        if same and not known['done'] and step.resume:
            command = (*command, step.resume)
        if self.fresh and step.restart:
            command = (*command, step.restart)
        if not same:
            for path in step.replaces:
                if (self.root / path).is_file():
                    (self.root / path).unlink()
                shutil.rmtree(self.root / path, ignore_errors=True)
        print('      $ ' + ' '.join(command), flush=True)
        self.steps[step.name] = {'digest': digest, 'done': False}
        self._write()
        start = time.monotonic()
        self._execute(step, command)
        seconds = time.monotonic() - start
        missing = [path for path in step.makes if not (self.root / path).exists()]
        if missing:
            raise UserError(f'The command ended well but left no {missing[0]}; its output is in {self.log(step)}.')
        self.steps[step.name] = {'digest': digest, 'done': True, 'seconds': round(seconds, 1)}
        self._write()
        print(f'      {seconds:.0f} s', flush=True)
        return True

    def log(self, step: Step) -> Path:
        """Where the full output of a step's command is kept."""
        return self.record / 'logs' / f'{step.name}.log'

    def _execute(self, step: Step, command: tuple[str, ...]) -> None:
        log = self.log(step)
        log.parent.mkdir(parents=True, exist_ok=True)
        process, output = start(command, self.root)
        try:
            with log.open('a', encoding='utf-8') as file:
                last = follow(output.fileno(), file, step.iterations)
        finally:
            process.join()  # after Ctrl-C, too: the terminal has interrupted it as well, and a training saves first
        code = process.exitcode
        if code:
            lines = '\n'.join(f'      | {line}' for line in last)
            raise UserError(
                f'This command failed with exit code {code}:\n      {" ".join(command)}\n{lines}\n'
                f'      Its whole output is in {log}.'
            )


def start(command: tuple[str, ...], root: Path) -> tuple[BaseProcess, Connection]:
    """Start a command as typed, `basicsr` or `python` first, in the working folder: the process, and all it prints.

    It is run by this Python, so that no activated environment is needed.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(list(IMPORTED))
    output, written = context.Pipe(duplex=False)
    process = context.Process(target=run_command, args=(command, str(root), written))
    process.start()
    written.close()
    return process, output


def run_command(command: tuple[str, ...], root: str, output: Connection) -> None:
    """Run a command in this process, which prints into the pipe."""
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    os.chdir(root)
    if command[0] == 'python':
        os.execv(sys.executable, [sys.executable, *command[1:]])
    from basicsr_semantic.cli import main

    sys.argv = list(command)
    sys.exit(main(list(command[1:])))


def environment() -> dict[str, str]:
    """The commands' environment: this checkout can be imported, and threads are few and yield.

    A network of 16 channels gains nothing from more than a few threads, and a container that may use two cores of many
    would start one thread for each of them. Threads that wait for each other by spinning make an iteration ten times
    slower as soon as anything else runs on those cores (measured: 13 s instead of 1 s). Values that the user has set
    are kept.
    """
    paths = [str(Path(__file__).resolve().parents[2]), os.environ.get('PYTHONPATH', '')]
    available = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    threads = str(min(available, MOST_THREADS))
    defaults = {'OMP_NUM_THREADS': threads, 'OMP_WAIT_POLICY': 'PASSIVE', 'PYTHONUNBUFFERED': '1'}
    return defaults | dict(os.environ) | {'PYTHONPATH': os.pathsep.join(filter(None, paths))}


def pieces(descriptor: int) -> Iterator[str]:
    """Lines of a command's output as they come, also those that a progress bar ends with a carriage return."""
    rest = b''
    while block := os.read(descriptor, 65536):
        *whole, rest = re.split(rb'[\r\n]+', rest + block)
        yield from (line.decode('utf-8', 'replace') for line in whole if line)
    if rest:
        yield rest.decode('utf-8', 'replace')


def follow(descriptor: int, log: IO[str], iterations: int) -> list[str]:
    """Writes a command's output to a log and turns its progress into one bar on the terminal.

    Args:
        descriptor: of the pipe with the command's output.
        log: where all of it goes.
        iterations: length of a training; 0 takes count and total from the command's own bars.

    Returns:
        The last lines that did not show progress, for an error message.
    """
    last: deque[str] = deque(maxlen=12)
    with tqdm(total=iterations or None, bar_format='      {l_bar}{bar:30}{r_bar}', leave=True) as bar:
        for line in pieces(descriptor):
            log.write(line + '\n')
            log.flush()
            if iterations and (found := ITERATION.search(line)):
                bar.update(int(found[1].replace(',', '')) - bar.n)
            elif not iterations and (found := BAR.search(line)):
                done, total = int(found[1]), int(found[2])
                if total != bar.total:
                    bar.reset(total)
                bar.update(done - bar.n)
            else:
                last.append(line)
    return list(last)
