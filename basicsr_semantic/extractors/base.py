"""The base class of extractors, and their registry."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import Registry
from torch import Tensor

from ..priors.store_meta import LARGEST_SIZE
from ..utils.errors import MissingError, UserError, shown
from .names import EXTRACTORS

MAX_MASKS = 64  # "a maximum of 64 masks" a frame (SEEM paper, implementation details)
LARGEST_SEEN = 1 << 25  # pixels; a frame of 7680x4320 has as many


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


@dataclass
class FramePriors:
    """What an extractor says about one frame by itself."""

    frame_tokens: np.ndarray
    """(K, Ct) floating point."""
    global_token: np.ndarray
    """(Cg,) floating point; Cg is 0 where there is none."""
    pixel_features: np.ndarray | None
    """(Cp, hp, wp) floating point, one vector for each cell of 4x4 pixels; None without."""
    masks: np.ndarray
    """(I, h, w) bool; I may be 0."""


class Extractor:
    """The base class of all extractors.

    A subclass overrides one or more of the methods here; what it overrides is what it can do:

    - ``__call__``: masks of a frame, and nothing else.
    - ``describe_frame``: tokens, pixel features and masks of a frame by itself.
    - ``describe_clip``: tokens of the frames of a clip and masks of its instances. Of these three, ``basicsr extract``
      uses the last one that is there.
    - ``describe``: the same of frames in memory, for a model that makes priors in the run (section ``network_s``).
    - ``instances_for_store``: instances of a clip out of the tokens of frames that a store has, in the run, too.

    The arguments of its constructor are its flags of ``basicsr extract`` and its keys in ``network_s``: types and
    defaults are those of the signature, texts those of the docstring. With ``@EXTRACTOR_REGISTRY.register()`` it is
    found under its ``kind``. It imports heavy packages in the constructor, not with its module.

    Attributes:
        kind: name of the extractor; the kind of the priors it makes.
        parameters: everything that changes its priors, as plain JSON values; goes into the metadata of a store.
        checkpoint: ``{'file': name, 'sha256': hex digits}`` of its weights, or None.
        order: what the position of a mask means: 'area', 'iou', 'grid' or 'id' (one instance a channel through the
            whole clip).
        max_masks: most masks a frame, or instances a clip; 0 for an extractor that makes none.
        tokens: sizes of the tokens of a frame, ``{'num': K, 'dim': Ct, 'global_dim': Cg}``; None without tokens.
        features: sizes of the pixel features, ``{'dim': Cp, 'cell': 4}``; None without.
        instances: what makes instance tokens in ``describe``, with attributes ``source`` and ``sha256``; None without.

    Each is a class attribute, a property, or set by the constructor.
    """

    kind: str = ''
    parameters: dict[str, Any] = {}
    checkpoint: dict[str, str] | None = None
    order: str = 'id'
    max_masks: int = MAX_MASKS
    tokens: dict[str, int] | None = None
    features: dict[str, int] | None = None
    instances: Any = None

    def __call__(self, frame: np.ndarray, key: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Masks of one frame.

        Args:
            frame: (h, w, 3) uint8 RGB, the whole frame.
            key: its key, for example '000/00000000'.

        Returns:
            Masks (n, h, w) bool, n at most ``max_masks``, and their scores (n,) or None.
        """
        raise NotImplementedError

    def describe_frame(self, frame: np.ndarray) -> FramePriors:
        """Describe one frame, without looking at its neighbours.

        Args:
            frame: (h, w, 3) uint8 RGB, the whole frame.
        """
        raise NotImplementedError

    def describe_clip(self, count: int, read: Callable[[int], np.ndarray]) -> ClipPriors:
        """Describe one clip.

        Args:
            count: frames of the clip.
            read: gives a frame by its number from 0, (h, w, 3) uint8 RGB; may be called more than once for a frame,
                also while the masks are drawn from the result.
        """
        raise NotImplementedError

    def describe(self, frames: Tensor, wanted: Collection[str] = ()) -> Any:
        """Describe one clip that is in memory.

        Args:
            frames: (T, 3, h, w) float RGB in [0, 1], whole frames, or what should be treated as such.
            wanted: fields of SemanticPriors; what is expensive may be left out for others.

        Returns:
            An object that has the fields as attributes, without their batch axis, or None for those it cannot give:
            ``masks`` (T, I, h, w) uint8 of 0 and 1, I the same for every clip; ``frame_tokens`` (T, K, Ct);
            ``global_tokens`` (T, Cg); ``instance_tokens`` (N, Ct); ``pixel_features`` (T, Cp, hp, wp), one vector for
            each cell of 4x4 pixels.
        """
        raise NotImplementedError

    @staticmethod
    def instances_for_store(options: Mapping[str, Any], device: str | torch.device) -> Any:
        """What makes instance tokens of the frame tokens of a store.

        Args:
            options: the keys of ``network_s``.
            device: where it runs.

        Returns:
            A callable with attributes ``source`` and ``sha256``, from frame tokens (b, T, K, Ct) to instance tokens
            (b, N, Ct); None where the options ask for none.

        Raises:
            UserError: The options ask for something that is not possible.
        """
        raise NotImplementedError

    @classmethod
    def by_clips(cls) -> bool:
        """Whether it describes whole clips for a store."""
        return _overrides(cls, 'describe_clip')

    @classmethod
    def by_frames(cls) -> bool:
        """Whether it describes frames one by one for a store, with tokens and pixel features."""
        return _overrides(cls, 'describe_frame') and not cls.by_clips()

    @classmethod
    def only_masks(cls) -> bool:
        """Whether it gives masks of frames to a store, and nothing else."""
        return _overrides(cls, '__call__') and not cls.by_clips() and not cls.by_frames()

    @classmethod
    def fills_stores(cls) -> bool:
        """Whether ``basicsr extract`` can make a store with it."""
        return cls.by_clips() or cls.by_frames() or cls.only_masks()

    @classmethod
    def online(cls) -> bool:
        """Whether a model can have priors made by it in the run."""
        return _overrides(cls, 'describe')

    @classmethod
    def makes_instances(cls) -> bool:
        """Whether it can make instance tokens of the frame tokens of a store."""
        return _overrides(cls, 'instances_for_store')

    @classmethod
    def not_for_models(cls) -> UserError | None:
        """Why it cannot be used in ``network_s``; None where it can."""
        if cls.online() or cls.makes_instances():
            return None
        if cls.by_clips() or cls.by_frames():
            return MissingError(
                f'{cls.kind} gives tokens to a store alone and none in the run, for which it needs a method describe. '
                'Make a store with it and use its tokens with network_s:type: stored_tokens.',
                'priors',
                kind=cls.kind,
            )
        return UserError(
            f'{cls.kind} gives masks alone, no tokens; masks come from dataroot_priors and need no network_s.'
        )


