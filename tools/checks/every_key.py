#!/usr/bin/env python3
"""Whether `basicsr check` and `basicsr train` agree: each key of option files once removed, once spoilt, once absurd.

What check passes is then trained, one iteration and one validation item long, as `basicsr train --dry-run` does. A
variant that check passes and the training refuses is a failure, also where the training says why in a sentence: check
should have known. Data, stores of priors and checkpoints are tiny and made in a temporary folder; takes minutes.

    python tools/checks/every_key.py
    python tools/checks/every_key.py --files stage1 SRModel --json found.json
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import logging
import os
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'tools/demo')]

import every_key_files as files  # noqa: E402  (in the same folder)

from basicsr_semantic.config.building import check_building  # noqa: E402
from basicsr_semantic.config.check import check_options  # noqa: E402
from basicsr_semantic.config.option_file import OptionFile  # noqa: E402
from basicsr_semantic.config.plugins import load_plugins  # noqa: E402
from basicsr_semantic.engine.pipeline import add_run_arguments, train  # noqa: E402
from basicsr_semantic.utils.errors import UserError  # noqa: E402

KeyPath = tuple[str, ...]
WAYS = ('removed', 'spoilt', 'absurd')
OUTCOMES = ('refused', 'trained', 'failed')


@dataclass(frozen=True)
class Found:
    """The outcome of one variant."""

    file: str
    """Option file."""
    model: str
    """Its model class."""
    key: str
    """Path of the key that was changed: ``train:optim_g:lr``; empty for the file as it is."""
    way: str
    """removed, spoilt or absurd."""
    value: str
    """What the key was changed to, as YAML."""
    outcome: str
    """refused by check, trained, or failed: passed by check and refused by the training."""
    said: str
    """The sentence of the refusal."""


def key_paths(section: Mapping[str, Any], path: KeyPath = ()) -> Iterator[KeyPath]:
    """Every key of an option file, sections before what is in them."""
    for key, value in section.items():
        yield (*path, str(key))
        if isinstance(value, Mapping):
            yield from key_paths(value, (*path, str(key)))


def spoilt(value: Any) -> Any:
    """A value of a kind that the key cannot have: a section for text and for nothing, text for all else."""
    return {'spoilt': True} if value is None or isinstance(value, str) else 'spoilt'


def absurd(value: Any) -> Any:
    """A value of the right kind that makes no sense; itself where there is none, as for a switch."""
    if isinstance(value, bool):
        return value
    if value is None or isinstance(value, int | float):
        return -7.0 if isinstance(value, float) else -7
    return 'nothing_such' if isinstance(value, str) else type(value)()


def changed(options: Mapping[str, Any], path: KeyPath, way: str) -> dict[str, Any] | None:
    """The options with one key removed or given another value; None where that changes nothing."""
    result = copy.deepcopy(dict(options))
    *parents, key = path
    section = result
    for parent in parents:
        section = section[parent]
    if way == 'removed':
        del section[key]
        return result
    value = spoilt(section[key]) if way == 'spoilt' else absurd(section[key])
    if value == section[key]:
        return None
    section[key] = value
    return result


def judge(options: Mapping[str, Any]) -> tuple[str, str]:
    """Check options and, if they pass, train with them in the current folder: (outcome, what was said)."""
    Path('variant.yml').write_text(yaml.safe_dump(dict(options), sort_keys=False))
    with undisturbed():
        try:
            problems = problems_of('variant.yml')
        except Exception as error:  # whatever it is, it is not an answer
            return 'failed', f'check itself ended: {type(error).__name__}: {error}'
        if problems:
            return 'refused', problems[0]
        parser = argparse.ArgumentParser()
        add_run_arguments(parser, dry_run=True)
        try:
            train(parser.parse_args(['-opt', 'variant.yml', '--dry-run']), Path.cwd())
        except UserError as error:
            return 'failed', str(error)
        except Exception as error:  # a trace in the place of a sentence, which is what is looked for
            return 'failed', f'{type(error).__name__}: {error}'
    return 'trained', ''


def problems_of(path: str) -> list[str]:
    """What `basicsr check` says, missing files included and warnings left out."""
    try:
        file = OptionFile.read(path)
        checked = check_options(file, is_train=True)
    except UserError as error:
        return [str(error)]
    found = checked.problems if checked.errors else [*checked.problems, *check_building(file, checked)]
    return [str(problem) for problem in found if not problem.warning]


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Quiet, and with random numbers, log and cuDNN left as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state(), torch.backends.cudnn.benchmark
    log = logging.getLogger('basicsr')
    handlers, level = list(log.handlers), log.level
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(logging.NOTSET)
        for handler in [one for one in log.handlers if one not in handlers]:
            log.removeHandler(handler)
            handler.close()
        log.handlers, log.level = handlers, level
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        torch.backends.cudnn.benchmark = states[3]


def tried(name: str, options: Mapping[str, Any], known: set[tuple[str, ...]]) -> list[tuple[KeyPath, str, Any]]:
    """The variants of a file whose keys no file before it had: (key, way, options).

    A key is known by the model class and by what its section builds: num_feat of another network is another key.
    """
    variants = []
    for path in key_paths(options):
        section: Any = options
        for key in path[:-1]:
            section = section[key]
        mark = (str(options['model_type']), str(section.get('type', '')), *path)
        if mark in known:
            continue
        known.add(mark)
        for way in WAYS:
            if (variant := changed(options, path, way)) is not None:
                variants.append((path, way, variant))
    return variants


def value_of(options: Mapping[str, Any], path: KeyPath) -> str:
    """The value of a key as one line of YAML."""
    node: Any = options
    for key in path:
        node = node[key]
    return yaml.safe_dump(node, default_flow_style=True, width=80).removesuffix('...\n').strip()


def every_key(names: list[str]) -> list[Found]:
    """Try the files of that name, in a temporary folder.

    Raises:
        RuntimeError: One of them does not train as it is, so its variants would show nothing.
    """
    load_plugins()
    found, known, home = [], set(), Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            with undisturbed():
                files.make_data()
            for name in names:
                options = files.options_of(name)
                with undisturbed():
                    files.make_weights(options)
                outcome, said = judge(options)
                if outcome != 'trained':
                    raise RuntimeError(f'{name} does not train as it is: {said}')
                model = str(options['model_type'])
                for path, way, variant in tqdm(tried(name, options, known), name, leave=False):
                    value = '' if way == 'removed' else value_of(variant, path)
                    found.append(Found(name, model, ':'.join(path), way, value, *judge(variant)))
                    if found[-1].outcome == 'failed':
                        tqdm.write(in_words(found[-1]), file=sys.stderr)  # the table comes minutes later
        finally:
            os.chdir(home)
    return found


def in_words(one: Found) -> str:
    """A variant and what was said about it, in a line."""
    return f'{one.file}: {one.key} {one.way}{f" ({one.value})" * bool(one.value)}: {" ".join(one.said.split())}'


def table(found: list[Found]) -> str:
    """A line for each file, and below it the failures with what was said."""
    heads = ['file', 'model', 'keys', *(f'{way}: {"/".join(OUTCOMES)}' for way in WAYS)]
    lines = [heads]
    for name in dict.fromkeys(one.file for one in found):
        rows = [one for one in found if one.file == name]
        counts = [
            '/'.join(str(sum(one.way == way and one.outcome == outcome for one in rows)) for outcome in OUTCOMES)
            for way in WAYS
        ]
        lines.append([name, rows[0].model, str(len({one.key for one in rows})), *counts])
    widths = [max(len(line[k]) for line in lines) for k in range(len(heads))]
    text = ['  '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    failed = [one for one in found if one.outcome == 'failed']
    text += ['', f'{len(found)} variants, {len(failed)} of them passed by check and refused by the training.']
    text += map(in_words, failed)
    return '\n'.join(text)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, try the files and print the table.

    Returns:
        1 if check and train disagree anywhere.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--files', nargs='+', metavar='TEXT', help='only files with one of these in their name')
    parser.add_argument('--json', metavar='FILE', help='write every variant and its outcome to FILE')
    args = parser.parse_args(arguments)
    names = [name for name in files.FILES if not args.files or any(text in name for text in args.files)]
    if not names:
        parser.error(f'there is no such file; there are {", ".join(files.FILES)}')
    found = every_key(names)
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(one) for one in found], indent=1) + '\n', encoding='utf-8')
    print(table(found))
    return int(any(one.outcome == 'failed' for one in found))


if __name__ == '__main__':
    sys.exit(main())
