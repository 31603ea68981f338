"""Checkpoints, training states, and what becomes of a run whose own files are not what they were."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fault import EITHER, NO_FILES, REFUSED, RESUME, TEST, TRAIN, WORKS, add, change, instead, nothing, spoil, write

WEIGHTS = 'weights.pth'
STATES = 'experiments/tiny/training_states'
STATE = f'{STATES}/2.state'
OWN = 'experiments/tiny/models/net_g_2.pth'
SAM = f'extract --extractor sam --checkpoint {WEIGHTS} --frames frames/lq --out made'
TOKENS = 'extract --extractor xdecoder --instance-source mean_over_time'
XDECODER = f'{TOKENS} --checkpoint {WEIGHTS} --frames frames/lq --out made'


class Code:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ('touch hacked',)


def saved(content: Any, **how: Any) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


def rewritten(path: str, how: Callable[[Any], Any]) -> Callable[[], None]:
    """A function that changes what a checkpoint holds."""

    def rewritten() -> None:
        content = torch.load(path, map_location='cpu', weights_only=True)
        changed = how(content)
        torch.save(content if changed is None else changed, path)

    return rewritten


def each(how: Callable[[torch.Tensor], Any]) -> Callable[[Any], Any]:
    """All weights of a checkpoint changed."""
    return lambda content: {
        name: {key: how(value) for key, value in one.items()} if name.startswith('params') else one
        for name, one in content.items()
    }


def first(how: Callable[[torch.Tensor], Any]) -> Callable[[Any], Any]:
    """The first weight of a checkpoint changed, in all its copies."""

    def first(content: Any) -> Any:
        for name, one in content.items():
            if name.startswith('params'):
                key = next(iter(one))
                one[key] = how(one[key])

    return first


def middle(content: bytes) -> int:
    """A place within the data of the largest tensor."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        largest = max(archive.infolist(), key=lambda one: one.file_size)
    return largest.header_offset + 200 + largest.file_size // 2


# ------------------------------------------------------------------------------------------------ files that are none

FILES: dict[str, Callable[[bytes], bytes]] = {
    'nothing': lambda _: b'',
    'text': lambda _: b'no checkpoint\n',
    'zeros': lambda _: b'\0' * 5000,
    'a page of the web': lambda _: b'<!DOCTYPE html><html><body>404</body></html>',
    'a pointer of Git LFS': lambda _: b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n',
    'half of it': lambda content: content[: len(content) // 2],
    'all but its end': lambda content: content[:-100],
    'its beginning lost': lambda content: content[100:],
    'a byte changed in the data': lambda c: c[: middle(c)] + bytes([c[middle(c)] ^ 64]) + c[middle(c) + 1 :],
    'bytes more at the end': lambda content: content + b'\0' * 70000,
    'an empty archive': lambda _: b'PK\x05\x06' + b'\0' * 18,
    'an empty pickle': lambda _: b'',
    'a pickle of a number': lambda _: pickle.dumps(3),
    'a pickle cut short': lambda _: pickle.dumps({'params': [1, 2, 3]})[:-3],
    'a pickle of many marks': lambda _: b'(' * 100000,
    'a pickle of a huge list': lambda _: b'\x80\x02]q\x00' + b'K\x01a' * 10 + b'\x8a\xff',
    'a picture': lambda _: Path('frames/gt/000/00000000.png').read_bytes(),
    'an array of NumPy': lambda _: _numpy(np.zeros(3)),
    'of safetensors': lambda _: (2).to_bytes(8, 'little') + b'{}',
    'of TorchScript': lambda _: _script(),
    'of ONNX': lambda _: b'\x08\x07\x12\x07pytorch' + b'\0' * 100,
}


def _numpy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _script() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), buffer)
    return buffer.getvalue()


for name, how in FILES.items():
    right = WORKS if name == 'bytes more at the end' else REFUSED
    right = EITHER if right == WORKS else right
    add('files that are no checkpoint', name, spoil(WEIGHTS, how), TRAIN, TEST, right=right, says='weights')
    add('files that are no checkpoint', f'{name}, of SAM', spoil(WEIGHTS, how), SAM, says='weights')
    add('files that are no checkpoint', f'{name}, of X-Decoder', spoil(WEIGHTS, how), XDECODER, says='weights')
    add('files of a run', f'{name} as a state', spoil(STATE, how), RESUME, right=EITHER)
    add('files of a run', f'{name} as its weights', spoil(OWN, how), RESUME, right=EITHER)
