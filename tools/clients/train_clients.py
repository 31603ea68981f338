"""Train, stop, resume and test other people's BasicSR projects on a CPU, with their own option files.

    python tools/clients/train_clients.py --checkouts FOLDER [--only HAT]

Each option file trains four iterations, with a validation, in one go; then again from the state after the second, as
``--auto_resume`` finds it after a stop. Both ends have to be the same to the bit. Test and inference scripts run once,
with random weights. All work is done in copies of the checkouts, by child processes. What a client itself makes
impossible is listed in ``runs.py`` with its place. Results go to ``docs/results/compatibility.json``.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from clients import CLIENTS, ROOT, Client, client_environment, copy_checkout, find_checkout
from runs import EVERY_RUN, TESTINGS, TRAININGS, Testing, Training
from synthetic import FOLDER, VGG, make_all, make_vgg

RESULTS = ROOT / 'docs' / 'results' / 'compatibility.json'
LIMIT_S = 900
SAVE_WEIGHTS = (
    'import basicsr_semantic, importlib, json, sys, torch\n'
    'path, module, name, arguments = json.loads(sys.argv[1])\n'
    'torch.manual_seed(0)\n'
    'weights = getattr(importlib.import_module(module), name)(**arguments).state_dict()\n'
    "plain = any(word in path for word in ('arcface', 'detection', 'parsing'))\n"
    "torch.save(weights if plain else {'params': weights, 'params_ema': weights}, path)\n"
)
RUN_SCRIPT = (
    "import basicsr_semantic, runpy, sys\nsys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
)


class RunError(Exception):
    """A child process failed, or did not do what it had to; the message says what."""


def main() -> int:
    """Run what is asked for; 1 where anything that should work does not."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--checkouts', type=Path, required=True, help='folder of the checkouts that clients.py names')
    parser.add_argument('--only', metavar='NAME', help='this client alone')
    parser.add_argument('--results', type=Path, default=RESULTS, help='JSON file to write')
    args = parser.parse_args()
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / FOLDER
        make_all(data)
        make_vgg(Path(folder) / VGG.name)
        for client in CLIENTS:
            if args.only in (None, client.name):
                records += run_client(client, args.checkouts, Path(folder))
    if args.only and args.results.is_file():
        kept = [r for r in json.loads(args.results.read_text()) if r['client'] != args.only]
        records = sorted(kept + records, key=lambda r: [c.name for c in CLIENTS].index(r['client']))
    args.results.write_text(json.dumps(records, indent=1) + '\n')
    print_table(records)
    return int(any(not r['works'] and not r['impossible'] for r in records))


def run_client(client: Client, checkouts: Path, folder: Path) -> list[dict[str, Any]]:
    """All runs of one client, in one copy of its checkout."""
    checkout = find_checkout(client, checkouts)
    if checkout is None:
        print(f'{client.name}: no checkout below {checkouts}.', file=sys.stderr)
        return []
    copy = copy_checkout(client, checkout, folder)
    (copy / FOLDER).symlink_to(folder / FOLDER)
    (copy / VGG).parent.mkdir(parents=True, exist_ok=True)
    (copy / VGG).symlink_to(folder / VGG.name)
    records = []
    for run in (*TRAININGS, *TESTINGS):
        if run.client == client.name:
            records.append(record(run, client, copy))
            print(_row(records[-1]), flush=True)
    shutil.rmtree(copy)
    return records


def record(run: Training | Testing, client: Client, copy: Path) -> dict[str, Any]:
    """Run one thing and say what came of it."""
    is_training = isinstance(run, Training)
    changed = [*run.changes, *EVERY_RUN] if is_training else list(run.arguments)
    result: dict[str, Any] = {
        'client': client.name,
        'commit': client.commit[:7],
        'kind': 'train' if is_training else 'test',
        'file': run.options if is_training else run.script,
        'works': False,
        'impossible': bool(run.cannot),
        'iterations': None,
        'resumed_after': None,
        'identical': None,
        'validated': None,
        'seconds': None,
        'changed': [] if run.cannot else changed,
        'changed_beyond_sizes': run.beyond,
        'reason': run.cannot,
    }
    if run.cannot:
        return result
    if is_training and run.unvalidated:
        result['changed_beyond_sizes'] = f'no validation: {run.unvalidated}'
    start = time.time()
    try:
        for path, (module, name, arguments) in run.networks.items():
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            _child(['-c', SAVE_WEIGHTS, json.dumps([path, module, name, arguments])], copy)
        result |= train_twice(run, client, copy) if is_training else test_once(run, client, copy)
    except RunError as error:
        result['reason'] = str(error)
    return result | {'seconds': round(time.time() - start, 1)}


