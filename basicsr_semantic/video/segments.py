"""A video written as closed segments of a fixed number of frames, each a file, and joined without encoding again."""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.codec import Codec
from av.codec.context import Flags
from av.error import FFmpegError

from ..utils.errors import UserError, full_stop
from .sources import EXACT, Colour, Source, Timing

os.environ.setdefault('SVT_LOG', '1')  # errors alone: SVT-AV1 prints a page about every segment otherwise
PART = '.segment'
_WORST = 63
"""The largest constant quality of any encoder."""
_TRIED = 6
"""Frames of a video that is tried: enough for an encoder to write them in another order."""
_SIDE = 256
"""Of frames that every encoder takes."""
_DEFAULTS: dict[str, dict[str, str]] = {
    'libx264': {'crf': '17', 'preset': 'medium'},
    'libx265': {'crf': '19', 'preset': 'medium', 'x265-params': 'log-level=error'},
    'libvpx-vp9': {'crf': '20', 'b': '0', 'row-mt': '1', 'deadline': 'good', 'cpu-used': '4'},
    'libsvtav1': {'crf': '22', 'preset': '6'},
    'ffv1': {'level': '3', 'g': '1'},
    'prores_ks': {'profile': '3'},
}


@dataclass(frozen=True)
class Coding:
    """How a video is encoded.

    Attributes:
        codec: FFmpeg's name of the encoder.
        pix_fmt: Of the coded frames.
        options: Of the encoder.
        colour: How RGB becomes the coded numbers; kept as tags.
        aspect: Of a pixel.
        rotation: Degrees counter-clockwise that a player turns the frames by; they are turned back before.
        time_base: Seconds a tick.
        rate: Frames a second on average.
        tag: FourCC, where players ask for one.
    """

    codec: str = 'libx264'
    pix_fmt: str = 'yuv420p'
    options: Mapping[str, str] = field(default_factory=dict)
    colour: Colour = field(default_factory=Colour)
    aspect: Fraction = Fraction(1)
    rotation: int = 0
    time_base: Fraction = Fraction(1, 25)
    rate: Fraction = Fraction(25)
    tag: str | None = None

    @property
    def bits(self) -> int:
        """Of the coded numbers."""
        return max(component.bits for component in av.VideoFormat(self.pix_fmt).components)


def coding_for(
    source: Source, out: Path, codec: str | None = None, crf: float | None = None, pix_fmt: str | None = None
) -> Coding:
    """What plays everywhere and keeps the bits of the source: H.264, or H.265 for more than 8 bits.

    Args:
        source: What is restored.
        out: The file to write; WebM takes VP9.
        codec: An encoder of FFmpeg.
        crf: Constant quality, smaller is better; None: visually lossless.
        pix_fmt: Of the coded frames; None: 4:2:0 of the bits of the source.

    Raises:
        UserError: There is no such encoder or pixel format, or the format does not hold what the encoder writes.
    """
    deep = source.bits > 8
    chosen = codec or ('libvpx-vp9' if out.suffix == '.webm' else 'libx265' if deep else 'libx264')
    aliases = {'h264': 'libx264', 'avc': 'libx264', 'hevc': 'libx265', 'h265': 'libx265', 'vp9': 'libvpx-vp9'}
    chosen = aliases.get(chosen, {'av1': 'libsvtav1', 'prores': 'prores_ks'}.get(chosen, chosen))
    try:
        encoder = Codec(chosen, 'w')
    except (ValueError, FFmpegError):
        raise UserError(f'There is no encoder {chosen!r}; {", ".join(_DEFAULTS)} are common ones.') from None
    if encoder.type != 'video':
        raise UserError(f'{chosen} encodes {encoder.type}, no video.')
    known = [one.name for one in encoder.video_formats or ()]
    wanted = pix_fmt or next(
        (one for one in _formats(deep) if not known or one in known), known[0] if known else 'yuv420p'
    )
    if known and wanted not in known:
        raise UserError(f'{chosen} does not write {wanted}; it writes {", ".join(known[:12])}.')
    try:
        av.VideoFormat(wanted)
    except ValueError:
        raise UserError(f'There is no pixel format {wanted!r}.') from None
    options = dict(_DEFAULTS.get(chosen, {}))
    if crf is not None:
        if 'crf' not in options:
            raise UserError(f'{chosen} has no constant quality, so it takes no --crf.')
        if not 0 <= crf <= _WORST:
            raise UserError(f'--crf is a number from 0 to {_WORST}, smaller is better, not {crf:g}.')
        options['crf'] = f'{crf:g}'
    return Coding(
        chosen,
        wanted,
        options,
        source.colour,
        source.aspect,
        source.rotation,
        source.timing.time_base,
        source.timing.rate,
        'hvc1' if chosen == 'libx265' and out.suffix in ('.mp4', '.mov', '.m4v') else None,
    )