for name, make in NO_FILES.items():
    add('no regular file', f'{name} as a checkpoint', instead(WEIGHTS, make), TRAIN, TEST, SAM, says='weights')
    add('no regular file', f'{name} as a state', instead(STATE, make), RESUME, right=EITHER)
    add('no regular file', f'{name} as the weights of a run', instead(OWN, make), RESUME, right=EITHER)

# ----------------------------------------------------------------------------------------------------- what they hold

HELD: dict[str, Any] = {
    'nothing': None,
    'a number': 3,
    'text': 'params',
    'a list': [1, 2],
    'a tensor': torch.ones(3),
    'an empty dict': {},
    'empty params': {'params': {}},
    'params of numbers': {'params': 3},
    'params of a list': {'params': [torch.ones(3)]},
    'params of text': {'params': {'conv_first.weight': 'x'}},
    'params of none': {'params': {'conv_first.weight': None}},
    'keys of numbers': {'params': {3: torch.ones(3)}},
    'keys of tuples': {'params': {(1, 2): torch.ones(3)}},
    'mixed keys': {'params': {3: torch.ones(3), 'a': torch.ones(3)}},
    'keys of control characters': {'params': {'a\x1b[31m': torch.ones(3)}},
    'keys of a megabyte': {'params': {'a' * 1_000_000: torch.ones(3)}},
    'a hundred thousand keys': {'params': {f'k{i}': torch.ones(1) for i in range(20_000)}},
    'another network': {'params': torch.nn.Linear(3, 3).state_dict()},
    'nested params': {'params': {'params': {'params': {'a': torch.ones(1)}}}},
    'an optimiser': torch.optim.Adam([torch.nn.Parameter(torch.ones(1))]).state_dict(),
}
for name, content in HELD.items():
    add('what checkpoints hold', name, write(WEIGHTS, saved(content)), TRAIN, TEST, says='weights')
    add('what checkpoints hold', f'{name}, of SAM', write(WEIGHTS, saved(content)), SAM, says='weights')
    add('what checkpoints hold', f'{name}, of X-Decoder', write(WEIGHTS, saved(content)), XDECODER, says='weights')

CHANGED: dict[str, tuple[Callable[[Any], Any], str]] = {
    'weights alone': (lambda c: c['params'], WORKS),
    'of KAIR': (lambda c: OrderedDict(c['params']), WORKS),
    'of net': (lambda c: {'net': c['params']}, WORKS),
    'of model': (lambda c: {'model': c['params']}, WORKS),
    'of mmagic': (
        lambda c: {'state_dict': {f'generator.{k}': v for k, v in c['params'].items()}, 'meta': {'iter': 3}},
        WORKS,
    ),
    'of mmagic with an average': (
        lambda c: {
            'state_dict': {f'{p}.{k}': v for k, v in c['params'].items() for p in ('generator', 'generator_ema')}
            | {'step_counter': torch.tensor(3)},
            'meta': {},
        },
        WORKS,
    ),
    'of lightning': (lambda c: {'state_dict': {f'model.{k}': v for k, v in c['params'].items()}}, WORKS),
    'of DDP': (lambda c: {'params': {f'module.{k}': v for k, v in c['params'].items()}}, WORKS),
    'of torch.compile': (lambda c: {'params': {f'_orig_mod.{k}': v for k, v in c['params'].items()}}, WORKS),
    'of both': (lambda c: {'params': {f'_orig_mod.module.{k}': v for k, v in c['params'].items()}}, WORKS),
    'of another prefix': (lambda c: {'params': {f'net_g.{k}': v for k, v in c['params'].items()}}, EITHER),
    'in double precision': (each(torch.Tensor.double), WORKS),
    'in half precision': (each(torch.Tensor.half), WORKS),
    'in bfloat16': (each(torch.Tensor.bfloat16), WORKS),
    'as parameters': (each(torch.nn.Parameter), WORKS),
    'not contiguous': (each(lambda v: v.repeat_interleave(2, 0)[::2]), WORKS),
    'in integers': (each(torch.Tensor.int), EITHER),
    'in complex numbers': (each(lambda v: v.to(torch.complex64)), REFUSED),
    'in truths': (each(torch.Tensor.bool), EITHER),
    'sparse': (each(torch.Tensor.to_sparse), EITHER),
    'on no device': (each(lambda v: v.to('meta')), REFUSED),
    'quantised': (each(lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8)), REFUSED),
    'of one value': (each(lambda v: v.mean().expand_as(v)), EITHER),
    'with no number': (first(lambda v: torch.full_like(v, float('nan'))), REFUSED),
    'with infinity': (first(lambda v: torch.full_like(v, float('inf'))), REFUSED),
    'with a weight less': (lambda c: {'params': dict(list(c['params'].items())[1:])}, REFUSED),
    'with a weight more': (lambda c: {'params': {**c['params'], 'more': torch.ones(1)}}, REFUSED),
    'with a weight of another shape': (first(lambda v: torch.ones(3, 3)), REFUSED),
    'with a weight of no values': (first(lambda v: torch.ones(0)), REFUSED),
    'with a weight of text': (first(lambda v: 'x'), REFUSED),
    'with an average of another shape': (lambda c: c.update(params_ema={'a': torch.ones(1)}), EITHER),
    'with more next to it': (lambda c: c.update(iter=3, note='x', args={'a': [1, 2]}), WORKS),
}
for name, (how, right) in CHANGED.items():
    # tests refuse what is no number when a frame comes out of it, a training before its first step
    add('forms of checkpoints', name, rewritten(WEIGHTS, how), TRAIN, TEST, right=right)