def _overrides(cls: type[Extractor], method: str) -> bool:
    return getattr(cls, method) is not getattr(Extractor, method)


MaskExtractor = ClipExtractor = FrameExtractor = OnlineExtractor = Extractor
"""Old names, from when each way to describe had a class of its own."""


class ExtractorRegistry(Registry):
    """The registry of extractors, each under its ``kind``.

    Those of this package are imported when somebody asks for them: a name can be looked up without what it needs.

    Args:
        known: name -> 'module:Class' of extractors that register when their module is imported.
    """

    def __init__(self, known: Mapping[str, str]) -> None:
        super().__init__('extractor')
        self._known = known

    def register(self, obj: type[Extractor] | None = None, suffix: str | None = None) -> Any:
        """Register a class, or give what registers the class that it decorates.

        Raises:
            AssertionError: Its name is taken.
            TypeError: It is not a subclass of Extractor, or its ``kind`` is not a name.
        """
        return super().register(obj, suffix)

    def _do_register(self, name: str, obj: type, suffix: str | None = None) -> None:
        if not (isinstance(obj, type) and issubclass(obj, Extractor)):
            raise TypeError(f'{name} is not a subclass of Extractor, so it cannot be registered as an extractor')
        if not isinstance(obj.kind, str) or not re.fullmatch(r'\w[\w.-]*', obj.kind):
            raise TypeError(
                f'The attribute kind of {name}, under which it is registered, must be a name, not {shown(obj.kind)}'
            )
        place = f'{obj.__module__}:{obj.__qualname__}'
        # a name of this package is taken, whether or not its module has been imported
        assert self._known.get(obj.kind, place) == place, (
            f"An object named '{obj.kind}' was already registered in 'extractor' registry!"
        )
        super()._do_register(obj.kind, obj, suffix)

    def get(self, name: str, suffix: str = 'basicsr') -> type[Extractor]:
        """The class of that name, imported now if it is one of this package.

        Raises:
            KeyError: There is none.
        """
        if name not in self._obj_map and name in self._known:
            module, _, class_name = self._known[name].partition(':')
            found = getattr(importlib.import_module(module), class_name)
            if name not in self._obj_map:  # a class that somebody else has added to the table
                self._do_register(class_name, found)
        if name not in self._obj_map:
            raise KeyError(f"No object named '{name}' found in 'extractor' registry!")
        return self._obj_map[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._known or name in self._obj_map)

    def __iter__(self) -> Iterator[tuple[str, type[Extractor]]]:
        return ((name, self.get(name)) for name in self.keys())

    def keys(self) -> list[str]:
        """All names; imports nothing."""
        return [*self._known, *(name for name in self._obj_map if name not in self._known)]


EXTRACTOR_REGISTRY = ExtractorRegistry(EXTRACTORS)


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
    """Refuse a frame so thin that it would fill the memory once its short side is enlarged for a network.

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
    """Refuse an argument that is not a number in its range; nan is in no range.

    Args:
        name: of the argument, for the message.
        value: what was given.
        least: smallest value.
        most: largest value.
        whole: whether it must be a whole number.

    Raises:
        UserError: It is not.
    """
    right = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not right or not least <= value <= most:
        kind = 'whole number' if whole else 'number'
        raise UserError(f'{name} must be at least {least:,} and at most {most:,} (a {kind}), not {shown(value)}.')


def check_max_masks(max_masks: int) -> int:
    """Refuse a limit below one, or larger than any store needs.

    Raises:
        UserError: ``max_masks`` is not a whole number in that range.
    """
    check_number('max_masks', max_masks, 1, LARGEST_SIZE, whole=True)
    return max_masks
