"""Option files, command lines and their values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from fault import (
    ANNOTATIONS,
    CHECK,
    CLIPS,
    DISK,
    EITHER,
    NO_FILES,
    REGIONS,
    TEST,
    TRAIN,
    WORKS,
    YTVIS,
    add,
    change,
    instead,
    nothing,
    spoil,
    write,
)

# ------------------------------------------------------------------------------------------- numbers in option files

NAN, INFINITY = float('nan'), float('inf')
NUMBERS = {
    'name a number': {'datasets:train:name': (3,)},
    'counts': {
        path: (0, -1, 1.5, 2**70, NAN, INFINITY, 'many', [3], {'a': 1})
        for path in (
            'datasets:train:batch_size_per_gpu',
            'datasets:train:num_frame',
            'datasets:train:gt_size',
            'network_g:num_feat',
            'network_g:num_frame',
            'network_g:deformable_groups',
            'val:val_freq',
            'logger:print_freq',
            'logger:save_checkpoint_freq',
        )
    },
    'counts from 0': {
        path: (-1, 1.5, 2**70, NAN, 'many', [3])
        for path in ('datasets:train:num_worker_per_gpu', 'num_gpu', 'manual_seed', 'network_g:num_masks')
    },
    'scales': {'scale': (0, -4, 2**40, NAN, INFINITY, 'x4', [4])},
    'iterations': {'train:total_iter': (-1, 0, NAN, -INFINITY, 'many', [3])},
    'rates': {
        'train:optim_g:lr': (-1.0, NAN, INFINITY, 'fast', [0.1], {'a': 1}),
        'train:optim_g:betas': ([0.9], [0.9, 1.0], [0.9, NAN], [-0.1, 0.9], 0.9, 'ab', [0.9, 0.9, 0.9]),
        'train:optim_g:weight_decay': (-1.0, NAN, 'much'),
        'train:ema_decay': (-0.1, 1.5, NAN, INFINITY, 'slow', [0.9]),
    },
    'schedules': {
        'train:scheduler:periods': ([], [0], [-4], [1.5], [NAN], 4, 'long', [4, 4]),
        'train:scheduler:restart_weights': ([], ['a'], 1, [1, 1]),
        'train:scheduler:eta_min': (NAN, 'low', [0.1]),
        'train:warmup_iter': (NAN, 'long', [3]),
    },
    'lists': {'datasets:train:interval_list': ([], [0], [-1], ['a'], [1.5], 'a', [2**40])},
    'megapixels': {'datasets:train:max_megapixels': (0, -1, NAN, 'large', [3])},
    'weights of losses': {'train:pixel_opt:loss_weight': (NAN, INFINITY, 'heavy', [1])},
    'enlarging': {'datasets:train:dataset_enlarge_ratio': (0, -1, NAN, INFINITY, 'twice', 1e12)},
    'borders': {'val:metrics:psnr:crop_border': (-1, 1.5, NAN, 'a', 2**40)},
}
for fields in NUMBERS.values():
    for path, values in fields.items():
        for value in values:
            key = path.rsplit(':', 1)[-1]
            add('numbers in options', f'{path}: {value!r}', change('train.yml', path, value), TRAIN, says=key)

# ---------------------------------------------------------------------------------------------- the text of the file

_BOMB = 'a0: &a0 [x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'a{k}: &a{k} [{", ".join([f"*a{k - 1}"] * 9)}]\n' for k in range(1, 12)
)
TEXTS: dict[str, Callable[[bytes], bytes]] = {
    'empty': lambda _: b'',
    'spaces': lambda _: b'  \n\n',
    'a comment': lambda _: b'# nothing\n',
    'a list': lambda _: b'- a\n- b\n',
    'a number': lambda _: b'3\n',
    'aliases that grow': lambda text: text + _BOMB.encode(),
    'an alias of itself': lambda text: text + b'more: &a [*a]\n',
    'a merge of itself': lambda text: text + b'more: &a {<<: *a}\n',
    'deep lists': lambda text: text + b'more: ' + b'[' * 20000 + b']' * 20000 + b'\n',
    'deep sections': lambda text: text + b'more: ' + b'{a: ' * 5000 + b'1' + b'}' * 5000 + b'\n',
    'no UTF-8': lambda text: text + b'more: "\xff\xfe"\n',
    'zero bytes': lambda text: text + b'more: "a\0b"\n',
    'a tab': lambda text: text.replace(b'  name:', b'\tname:'),
    'an open quote': lambda text: text + b"more: 'a\n",
    'an open bracket': lambda text: text + b'more: [1, 2\n',
    'two documents': lambda text: text + b'---\nname: other\n',
    'an unknown alias': lambda text: text + b'more: *nowhere\n',
    'a key twice': lambda text: text + b'name: other\n',
    'a list as a key': lambda text: text + b'? [1, 2]\n: 3\n',
    'a number as a key': lambda text: text + b'3: 4\n',
    'a wrong date': lambda text: text + b'more: 2026-99-99\n',
    'a wrong number': lambda text: text + b'more: 0b\nless: !!int x\n',
    'a wrong binary': lambda text: text + b'more: !!binary "===="\n',
    'an unknown tag': lambda text: text + b'more: !nothing x\n',
    'half of it': lambda text: text[: len(text) // 2],
    'UTF-16': lambda text: text.decode().encode('utf-16'),
    'a picture': lambda _: Path('frames/gt/000/00000000.png').read_bytes(),
    'an archive': lambda _: Path('weights.pth').read_bytes(),
}
for name, how in TEXTS.items():
    add('texts of option files', name, spoil('train.yml', how), TRAIN, CHECK, says=r'train\.yml')
for name, how in {
    'a mark of UTF-8': lambda text: b'\xef\xbb\xbf' + text,
    'lines of Windows': lambda text: text.replace(b'\n', b'\r\n'),
    'a mark of the end': lambda text: text + b'...\n',
    'a mark of the start': lambda text: b'---\n' + text,
    'aliases': lambda text: text.replace(b'name: clips', b'name: &n clips').replace(b'name: held_out', b'name: *n'),
    'ten thousand lines of comments': lambda text: b'# comment\n' * 10000 + text,
}.items():
    add('texts of option files', name, spoil('train.yml', how), CHECK, right=WORKS)
for name, make in NO_FILES.items():
    add('no regular file', f'{name} as an option file', instead('train.yml', make), TRAIN, CHECK, says=r'train\.yml')

# ------------------------------------------------------------------------------------------------------ the sections

SECTIONS = {
    'no model': ('model_type', ...),
    'no network': ('network_g', ...),
    'no data': ('datasets', ...),
    'no data of training': ('datasets:train', ...),
    'no optimiser': ('train:optim_g', ...),
    'no schedule': ('train:scheduler', ...),
    'no name': ('name', ...),
    'no loss': ('train:pixel_opt', ...),
    'the data as a list': ('datasets', [1]),
    'the network as text': ('network_g', 'EDVRSEEM'),
    'the training as nothing': ('train', None),
    'the path as a number': ('path', 3),
    'the metrics as a list': ('val:metrics', ['psnr']),
    'an unknown model': ('model_type', 'SemanticVSRModell'),
    'an unknown network': ('network_g:type', 'EDVRSEEEM'),
    'an unknown data set': ('datasets:train:type', 'SemanticClipDatasets'),
    'an unknown loss': ('train:pixel_opt:type', 'CharbonierLoss'),
    'an unknown metric': ('val:metrics:psnr:type', 'calculate_psnrr'),
    'an unknown optimiser': ('train:optim_g:type', 'Adamm'),
    'an unknown schedule': ('train:scheduler:type', 'CosineAnnealing'),
    'an unknown key of the network': ('network_g:num_feats', 8),
    'an unknown key of the data': ('datasets:train:num_frames', 3),
    'an unknown key of the loss': ('train:pixel_opt:weight', 1.0),
    'an unknown key of the training': ('train:ema', 0.9),
    'a type that is no text': ('network_g:type', 3),
    'a type that is a list': ('network_g:type', ['EDVRSEEM']),
    'a type with control characters': ('network_g:type', 'EDVR\x1b[31mSEEM'),
    'a type that turns the writing': ('network_g:type', 'EDVR\u202eSEEM'),
    'a key with control characters': ('network_g:num\x1b[2J_feat', 8),
    'a very long value': ('network_g:type', 'a' * 1_000_000),
    'a very long key': ('network_g:' + 'a' * 100_000, 1),
    'what is no switch': ('path:strict_load_g', 'perhaps'),
    'what is no reduction': ('train:pixel_opt:reduction', 'median'),
    'what is no storage': ('datasets:train:io_backend', {'type': 'tape'}),
    'no storage': ('datasets:train:io_backend', {}),
    'a storage that does not fit': ('datasets:train:io_backend', {'type': 'disk'}),
    'a patch that the scale does not divide': ('datasets:train:gt_size', 62),
    'a patch larger than the frames': ('datasets:train:gt_size', 128),
    'more frames than the clips have': ('datasets:train:num_frame', 99),
    'frames of another window': ('datasets:train:num_frame', 5),
    'a reduction that does not fit': ('network_g:reduction', 3),
    'another scale': ('scale', 2),
    'what trains nothing': ('train:trainable', ['nothing_such']),
}
for name, (path, value) in SECTIONS.items():
    add('sections of option files', name, change('train.yml', path, value), TRAIN, CHECK)

# ----------------------------------------------------------------------------------------------------- command lines

for entry in (
    'a', 'a=', ':=1', '=1', 'a:b', 'train:optim_g:lr', 'train:optim_g:lr=', 'train::lr=1', 'nothing:such=1', 'a=!',
    'train:optim_g:lr=[', 'train:optim_g:lr={', 'train:optim_g:lr=&a [*a]', 'train:optim_g:lr=!!int x', 'name:a=1',
    'train:optim_g=1', 'train:total_iter=1e400', 'train:total_iter=nan', '\x1b=1',
):  # fmt: skip
    add('command lines', f'--force_yml {entry!r}', nothing, f'{TRAIN} --force_yml "{entry}"')
for more in (
    '--launcher pytorch', '--launcher slurm', '--launcher tape', '--import nothing.such', '--import ..', '--import ""',
    '--import list.txt', '--nothing', '-opt', '-opt nothing.yml', '-opt .', '-opt ""', '-opt "a\x1b[31m.yml"',
):  # fmt: skip
    add('command lines', f'train {more!r}', nothing, f'{TRAIN} {more}')
for more in (
    '--scale 0', '--scale -4', '--scale x', '--scale 1000000000', '--scale 1.5', '--scale nan', '--workers 0',
    '--workers -1', '--workers x', '--workers 1000000000', '--degradation BLUR', '--max-megapixels 0',
    '--max-megapixels -1', '--max-megapixels nan', '--max-megapixels x', '--max-megapixels 0.000001',
):  # fmt: skip
    add('command lines', f'prepare {more!r}', nothing, f'{CLIPS} {more}')
for more in (
    '--split nothing', '--split ../train', '--split ""', '--split "a\x1b[31m"', '--json nothing.json',
    '--json .', '--frames nothing', '--frames list.txt', '--frames ""', '--scale 64',
):  # fmt: skip
    add('command lines', f'prepare ytvis {more!r}', nothing, f'{YTVIS} {more}')
for more in (
    '--shard 0/0', '--shard 3/2', '--shard a/b', '--shard 1', '--shard -1/2', '--shard 1/', '--shard 1e3/1e3',
    '--batch 0', '--batch -1', '--batch x', '--batch 1.5', '--max-masks 0', '--max-masks -1', '--max-masks x',
    '--max-masks 1000000000000', '--scales', '--scales 0', '--scales -1', '--scales nan', '--scales inf', '--scales x',
    '--sigma -1', '--sigma nan', '--sigma inf', '--sigma x', '--min-size -1', '--min-size x', '--min-size 1e9',
    '--checkpoint weights.pth', '--points-per-side 8', '--frames nothing', '--frames list.txt', '--frames ""',
    '--extractor nothing', '--extractor sam', '--extractor openseed', '--extractor xdecoder', '--max-megapixels 0',
    '--extractor sam --checkpoint nothing.pth', '--extractor sam --checkpoint weights.pth',
    '--extractor sam --checkpoint weights.pth --model-type vit_x',
    '--extractor sam --checkpoint weights.pth --device nothing',
    '--extractor sam --checkpoint weights.pth --device cuda:99',
    '--extractor sam --checkpoint weights.pth --checksum x',
    '--extractor sam --checkpoint weights.pth --points-per-side 0',
    '--extractor sam --checkpoint weights.pth --points-per-side 1000000',
    '--extractor sam --checkpoint weights.pth --box-nms-thresh nan',
    '--extractor sam --checkpoint weights.pth --crop-n-layers 1000000',
    '--extractor sam --checkpoint weights.pth --crop-overlap-ratio -1',
    '--extractor xdecoder --checkpoint weights.pth --instance-checkpoint weights.pth',
    '--extractor xdecoder --checkpoint weights.pth --instance-source mean_over_time',
    '--extractor openseed --checkpoint weights.pth --text-embeddings weights.pth',
    '--extractor openseed --checkpoint weights.pth --text-embeddings list.txt',
    '--extractor stored_tokens', '--extractor "a\x1b[31m"', '--import', '--import a.b.c', '--import list.txt', '--zzz',
    '--extractor xdecoder --checkpoint weights.pth --min-size 3', '--extractor', '-- --checkpoint weights.pth',
    '--extractor xdecoder --checkpoint weights.pth --instance-source nothing --pixel-features maybe',
    '--extractor xdecoder --checkpoint weights.pth --instance-source mean_over_time --score-threshold nan',
):  # fmt: skip
    add('command lines', f'extract {more!r}', nothing, f'{REGIONS} {more}')
for more in ('--annotations nothing', '--annotations list.txt', '--annotations .', '--annotations ""', '--frames .'):
    add('command lines', f'annotations {more!r}', nothing, f'{ANNOTATIONS} {more}')
for command in (
    '', 'nothing', '"a\x1b[31m"', 'components NothingSuch', 'components --kind nothing', 'check', 'check -opt',
    'prepare', 'prepare nothing', 'prepare clips', 'prepare clips nothing made', 'prepare clips list.txt made',
    'prepare clips frames/gt list.txt', 'prepare clips "" ""', 'test', 'extract',
    'check --schema -o list.txt/x.json', 'check -opt train.yml --import a.b.c',
    'check -opt train.yml nothing.yml', 'components EDVRSEEEM',
):  # fmt: skip
    add('command lines', f'{command!r}', nothing, command)

# ------------------------------------------------------------------------------------- names that lead out of folders

for name in (
    '../../../../escape', '/escape', '..', '.', '', 'a/b', 'a/../../../../../escape', 'a\0b', 'a' * 300, '\x1b[31ma',
    '\u202eab', '~/escape', '-rf', ' ', 'a\nb', '...',
):  # fmt: skip
    for path, file, commands in (
        ('name', 'train.yml', (TRAIN, 'train -opt train.yml')),
        ('name', 'test.yml', (TEST,)),
        ('datasets:test:name', 'test.yml', (TEST,)),
        ('val:suffix', 'test.yml', (TEST,)),
    ):
        add('names that lead elsewhere', f'{path}: {name[:40]!r}', change(file, path, name), *commands, right=EITHER)
for path in ('datasets:train:dataroot_gt', 'datasets:train:dataroot_priors', 'path:pretrain_network_g'):
    for value in ('/nonexistent', '', 3, [1], {'a': 1}, '\0', 'a' * 5000, '\x1b[31m', '/dev/zero', '/proc/self/mem'):
        key = path.rsplit(':', 1)[-1]
        right = WORKS if path.startswith('path:') and value == '' else 'refused'  # BasicSR's for none
        name, how = f'{key}: {str(value)[:30]!r}', change('train.yml', path, value)
        add('paths in options', name, how, TRAIN, CHECK, right=right, says=key)

# ------------------------------------------------------------------------------------------------------ code attempts

_TOUCH = "!!python/object/apply:os.system ['touch hacked']"
for name, text in {
    'a function of YAML': f'more: {_TOUCH}\n',
    'a new object of YAML': "more: !!python/object/new:os.system ['touch hacked']\n",
    'a module of YAML': 'more: !!python/module:antigravity\n',
    'a name of YAML': 'more: !!python/name:os.system\n',
    'a tuple of YAML': 'more: !!python/tuple [1, 2]\n',
    'a tag by its handle': '%TAG ! tag:yaml.org,2002:python/\n---\nmore: !object/apply:os.system ["touch hacked"]\n',
}.items():
    add('attempts to run code', name, write('train.yml', text), TRAIN, CHECK)
_CODE = "__import__('os').system('touch hacked')"
for path in (
    'model_type', 'network_g:type', 'network_g:num_feat', 'datasets:train:type', 'datasets:train:interval_list',
    'datasets:train:io_backend:type', 'train:optim_g:type', 'train:optim_g:lr', 'train:scheduler:type',
    'train:scheduler:periods', 'train:pixel_opt:type', 'val:metrics:psnr:type', 'val:metrics:psnr:crop_border', 'scale',
):  # fmt: skip
    add('attempts to run code', f'Python in {path}', change('train.yml', path, _CODE), TRAIN)
    entry = json.dumps(f'{path}={_TOUCH}')
    add('attempts to run code', f'YAML of Python in --force_yml {path}', nothing, f'{TRAIN} --force_yml {entry}')
for value in ('$(touch hacked)', '`touch hacked`', '; touch hacked', '{0.__class__}', '%s%n', '../hacked'):
    add('attempts to run code', f'the name {value!r}', change('train.yml', 'name', value), TRAIN, right=EITHER)
    add(
        'attempts to run code',
        f'filename_tmpl {value!r}',
        change('disk.yml', 'datasets:train:filename_tmpl', value),
        DISK,
        says='filename_tmpl',
    )