add('forms of checkpoints', 'legacy', lambda: _legacy(WEIGHTS), TRAIN, TEST, right=WORKS)
for key in ('params_ema', 'params', 'nothing', '', 3, None, 'params.conv_first', ['params']):
    right = WORKS if isinstance(key, str) and key else EITHER  # BasicSR's rule: params is taken instead
    how = change('train.yml', 'path:param_key_g', key)
    add('forms of checkpoints', f'param_key_g: {key!r}', how, TRAIN, right=right)


def _legacy(path: str) -> None:
    content = torch.load(path, map_location='cpu', weights_only=True)
    torch.save(content, path, _use_new_zipfile_serialization=False)


# ------------------------------------------------------------------------------------------------------------- states

GROUPS = [{'lr': 0.1, 'params': [0]}]
STATED: dict[str, Callable[[Any], Any]] = {
    'a list': lambda s: [1, 2],
    'a number': lambda s: 3,
    'weights': lambda s: {'params': {'a': torch.ones(1)}},
    'an option file': lambda s: {'name': 'x', 'train': {'total_iter': 3}},
    'a state of mmagic': lambda s: {'meta': {}, 'state_dict': {}, 'optimizer': {'state': {}, 'param_groups': GROUPS}},
    'no iteration': lambda s: s.pop('iter') and None,
    'no optimisers': lambda s: s.pop('optimizers') and None,
    'no schedules': lambda s: s.pop('schedulers') and None,
    'optimisers as a dict': lambda s: s.update(optimizers={'state': {}, 'param_groups': GROUPS}),
    'an optimiser without groups': lambda s: s.update(optimizers=[{'state': {}}]),
    'groups without parameters': lambda s: s.update(optimizers=[{'state': {}, 'param_groups': [{'lr': 0.1}]}]),
    'optimisers of another network': lambda s: s.update(optimizers=[{'state': {}, 'param_groups': GROUPS}]),
    'two optimisers': lambda s: s['optimizers'].append(s['optimizers'][0]),
    'no schedule': lambda s: s['schedulers'].clear(),
    'moments of another shape': lambda s: s['optimizers'][0]['state'][0].update(exp_avg=torch.ones(2)),
    'moments of text': lambda s: s['optimizers'][0]['state'][0].update(exp_avg='x'),
    'moments that are no numbers': lambda s: s['optimizers'][0]['state'][0]['exp_avg'].fill_(float('nan')),
    'steps below nothing': lambda s: s['optimizers'][0]['state'][0].update(step=-3),
    'steps of text': lambda s: s['optimizers'][0]['state'][0].update(step='x'),
    'moments less': lambda s: s['optimizers'][0]['state'].pop(0) and None,
    'a rate of nothing': lambda s: s['optimizers'][0]['param_groups'][0].update(lr=float('nan')),
    'a rate of text': lambda s: s['optimizers'][0]['param_groups'][0].update(lr='x'),
    'a schedule without a place': lambda s: s['schedulers'][0].pop('last_epoch') and None,
    'weights elsewhere': lambda s: s.update(weights={'net_g': '../../../../secret.txt'}),
    'weights from the root': lambda s: s.update(weights={'net_g': '/etc/passwd'}),
    'weights that are gone': lambda s: s.update(weights={'net_g': 'net_g_77.pth'}),
    'weights of another network': lambda s: s.update(weights={'net_d': 'net_g_2.pth'}),
}
for field, values in {
    'iter': ('2', 2.0, True, -2, 2**70, None, [2], 10**9, float('nan')),
    'epoch': ('0', -1, None, 2**70, [0]),
    'manual_seed': ('x', -1, 2**70, [3], {}, 1.5),
    'weights': ([], 3, 'net_g_2.pth', {'net_g': 3}, {'net_g': None}, {}),
    'schedulers': ([1], {}, 'x', [{'last_epoch': 'x'}], [{'last_epoch': -7}], [{'last_epoch': 2**70}]),
    'optimizers': ([1], {}, 'x', [], [None]),
    'best_metric_results': ([1], 'x', {'held_out': 3}, {'held_out': {'psnr': 3}}, {'held_out': {'psnr': {'val': 'x'}}}),
}.items():
    for value in values:
        STATED[f'{field}: {value!r}'] = lambda state, field=field, value=value: state.update({field: value})
