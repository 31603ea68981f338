"""8-bit images as bytes: decoding that notices damage, and PNG encoding."""

from __future__ import annotations

import cv2
import numpy as np

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.webp', '.tif', '.tiff')
PNG_LEVEL = 1  # as BasicSR: large frames are written once and read for weeks, so speed matters more than size


class DamagedImageError(ValueError):
    """Bytes that are not a whole image. The message says what is wrong, without the place: the caller knows it."""


def decode(content: bytes) -> np.ndarray:
    """Decode an image.

    OpenCV fills the missing part of a truncated JPEG (and, in some versions, PNG) with grey, so the end marks of both
    formats are looked for first.

    Args:
        content: The bytes of the file.

    Returns:
        (h, w, 3) uint8, BGR. Grey images are repeated three times, alpha is dropped, 16 bits become 8.

    Raises:
        DamagedImageError: Empty, truncated or otherwise unreadable.
    """
    if not content:
        raise DamagedImageError('it is empty')
    if _is_truncated(content):
        raise DamagedImageError('it is truncated')
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:  # a header that asks for more pixels than OpenCV allows, for one
        raise DamagedImageError(f'it is refused by OpenCV ({error.err})') from error
    if image is None:
        raise DamagedImageError('it is corrupt or not an image')
    return image


def encode_png(image: np.ndarray) -> bytes:
    """Encode an image (h, w, 3) uint8 BGR as PNG; equal pixels give equal bytes."""
    done, buffer = cv2.imencode('.png', image, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    if not done:
        raise RuntimeError(f'OpenCV could not encode an image of shape {image.shape} as PNG.')
    return buffer.tobytes()


def png_size(content: bytes) -> tuple[int, int]:
    """(height, width) from the header of a PNG.

    Raises:
        DamagedImageError: Not the beginning of a PNG.
    """
    if content[:8] != b'\x89PNG\r\n\x1a\n' or content[12:16] != b'IHDR' or len(content) < 24:
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
