"""Frames, videos, folders of them, lists of clips, and what clips are called."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from fault import (
    CLIPS,
    DISK,
    EITHER,
    NO_FILES,
    REFUSED,
    REGIONS,
    TEST_DISK,
    WORKS,
    YTVIS,
    add,
    change,
    instead,
    spoil,
    write,
)
from PIL import Image

# ------------------------------------------------------------------------------------------------------ single frames

GT, LQ = 'frames/gt/000/00000002.png', 'frames/lq/000/00000001.png'
JPEG = 'ytvis/train/JPEGImages/ant/00005.jpg'


def picture(kind: str, size: tuple[int, int] = (64, 64), mode: str = 'RGB', **how: object) -> bytes:
    """A picture of that format, of width and height, as bytes."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **how)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def png(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG of few bytes that says it has so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))

    header = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)
    body = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'0' * 64)) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + body


def says_size(content: bytes, width: int, height: int) -> bytes:
    """A BMP or TIFF whose header says it is larger."""
    if content[:2] == b'BM':
        return content[:18] + struct.pack('<ii', width, height) + content[26:]
    image = bytearray(content)
    first = struct.unpack('<I', content[4:8])[0]
    for k in range(struct.unpack('<H', content[first : first + 2])[0]):
        place = first + 2 + 12 * k
        tag = struct.unpack('<H', content[place : place + 2])[0]
        if tag in (256, 257):
            image[place + 2 : place + 12] = struct.pack('<HII', 4, 1, width if tag == 256 else height)
    return bytes(image)


DAMAGED: dict[str, bytes] = {
    'nothing': b'',
    'text': b'no picture\n',
    'zeros': b'\0' * 1000,
    'a PNG of its first 8 bytes': png(64, 64)[:8],
    'a PNG cut in its header': png(64, 64)[:20],
    'a PNG without pixels': png(64, 64),
    'half a PNG': picture('PNG')[:3000],
    'half a JPEG': picture('JPEG')[:1000],
    'half a TIFF': picture('TIFF')[:3000],
    'half a WEBP': picture('WEBP')[:800],
    'half a BMP': picture('BMP')[:3000],
    'a PNG of 900 megapixels': png(30000, 30000),
    'a PNG of 2^62 pixels': png(2**31 - 1, 2**31 - 1),
    'a PNG of no pixels': png(0, 64),
    'a PNG of unknown colours': png(64, 64, 7, 9),
    'a BMP of 2^50 pixels': says_size(picture('BMP'), 2**25, 2**25),
    'a BMP of minus many pixels': says_size(picture('BMP'), -5, -(2**31)),
    'a TIFF of 2^50 pixels': says_size(picture('TIFF'), 2**25, 2**25),
    'a picture of another size': picture('PNG', (32, 48)),
    'a large picture': picture('PNG', (256, 192)),
    'an SVG': b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
    'a PDF': b'%PDF-1.4\n%%EOF\n',
    'an archive': b'PK\x05\x06' + b'\0' * 18,
}
for name, content in DAMAGED.items():
    # prepare leaves such frames out and lists them; a training needs the frame that it draws, a test all of them
    add('frames that are none', f'{name} for a GT frame', write(GT, content), CLIPS, right=WORKS)
    add(
        'frames that are none', f'{name} for a GT frame', write(GT, content), f'{CLIPS} --strict', says=r'00000002\.png'
    )
    other_size = name in ('a picture of another size', 'a large picture')
    add('frames that are none', f'{name} for an LQ frame', write(LQ, content), TEST_DISK, says='00000001')
    right = WORKS if other_size else REFUSED  # masks may be of frames of any size
    add('frames that are none', f'{name} for an LQ frame', write(LQ, content), REGIONS, right=right, says='00000001')
    add('frames that are none', f'{name} for a frame of YouTube-VIS', write(JPEG, content), YTVIS, right=EITHER)
    first = write('frames/lq/000/00000000.png', content)
    add('frames that are none', f'{name} for the first LQ frame', first, DISK, right=EITHER)