for name, how in STATED.items():
    # the only state: the run goes on with it, or says that it cannot; it never begins again in silence
    add('states', name, rewritten(STATE, how), RESUME, right=EITHER, after=lambda: _began_again())


def _began_again() -> str | None:
    """Whether the run trained from its beginning, although there was a state: a log says 'iter: 1'."""
    for log in Path('experiments/tiny').glob('*.log'):
        if 'iter:       1,' in log.read_text():
            return 'the run began again'
    return None


for name, arrange in {
    'no weights': lambda: Path(OWN).unlink(),
    'no weights at all': instead('experiments/tiny/models', Path.mkdir),
    'no folder of weights': instead('experiments/tiny/models', lambda _: None),
    'no states': instead(STATES, Path.mkdir),
    'a state of another name': lambda: Path(STATE).rename(f'{STATES}/copy.state'),
    'a state of no number': lambda: Path(STATE).rename(f'{STATES}/x2.state'),
    'an unfinished state': write(f'{STATES}/.9.state.1.tmp', b'half'),
    'an older and a broken state': write(f'{STATES}/9.state', b'half'),
    'a folder called as a state': lambda: Path(f'{STATES}/9.state').mkdir(),
    'a state of a huge number': write(f'{STATES}/{"9" * 200}.state', b'half'),
    'a file for the folder of states': instead(STATES, Path.touch),
    'a file for the folder of the run': instead('experiments/tiny', Path.touch),
    'a file for the folder of runs': instead('experiments', Path.touch),
    'a link to nothing for the folder of runs': instead('experiments', lambda p: p.symlink_to('nowhere/x')),
    'a pipe for the lock': instead('experiments/tiny/.lock', os.mkfifo),
}.items():
    add('folders of runs', name, arrange, RESUME, right=EITHER)
    add('folders of runs', name, arrange, 'train -opt train.yml', right=EITHER)

# ------------------------------------------------------------------------------------------------------ code attempts

ATTEMPTS: dict[str, Callable[[], bytes]] = {
    'a pickle': lambda: pickle.dumps(Code()),
    'a pickle of torch': lambda: saved(Code()),
    'a pickle among weights': lambda: saved({'params': {'a': torch.ones(1), 'b': Code()}}),
    'a pickle of the old form': lambda: saved({'params': Code()}, _use_new_zipfile_serialization=False),
    'a pickle next to weights': lambda: saved({'params': {}, 'note': Code()}),
    'an array of objects': lambda: _numpy(np.array([Code()], dtype=object)),
    'a pickle with protocol 0': lambda: b"cos\nsystem\n(S'touch hacked'\ntR.",
    'a pickle that imports': lambda: b'c__builtin__\neval\n(S\'open("hacked","w")\'\ntR.',
    'a builder of torch': lambda: b"ctorch._utils\n_rebuild_tensor_v2\n(cos\nsystem\n(S'touch hacked'\ntR)R.",
    'a script': lambda: _script(),
}
for name, make in ATTEMPTS.items():

    def arrange(make: Callable[[], bytes] = make, path: str = WEIGHTS) -> None:
        write(path, make())()

    add('attempts to run code', f'{name} as a checkpoint', arrange, TRAIN, TEST, SAM, XDECODER, says='weights')
    add('attempts to run code', f'{name} as a state', lambda a=arrange: a(path=STATE), RESUME, right=EITHER)
    add('attempts to run code', f'{name} as weights of a run', lambda a=arrange: a(path=OWN), RESUME, right=EITHER)
add('folders of runs', 'a run that goes on', nothing, RESUME, right=WORKS)