def train_twice(run: Training, client: Client, copy: Path) -> dict[str, Any]:
    """Four iterations in one go and from the state after the second; how their weights compare."""
    name = yaml.safe_load((copy / run.options).read_text())['name']
    experiment = copy / 'experiments' / name
    shutil.rmtree(experiment, ignore_errors=True)
    command = ['train', '-opt', run.options, '--import', *client.imports, '--force_yml', *run.changes, *EVERY_RUN]
    validated = re.search(r'Validation ', _child(['-m', 'basicsr_semantic', *command], copy)) is not None
    if not (validated or run.unvalidated):
        raise RunError('It did not validate.')
    whole = _weights(experiment, 4)
    if all(_same(whole[key], value) for key, value in _weights(experiment, 2).items()):
        raise RunError('Nothing was trained between the iterations 2 and 4.')
    for path in [*experiment.glob('models/*'), *experiment.glob('training_states/*')]:
        if not re.search(r'(^|_)2\.(pth|state)$', path.name):
            path.unlink()
    output = _child(['-m', 'basicsr_semantic', *command, '--auto_resume'], copy)
    message = re.search(r'Resuming after iteration (\d+)\.', output)
    if not message:
        raise RunError('The second run did not resume.')
    resumed = _weights(experiment, 4)
    differing = sorted(key for key in whole.keys() | resumed.keys() if not _same(whole.get(key), resumed.get(key)))
    return {
        'works': not differing,
        'iterations': 4,
        'resumed_after': int(message[1]),
        'identical': not differing,
        'validated': validated,
        'reason': f'{len(differing)} tensors differ, such as {differing[0]}.' if differing else '',
    }


def test_once(run: Testing, client: Client, copy: Path) -> dict[str, Any]:
    """Run a script or the test of an option file."""
    if run.script.endswith('.yml'):
        command = ['-opt', run.script, '--import', *client.imports, '--force_yml', *run.arguments]
        _child(['-m', 'basicsr_semantic', 'test', *command], copy)
    else:
        _child(['-c', RUN_SCRIPT, run.script, *run.arguments], copy)
    if not list(copy.glob(run.makes)):
        raise RunError(f'It made no {run.makes}.')
    return {'works': True, 'reason': ''}


def _child(arguments: list[str], cwd: Path) -> str:
    """Run Python in the copy and return what it printed.

    Raises:
        RunError: It failed; the message is the last line of what it printed.
    """
    environment = client_environment(cwd) | {'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, *arguments]
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RunError(f'It took more than {LIMIT_S} seconds.') from error
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RunError(lines[-1] if lines else f'It ended with {done.returncode}.')
    return done.stdout + done.stderr


def _weights(experiment: Path, iteration: int) -> dict[str, torch.Tensor]:
    """Every tensor of every network's file of an iteration."""
    files = sorted(experiment.glob(f'models/*_{iteration}.pth'))
    if not files:
        raise RunError(f'It left no weights of iteration {iteration}.')
    found = {}
    for path in files:
        for key, tensors in torch.load(path, map_location='cpu', weights_only=True).items():
            if key != 'arch':  # what a checkpoint says of its network
                found |= {f'{path.stem}:{key}:{name}'.replace(f'_{iteration}:', ':'): t for name, t in tensors.items()}
    return found


def _same(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    """Whether two tensors have the same bits; no value at all is none."""
    if a is None or b is None or a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.contiguous().numpy().tobytes() == b.contiguous().numpy().tobytes()


def _row(result: dict[str, Any]) -> str:
    if result['impossible']:
        outcome = 'impossible'
    elif result['kind'] == 'test':
        outcome = 'runs' if result['works'] else 'FAILS'
    else:
        outcome = 'identical' if result['identical'] else 'DIFFERS' if result['iterations'] else 'FAILS'
    seconds = '' if result['seconds'] is None else f'{result["seconds"]:.0f} s'
    note = result['reason'] or result['changed_beyond_sizes']
    return f'{result["client"]:17}{result["kind"]:6}{Path(result["file"]).name:52}{outcome:11}{seconds:>6}  {note}'


def print_table(records: list[dict[str, Any]]) -> None:
    """Print one line a run."""
    print(f'\n{"client":17}{"kind":6}{"file":52}{"outcome":11}{"time":>6}')
    for result in records:
        print(_row(result))


if __name__ == '__main__':
    raise SystemExit(main())
