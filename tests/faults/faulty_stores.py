"""LMDBs of frames, stores of priors, the lists and manifests that lie with them, and annotations."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
from fault import ANNOTATIONS, CLIPS, EITHER, NO_FILES, REFUSED, TEST, TRAIN, WORKS, YTVIS, add, instead, spoil, write

REGIONS_LMDB = 'extract --extractor regions --frames lq.lmdb --out made'
AGAIN = 'prepare clips frames/gt .'
VERIFY = 'prepare clips frames/gt . --verify'
MORE_MASKS = 'extract --extractor regions --frames lq.lmdb --out priors.lmdb --max-masks 4'
DEEP = '[' * 20000 + ']' * 20000


def flip(content: bytes, place: int) -> bytes:
    """The content with all bits of a byte turned."""
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


def put(store: str, key: bytes, value: bytes | None) -> Callable[[], None]:
    """A function that changes a value of an LMDB; None removes it."""

    def put() -> None:
        with lmdb.open(store, map_size=1 << 26) as env, env.begin(write=True) as transaction:
            transaction.delete(key) if value is None else transaction.put(key, value)

    return put


# --------------------------------------------------------------------------------------------------- LMDBs of frames

FRAME = b'000/00000001'
BROKEN: dict[str, Callable[[str], Callable[[], object]]] = {
    'data of zeros': lambda store: write(f'{store}/data.mdb', b'\0' * 40960),
    'data of nothing': lambda store: write(f'{store}/data.mdb', b''),
    'data of text': lambda store: write(f'{store}/data.mdb', 'no LMDB\n' * 1000),
    'half of the data': lambda store: spoil(f'{store}/data.mdb', lambda data: data[: len(data) // 2]),
    'one page of the data': lambda store: spoil(f'{store}/data.mdb', lambda data: data[:4096]),
    'other magic': lambda store: spoil(f'{store}/data.mdb', lambda data: flip(flip(data, 16), 4096 + 16)),
    'another version': lambda store: spoil(f'{store}/data.mdb', lambda data: flip(flip(data, 20), 4096 + 20)),
    'no data': lambda store: lambda: Path(f'{store}/data.mdb').unlink(),
    'an empty folder': lambda store: instead(store, Path.mkdir),
    'a file': lambda store: instead(store, Path.touch),
    'nothing': lambda store: instead(store, lambda _: None),
    'a link to nothing': lambda store: instead(store, lambda path: path.symlink_to('/nonexistent')),
    'a pipe': lambda store: instead(store, os.mkfifo),
}
for store, commands in (
    ('gt.lmdb', (TRAIN, TEST)),
    ('lq.lmdb', (TRAIN, REGIONS_LMDB)),
    ('priors.lmdb', (TRAIN, TEST)),
):
    for name, how in BROKEN.items():
        add('broken LMDBs', f'{name} for {store}', how(store), *commands, says=store.partition('.')[0])
    for name, make in NO_FILES.items():
        arrange = instead(f'{store}/data.mdb', make)
        add('no regular file', f'{name} as data of {store}', arrange, *commands, says=store.partition('.')[0])
for name, value in {
    'no value': None,
    'an empty value': b'',
    'text': b'no picture',
    'half a picture': b'\x89PNG\r\n\x1a\n' + b'\0' * 30,
    'a pickle': b"cos\nsystem\n(S'touch hacked'\ntR.",
}.items():
    add('values of LMDBs', f'{name} for an LQ frame', put('lq.lmdb', FRAME, value), TEST, REGIONS_LMDB, says='00000001')
    add('values of LMDBs', f'{name} for a GT frame', put('gt.lmdb', FRAME, value), TEST, says='00000001')

# ------------------------------------------------------------------------------------------------- their meta_info.txt

META: dict[str, tuple[bytes, str]] = {
    'nothing': (b'', REFUSED),
    'text': (b'no list\n', REFUSED),
    'zeros': (b'\0' * 100, REFUSED),
    'no UTF-8': (b'\xff\xfe\n', REFUSED),
    'a path upwards': (b'../x/00000000.png (64,64,3) 1\n', REFUSED),
    'a path from the root': (b'/x/00000000.png (64,64,3) 1\n', EITHER),
    'keys without clips': (b'00000000.png (64,64,3) 1\n', REFUSED),
    'frames that are not there': (b'000/00000077.png (64,64,3) 1\n', REFUSED),
    'huge sizes': (b''.join(b'000/%08d.png (999999,999999,3) 1\n' % k for k in range(5)), EITHER),
    'sizes of nothing': (b''.join(b'000/%08d.png (0,0,3) 1\n' % k for k in range(5)), EITHER),
    'sizes that are none': (b''.join(b'000/%08d.png (a,b,c) 1\n' % k for k in range(5)), EITHER),
    'a line of a megabyte': (b'0' * 1_000_000 + b'/00000000.png (64,64,3) 1\n', REFUSED),
    'control characters': (b'00\x1b[31m/00000000.png (64,64,3) 1\n', REFUSED),
    'an LQ clip less': (b''.join(b'000/%08d.png (16,16,3) 1\n' % k for k in range(5)), EITHER),
}
for name, (content, right) in META.items():
    arrange = write('lq.lmdb/meta_info.txt', content)
    add('lists of LMDBs', f'{name} for lq.lmdb', arrange, TRAIN, right=right)
    add('lists of LMDBs', f'{name} for lq.lmdb', arrange, REGIONS_LMDB, right=EITHER)
    add('lists of LMDBs', f'{name} for gt.lmdb', write('gt.lmdb/meta_info.txt', content), TRAIN, right=EITHER)

# ----------------------------------------------------------------------------------------------------------- manifests


def edited(path: str) -> Callable[[Callable[[Any], object]], Callable[[], None]]:
    """A function of a change that gives a function which makes it in a JSON file."""

    def edited(change: Callable[[Any], object]) -> Callable[[], None]:
        def edit() -> None:
            content = json.loads(Path(path).read_text())
            change(content)
            Path(path).write_text(json.dumps(content))

        return edit

    return edited


manifest, annotate = edited('manifest.json'), edited('ytvis/train.json')
WRONG: tuple[Any, ...] = (None, 3, -1, 1.5, float('nan'), float('inf'), 2**70, 'text', [], [1], {}, {'a': 1}, True)
"""Values of every kind; each field takes at most one kind of them."""
for name, how in {
    'nothing': lambda _: b'',
    'half of it': lambda text: text[: len(text) // 2],
    'no JSON': lambda _: b'{',
    'a list': lambda _: b'[]',
    'nested': lambda _: DEEP.encode(),
    'no UTF-8': lambda _: b'\xff\xfe',
}.items():
    add('manifests', name, spoil('manifest.json', how), VERIFY, AGAIN, says='manifest')
for field in ('format', 'source', 'parameters', 'fingerprints', 'clips', 'skipped'):
    for value in WRONG:
        if field == 'skipped' and value == []:
            continue
        arrange = manifest(lambda content, field=field, value=value: content.update({field: value}))
        add('manifests', f'{field}: {value!r}', arrange, VERIFY, right=EITHER)
for field in ('source', 'first_frame', 'gt_size', 'lq_size', 'gt_checksums', 'lq_checksums', 'frame_names', 'frames'):
    for value in (None, -1, float('nan'), 2**70, 'text', [1], {'a': 1}):
        arrange = manifest(lambda content, field=field, value=value: content['clips']['000'].update({field: value}))
        right = EITHER if field in ('source', 'frame_names') or field.endswith('checksums') else REFUSED
        add('manifests', f'{field} of a clip: {value!r}', arrange, VERIFY, right=right)

# ----------------------------------------------------------------------------------------------------- stores of priors


def record(**changes: Any) -> bytes:
    """The masks of a frame as a store keeps them."""
    whole = {'size': [16, 16], 'masks': [{'counts': '0P8', 'area': 256}]}
    return json.dumps(whole | changes).encode()


for name, value in {
    'nothing': None,
    'an empty value': b'',
    'text': b'no masks',
    'half JSON': record()[:10],
    'nested': DEEP.encode(),
    'a list': b'[]',
    'no size': b'{"masks": []}',
    'a size of one': record(size=[16]),
    'a size of text': record(size='16x16'),
    'a size of nothing': record(size=[0, 0]),
    'a size below nothing': record(size=[-16, -16]),
    'a size of fractions': record(size=[16.5, 16]),
    'a huge size': record(size=[10**9, 10**9]),
    'a size beyond 64 bits': record(size=[2**70, 1]),
    'another size': record(size=[8, 8]),
    'masks of text': record(masks='masks'),
    'masks of numbers': record(masks=[1]),
    'counts of nothing': record(masks=[{'counts': ''}]),
    'counts of numbers': record(masks=[{'counts': [1, 2]}]),
    'counts that do not add up': record(masks=[{'counts': '0P9'}]),
    'counts of other letters': record(masks=[{'counts': '\u89c6'}]),
    'counts below nothing': record(masks=[{'counts': 'N000'}]),
    'counts of many bits': record(masks=[{'counts': 'o' * 100000}]),
    'a million masks': record(masks=[{'counts': '0P8'}] * 200000),
    'a pickle': b"cos\nsystem\n(S'touch hacked'\ntR.",
}.items():
    right = WORKS if name == 'a million masks' else REFUSED
    add('masks of a store', name, put('priors.lmdb', FRAME, value), TEST, right=right, says='00000001|priors')


def metadata(**changes: Any) -> Callable[[], None]:
    """A function that changes the metadata of the store."""

    def metadata() -> None:
        with lmdb.open('priors.lmdb', map_size=1 << 26) as env, env.begin(write=True) as transaction:
            content = json.loads(bytes(transaction.get(b'__meta__') or b'{}')) | changes
            transaction.put(b'__meta__', json.dumps(content).encode())

    return metadata


for name, value in {
    'nothing': None,
    'an empty value': b'',
    'text': b'text',
    'a list': b'[]',
    'nested': DEEP.encode(),
}.items():
    add('metadata of a store', name, put('priors.lmdb', b'__meta__', value), TRAIN, MORE_MASKS, says='priors')
for field in ('format', 'kind', 'parameters', 'checkpoint', 'order', 'max_masks', 'tokens', 'features', 'seen'):
    for value in WRONG:
        if field in ('checkpoint', 'tokens', 'features', 'seen') and value is None:
            continue
        arrange = metadata(**{field: value})
        add('metadata of a store', f'{field}: {value!r}', arrange, TRAIN, right=EITHER)

# --------------------------------------------------------------------------------------------------------- annotations


for name, how in {
    'nothing': lambda _: b'',
    'half of it': lambda text: text[: len(text) // 2],
    'a list': lambda _: b'[]',
    'a number': lambda _: b'3',
    'nested': lambda _: DEEP.encode(),
    'no UTF-8': lambda _: b'\xff\xfe{}',
    'a number of 5000 digits': lambda text: text.replace(b'"length": 6', b'"length": ' + b'9' * 5000),
    'an exponent of 400': lambda text: text.replace(b'"height": 64', b'"height": 1e400'),
}.items():
    add('annotation files', name, spoil('ytvis/train.json', how), YTVIS, ANNOTATIONS, says=r'train\.json')
for name, make in NO_FILES.items():
    arrange = instead('ytvis/train.json', make)
    add('no regular file', f'{name} as annotations', arrange, YTVIS, ANNOTATIONS, right=EITHER)
for table in ('videos', 'annotations', 'categories'):
    for value in (3, 'text', {}, [3], [None], [[]], [{}], {'a': 1}):
        arrange = annotate(lambda content, table=table, value=value: content.update({table: value}))
        add('annotations', f'{table}: {value!r}', arrange, YTVIS, right=EITHER)
FIELDS = {
    'videos': ('id', 'height', 'width', 'length', 'file_names'),
    'annotations': ('id', 'video_id', 'category_id', 'iscrowd', 'segmentations', 'bboxes', 'areas'),
    'categories': ('id', 'name'),
}
for table, fields in FIELDS.items():
    for field in fields:
        for value in WRONG:
            arrange = annotate(
                lambda content, table=table, field=field, value=value: content[table][0].update({field: value})
            )
            add('annotations', f'{field} of {table}: {value!r}', arrange, YTVIS, right=EITHER)
for value in (
    '../../../../secret.txt',
    '/etc/passwd',
    'ant/../../../x.jpg',
    'a\0b',
    '',
    '\x1b[31m',
    'ant',
    3,
    None,
    [1],
):
    arrange = annotate(lambda content, value=value: content['videos'][0]['file_names'].__setitem__(0, value))
    add('annotations', f'file_names with {value!r}', arrange, YTVIS, right=EITHER)

SEGMENTS: dict[str, Any] = {
    'a polygon far outside': [[-1e9, -1e9, 1e9, -1e9, 1e9, 1e9, -1e9, 1e9]],
    'a polygon at infinity': [[float('inf'), 0.0, 9.0, 9.0, 0.0, 9.0]],
    'a polygon of no numbers': [[float('nan'), 0.0, 9.0, 9.0, 0.0, 9.0]],
    'a polygon of text': [['a', 'b', 'c', 'd', 'e', 'f']],
    'a polygon of one point': [[1, 1]],
    'a polygon of an odd number': [[1, 1, 5, 1, 5]],
    'no polygon': [],
    'an empty polygon': [[]],
    'a polygon beyond 64 bits': [[2**70, 0, 9, 9, 0, 9]],
    'a polygon of a million points': [[float(k % 50) for k in range(600_000)]],
    'ten thousand polygons': [[0, 0, 60, 0, 60, 60, 0, 60]] * 10_000,
    'a nested polygon': [[[1, 1, 5, 1, 5, 5]]],
    'runs that do not add up': {'size': [64, 96], 'counts': [1, 2, 3]},
    'runs below nothing': {'size': [64, 96], 'counts': [-5, 6149]},
    'runs beyond 64 bits': {'size': [64, 96], 'counts': [2**70]},
    'runs of fractions': {'size': [64, 96], 'counts': [0.5, 6143.5]},
    'runs of text': {'size': [64, 96], 'counts': ['a']},
    'runs of nothing': {'size': [64, 96], 'counts': []},
    'runs of another size': {'size': [96, 64], 'counts': [6144]},
    'runs of a huge size': {'size': [10**6, 10**6], 'counts': [10**12]},
    'runs of a size of nothing': {'size': [0, 0], 'counts': []},
    'runs without size': {'counts': [6144]},
    'runs without counts': {'size': [64, 96]},
    'compressed runs of other letters': {'size': [64, 96], 'counts': '\u89c6\u9891'},
    'compressed runs that do not add up': {'size': [64, 96], 'counts': 'PPP'},
    'compressed runs that never end': {'size': [64, 96], 'counts': 'o' * 100_000},
    'compressed runs of nothing': {'size': [64, 96], 'counts': ''},
    'a number': 3,
    'text': 'mask',
    'true': True,
}
for name, value in SEGMENTS.items():
    arrange = annotate(lambda content, value=value: content['annotations'][0]['segmentations'].__setitem__(1, value))
    add('masks of annotations', name, arrange, YTVIS, ANNOTATIONS, right=EITHER)
add('annotations', 'a frame that is not there', lambda: Path('ytvis/train/JPEGImages/ant/00005.jpg').unlink(), YTVIS)
add('annotations', 'a clip begun twice', lambda: None, CLIPS, YTVIS, right=WORKS)
