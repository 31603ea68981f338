"""What a network gets about the content of a clip, in one typed object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

#: Axis names of every tensor field; ``b`` and ``T`` must agree between the fields that are present.
AXES: dict[str, str] = {
    'masks': 'b T I h w',
    'global_tokens': 'b T Cg',
    'frame_tokens': 'b T K Ct',
    'instance_tokens': 'b N Ct',
    'pixel_features': 'b T Cp hp wp',
}

#: Side in LR pixels of one cell of the pixel features that data sets give; a cell at the far edge may reach beyond it.
CELL = 4


@dataclass
class SemanticPriors:
    """Semantic priors of a batch of clips; every field is optional.

    Shapes are checked when the object is made, so a mismatch is reported there and not inside a network.

    Args:
        masks: (b, T, I, h, w) uint8, 0 or 1, at the size of the LR frames; unused channels are zero and come last.
        global_tokens: (b, T, Cg) floating point, one vector a frame.
        frame_tokens: (b, T, K, Ct) floating point, K vectors a frame.
        instance_tokens: (b, N, Ct) floating point, one vector an instance of the whole clip.
        pixel_features: (b, T, Cp, hp, wp) floating point, dense features of each frame.
        kind: the name of the extractor that made them ('sam', 'regions', ...); None if unknown.

    Raises:
        ValueError: A field has the wrong number of axes or the wrong type, or two fields disagree on b, T or Ct.
    """

    masks: Tensor | None = None
    global_tokens: Tensor | None = None
    frame_tokens: Tensor | None = None
    instance_tokens: Tensor | None = None
    pixel_features: Tensor | None = None
    kind: str | None = None

    def __post_init__(self) -> None:
        self.validate()

    def present(self) -> dict[str, Tensor]:
        """The tensor fields that are not None, by name, in the order of the class."""
        return {name: getattr(self, name) for name in AXES if getattr(self, name) is not None}

    @property
    def num_frames(self) -> int | None:
        """T, or None when no field has a time axis."""
        for name, tensor in self.present().items():
            if 'T' in AXES[name].split():
                return tensor.shape[1]
        return None

    def validate(self) -> None:
        """Check ranks, types and the sizes that fields share (b, T, Ct).

        Raises:
            ValueError: Something does not fit; the message names the fields and their shapes.
        """
        sizes: dict[str, tuple[int, str]] = {}
        for name, tensor in self.present().items():
            axes = AXES[name].split()
            if not isinstance(tensor, Tensor):
                raise ValueError(f'SemanticPriors.{name} must be a torch.Tensor, not {type(tensor).__name__}.')
            if tensor.dim() != len(axes):
                raise ValueError(
                    f'SemanticPriors.{name} must have the axes ({", ".join(axes)}), '
                    f'but its shape is {tuple(tensor.shape)}.'
                )
            if name == 'masks' and tensor.dtype is not torch.uint8:
                raise ValueError(f'SemanticPriors.masks must be uint8 with values 0 and 1, not {tensor.dtype}.')
            if name != 'masks' and not tensor.is_floating_point():
                raise ValueError(f'SemanticPriors.{name} must be floating point, not {tensor.dtype}.')
            for axis, size in zip(axes, tensor.shape, strict=True):
                if axis in ('b', 'T', 'Ct'):
                    known, first = sizes.setdefault(axis, (size, name))
                    if known != size:
                        raise ValueError(
                            f'SemanticPriors.{name} has {axis} = {size}, '
                            f'but SemanticPriors.{first} has {axis} = {known}.'
                        )
        if self.kind is not None and not isinstance(self.kind, str):
            raise ValueError(f'SemanticPriors.kind must be a string or None, not {self.kind!r}.')

    def to(self, device: torch.device | str, non_blocking: bool = False) -> SemanticPriors:
        """The same priors with every tensor on ``device``; types are kept, so masks travel as uint8."""
        moved = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in self.present().items()}
        return replace(self, **moved)

    def frames(self, part: slice | Sequence[int]) -> SemanticPriors:
        """The priors of some of the frames; instance tokens belong to the whole clip and stay.

        Args:
            part: a slice over T, for example ``slice(0, 5)``, or places, in any order and as often as wanted.

        Raises:
            ValueError: The slice leaves no frame.
        """
        cut = {name: tensor[:, part] for name, tensor in self.present().items() if 'T' in AXES[name].split()}
        for name, tensor in cut.items():
            if tensor.shape[1] == 0:
                raise ValueError(
                    f'The slice {part} leaves no frame of SemanticPriors.{name}, which has {self.num_frames}.'
                )
        return replace(self, **cut)

    def forth_and_back(self) -> SemanticPriors:
        """The priors of the clip followed by itself backwards; instance tokens belong to the whole clip and stay."""
        doubled = {
            name: torch.cat([tensor, tensor.flip(1)], dim=1)
            for name, tensor in self.present().items()
            if 'T' in AXES[name].split()
        }
        return replace(self, **doubled)

    def chunk(self, count: int) -> list[SemanticPriors]:
        """Split the batch into parts of equal size.

        Args:
            count: parts; must divide b.

        Raises:
            ValueError: ``count`` does not divide the batch.
        """
        size = next((tensor.shape[0] for tensor in self.present().values()), None)
        if size is not None and (count < 1 or size % count):
            raise ValueError(f'A batch of {size} cannot be split into {count} equal parts.')
        split = {name: tensor.chunk(count) for name, tensor in self.present().items()}
        return [replace(self, **{name: parts[k] for name, parts in split.items()}) for k in range(count)]


assert {field.name for field in fields(SemanticPriors)} == {*AXES, 'kind'}