SOUND: dict[str, bytes] = {
    'a JPEG called PNG': picture('JPEG'),
    'a BMP called PNG': picture('BMP'),
    'a TIFF called PNG': picture('TIFF'),
    'a WEBP called PNG': picture('WEBP'),
    'a grey picture': picture('PNG', mode='L'),
    'a picture with transparency': picture('PNG', mode='RGBA'),
    'a picture with a palette': picture('PNG', mode='P'),
    'a picture of two colours': picture('PNG', mode='1'),
    'a JPEG of four colours': picture('JPEG', mode='CMYK'),
    'an interlaced picture': picture('PNG', interlace=1),
    'a progressive JPEG': picture('JPEG', progressive=True),
    'a turned JPEG': picture('JPEG', exif=b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'),
    'a picture with bytes behind it': picture('PNG') + b'more',
    'a picture of 16 bits': cv2.imencode('.png', np.full((64, 64, 3), 30000, np.uint16))[1].tobytes(),
}
for name, content in SOUND.items():
    add('frames of other forms', name, write(GT, content), CLIPS, f'{CLIPS} --strict', right=WORKS)
for name, make in NO_FILES.items():
    add('no regular file', f'{name} as a GT frame', instead(GT, make), CLIPS, right=WORKS)
    if name != 'a folder':
        add('no regular file', f'{name} as a GT frame', instead(GT, make), f'{CLIPS} --strict', says=r'00000002\.png')
        add('no regular file', f'{name} as an LQ frame', instead(LQ, make), REGIONS, TEST_DISK, says='00000001')
    add('no regular file', f'{name} as a frame of YouTube-VIS', instead(JPEG, make), YTVIS, right=EITHER)

# ------------------------------------------------------------------------------------------------------------- videos

for name, content in DAMAGED.items():
    for suffix in ('mp4', 'avi'):
        video = write(f'frames/gt/film.{suffix}', content)
        add('videos that are none', f'{name} called {suffix}', video, CLIPS, right=WORKS)
for name, make in NO_FILES.items():
    if name != 'a folder':
        add('no regular file', f'{name} as a video', instead('frames/gt/film.mp4', make), CLIPS, right=WORKS)

# ------------------------------------------------------------------------------------------------------------ folders


def empty(folder: str) -> Callable[[], None]:
    """A function that leaves a folder without anything in it."""
    return instead(folder, Path.mkdir)


def rename(before: str, after: str | bytes) -> Callable[[], None]:
    """A function that renames a file or folder; the new name may be bytes that are no text."""
    parent = os.fsencode(str(Path(before).parent))
    return lambda: os.rename(before, os.path.join(parent, os.fsencode(after)))  # noqa: PTH104, PTH118


def deep() -> None:
    """A clip 60 folders down."""
    shutil.move('frames/gt/000', f'frames/gt/{"/".join("d" * 60)}')


FOLDERS: dict[str, tuple[Callable[[], object], str]] = {
    'no clips': (empty('frames/gt'), REFUSED),
    'a clip without frames': (empty('frames/gt/000'), WORKS),
    'a clip deep down': (deep, WORKS),
    'a clip of one frame': (lambda: [path.unlink() for path in sorted(Path('frames/gt/000').iterdir())[1:]], WORKS),
    'a gap in the numbers': (lambda: Path(GT).unlink(), WORKS),
    'frames next to clips': (lambda: shutil.copy(GT, 'frames/gt/00000000.png'), EITHER),
    'text next to frames': (write('frames/gt/000/notes.txt', 'notes'), WORKS),
    'a hidden file next to frames': (write('frames/gt/000/.DS_Store', b'\0\0'), WORKS),
    'a clip that links to itself': (lambda: Path('frames/gt/000/more').symlink_to('../000'), WORKS),
    'a clip that links to all': (lambda: Path('frames/gt/zzz').symlink_to('.'), WORKS),
    'two links in a circle': (
        lambda: [Path(f'frames/gt/{a}').symlink_to(b) for a, b in (('p', 'q'), ('q', 'p'))],
        EITHER,
    ),
    'a link to nothing among the clips': (lambda: Path('frames/gt/zzz').symlink_to('/nonexistent'), EITHER),
    'a pipe among the clips': (lambda: os.mkfifo('frames/gt/zzz'), EITHER),
    'frames of the same number': (lambda: shutil.copy(GT, 'frames/gt/000/2.png'), EITHER),
    'frames of the same name': (lambda: shutil.copy(GT, GT.replace('png', 'jpg')), EITHER),
    'a very long number': (rename(GT, '9' * 200 + '.png'), EITHER),
    'a number of other digits': (rename(GT, '\u0662.png'), EITHER),
}
for name, (arrange, right) in FOLDERS.items():
    add('folders of frames', name, arrange, CLIPS, right=right)
    add('folders of frames', name, arrange, DISK, right=EITHER)

NAMES = {
    'Chinese': '\u89c6\u9891',
    'Arabic': '\u0641\u064a\u062f\u064a\u0648',
    'Cyrillic': '\u0432\u0438\u0434\u0435\u043e',
    'accents': 'na\u00efve',
    'accents apart': 'nai\u0308ve',
    'emoji': '\U0001f3ac',
    'spaces': 'my clip',
    'quotes': 'it\'s "mine"',
    'a percent sign': '100%E8',
    'a line break': 'a\nb',
    'a tab': 'a\tb',
    'control characters': 'a\x1b[31mb',
    'turned writing': 'a\u202eb',
    'no text': b'caf\xe9',
    'a dash': '-rf',
    'a tilde': '~root',
    'dots': '...',
    'a backslash': 'a\\b',
    'brackets': '{0.__class__}',
    'a dollar sign': '$(touch hacked)',
    'a very long name': 'a' * 250,
    'a long name of three bytes each': '\u89c6' * 80,
    'the name of a list': 'meta_info.txt',
    'the name of an LMDB': 'gt.lmdb',
    'the name of a device': 'CON',
    'a number sign': '#1',
    'two spaces': 'a  b',
    'a colon': 'a:b',
    'a comma and parentheses': '(1,2,3)',
}
for name, after in NAMES.items():
    arrange = rename('frames/gt/000', after)
    add('names of clips', f'{name}: {after!r:.40}', arrange, CLIPS, f'{CLIPS} --verify', right=WORKS)

    def both(after: str | bytes = after) -> None:
        for side in ('gt', 'lq'):
            rename(f'frames/{side}/000', after)()
        for file in ('disk.yml', 'test_disk.yml'):
            change(file, 'datasets:train:meta_info_file' if file == 'disk.yml' else 'datasets:test:meta_info_file')()
            if file == 'disk.yml':
                change(file, 'datasets:val:meta_info_file')()

    add('names of clips', f'{name}: {after!r:.40}', both, REGIONS, TEST_DISK, right=EITHER)
    frame = rename(GT, after + (b'.png' if isinstance(after, bytes) else '.png'))
    add('names of frames', f'{name}: {after!r:.40}', frame, CLIPS, right=WORKS)

# ----------------------------------------------------------------------------------------------------- lists of clips

LISTS: dict[str, bytes] = {
    'nothing': b'',
    'empty lines': b'\n\n \n',
    'a clip that is not there': b'000 5\n777 5\n',
    'a clip twice': b'000 5\n000 5\n',
    'no frames': b'000 0\n',
    'minus frames': b'000 -5\n',
    'a fraction of frames': b'000 2.5\n',
    'too many frames': b'000 50\n',
    'far too many frames': b'000 99999999999999\n',
    'a number of 5000 digits': b'000 ' + b'9' * 5000 + b'\n',
    'a word for a number': b'000 five\n',
    'a path upwards': b'../gt/000 5\n',
    'a path to here': b'. 5\n',
    'a zero byte': b'00\x000 5\n',
    'no UTF-8': b'00\xff 5\n',
    'UTF-16': '000 5\n'.encode('utf-16'),
    'control characters': b'00\x1b[31m0 5\n',
    'turned writing': '00\u202e0 5\n'.encode(),
    'a line of a megabyte': b'0' * 1_000_000 + b' 5\n',
    'a picture': picture('PNG'),
    'JSON': b'{"000": 5}\n',
    'words more': b'000 five (64,64,3) and more\n',
}
for name, content in LISTS.items():
    add('lists of clips', name, write('list.txt', content), DISK, TEST_DISK, says='list')
for name, content in {
    'a mark of UTF-8': b'\xef\xbb\xbf000 5 (64,64,3)\n001 5 (64,64,3)\n',
    'lines of Windows': b'000 5 (64,64,3)\r\n001 5 (64,64,3)\r\n',
    'no last line end': b'000 5 (64,64,3)\n001 5 (64,64,3)',
    'names alone': b'000\n001\n',
    'paths from the root, which is that of the frames': b'/000 5\n/001 5\n',
    'spaces at the end': b'000 5  \n001 5\t\n',
    'fewer frames than there are': b'000 4 (64,64,3)\n001 4 (64,64,3)\n',
}.items():
    add('lists of clips', name, write('list.txt', content), DISK, TEST_DISK, right=WORKS)
for name, make in NO_FILES.items():
    add('no regular file', f'{name} as a list', instead('list.txt', make), DISK, TEST_DISK, says='list')
for template in (
    '{:0999999999d}', '{0.__class__}', '{:8x}', '{a}', '{', '{}{}', 'x', '{:*^99999d}', '{!r}', '../{:08d}', '/{:08d}',
    '{:08d}.png', '\x1b{:08d}', '', 'a' * 5000 + '{:08d}',
):  # fmt: skip
    how = change('disk.yml', 'datasets:train:filename_tmpl', template)
    right = EITHER if template == '{:08d}.png' or template == '' else REFUSED
    add('lists of clips', f'filename_tmpl {template[:30]!r}', how, DISK, right=right)
add('folders of frames', 'LQ shorter than GT', lambda: Path('frames/lq/001/00000004.png').unlink(), DISK, says='001')
add('folders of frames', 'GT shorter than LQ', lambda: Path('frames/gt/001/00000004.png').unlink(), DISK, says='001')
add('folders of frames', 'LQ without a clip', lambda: shutil.rmtree('frames/lq/001'), DISK, TEST_DISK, says='001')
add('folders of frames', 'LQ as large as GT', lambda: shutil.copy(GT, LQ), TEST_DISK, says='00000001')
add('folders of frames', 'LQ of other frames', spoil('list.txt', lambda _: b'000 9\n'), DISK, says='000')
