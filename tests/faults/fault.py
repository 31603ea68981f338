"""What a fault is: an input that is wrong, a command that meets it, and what must come of it."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from helpers.children import NOT_ENDED, Children, Outcome, Setting

TRAIN = 'train -opt train.yml --dry-run'
DISK = 'train -opt disk.yml --dry-run'
RESUME = 'train -opt train.yml --auto_resume'
TEST = 'test -opt test.yml'
TEST_DISK = 'test -opt test_disk.yml'
CHECK = 'check -opt train.yml'
CLIPS = 'prepare clips frames/gt made'
YTVIS = 'prepare ytvis ytvis made'
REGIONS = 'extract --extractor regions --frames frames/lq --out made'
ANNOTATIONS = (
    'extract --extractor annotations --annotations ytvis/train.json --frames ytvis/train/JPEGImages --out made'
)

REFUSED, WORKS, EITHER = 'refused', 'works', 'either'
MOST_MEGABYTES, MOST_SECONDS = 1500, 20
"""What an input may take above the command that meets no fault."""
LONGEST_MESSAGE = 2000
HACKED = 'hacked'
"""The file that appears where an input got its code run."""

_STEERING = re.compile('[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]')
_OWN_FILES = {'lock.mdb'}


@dataclass(frozen=True)
class Fault:
    """One input."""

    kind: str
    """The kind that it belongs to."""
    name: str
    """What is wrong, in a few words."""
    command: str
    """Arguments of ``basicsr``, as a shell would split them."""
    arrange: Callable[[], object]
    """Makes the input in the current folder, a copy of the healthy one."""
    right: str = REFUSED
    """refused (one sentence, exit code 2; 1 from check), works (exit code 0), or either of them."""
    says: str = ''
    """A regular expression that the message must match: the name of what is wrong."""
    after: Callable[[], str | None] | None = None
    """What is wrong with the files afterwards; None where nothing is."""
    setting: Setting | None = None
    """What is odd about the process."""

    def __str__(self) -> str:
        return f'{self.kind}: {self.name} [{self.command.partition(" ")[0]}]'


FAULTS: list[Fault] = []


def add(
    kind: str,
    name: str,
    arrange: Callable[[], object],
    *commands: str,
    right: str = REFUSED,
    says: str = '',
    after: Callable[[], str | None] | None = None,
    setting: Setting | None = None,
) -> None:
    """Enter a fault for each of the commands."""
    for command in commands:
        FAULTS.append(Fault(kind, name, command, arrange, right, says, after, setting))


def nothing() -> None:
    """For faults of which the command holds all."""


def change(file: str, path: str, value: object = ...) -> Callable[[], None]:
    """A function that gives a key of an option file another value; without one the key is removed."""

    def change() -> None:
        opt = yaml.safe_load(Path(file).read_text())
        *parents, key = path.split(':')
        section = opt
        for parent in parents:
            section = section.setdefault(parent, {})
        if value is ...:
            del section[key]
        else:
            section[key] = value
        Path(file).write_text(yaml.safe_dump(opt, sort_keys=False))

    return change


def write(path: str, content: bytes | str) -> Callable[[], None]:
    """A function that writes a file, its folders too."""

    def write() -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def spoil(path: str, how: Callable[[bytes], bytes]) -> Callable[[], None]:
    """A function that changes the content of a file."""
    return lambda: write(path, how(Path(path).read_bytes()))()


def instead(path: str, make: Callable[[Path], object]) -> Callable[[], None]:
    """A function that puts something else where a file or a folder is."""

    def instead() -> None:
        place = Path(path)
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        make(place)

    return instead


NO_FILES: dict[str, Callable[[Path], object]] = {
    'a folder': Path.mkdir,
    'a pipe': os.mkfifo,
    'a link to nothing': lambda path: path.symlink_to('/nonexistent'),
    'a link to itself': lambda path: path.symlink_to(path.name),
    'a link to an endless device': lambda path: path.symlink_to('/dev/zero'),
    'a socket': lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
}
"""What may be found where a file should be."""


# ------------------------------------------------------------------------------------------------------------ judging


def try_fault(fault: Fault, children: Children, healthy: Path, place: Path, idle: Outcome) -> str | None:
    """Run a fault in a copy of the healthy folder below ``place``: what is wrong with what came of it, or None.

    Args:
        fault: The fault.
        children: What runs the command.
        healthy: The folder of `healthy.make`.
        place: An empty folder; nothing may appear in it outside the copy.
        idle: The command that meets no fault, for the bounds.
    """
    work = place / 'outer' / 'inner' / 'work'
    work.parent.mkdir(parents=True)
    (place / 'secret.txt').write_text('of somebody else\n')
    shutil.copytree(healthy, work, symlinks=True)
    home = Path.cwd()
    os.chdir(work)
    try:
        fault.arrange()
        before = _contents(place)
        command = shlex.split(fault.command)
        outcome = children.run(command, work, idle.seconds + MOST_SECONDS, fault.setting)
        after = _contents(place)
        wrong = _wrong_end(fault, outcome) or _wrong_files(fault, before, after, work)
        return wrong or (fault.after() if fault.after else None) or _wrong_amounts(outcome, idle)
    finally:
        os.chdir(home)
        shutil.rmtree(place, ignore_errors=True)


def _contents(place: Path) -> dict[str, str]:
    """Files and folders below a place, files with a digest."""
    found = {}
    for folder, names, files in os.walk(place):
        for name in [*names, *files]:
            path = Path(folder, name)
            regular = stat.S_ISREG(path.lstat().st_mode)
            found[str(path)] = hashlib.blake2b(path.read_bytes()).hexdigest() if regular else ''
    return found


def _wrong_end(fault: Fault, outcome: Outcome) -> str | None:
    text = outcome.output
    tail = text[-1500:]
    if outcome.code == NOT_ENDED:
        return f'it did not end: {tail}'
    if 'Traceback (most recent call last)' in text or outcome.code < 0 or outcome.code == 70:
        return f'no sentence but a trace, code {outcome.code}: {tail}'
    if steering := _STEERING.search(text):
        return f'the output has the character {steering[0]!r}: {tail}'
    refused = 1 if fault.command.startswith('check') else 2
    right = {REFUSED: {refused, 2}, WORKS: {0}, EITHER: {0, refused, 2}}[fault.right]
    if fault.setting is not None and fault.setting.stdout == 'unread':
        right = {0, 141}
    if outcome.code not in right:
        return f'code {outcome.code}, but right is: {fault.right}: {tail}'
    if outcome.code == 0:
        return None
    message = text
    if outcome.code == 2:
        ends = list(re.finditer(r'^basicsr( \w+)*: ', text, re.MULTILINE))
        if not ends:
            return f'no sentence at the end: {tail}'
        message = text[ends[-1].start() :]
    if len(message) > LONGEST_MESSAGE:
        return f'a message of {len(message)} characters: {message[:1500]}'
    if not re.search(fault.says, message, re.DOTALL):
        return f'the message does not say {fault.says!r}: {tail}'
    return None


def _wrong_files(fault: Fault, before: dict[str, str], after: dict[str, str], work: Path) -> str | None:
    if hacked := [path for path in after if Path(path).name == HACKED]:
        return f'code of the input was run: {hacked}'
    inside = f'{work}{os.sep}'
    if outside := [path for path in after if path not in before and not path.startswith(inside)]:
        return f'written outside the folder: {outside}'
    changed = [
        path
        for path, content in before.items()
        if after.get(path) != content and Path(path).name not in _OWN_FILES and not _may_change(path, inside, fault)
    ]
    if changed:
        return f'files of the user changed: {changed}'
    return None


def _may_change(path: str, inside: str, fault: Fault) -> bool:
    """A run that goes on writes its newest weights and its log; a store and a target grow."""
    own = ('made', 'results')
    if fault.right != REFUSED:
        own += ('experiments', 'manifest.json', 'meta_info.txt')
    return path.startswith(tuple(f'{inside}{name}' for name in own)) or path.endswith('.log')


def _wrong_amounts(outcome: Outcome, idle: Outcome) -> str | None:
    if outcome.megabytes > idle.megabytes + MOST_MEGABYTES:
        return f'it took {outcome.megabytes:.0f} MB, {outcome.megabytes - idle.megabytes:.0f} more than without a fault'
    if outcome.seconds > idle.seconds + MOST_SECONDS:
        return f'it took {outcome.seconds:.0f} s'
    return None
