"""Where frames come from: a video, an image, a folder of images, or an LMDB; each gives its frames once, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import EOFError as EndOfFileError
from av.error import FFmpegError
from av.video.reformatter import Interpolation

from ..data.videos import is_video
from ..utils.errors import UserError, full_stop
from ..utils.files import why_no_file
from ..utils.limits import MAX_MEGAPIXELS
from ..utils.printing import complain
from .frame_file import eight_bits, sixteen_bits

UNSPECIFIED = 2
"""FFmpeg's number for a matrix, primaries or a transfer function that a file does not name."""
BT709, SMPTE170M, RGB = 1, 6, 0
"""FFmpeg's numbers of matrices."""
_ALPHA = 'has an alpha channel, which is left out.'
_LOOKED_AT = 9
"""Images of a clip that are read to know its bits."""


@dataclass(frozen=True)
class Timing:
    """When the frames of a video are shown.

    Attributes:
        time_base: Seconds a tick.
        rate: Frames a second on average.
    """

    time_base: Fraction = Fraction(1, 25)
    rate: Fraction = Fraction(25)


@dataclass(frozen=True)
class Colour:
    """How a video's numbers stand for colours, in FFmpeg's numbers.

    Attributes:
        matrix: Between RGB and YCbCr; never unspecified.
        limited: Whether luma is in 16..235.
        primaries: As tagged.
        transfer: As tagged.
    """

    matrix: int = BT709
    limited: bool = True
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED


@dataclass(frozen=True)
class TimedFrame:
    """A decoded frame.

    Attributes:
        image: (h, w, 3) uint8, or uint16 over the whole range, RGB, upright.
        time: When it is shown, in ticks of the source's time base.
    """

    image: np.ndarray
    time: int


@dataclass
class Source:
    """What is to be restored.

    Attributes:
        name: Of the clip.
        height: Of its frames, upright.
        width: Of its frames, upright.
        frames: How many are announced; None where nothing says so.
        bits: 8, or 16 for frames of more than 8 bits.
        timing: When they are shown.
        colour: How they were coded.
        rotation: Degrees counter-clockwise by which a player turns the coded frames.
        aspect: Of a coded pixel, width to height.
        path: The file, where it is a video, whose other streams are kept.
        names: Names of the frames, where they have some.
        remarks: What should be said before it begins.
        read: Gives the frames.
    """

    name: str
    height: int
    width: int
    frames: int | None
    read: Callable[[], Iterator[TimedFrame]]
    bits: int = 8
    timing: Timing = field(default_factory=Timing)
    colour: Colour = field(default_factory=Colour)
    rotation: int = 0
    aspect: Fraction = Fraction(1)
    path: Path | None = None
    names: list[str] | None = None
    remarks: list[str] = field(default_factory=list)


