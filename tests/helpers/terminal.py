"""Types the commands of a page into a shell, where programs are functions of a test."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

Program = Callable[[list[str]], 'subprocess.CompletedProcess[str]']
"""Arguments after the program's name -> how it ended, and what it printed."""

_PROGRAM = """#!/bin/sh
PATH={path}
printf '%s\\0' {name} "$@" > {calls}
read -r code < {answers}
cat {printed}
exit "$code"
"""


def sh_blocks(text: str) -> list[str]:
    """The fenced blocks of a page whose language is sh, in their order."""
    return re.findall(r'^```sh\n(.*?)^```', text, re.MULTILINE | re.DOTALL)


def indented_blocks(text: str) -> list[str]:
    """What a page has indented by four spaces, outside of fences; each without the indent, parted by empty lines."""
    without = re.sub(r'^```.*?^```', '', text, flags=re.MULTILINE | re.DOTALL)
    return [
        re.sub(r'^    ', '', one, flags=re.MULTILINE) for one in re.findall(r'(?:^    .*\n)+', without, re.MULTILINE)
    ]


def type_in(
    script: str, folder: Path, programs: Mapping[str, Program], path: str = ''
) -> subprocess.CompletedProcess[str]:
    """Run a script with ``sh``, which expands variables, loops and redirections, up to its first failure.

    Args:
        script: What is typed.
        folder: Where.
        programs: Name -> what is called in the place of that program, one at a time.
        path: Folders of other programs, as PATH has them; without, no other program is found.

    Returns:
        How the shell ended, and what it printed; what the programs printed to stderr is not in it.

    Raises:
        Exception: What a program raised; nothing is called after it.
    """
    with tempfile.TemporaryDirectory() as place:
        calls, answers, printed = (Path(place) / name for name in ('calls', 'answers', 'printed'))
        os.mkfifo(calls)
        os.mkfifo(answers)
        shown = Path(place) / 'programs'
        shown.mkdir()
        for name in programs:
            text = _PROGRAM.format(path=os.environ['PATH'], name=name, calls=calls, answers=answers, printed=printed)
            (shown / name).write_text(text)
            (shown / name).chmod(0o755)
        env = os.environ | {'PATH': os.pathsep.join(filter(None, (str(shown), path)))}
        command = ['/bin/sh', '-e', '-c', script]
        shell = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        ended: list[tuple[str, str]] = []

        def wait() -> None:
            ended.append(shell.communicate())
            calls.write_bytes(b'')  # wakes the loop below

        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        failure: Exception | None = None
        while call := calls.read_bytes():
            name, *arguments = call.decode().split('\0')[:-1]
            code, text = 1, ''
            if failure is None:
                try:
                    done = programs[name](arguments)
                    code, text = done.returncode, done.stdout
                except Exception as error:  # raised below: the program waits for its answer
                    failure = error
            printed.write_text(text)
            answers.write_text(f'{code}\n')
        waiting.join()
    if failure is not None:
        raise failure
    return subprocess.CompletedProcess(command, shell.returncode, *ended[0])