def _formats(deep: bool) -> tuple[str, ...]:
    return ('yuv420p10le', 'yuv422p10le') if deep else ('yuv420p', 'yuv422p10le')


class SegmentWriter:
    """Encodes the frames of one segment; the file has its name only when it is whole.

    A segment is the encoder's packets as they are. NUT and Matroska do not keep times of decoding, and MP4 moves them.

    Args:
        path: The file.
        coding: How.
        height: Of the frames as they come, upright.
        width: Of the frames as they come, upright.
    """

    def __init__(self, path: Path, coding: Coding, height: int, width: int) -> None:
        self.path, self.coding = path, coding
        self.partial = path.with_suffix('.partial')
        self._encoder: Any = av.CodecContext.create(coding.codec, 'w')
        _configure(self._encoder, coding, height, width)
        self._encoder.flags |= int(Flags.global_header)
        try:
            self._file = self.partial.open('wb')
        except OSError as error:
            raise _unwritten(self.partial, error) from error

    def write(self, image: np.ndarray, time: int) -> None:
        """Encode a frame.

        Args:
            image: (H, W, 3) RGB, uint8 or uint16, upright.
            time: In ticks of the time base.

        Raises:
            UserError: The file cannot be written.
        """
        turned = np.ascontiguousarray(np.rot90(image, -(self.coding.rotation // 90)))
        frame = av.VideoFrame.from_ndarray(turned, format='rgb48le' if image.dtype == np.uint16 else 'rgb24')
        colour = self.coding.colour
        frame = frame.reformat(
            format=self.coding.pix_fmt,
            dst_colorspace=colour.matrix,
            src_color_range=2,
            dst_color_range=1 if colour.limited else 2,
            interpolation=EXACT,
        )
        frame.color_range, frame.colorspace = 1 if colour.limited else 2, colour.matrix
        frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
        frame.pts, frame.time_base = time, self.coding.time_base
        self._encode(frame)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        try:
            for packet in self._encoder.encode(frame):
                head = _HEAD.pack(packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe, packet.size)
                self._file.write(head + bytes(packet))
        except OSError as error:
            raise _unwritten(self.path, error) from error

    def finish(self) -> None:
        """End the segment.

        Raises:
            UserError: The file cannot be written.
        """
        self._encode(None)
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self.partial.replace(self.path)
        except OSError as error:
            raise _unwritten(self.path, error) from error

    def abandon(self) -> None:
        """Leave nothing of it."""
        with contextlib.suppress(OSError):
            self._file.close()
        self.partial.unlink(missing_ok=True)


_HEAD = struct.Struct('<qqqBI')
"""Time shown, time of decoding, duration, whether a key frame, bytes that follow."""


def check_size(coding: Coding, height: int, width: int) -> None:
    """See whether the encoder takes frames of a size, before the first one is there.

    Raises:
        UserError: It does not.
    """
    if _opens(coding, height, width) is None:
        return
    if (error := _opens(coding, _SIDE, _SIDE)) is not None:  # it is not their size
        raise UserError(f'{coding.codec} does not write such a video here: {full_stop(error.strerror)}') from error
    raise UserError(
        f'{coding.codec} does not write frames of {width}x{height}. Give a folder as OUTPUT for PNG files, or another '
        'encoder.'
    )


def _opens(coding: Coding, height: int, width: int) -> FFmpegError | None:
    """What an encoder says against frames of a size."""
    encoder: Any = av.CodecContext.create(coding.codec, 'w')
    _configure(encoder, coding, height, width)
    try:
        encoder.open()
    except FFmpegError as error:
        return error
    return None


def check_container(coding: Coding, out: Path) -> None:
    """See by a few frames whether a format of files keeps what the encoder writes, and when each frame is shown.

    AVI, MPEG, ASF and FLV do not keep the times of H.264's frames, or what players need to decode them.

    Args:
        coding: How frames are encoded.
        out: The file that is to be written; its name alone is looked at.

    Raises:
        UserError: It does not.
    """
    unfit = UserError(
        f"{out}: a file {out.suffix} does not keep {coding.codec}'s frames and their times. Give a name with .mkv or "
        '.mp4, or another encoder.'
    )
    step = max(round(1 / (coding.rate * coding.time_base)), 1)
    wanted = [float(k * step * coding.time_base) for k in range(_TRIED)]
    with tempfile.TemporaryDirectory() as folder:
        part, tried = Path(folder) / f'tried{PART}', Path(folder) / f'tried{out.suffix}'
        writer = SegmentWriter(part, coding, _SIDE, _SIDE)
        for k in range(_TRIED):
            writer.write(np.full((_SIDE, _SIDE, 3), 40 * k, np.uint8), k * step)
        writer.finish()
        try:
            join([part], tried, coding, (_SIDE, _SIDE))
            with av.open(str(tried)) as container:
                found = [float(frame.time or 0) for frame in container.decode(video=0)]
        except (UserError, FFmpegError, IndexError) as error:
            raise unfit from error
    # formats count in their own ticks, a millisecond in Matroska; AVI begins a frame late
    if (
        len(found) != _TRIED
        or found[0] > wanted[1] + 0.002
        or any(abs(a - found[0] - b) > 0.002 for a, b in zip(found, wanted, strict=True))
    ):
        raise unfit


def _configure(encoder: Any, coding: Coding, height: int, width: int) -> None:
    """Set an encoder up; the same settings give the same headers."""
    if coding.rotation in (90, 270):
        height, width = width, height
    encoder.width, encoder.height, encoder.pix_fmt = width, height, coding.pix_fmt
    encoder.time_base, encoder.framerate = coding.time_base, coding.rate
    encoder.options = dict(coding.options)
    if coding.codec == 'libx264' and torch.backends.cpu.get_cpu_capability().startswith('AVX512'):
        # its AVX-512 gives the same frames other bytes from run to run, so a resumed video would not be the same
        encoder.options = {**coding.options, 'x264-params': 'asm=avx2'}
    encoder.sample_aspect_ratio = coding.aspect
    encoder.colorspace, encoder.color_range = coding.colour.matrix, 1 if coding.colour.limited else 2
    encoder.color_primaries, encoder.color_trc = coding.colour.primaries, coding.colour.transfer
    encoder.thread_count = 4  # x264 and x265 give other bytes with another number


def _unwritten(path: Path, error: OSError) -> UserError:
    return UserError(f'{path} could not be written: {full_stop(error.strerror or error)}')


def join(
    parts: Iterable[Path], out: Path, coding: Coding, size: tuple[int, int], source: Source | None = None
) -> list[str]:
    """Join segments, and add sound, subtitles and chapters of the source; nothing is encoded again.

    Args:
        parts: Segments in order.
        out: The file to write; replaced only by a whole one.
        coding: How they were encoded.
        size: (H, W) of the frames, upright.
        source: Whose other streams are kept; None: none.

    Returns:
        Sentences about what could not be kept.

    Raises:
        UserError: The format of ``out`` does not hold the video, or it cannot be written.
    """
    parts = list(parts)
    partial = out.with_name(f'.{out.stem}.partial{out.suffix}')
    remarks: list[str] = []
    options = {'movflags': 'faststart'} if out.suffix in ('.mp4', '.mov', '.m4v') else {}
    try:
        with av.open(str(partial), 'w', container_options=options) as container:
            stream = container.add_stream(coding.codec, rate=coding.rate)
            _configure(stream.codec_context, coding, *size)
            stream.time_base = coding.time_base
            if coding.tag:
                stream.codec_context.codec_tag = coding.tag
            if coding.rotation:
                stream.set_display_rotation(coding.rotation)
            end = _end(parts[-1], coding)
            others: Iterator[Any] = iter(())
            if source is not None and source.path is not None:
                others = _others(container, source.path, out, end, remarks)
            packets = _in_order(_video(parts, stream, coding), others)
            for packet in packets:
                container.mux_one(packet)
        partial.replace(out)
    except (FFmpegError, OSError, ValueError) as error:
        partial.unlink(missing_ok=True)
        text = str(getattr(error, 'strerror', None) or error)
        raise UserError(f'{out} could not be written: {full_stop(text)}') from error
    return remarks


def write_video(frames: Iterable[np.ndarray], out: Path, rate: int = 25) -> None:
    """Write frames (H, W, 3) uint8, RGB, as a video that plays everywhere; the last odd row and column are left out.

    Raises:
        UserError: The file cannot be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    part, writer, size = out.with_name(f'.{out.stem}{PART}'), None, (0, 0)
    source = Source(out.stem, 0, 0, None, lambda: iter(()), timing=Timing(Fraction(1, rate), Fraction(rate)))
    coding = coding_for(source, out)
    try:
        for time, image in enumerate(frames):
            if writer is None:
                size = (image.shape[0] // 2 * 2, image.shape[1] // 2 * 2)
                writer = SegmentWriter(part, coding, *size)
            writer.write(image[: size[0], : size[1]], time)
        if writer is None:
            raise UserError(f'{out} would have no frame.')
        writer.finish()
        join([part], out, coding, size)
    finally:
        if writer is not None:
            writer.abandon()
        part.unlink(missing_ok=True)


def _video(parts: Iterable[Path], stream: Any, coding: Coding) -> Iterator[Any]:
    """The packets of all segments; times of decoding go up over the joints, too."""
    last = None
    for part in parts:
        for packet in packets_of(part):
            packet.time_base = coding.time_base
            if last is not None and packet.dts <= last:
                packet.dts = last + 1
            last = packet.dts
            packet.stream = stream
            yield packet


def packets_of(part: Path) -> Iterator[Any]:
    """The packets of a segment.

    Raises:
        UserError: The file is cut short.
    """
    with part.open('rb') as file:
        while head := file.read(_HEAD.size):
            try:
                pts, dts, duration, is_key, size = _HEAD.unpack(head)
                packet = av.Packet(file.read(size))
            except struct.error:
                raise UserError(f'{part} is cut short; delete it.') from None
            if packet.size != size:
                raise UserError(f'{part} is cut short; delete it.')
            packet.pts, packet.dts, packet.duration, packet.is_keyframe = pts, dts, duration, bool(is_key)
            yield packet


def _end(part: Path, coding: Coding) -> Fraction:
    """Seconds at which the video ends."""
    return max(packet.pts for packet in packets_of(part)) * coding.time_base + 1 / coding.rate


def _others(container: Any, path: Path, out: Path, end: Fraction, remarks: list[str]) -> Iterator[Any]:
    """Add the other streams of a file to a container, and give their packets in order of time."""
    source = av.open(str(path))
    places = {}
    for stream in source.streams:
        if stream.type not in ('audio', 'subtitle'):
            continue
        name, as_text = stream.codec_context.name if stream.codec_context is not None else '?', False
        what = 'sound' if stream.type == 'audio' else 'subtitles'
        try:
            if stream.type == 'subtitle' and name in _TEXTS and out.suffix in ('.mp4', '.mov', '.m4v'):
                if name == 'mov_text':
                    added = container.add_stream_from_template(stream)
                else:
                    added = container.add_stream('mov_text')
                    added.codec_context.subtitle_header = _HEADER
                    as_text = True
            else:
                if (
                    name not in container.supported_codecs
                    and stream.codec.canonical_name not in container.supported_codecs
                ):
                    raise ValueError(name)
                added = container.add_stream_from_template(stream)
        except (ValueError, FFmpegError):
            remarks.append(f'The {what} ({name}) of {path.name} cannot be kept in {out.suffix}; .mkv takes them.')
            continue
        added.metadata.update(stream.metadata)
        places[stream.index] = added, name if as_text else None
    container.metadata.update({key: value for key, value in source.metadata.items() if key in _KEPT})
    if chapters := source.chapters():
        container.set_chapters(chapters)
    return _packets(source, places, end)


_TEXTS = ('subrip', 'srt', 'ass', 'ssa', 'webvtt', 'text', 'mov_text')
_KEPT = ('title', 'artist', 'comment', 'date', 'creation_time', 'copyright', 'description', 'language')
_HEADER = b'[Script Info]\r\nScriptType: v4.00+\r\n\r\n[Events]\r\n'


def _packets(source: Any, places: Mapping[int, Any], end: Fraction) -> Iterator[Any]:
    with source:
        for packet in source.demux(*(source.streams[index] for index in places)) if places else ():
            if packet.pts is None or packet.size == 0:
                continue
            if packet.pts * packet.time_base >= end:
                continue
            added, text = places[packet.stream_index]
            if text is not None:
                packet = _mov_text(packet, text)
            packet.stream = added
            yield packet


def _mov_text(packet: Any, name: str) -> Any:
    """A text subtitle as MP4 keeps it: its length in two bytes, and the text."""
    text = bytes(packet)
    if name in ('ass', 'ssa'):
        text = text.split(b',', 8)[-1].replace(b'\\N', b'\n')
    new = av.Packet(len(text).to_bytes(2, 'big') + text)
    new.pts, new.dts, new.duration, new.time_base = packet.pts, packet.pts, packet.duration, packet.time_base
    return new


def _in_order(video: Iterator[Any], others: Iterator[Any]) -> Iterator[Any]:
    """Packets of both by the time of their decoding."""

    def seconds(packet: Any) -> float:
        return float((packet.dts if packet.dts is not None else packet.pts) * packet.time_base)

    left, right = next(video, None), next(others, None)
    while left is not None or right is not None:
        if right is None or (left is not None and seconds(left) <= seconds(right)):
            yield left
            left = next(video, None)
        else:
            yield right
            right = next(others, None)
