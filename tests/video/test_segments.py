"""Segments: joined without encoding again; every frame once, with sound, times, colours and rotation of the source."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from helpers.coded_videos import decoded, moving_frames, seconds_of, write_video

from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.video.segments import PART, SegmentWriter, coding_for, join, packets_of
from basicsr_semantic.video.sources import open_source


def through(source, out, length=4, **choices):
    """Encode the frames of a source in segments, join them, and give the remarks."""
    coding, parts, writer = coding_for(source, out, **choices), [], None
    folder = out.parent / 'parts'
    folder.mkdir(exist_ok=True)
    for k, frame in enumerate(source.read()):
        if k % length == 0:
            if writer is not None:
                writer.finish()
            parts.append(folder / f'{k:06d}{PART}')
            writer = SegmentWriter(parts[-1], coding, source.height, source.width)
        writer.write(frame.image, frame.time)
    writer.finish()
    return join(parts, out, coding, (source.height, source.width), source)


def streams_of(path):
    with av.open(str(path)) as container:
        # MP4 keeps chapters as a stream of data, too
        return [(one.type, one.codec_context.name) for one in container.streams if one.type != 'data']


@pytest.mark.parametrize('ending', ['mp4', 'mkv', 'mov', 'webm'])
def test_every_frame_is_there_once_and_in_order(tmp_path, ending):
    frames = moving_frames(18)
    source = open_source(write_video(tmp_path / 'a.mp4', frames))
    out = tmp_path / f'out.{ending}'
    assert through(source, out, 5) == []
    made = decoded(out)
    assert len(made) == 18 and seconds_of(out) == pytest.approx([k / 25 for k in range(18)], abs=1e-3)
    nearest = [int(np.argmin([np.abs(image.astype(int) - frame).mean() for frame in frames])) for image in made]
    assert nearest == list(range(18))


def test_av1_is_written_without_a_page_about_every_segment(tmp_path, capfd):
    source = open_source(write_video(tmp_path / 'a.mp4', moving_frames(6, 64, 64)))
    assert through(source, tmp_path / 'out.mkv', 3, codec='av1') == []
    assert len(decoded(tmp_path / 'out.mkv')) == 6 and 'Svt' not in capfd.readouterr().err


@pytest.mark.parametrize(('ending', 'base'), [('mp4', Fraction(1, 600)), ('mkv', Fraction(1, 1000))])
def test_variable_times_are_kept(tmp_path, ending, base):
    times = [0, 20, 21, 60, 61, 62, 100, 160, 161, 200, 300]
    source = open_source(write_video(tmp_path / 'a.mp4', moving_frames(11), times=times, time_base=base))
    through(source, tmp_path / f'out.{ending}', 3)
    assert seconds_of(tmp_path / f'out.{ending}') == pytest.approx([float(k * base) for k in times], abs=1e-3)


@pytest.mark.parametrize('matrix', [1, 6])
@pytest.mark.parametrize('pix_fmt', ['yuv444p', 'yuvj444p'])
def test_colours_are_tagged_and_come_back(tmp_path, matrix, pix_fmt):
    frames = moving_frames(4)
    tags = {'colorspace': matrix, 'color_primaries': matrix, 'color_trc': matrix}
    source = open_source(write_video(tmp_path / 'a.mkv', frames, pix_fmt=pix_fmt, **tags))
    through(source, tmp_path / 'out.mkv', pix_fmt='yuv444p', crf=1)
    again = open_source(tmp_path / 'out.mkv')
    assert again.colour == source.colour
    error = next(again.read()).image.astype(int) - next(source.read()).image
    assert abs(error.mean()) < 0.5 and np.abs(error).mean() < 2


def test_ten_bits_and_their_tags_stay(tmp_path):
    tags = {'colorspace': 9, 'color_primaries': 9, 'color_trc': 16}  # BT.2020, PQ
    frames = moving_frames(4, top=65535)
    source = open_source(write_video(tmp_path / 'a.mkv', frames, codec='libx265', pix_fmt='yuv420p10le', **tags))
    through(source, tmp_path / 'out.mp4')
    again = open_source(tmp_path / 'out.mp4')
    assert again.bits == 16 and again.colour == source.colour and again.colour.transfer == 16
    assert streams_of(tmp_path / 'out.mp4') == [('video', 'hevc')]


@pytest.mark.parametrize('rotation', [0, 90, 180, 270])
def test_rotation_and_pixel_aspect_stay(tmp_path, rotation):
    frames = moving_frames(5, 16, 32)
    path = write_video(tmp_path / 'a.mp4', frames, rotation=rotation, sample_aspect_ratio=Fraction(4, 3))
    source = open_source(path)
    through(source, tmp_path / 'out.mp4')
    again = open_source(tmp_path / 'out.mp4')
    assert (again.rotation, again.aspect, again.height) == (rotation, Fraction(4, 3), source.height)
    assert np.abs(next(again.read()).image.astype(int) - next(source.read()).image).mean() < 6  # 4:2:0


@pytest.mark.parametrize('ending', ['mp4', 'mkv'])
def test_sound_subtitles_and_chapters_come_along(tmp_path, ending):
    path = write_video(tmp_path / 'a.mkv', moving_frames(50), sound=True, subtitles=True)
    chapter = {'id': 1, 'start': 0, 'end': 1000, 'time_base': Fraction(1, 1000), 'metadata': {'title': 'One'}}
    with av.open(str(path)) as container, av.open(str(tmp_path / 'b.mkv'), 'w') as copy:
        places = {stream.index: copy.add_stream_from_template(stream) for stream in container.streams}
        copy.set_chapters([chapter])
        for packet in container.demux():
            if packet.size:
                packet.stream = places[packet.stream_index]
                copy.mux(packet)
    out = tmp_path / f'out.{ending}'
    assert through(open_source(tmp_path / 'b.mkv'), out, 20) == []
    text = 'mov_text' if ending == 'mp4' else 'srt'
    assert streams_of(out) == [('video', 'h264'), ('audio', 'aac'), ('subtitle', text)]
    with av.open(str(tmp_path / 'b.mkv')) as before, av.open(str(out)) as after:
        assert [one['metadata'] for one in after.chapters()] == [{'title': 'One'}]
        sound = [np.concatenate([f.to_ndarray()[0] for f in one.decode(audio=0)]) for one in (before, after)]
        assert np.array_equal(*(one[: 48000 * 2] for one in sound))
    with av.open(str(out)) as after:
        assert b'Hello' in b''.join(bytes(packet) for packet in after.demux(subtitles=0))


def test_what_a_format_cannot_hold_is_said(tmp_path):
    source = open_source(write_video(tmp_path / 'a.mkv', moving_frames(4), sound=True))
    assert through(source, tmp_path / 'out.webm') == [
        'The sound (aac) of a.mkv cannot be kept in .webm; .mkv takes them.'
    ]


def test_the_same_frames_give_the_same_bytes(tmp_path):
    source = open_source(write_video(tmp_path / 'a.mp4', moving_frames(9)))
    for name in ('one', 'two'):
        (tmp_path / name).mkdir()
        through(source, tmp_path / name / 'out.mp4')
    assert (tmp_path / 'one' / 'out.mp4').read_bytes() == (tmp_path / 'two' / 'out.mp4').read_bytes()


@pytest.mark.parametrize(
    ('choices', 'sentence'),
    [
        ({'codec': 'nonsense'}, "There is no encoder 'nonsense'"),
        ({'codec': 'aac'}, 'aac encodes audio, no video'),
        ({'pix_fmt': 'rgb24'}, 'libx264 does not write rgb24; it writes yuv'),
        ({'codec': 'prores_ks', 'crf': 20}, 'prores_ks has no constant quality'),
    ],
)
def test_what_cannot_be_encoded_is_one_sentence(tmp_path, choices, sentence):
    source = open_source(write_video(tmp_path / 'a.mp4', moving_frames(1)))
    with pytest.raises(UserError, match=sentence):
        coding_for(source, tmp_path / 'out.mp4', **choices)


def test_a_segment_has_its_name_only_when_it_is_whole(tmp_path):
    source = open_source(write_video(tmp_path / 'a.mp4', moving_frames(3)))
    writer = SegmentWriter(tmp_path / f'x{PART}', coding_for(source, tmp_path / 'o.mp4'), 24, 32)
    writer.write(next(source.read()).image, 0)
    assert not (tmp_path / f'x{PART}').exists()
    writer.abandon()
    assert not list(tmp_path.glob('x*'))
    (tmp_path / f'cut{PART}').write_bytes(b'12345')
    with pytest.raises(UserError, match='is cut short'):
        list(packets_of(tmp_path / f'cut{PART}'))
