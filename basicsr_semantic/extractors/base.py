"""What every extractor looks like."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..priors.store_meta import LARGEST_SIZE
from ..utils.errors import UserError, shown

MAX_MASKS = 64  # "a maximum of 64 masks" a frame (SEEM paper, implementation details)
LARGEST_SEEN = 1 << 25  # pixels; a frame of 7680x4320 has as many


class MaskExtractor(Protocol):
    """Turns one whole frame into at most ``max_masks`` masks.

    Attributes:
        kind: name of the extractor; the kind of the priors it makes.
        parameters: everything that changes its masks, as plain JSON values; goes into the metadata of a store.
        checkpoint: ``{'file': name, 'sha256': hex digits}`` of its weights, or None.
        order: what the position of a mask means: 'area', 'iou', 'grid' or 'id'.
        max_masks: most masks a frame.
    """

    kind: str
    parameters: dict[str, Any]
    checkpoint: dict[str, str] | None
    order: str
    max_masks: int

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __call__(self, frame: np.ndarray, key: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Describe one frame.

        Args:
            frame: (h, w, 3) uint8 RGB, the whole frame.
            key: its key, for example '000/00000000'.

        Returns:
            Masks (n, h, w) bool, n at most ``max_masks``, and their scores (n,) or None.
        """
        ...


@dataclass
class ClipPriors:
    """What an extractor says about a clip of T frames."""

    frame_tokens: np.ndarray
    """(T, K, Ct) floating point."""
    global_tokens: np.ndarray
    """(T, Cg) floating point."""
    masks: Iterator[np.ndarray]
    """(I, h, w) bool for each frame in turn, channel i the same instance in all of them; made when asked for."""
    scores: np.ndarray | None
    """(I,) confidence of each instance over the clip, or None."""
    pixel_features: Iterator[np.ndarray] | None = None
    """(Cp, hp, wp) floating point for each frame in turn, one vector for each cell of 4x4 pixels; made when asked for,
    before the masks. None without."""


class ClipExtractor(Protocol):
    """Turns a whole clip into tokens of its frames and masks of its instances.

    Attributes:
        kind: as in :class:`MaskExtractor`.
        parameters: likewise.
        checkpoint: likewise.
        order: 'id': one instance a channel through the whole clip.
        max_masks: most instances a clip.
        tokens: sizes of the tokens of a frame, ``{'num': K, 'dim': Ct, 'global_dim': Cg}``.

    An extractor that makes pixel features has their sizes besides, ``features``: ``{'dim': Cp, 'cell': 4}`` or None.
    """

    kind: str
    parameters: dict[str, Any]
    checkpoint: dict[str, str] | None
    order: str
    max_masks: int
    tokens: dict[str, int]

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def describe_clip(self, count: int, read: Callable[[int], np.ndarray]) -> ClipPriors:
        """Describe one clip.

        Args:
            count: frames of the clip.
            read: gives a frame by its number from 0, (h, w, 3) uint8 RGB; may be called more than once for a frame,
                also while the masks are drawn from the result.
        """
        ...


@dataclass
class FramePriors:
    """What an extractor says about one frame by itself."""

    frame_tokens: np.ndarray
    """(K, Ct) floating point."""
    global_token: np.ndarray
    """(Cg,) floating point; Cg is 0 where there is none."""
    pixel_features: np.ndarray
    """(Cp, hp, wp) floating point, one vector for each cell of 4x4 pixels."""
    masks: np.ndarray
    """(I, h, w) bool; I may be 0."""


class FrameExtractor(Protocol):
    """Turns one whole frame into tokens, pixel features and masks, without looking at its neighbours.

    Attributes:
        kind: as in :class:`MaskExtractor`, and so are the next four.
        parameters: see there.
        checkpoint: see there.
        order: see there.
        max_masks: see there; 0 for an extractor that makes none.
        tokens: as in :class:`ClipExtractor`.
        features: sizes of the pixel features, ``{'dim': Cp, 'cell': 4}``.
    """

    kind: str
    parameters: dict[str, Any]
    checkpoint: dict[str, str] | None
    order: str
    max_masks: int
    tokens: dict[str, int]
    features: dict[str, int]

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def describe_frame(self, frame: np.ndarray) -> FramePriors:
        """Describe one frame.

        Args:
            frame: (h, w, 3) uint8 RGB, the whole frame.
        """
        ...


class OnlineExtractor(Protocol):
    """What an extractor of tokens is, besides, to a model that makes priors in the run (section ``network_s``).

    One whose stores hold tokens of frames, of which instances are to be made in the run, has a static method besides:
    ``instances_for_store(options, device)`` takes the keys of ``network_s`` and gives a callable with attributes
    ``source`` and ``sha256``, from frame tokens (b, T, K, Ct) to instance tokens (b, N, Ct).

    Attributes:
        kind: as in :class:`MaskExtractor`.
        checkpoint: as in :class:`MaskExtractor`.
        parameters: as in :class:`MaskExtractor`.
    """

    kind: str
    checkpoint: dict[str, str] | None

    @property
    def parameters(self) -> dict[str, Any]: ...

    def describe(self, frames: Tensor, wanted: Collection[str] = ...) -> Any:
        """Describe one clip.

        Args:
            frames: (T, 3, h, w) float RGB in [0, 1], whole frames or what is to be taken for such.
            wanted: fields of SemanticPriors; of others, what costs much need not be made.

        Returns:
            An object that has the fields as attributes, without their batch axis; None for those it cannot give.
        """
        ...


Extractor = MaskExtractor | ClipExtractor | FrameExtractor


def check_frame(frame: np.ndarray) -> None:
    """Refuse anything but (h, w, 3) uint8.

    Raises:
        ValueError: The frame has another shape or type.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f'A frame must be (h, w, 3) uint8 RGB, not {frame.dtype} {frame.shape}.')


def frame_to_tensor(frame: np.ndarray) -> Tensor:
    """(h, w, 3) uint8 to (3, h, w) float32 in [0, 1].

    Raises:
        ValueError: The frame has another shape or type.
    """
    check_frame(frame)
    return torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1))).float().div_(255)


def check_enlarged(frame: Sequence[int], seen: Sequence[int]) -> None:
    """Refuse a frame so thin that, with its short side enlarged for a network, it would fill the memory.

    Args:
        frame: (h, w) of the frame.
        seen: (H, W) that it would have.

    Raises:
        UserError: It would have too many pixels.
    """
    if seen[0] * seen[1] > LARGEST_SEEN:
        raise UserError(
            f'A frame of {frame[1]}x{frame[0]} pixels would be enlarged to {seen[1]}x{seen[0]}, more than '
            f'{LARGEST_SEEN:,} pixels. Choose a smaller short_side (0: as they are), or leave such thin frames out.'
        )


def check_number(name: str, value: Any, least: float, most: float, whole: bool = False) -> None:
    """Refuse an argument that is no number of its range, as nan, which is in none.

    Args:
        name: of the argument, for the message.
        value: what was given.
        least: smallest value.
        most: largest value.
        whole: whether it must be a whole number.

    Raises:
        UserError: It is none.
    """
    right = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not right or not least <= value <= most:
        kind = 'whole number' if whole else 'number'
        raise UserError(f'{name} must be at least {least:,} and at most {most:,} (a {kind}), not {shown(value)}.')


def check_max_masks(max_masks: int) -> int:
    """Refuse a limit below one, or one that no store needs.

    Raises:
        UserError: ``max_masks`` is no whole number of that range.
    """
    check_number('max_masks', max_masks, 1, LARGEST_SIZE, whole=True)
    return max_masks
