#!/usr/bin/env python3
"""Runs every hostile input of tests/faults against the commands, kills commands at many moments, and counts.

Each input is tried in a child process that may use 1.5 GB and 20 s more than the command without a fault, and must end
in one sentence or do its work. Nothing may be written outside its folder, no file of the user may change, no code of
the input may run. Killed commands are run again until they are done; what they leave must be what an uninterrupted one
leaves, bit for bit. Takes ten minutes.

    python tools/checks/faults.py
    python tools/checks/faults.py --kinds images lists --fresh
    python tools/checks/faults.py --write docs/reliability.md
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import multiprocessing
import multiprocessing.util
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import lmdb
import numpy as np
import torch
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'tests'), str(ROOT / 'tests' / 'faults')]

import healthy  # noqa: E402
from fault import Fault, try_fault  # noqa: E402
from helpers.children import NOT_ENDED, Children, Setting  # noqa: E402
from kinds import ATTEMPTS, KINDS, Idle, of_kind  # noqa: E402

BEGIN, END = '<!-- table: tools/checks/faults.py -->', '<!-- end of the table -->'


@dataclass(frozen=True)
class Found:
    """The outcome of an input, or of a command that was killed."""

    kind: str
    """Kind of the input, or the command."""
    name: str
    """What was wrong, and the command."""
    wrong: str
    """What is wrong with the outcome; empty where nothing is."""


# -------------------------------------------------------------------------------------------------------------- inputs


def try_inputs(faults: list[Fault], jobs: int, fresh: bool) -> list[Found]:
    """Run inputs in so many processes at a time."""
    keys = [_key(fault) for fault in faults]  # functions do not travel between processes
    context = multiprocessing.get_context('spawn')
    with context.Pool(jobs, _start, (fresh,)) as pool:
        return list(tqdm(pool.imap(_try_input, keys), 'inputs', len(keys), unit='input'))


def _key(fault: Fault) -> tuple[str, str, str]:
    return fault.kind, fault.name, fault.command


_attempts: list[Callable[[tuple[str, str, str]], str | None]] = []
"""What tries an input in this process."""


def _start(fresh: bool) -> None:
    known = {_key(fault): fault for kind in KINDS for fault in of_kind(kind)}
    place = Path(tempfile.mkdtemp())
    multiprocessing.util.Finalize(None, shutil.rmtree, (place, True), exitpriority=10)
    (place / 'healthy').mkdir()
    healthy.make(place / 'healthy')
    children, numbers = Children('fresh' if fresh else 'everything'), itertools.count()
    idle = Idle(children, place / 'healthy', place)

    def attempt(key: tuple[str, str, str]) -> str | None:
        fault = known[key]
        return try_fault(fault, children, place / 'healthy', place / str(next(numbers)), idle.of(fault))

    _attempts.append(attempt)


def _try_input(key: tuple[str, str, str]) -> Found:
    kind, name, command = key
    wrong = _attempts[0](key) or ''
    if wrong:
        tqdm.write(f'{kind}: {name} [{command}]: {wrong}', file=sys.stderr)  # the table comes minutes later
    return Found(kind, f'{name} [{command}]', wrong)


# --------------------------------------------------------------------------------------------------------------- kills


@dataclass(frozen=True)
class Killed:
    """A command that is killed, and what it leaves when it is done."""

    name: str
    first: tuple[str, ...]
    again: tuple[str, ...]
    """The command that goes on."""
    left: Callable[[Path], str]
    """A digest of what it leaves in its folder."""


def _weights(folder: Path) -> str:
    content = torch.load(folder / 'experiments/tiny/models/net_g_40.pth', map_location='cpu', weights_only=True)
    digest = hashlib.blake2b()
    for name, state in sorted(content.items()):
        for key, value in sorted(state.items()) if isinstance(state, dict) else ():
            digest.update(f'{name} {key}'.encode())
            digest.update(value.numpy().tobytes() if torch.is_tensor(value) else repr(value).encode())
    return digest.hexdigest()


def _records(*stores: str) -> Callable[[Path], str]:
    def digest_of(folder: Path) -> str:
        digest = hashlib.blake2b()
        for store in stores:
            with lmdb.open(str(folder / store), readonly=True, lock=False) as env, env.begin() as transaction:
                for key, value in transaction.cursor():
                    digest.update(key + b'\0' + value)
            listed = folder / store / 'meta_info.txt'
            digest.update(listed.read_bytes() if listed.is_file() else b'')
        return digest.hexdigest()

    return digest_of


_TRAIN = ('train', '-opt', 'train.yml', '--force_yml', 'train:total_iter=40', 'train:scheduler:periods=[40]')
_TRAIN += ('logger:save_checkpoint_freq=4', 'val:val_freq=20')
_PAIR = _records('made/gt.lmdb', 'made/lq.lmdb')
_EXTRACT = ('extract', '--extractor', 'regions', '--frames', 'many', '--out', 'made')
COMMANDS = (
    Killed('train', _TRAIN, (*_TRAIN, '--auto_resume'), _weights),
    Killed('prepare clips', ('prepare', 'clips', 'many', 'made'), ('prepare', 'clips', 'many', 'made'), _PAIR),
    Killed('prepare ytvis', ('prepare', 'ytvis', 'ytvis', 'made'), ('prepare', 'ytvis', 'ytvis', 'made'), _PAIR),
    Killed('extract', _EXTRACT, _EXTRACT, _records('made')),
)


def try_kills(times: int) -> list[Found]:
    """Kill each command so many times, at moments spread over its run, some of them twice in a run."""
    found = []
    with tempfile.TemporaryDirectory() as folder, Children() as children:
        place, numbers = Path(folder), itertools.count()
        (place / 'healthy').mkdir()
        healthy.make(place / 'healthy')
        shutil.rmtree(place / 'healthy/experiments')
        _make_many(place / 'healthy/many')
        for killed in COMMANDS:
            folder_of_whole = _copy(place, next(numbers))
            whole = children.run(killed.first, folder_of_whole)
            if whole.code:
                raise RuntimeError(f'basicsr {" ".join(killed.first)} fails without any kill: {whole.output}')
            right = killed.left(folder_of_whole)
            for k in tqdm(range(times), f'kills of {killed.name}'):
                work, moment = _copy(place, next(numbers)), whole.seconds * (k + 0.5) / times
                command, hits = killed.first, 0
                for wait in [moment] * (1 + k % 2):
                    outcome = children.run(command, work, setting=Setting(kill_after=wait))
                    hits += outcome.code == NOT_ENDED
                    command = killed.again
                outcome = children.run(command, work)
                wrong = f'it does not go on: {outcome.output[-500:]}' if outcome.code else ''
                if not wrong and killed.left(work) != right:
                    wrong = 'what it leaves is not what an uninterrupted run leaves'
                if hits:  # else it was done before
                    found.append(Found(killed.name, f'killed after {moment:.2f} s', wrong))
                shutil.rmtree(work)
    return found


def _copy(place: Path, number: int) -> Path:
    return Path(shutil.copytree(place / 'healthy', place / f'kill_{number}'))


def _make_many(folder: Path) -> None:
    """Clips that take a second."""
    generator = np.random.default_rng(0)
    for clip in range(6):
        (folder / f'{clip:03d}').mkdir(parents=True)
        for number in range(20):
            image = cv2.resize(generator.integers(0, 255, (12, 16, 3), np.uint8), (128, 96))
            cv2.imwrite(str(folder / f'{clip:03d}' / f'{number:08d}.png'), image)


# --------------------------------------------------------------------------------------------------------------- table


def table(inputs: list[Found], kills: list[Found]) -> str:
    """Kinds, how many were tried and how many passed, in Markdown."""
    lines = ['| inputs of the kind | tried | passed |', '| --- | ---: | ---: |']
    lines += _rows(inputs)
    lines.append(f'| **all inputs** | **{len(inputs)}** | **{sum(not one.wrong for one in inputs)}** |')
    attempts = [one for one in inputs if one.kind == ATTEMPTS]
    ran = sum('code of the input was run' in one.wrong for one in attempts)
    lines += ['', f'Attempts to run code: {len(attempts)} tried, {ran} succeeded.', '']
    if kills:
        lines += ['| killed by SIGKILL, then run again | kills | same records or weights |', '| --- | ---: | ---: |']
        lines += _rows(kills)
    version = f'Python {platform.python_version()}, PyTorch {torch.__version__}, {platform.system()}'
    return '\n'.join([*lines, '', f'Measured with {version}.'])


def _rows(found: list[Found]) -> list[str]:
    rows = []
    for kind in dict.fromkeys(one.kind for one in found):
        of_it = [one for one in found if one.kind == kind]
        rows.append(f'| {kind} | {len(of_it)} | {sum(not one.wrong for one in of_it)} |')
    return rows


def put_table(path: Path, text: str) -> None:
    """Put the table between its marks in a page.

    Raises:
        ValueError: The page has no marks.
    """
    page = path.read_text(encoding='utf-8')
    if BEGIN not in page or END not in page:
        raise ValueError(f'{path} has no place for the table: it needs the lines {BEGIN} and {END}.')
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    path.write_text(f'{before}{BEGIN}\n\n{text}\n\n{END}{after}', encoding='utf-8')


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, run everything and print the table.

    Returns:
        1 if anything did not pass.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kinds', nargs='+', metavar='TEXT', help='only kinds with one of these in their name')
    parser.add_argument('--most', type=int, metavar='N', help='at most N inputs of each kind, spread evenly')
    parser.add_argument('--kills', type=int, default=20, metavar='N', help='kills of each command (default 20)')
    parser.add_argument('--jobs', type=int, default=2, help='processes (default 2)')
    parser.add_argument('--fresh', action='store_true', help='start Python for each input, as a user does: hours')
    parser.add_argument('--json', metavar='FILE', help='write every input and its outcome to FILE')
    parser.add_argument('--write', type=Path, metavar='PAGE', help='put the table into PAGE, between its marks')
    args = parser.parse_args(arguments)
    kinds = [kind for kind in KINDS if not args.kinds or any(text in kind for text in args.kinds)]
    if not kinds:
        parser.error(f'there is no such kind; there are {", ".join(KINDS)}')
    inputs = try_inputs([one for kind in kinds for one in of_kind(kind, args.most)], args.jobs, args.fresh)
    kills = try_kills(args.kills) if args.kills else []
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(one) for one in (*inputs, *kills)], indent=1) + '\n')
    print(table(inputs, kills))
    if args.write:
        put_table(args.write, table(inputs, kills))
    failed = [one for one in (*inputs, *kills) if one.wrong]
    for one in failed:
        print(f'{one.name}: {one.wrong}', file=sys.stderr)
    return int(bool(failed))


if __name__ == '__main__':
    sys.exit(main())