def open_source(path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> Source:
    """Open an input.

    Args:
        path: A video, an image, a folder of images, or an LMDB of one clip.
        max_megapixels: Larger frames are refused.

    Raises:
        UserError: It is none of these, or cannot be read.
    """
    if path.is_dir():
        return _open_images(path, max_megapixels)
    if (wrong := why_no_file(path)) is not None:
        raise UserError(f'{path} is no input: {wrong}.')
    if is_video(path.name):
        return open_video(path, max_megapixels)
    return _open_images(path, max_megapixels)


def _open_images(path: Path, max_megapixels: float) -> Source:
    """An image, a folder of images, or an LMDB; all of one size."""
    from ..data.clip_folders import frame_names_of_folder, image_files, is_image
    from ..data.clips import ClipIndex
    from ..data.frame_reader import FrameReader
    from ..data.images import DamagedImageError, decode, has_alpha

    if path.is_file():
        try:
            content = path.read_bytes()
            image = decode(content, max_megapixels, deep=True)
        except DamagedImageError as error:
            raise UserError(f'{path} is neither a video nor an image that can be read: {full_stop(error)}') from error
        frames = [TimedFrame(np.ascontiguousarray(image[..., ::-1]), 0)]
        (height, width), bits = image.shape[:2], 8 * image.dtype.itemsize
        remarks = [f'{path} {_ALPHA}'] * has_alpha(content)
        return Source(path.stem, height, width, 1, lambda: iter(frames), bits, names=[path.stem], remarks=remarks)
    lmdb = (path / 'data.mdb').is_file()
    reader = FrameReader(path, {'type': 'lmdb' if lmdb else 'disk'}, 'INPUT', max_megapixels, deep=True)
    if not lmdb and any(is_image(one.name) and not one.is_dir() for one in path.iterdir()):
        # the folder alone is looked at, whatever is in it or next to it; missing numbers do not end a clip
        name = path.resolve().name
        keys = list(frame_names_of_folder(name, image_files(path, name)))
    else:
        clips = ClipIndex.load(path, reader.backend, max_megapixels=max_megapixels)
        clips = [clip for clip in clips if clip.keys]
        if len(clips) != 1:
            listed = ', '.join(clip.name for clip in clips[:5])
            raise UserError(f'{path} holds {len(clips)} clips ({listed}); give one of them.' if clips else
                            f'{path} has no images.')  # fmt: skip
        name, keys = clips[0].name, list(clips[0].keys)
    height, width = reader.read(keys[0]).shape[:2]
    # some programs write a black frame of a clip of 16 bits with 8, so that the first one alone does not tell
    some = {keys[int(k)] for k in np.linspace(0, len(keys) - 1, _LOOKED_AT)}
    bits = max(8 * reader.read(key).dtype.itemsize for key in some)
    content = reader.content(keys[0])
    remarks = [f'{keys[0]} {_ALPHA}'] * (content is not None and has_alpha(content))

    def read() -> Iterator[TimedFrame]:
        told = False
        for time, key in enumerate(keys):
            image = reader.read(key)
            if image.shape[:2] != (height, width):
                raise UserError(
                    f'{key} is {image.shape[1]}x{image.shape[0]}, but the frames before it are {width}x{height}. '
                    'Frames of a clip have one size.'
                )
            if image.dtype.itemsize * 8 > bits and not told:
                complain(f'{key} has 16 bits, and frames before it 8; all are restored with 8.')
                told = True
            image = sixteen_bits(image) if bits > 8 else eight_bits(image)
            yield TimedFrame(np.ascontiguousarray(image[..., ::-1]), time)

    names = [key.rpartition('/')[2] for key in keys]
    return Source(name, height, width, len(keys), read, bits, names=names, remarks=remarks)


def open_video(path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> Source:
    """Open the first video stream of a file.

    Raises:
        UserError: It cannot be opened, has no video or no frame that can be decoded, or frames that are too large.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                kinds = ', '.join(sorted({stream.type for stream in container.streams})) or 'nothing'
                raise UserError(f'{path} has no video, only {kinds}.')
            stream = container.streams.video[0]
            remarks = []
            if len(container.streams.video) > 1:
                remarks.append(f'{path} has {len(container.streams.video)} video streams; the first one is restored.')
            width, height = stream.codec_context.width, stream.codec_context.height
            if width * height > max_megapixels * 1e6:
                raise UserError(
                    f'The frames of {path} are {width}x{height}, more than {max_megapixels:g} megapixels. Raise '
                    '--max-megapixels if that is meant.'
                )
            first = next(_decoded(container, stream, []), None)
            if first is None:
                raise UserError(f'{path} has no frame that can be decoded.')
            time_base, rate = stream.time_base or Fraction(1, 25), stream.average_rate or Fraction(25)
            frames = stream.frames or None
            if frames is None and container.duration and rate:
                frames = round(container.duration / av.time_base * rate)
    except (FFmpegError, OSError) as error:
        raise UserError(f'{path} cannot be read as a video: {full_stop(_reason(error))}') from error
    if first.interlaced_frame:
        remarks.append(f'{path} is interlaced; its frames are restored as they are. Deinterlace it first.')
    rotation = int(first.rotation) % 360
    turned = rotation in (90, 270)
    return Source(
        path.stem,
        first.width if turned else first.height,
        first.height if turned else first.width,
        frames,
        lambda: _read_video(path, (first.height, first.width), rotation),
        bits=16 if _depth(first) > 8 else 8,
        timing=Timing(time_base, Fraction(rate)),
        colour=_colour(first),
        rotation=rotation,
        aspect=Fraction(stream.codec_context.sample_aspect_ratio or 1) or Fraction(1),
        path=path,
        remarks=remarks,
    )


def _depth(frame: av.VideoFrame) -> int:
    return max(component.bits for component in frame.format.components)


def _colour(frame: av.VideoFrame) -> Colour:
    """What a frame is tagged with; an unnamed matrix is what players guess by the size of the frame."""
    matrix = int(frame.colorspace)
    if matrix in (UNSPECIFIED, RGB):
        matrix = BT709 if frame.height >= 720 or matrix == RGB else SMPTE170M
    full = int(frame.color_range) == 2 or frame.format.name.startswith('yuvj') or int(frame.colorspace) == RGB
    return Colour(matrix, not full, int(frame.color_primaries), int(frame.color_trc))


def _decoded(container: Any, stream: Any, damaged: list[str]) -> Iterator[av.VideoFrame]:
    """Frames of a stream; packets that cannot be decoded are counted and left out."""
    stream.thread_type = 'AUTO'
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            yield from packet.decode()
        except EndOfFileError:
            return
        except FFmpegError as error:
            damaged.append(_reason(error))
            if len(damaged) > 1000:
                return


def _read_video(path: Path, size: tuple[int, int], rotation: int) -> Iterator[TimedFrame]:
    damaged: list[str] = []
    last = -1
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        step = round(1 / (Fraction(stream.average_rate or 25) * (stream.time_base or Fraction(1, 25)))) or 1
        for frame in _decoded(container, stream, damaged):
            if (frame.height, frame.width) != size:  # some streams change their size; the first one holds
                frame = frame.reformat(width=size[1], height=size[0])
            time = frame.pts if frame.pts is not None else last + step
            time = max(time, last + 1)  # players show no two frames at once
            last = time
            yield TimedFrame(np.ascontiguousarray(np.rot90(as_rgb(frame), rotation // 90)), time)
    if damaged:
        complain(f'{path}: {len(damaged)} packets could not be decoded ({damaged[0]}); their frames are left out.')


def as_rgb(frame: av.VideoFrame) -> np.ndarray:
    """A frame as (h, w, 3) RGB over the whole range, uint8 or uint16, by its own matrix and range."""
    colour = _colour(frame)
    shown = 'rgb48le' if _depth(frame) > 8 else 'rgb24'
    converted = frame.reformat(
        format=shown,
        src_colorspace=colour.matrix,
        src_color_range=1 if colour.limited else 2,
        dst_color_range=2,
        interpolation=EXACT,
    )
    return converted.to_ndarray()


EXACT = int(Interpolation.BICUBIC) | 0x2000 | 0x4000 | 0x40000
"""Full chroma and accurate rounding: FFmpeg's shortcuts move colours by a level."""


def _reason(error: BaseException) -> str:
    return str(getattr(error, 'strerror', None) or error).strip() or type(error).__name__
