"""Images as bytes: sizes by their headers, decoding that notices damage, and PNG encoding."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import IO

import cv2
import numpy as np

from ..utils.limits import MAX_MEGAPIXELS

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.webp', '.tif', '.tiff')
PNG_LEVEL = 1  # as BasicSR: large frames are written once and read for weeks, so speed matters more than size


class DamagedImageError(ValueError):
    """Bytes that are not a whole image. The message says what is wrong, without the place: the caller knows it."""


_pillow_limit = threading.Lock()
_PNG = b'\x89PNG\r\n\x1a\n'
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)
"""The tag by which cameras say how they were held, and which OpenCV turns images by."""


def header_size(file: Path | bytes) -> tuple[int, int] | None:
    """(height, width) as OpenCV will decode an image, without decoding it; None for a damaged header.

    Args:
        file: An image file, or its content.
    """
    from PIL import Image, UnidentifiedImageError

    with io.BytesIO(file) if isinstance(file, bytes) else file.open('rb') as opened:
        try:
            if opened.read(8) == _PNG:
                height, width, orientation = _png_header(opened)
                return (width, height) if orientation in _ON_ITS_SIDE else (height, width)
            opened.seek(0)
            with _pillow_limit:  # Pillow opens nothing beyond a limit of its own, and then gives no size
                limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
                try:
                    image = Image.open(opened)
                finally:
                    Image.MAX_IMAGE_PIXELS = limit
            width, height = image.size
            tags = getattr(image, 'tag_v2', None)
            if tags is not None:  # some versions of Pillow give the size of a TIFF as it is turned, others do not
                width, height = int(tags[256]), int(tags[257])
            orientation = image.getexif().get(_ORIENTATION, 1)
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError, KeyError, TypeError, OverflowError):
            return None
    return (width, height) if orientation in _ON_ITS_SIDE else (height, width)


def _png_header(file: IO[bytes]) -> tuple[int, int, int]:
    """(height, width, orientation) of a PNG after its mark; Pillow decodes the whole image for the last one."""
    from PIL import Image

    height = width = 0
    orientation = 1
    while len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], 'big'), head[4:]
        if kind == b'IHDR':
            content = file.read(length)
            width, height = int.from_bytes(content[:4], 'big'), int.from_bytes(content[4:8], 'big')
            file.seek(4, io.SEEK_CUR)
        elif kind == b'eXIf':
            exif = Image.Exif()
            exif.load(file.read(min(length, 2**20)))
            orientation = exif.get(_ORIENTATION, 1)
            break
        else:
            file.seek(length + 4, io.SEEK_CUR)
    if not height:
        raise ValueError('no IHDR')
    return height, width, orientation


def decode(content: bytes, max_megapixels: float = MAX_MEGAPIXELS, deep: bool = False) -> np.ndarray:
    """Decode an image.

    OpenCV fills the missing part of a truncated JPEG (and, in some versions, PNG) with grey, so the end marks of both
    formats are looked for first.

    Args:
        content: The bytes of the file.
        max_megapixels: Images that their header says to be larger are not decoded.
        deep: Keep 16 bits, which otherwise become 8, as in BasicSR's data sets.

    Returns:
        (h, w, 3) BGR, uint8, or uint16 where ``deep`` and the image has 16 bits. Grey images are repeated three times,
        alpha is dropped.

    Raises:
        DamagedImageError: Empty, truncated, too large or otherwise unreadable.
        MemoryError: OpenCV gets no memory for it.
    """
    if not content:
        raise DamagedImageError('it is empty')
    check_megapixels(header_size(content), max_megapixels)
    if _is_truncated(content):
        raise DamagedImageError('it is truncated')
    try:
        flags = cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if deep else 0)
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(error.err) from error
        # a header that asks for more pixels than OpenCV allows, for one
        raise DamagedImageError(f'it is refused by OpenCV ({error.err})') from error
    if image is None:
        raise DamagedImageError('it is corrupt or not an image')
    if image.dtype not in (np.uint8, np.uint16):
        raise DamagedImageError(f'its values are {image.dtype}, neither 8 nor 16 bits')
    return image


def has_alpha(content: bytes) -> bool:
    """Whether an image has parts that are transparent, as its header says."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            return 'A' in image.getbands() or 'transparency' in image.info
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def check_megapixels(size: tuple[int, int] | None, max_megapixels: float) -> None:
    """Look at a size (height, width) before anything is decoded.

    Raises:
        DamagedImageError: It is more than the limit.
    """
    if size is not None and size[0] * size[1] > max_megapixels * 1e6:
        raise DamagedImageError(
            f'it has {size[1]}x{size[0]} pixels, more than the {max_megapixels:g} megapixels of max_megapixels'
        )


def encode_png(image: np.ndarray) -> bytes:
    """Encode an image (h, w, 3) BGR, uint8 or uint16, as PNG; equal pixels give equal bytes."""
    done, buffer = cv2.imencode('.png', image, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    if not done:
        raise RuntimeError(f'OpenCV could not encode an image of shape {image.shape} as PNG.')
    return buffer.tobytes()


def png_size(content: bytes) -> tuple[int, int]:
    """(height, width) from the header of a PNG.

    Raises:
        DamagedImageError: Not the beginning of a PNG.
    """
    if content[:8] != _PNG or content[12:16] != b'IHDR' or len(content) < 24:
        raise DamagedImageError('it does not begin as a PNG does')
    return int.from_bytes(content[20:24], 'big'), int.from_bytes(content[16:20], 'big')


def _is_truncated(content: bytes) -> bool:
    if content.startswith(b'\x89PNG'):
        return not 0 < content.rfind(b'IEND') <= len(content) - 8
    if content.startswith(b'\xff\xd8'):
        # Inside the compressed data 0xFF is followed by 0x00 or a restart mark only, so the last "end of image" after
        # the last "start of scan" is the picture's own, not that of a thumbnail in its header.
        return content.rfind(b'\xff\xd9') <= content.rfind(b'\xff\xda')
    return False
