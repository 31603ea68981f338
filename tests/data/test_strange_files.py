"""Files that are not what they seem: turned, huge, endless, linked, missing, or called in another alphabet."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from basicsr_semantic.data import SemanticClipDataset
from basicsr_semantic.data.clip_folders import gaps_of_numbers
from basicsr_semantic.data.clips import ClipIndex
from basicsr_semantic.data.found_clips import clean_name, old_name
from basicsr_semantic.data.frame_reader import FrameReader
from basicsr_semantic.data.images import DamagedImageError, decode, header_size
from basicsr_semantic.data.prepare.clips import prepare_clips
from basicsr_semantic.data.prepare.input import find_source_clips
from basicsr_semantic.data.prepare.output import MANIFEST
from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.files import why_no_file


def write_clip(folder: Path, names: list[str], size: tuple[int, int] = (48, 64), suffix: str = '.png') -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        assert cv2.imwrite(str(folder / f'{name}{suffix}'), np.full((*size, 3), 10 + k, np.uint8))


def numbered(*numbers: int) -> list[str]:
    return [f'{number:08d}' for number in numbers]


# ------------------------------------------------------------------------------------------------------ orientation


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['TIFF', 'JPEG', 'PNG', 'WEBP', 'BMP'])
def test_sizes_by_header_and_by_decoding_agree(tmp_path, kind, orientation):
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    tags = {'TIFF': {'tiffinfo': {274: orientation}}, 'BMP': {}}.get(kind, {'exif': exif})
    Image.fromarray(pixels).save(tmp_path / 'a', kind, **tags)
    content = (tmp_path / 'a').read_bytes()
    assert header_size(content) == header_size(tmp_path / 'a') == decode(content).shape[:2]


def test_a_clip_of_turned_tiffs_is_one_clip(tmp_path):
    for k in range(2):
        (tmp_path / 'src/a').mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((48, 64, 3), 20 * k, np.uint8)).save(tmp_path / f'src/a/{k:05d}.tif', tiffinfo={274: 6})
    prepared = prepare_clips(tmp_path / 'src', tmp_path / 'dst')
    assert prepared.frames == 2 and not prepared.skipped
    assert prepared.clips['a'].gt_size == [64, 48]


# ------------------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ('name', 'clean'),
    [
        ('bear_01-+=@x', 'bear_01-+=@x'),
        ('my clip.v2', 'my_clip_v2'),
        ('100%', '100_'),
        ('視', '%E8%A6%96'),
        ('naïve', 'na%C3%AFve'),
        ('a—b', 'a_b'),
        ('\N{NO-BREAK SPACE}', '_'),
        ('\N{CLAPPER BOARD}', '%F0%9F%8E%AC'),
        ('\u0438/\u0451', '%D0%B8/%D1%91'),
        ('\u202eab', '_ab'),
        ('caf\udce9', 'caf%E9'),
    ],
)  # fmt: skip
def test_letters_of_every_alphabet_survive(name, clean):
    assert clean_name(name) == clean
    assert clean.isascii() and len(clean.split()) == 1


def test_two_clips_of_one_length_in_another_alphabet_are_two(tmp_path):
    names = ['\u89c6\u9891\u4e00', '\u89c6\u9891\u4e8c']
    for name in names:
        write_clip(tmp_path / 'src' / name, numbered(0, 1))
    prepared = prepare_clips(tmp_path / 'src', tmp_path / 'dst')
    assert set(prepared.clips) == {clean_name(name) for name in names}
    assert [clip.name for clip in ClipIndex.load(tmp_path / 'dst/gt.lmdb', 'lmdb')] == list(prepared.clips)
    reader = FrameReader(tmp_path / 'dst/gt.lmdb', {'type': 'lmdb'}, 'dataroot_gt')
    assert reader.read(f'{clean_name(names[0])}/00000001').shape == (48, 64, 3)
    reader.close()


def test_a_folder_begun_with_old_names_goes_on_with_them(tmp_path):
    write_clip(tmp_path / 'src/été', numbered(0, 1))
    prepare_clips(tmp_path / 'src', tmp_path / 'dst')
    manifest = tmp_path / 'dst' / MANIFEST
    manifest.write_text(manifest.read_text().replace(clean_name('été'), old_name('été')))
    (tmp_path / 'dst/unfinished.json').write_text(manifest.read_text())
    manifest.unlink()
    write_clip(tmp_path / 'src/naïve', numbered(0, 1))
    assert set(prepare_clips(tmp_path / 'src', tmp_path / 'dst').clips) == {'_t_', 'na%C3%AFve'}


# ------------------------------------------------------------------------------------------------------------- gaps


@pytest.mark.parametrize(
    ('names', 'gaps'),
    [
        (numbered(0, 1, 2, 4, 5), {3: '00000002 to 00000004'}),
        (numbered(5, 10, 15, 25, 30), {3: '00000015 to 00000025'}),
        (numbered(0, 1, 2, 10**7), {3: '00000002 to 10000000'}),
        (['im1', 'im2', 'im4'], {2: 'im2 to im4'}),
        (['a_1_x', 'a_2_x', 'a_3_x', 'a_7_x'], {3: 'a_3_x to a_7_x'}),
        (numbered(7), {}),
        (numbered(3, 4, 5), {}),
        (['1403636579763555584', '1403636579813555456', '1403636579863555584'], {}),
        (['left', 'right', 'up'], {}),
        (['a1', 'b2', 'a4'], {}),
        (['0', '1', 'cover'], {}),
        ([], {}),
    ],
)  # fmt: skip
def test_where_numbers_of_frames_jump(names, gaps):
    assert gaps_of_numbers(names) == gaps


def test_a_gap_cuts_the_clip_and_is_listed(tmp_path):
    write_clip(tmp_path / 'src/bear', numbered(0, 1, 2, 4, 5, 6, 7))
    prepared = prepare_clips(tmp_path / 'src', tmp_path / 'dst')
    assert {name: len(clip.frame_names) for name, clip in prepared.clips.items()} == {'bear': 3, 'bear_from_00004': 4}
    [skipped] = prepared.skipped
    assert skipped['source'] == 'bear, before 00000004.png'
    assert skipped['reason'] == 'missing: the numbers of the frames jump from 00000002 to 00000004'
    again = prepare_clips(tmp_path / 'src', tmp_path / 'dst')
    assert again.skipped == prepared.skipped
    with pytest.raises(UserError, match='--strict'):
        prepare_clips(tmp_path / 'src', tmp_path / 'other', strict=True)


# --------------------------------------------------------------------------------------------- links, pipes, devices


def test_what_is_no_file_is_listed_like_a_damaged_frame(tmp_path):
    write_clip(tmp_path / 'src/a', numbered(*range(8)))
    (tmp_path / 'src/a/00000008.png').symlink_to('/nonexistent')
    os.mkfifo(tmp_path / 'src/a/00000009.png')
    (tmp_path / 'src/a/00000010.png').symlink_to('/dev/zero')
    (tmp_path / 'src/b').mkdir()
    os.mkfifo(tmp_path / 'src/b/film.mp4')
    prepared = prepare_clips(tmp_path / 'src', tmp_path / 'dst')
    assert [(name, len(clip.frame_names)) for name, clip in prepared.clips.items()] == [('a', 8)]
    assert {one['source']: one['reason'] for one in prepared.skipped} == {
        'a/00000008.png': "it is a link to '/nonexistent', which is not there",
        'a/00000009.png': 'it is a pipe, not a file',
        'a/00000010.png': 'it is a device, not a file',
        'b/film.mp4': 'it is a pipe, not a file',
    }
    with pytest.raises(UserError, match=r"--strict: a/00000008\.png cannot be used: it is a link to '/nonexistent'"):
        prepare_clips(tmp_path / 'src', tmp_path / 'strict', strict=True)


def test_a_data_set_reads_no_pipe(tmp_path):
    write_clip(tmp_path / 'a', numbered(0))
    os.mkfifo(tmp_path / 'a/00000001.png')
    (tmp_path / 'a/00000002.png').symlink_to('/nonexistent')
    reader = FrameReader(tmp_path, {'type': 'disk'}, 'dataroot_gt')
    with pytest.raises(UserError, match=r'dataroot_gt: .*00000001\.png cannot be used: it is a pipe, not a file'):
        reader.read('a/00000001')
    with pytest.raises(UserError, match=r"00000002\.png cannot be used: it is a link to '/nonexistent'"):
        reader.read('a/00000002')


def test_links_never_make_two_clips_of_one_folder(tmp_path):
    write_clip(tmp_path / 'real/z', numbered(0, 1))
    (tmp_path / 'src').mkdir()
    (tmp_path / 'src/a').symlink_to(tmp_path / 'real/z')
    (tmp_path / 'src/b').symlink_to(tmp_path / 'real')
    (tmp_path / 'real/up').symlink_to(tmp_path / 'real')
    clips, left_out = find_source_clips(tmp_path / 'src')
    assert [clip.name for clip in clips] == ['a']
    assert ('b/z', "it is a link to 'a', which is taken already") in left_out
    assert [clip.name for clip in ClipIndex.load(tmp_path / 'src')] == ['a']
    write_clip(tmp_path / 'src/c', numbered(0, 1))
    (tmp_path / 'src/0').symlink_to(tmp_path / 'src/c')
    assert [clip.name for clip in find_source_clips(tmp_path / 'src')[0]] == ['a', 'c'], 'a folder before a link to it'


def test_a_folder_that_cannot_be_read_is_listed(tmp_path, monkeypatch):
    write_clip(tmp_path / 'src/a', numbered(0, 1))
    write_clip(tmp_path / 'src/b', numbered(0, 1))
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == 'b':
            raise PermissionError(13, 'Permission denied')
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    clips, left_out = find_source_clips(tmp_path / 'src')
    assert [clip.name for clip in clips] == ['a']
    assert left_out == [('b', 'the folder cannot be read: Permission denied')]
    with pytest.raises(UserError, match=r'b.: the folder cannot be read: Permission denied\. Make it readable'):
        ClipIndex.load(tmp_path / 'src')


def test_why_no_file(tmp_path):
    (tmp_path / 'a').touch()
    assert why_no_file(tmp_path / 'a') is None
    assert why_no_file(tmp_path) == 'it is a folder, not a file'
    assert why_no_file(tmp_path / 'none') == 'it cannot be read: No such file or directory'


# ------------------------------------------------------------------------------------------------------------- sizes


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes that says it has so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, 'big') + kind + content + zlib.crc32(kind + content).to_bytes(4, 'big')

    header = width.to_bytes(4, 'big') + height.to_bytes(4, 'big') + bytes([8, 2, 0, 0, 0])
    return (
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'0' * 64)) + chunk(b'IEND', b'')
    )


@pytest.mark.parametrize('size', [(30000, 30000), (2**31 - 1, 2**31 - 1), (10**6, 1000)])
def test_a_bomb_is_refused_by_its_header(tmp_path, size):
    content = png_bomb(*size)
    with pytest.raises(DamagedImageError, match=f'it has {size[0]}x{size[1]} pixels, more than the 100 megapixels'):
        decode(content)
    write_clip(tmp_path / 'src/a', numbered(0, 1))
    (tmp_path / 'src/a/00000002.png').write_bytes(content)
    prepared = prepare_clips(tmp_path / 'src', tmp_path / 'dst')
    assert prepared.frames == 2 and 'megapixels' in prepared.skipped[0]['reason']


@pytest.mark.parametrize('kind', ['JPEG', 'TIFF', 'BMP', 'WEBP'])
def test_the_limit_holds_for_every_format(kind):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((120, 100, 3), np.uint8)).save(buffer, kind)
    assert decode(buffer.getvalue(), 0.012).shape == (120, 100, 3)
    with pytest.raises(DamagedImageError, match=r'100x120 pixels, more than the 0\.0119 megapixels of max_megapixels'):
        decode(buffer.getvalue(), 0.0119)


def test_a_data_set_has_a_limit_of_its_own(tmp_path):
    write_clip(tmp_path / 'a', numbered(*range(3)), (64, 64))
    opt = {'name': 'x', 'type': 'SemanticClipDataset', 'dataroot_gt': str(tmp_path), 'degradation': 'BI', 'gt_size': 32}
    opt |= {'num_frame': 3, 'scale': 4, 'phase': 'train', 'io_backend': {'type': 'disk'}}
    assert SemanticClipDataset(dict(opt))[0]['gt'].shape[-1] == 32
    with pytest.raises(UserError, match=r'more than the 0\.001 megapixels of max_megapixels'):
        SemanticClipDataset(opt | {'max_megapixels': 0.001})[0]


# ------------------------------------------------------------------------------------------------------------- lists


def test_lists_may_begin_with_a_mark_of_utf_8(tmp_path):
    for clip in ('000', '001'):
        write_clip(tmp_path / clip, numbered(0, 1))
    (tmp_path / 'meta_info.txt').write_bytes(b'\xef\xbb\xbf000 2 (48,64,3)\n001 2 (48,64,3)\n')
    index = ClipIndex.load(tmp_path, 'disk', tmp_path / 'meta_info.txt')
    assert [clip.name for clip in index] == ['000', '001']


@pytest.mark.parametrize('which', ['lq', 'gt'])
def test_clips_shorter_than_their_list_are_refused_at_the_start(tmp_path, which):
    for clip in ('000', '001'):
        for side, size in (('gt', (64, 64)), ('lq', (16, 16))):
            write_clip(tmp_path / side / clip, numbered(*range(6 if (side, clip) == (which, '001') else 8)), size)
    (tmp_path / 'list.txt').write_text('000 8\n001 8\n')
    opt = {'name': 'x', 'type': 'SemanticClipDataset', 'gt_size': 32, 'num_frame': 3, 'scale': 4, 'phase': 'train'}
    opt |= {f'dataroot_{side}': str(tmp_path / side) for side in ('gt', 'lq')}
    with pytest.raises(
        UserError, match=r"clip '001' 8 frames, but '.*', with 6 images, has no frame 00000006 and lacks 2 in all"
    ):
        SemanticClipDataset(opt | {'meta_info_file': str(tmp_path / 'list.txt'), 'io_backend': {'type': 'disk'}})


@pytest.mark.parametrize(
    ('line', 'said'),
    [
        ('000 99999999999', 'a clip has 1 to 999999 frames, not 99999999999'),
        (f'000 {"9" * 5000}', 'a clip has 1 to 999999 frames'),
        ('000 0', 'a clip has 1 to 999999 frames, not 0'),
        ('000 -3', 'is not of the form'),
        ('000 1.5', 'is not of the form'),
        ('000 ٣', 'is not of the form'),
        ('../000 3', 'which leads out of a folder'),
        ('a/../../b', 'which leads out of a folder'),
        ('/', 'is empty'),
        ('a\x1b[31m 3', 'has invisible characters'),
    ],
)  # fmt: skip
def test_lines_of_wrong_numbers_and_names_are_one_sentence(tmp_path, line, said):
    (tmp_path / 'list.txt').write_text(f'{line}\n')
    with pytest.raises(UserError, match=f'list.txt., line 1: .*{said}'):
        ClipIndex.load(tmp_path, 'disk', tmp_path / 'list.txt')


@pytest.mark.parametrize(
    'template', ['{:0999999999d}', '{0.__class__}', '{:8x}', '{a}', '{', '{}{}', 'x', '{:*^99999d}', '{!r}']
)
def test_templates_that_are_no_number_are_one_sentence(tmp_path, template):
    write_clip(tmp_path / '000', numbered(0, 1))
    with pytest.raises(UserError, match=r'filename_tmpl: .* is not a format for one number'):
        ClipIndex.load(tmp_path, 'disk', filename_tmpl=template)
