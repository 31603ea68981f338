"""Pad clips to the sizes that an arch accepts; the caller crops the result back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch

from ..archs.layers.size_requirements import SizeRequirements
from ..priors import SemanticPriors

Clip = TypeVar('Clip', torch.Tensor, SemanticPriors)


def pad_amount(height: int, width: int, requirements: SizeRequirements) -> tuple[int, int]:
    """Rows and columns to add below and to the right.

    Args:
        height: LR height.
        width: LR width.
        requirements: An arch's ``size_requirements``.
    """

    def missing(size: int) -> int:
        wanted = max(size, requirements.minimum)
        return -(-wanted // requirements.multiple_of) * requirements.multiple_of - size

    return missing(height), missing(width)


def pad_clip(x: Clip, rows: int, columns: int, block: int = 1) -> Clip:
    """Extend (..., h, w) of any type below and to the right by mirroring at the border, as often as it takes.

    With ``block``, squares of so many pixels change places and stay as they are: frames enlarged so many times then go
    on as the enlarged frames of the extension do. h, w, rows and columns are multiples of it.

    Of priors the masks have the frames' size and are extended; tokens have no place, pixel features a size of their
    own.
    """
    if isinstance(x, SemanticPriors):
        return x if x.masks is None else replace(x, masks=pad_clip(x.masks, rows, columns))
    for dim, extra in ((-2, rows), (-1, columns)):
        if extra:
            places = _mirrored(x.size(dim) // block, extra // block)
            places = (places[:, None] * block + torch.arange(block)).flatten()
            x = x.index_select(dim, places.to(x.device))
    return x


def run_padded(
    run: Callable[..., torch.Tensor], inputs: tuple[Any, ...], requirements: SizeRequirements
) -> torch.Tensor:
    """Run a network on inputs of sizes that it accepts, and crop what it makes of them.

    Args:
        run: The network, or what runs it.
        inputs: Frames (..., h, w), then further tensors of that size or SemanticPriors.
        requirements: Sizes that it accepts.

    Returns:
        What it makes, (..., H, W) float32, of the frames alone.
    """
    height, width = inputs[0].shape[-2:]
    padded = tuple(pad_clip(x, *pad_amount(height, width, requirements)) for x in inputs)
    output = run(*padded)
    scale = output.size(-1) // padded[0].size(-1)
    return output[..., : height * scale, : width * scale].float()


def _mirrored(size: int, extra: int) -> torch.Tensor:
    """Indices 0 1 2 .. size-1 size-2 .. 1 0 1 .., size + extra of them; one pixel is its own mirror image."""
    period = max(2 * (size - 1), 1)
    place = torch.arange(size + extra) % period
    return torch.minimum(place, period - place) if size > 1 else torch.zeros_like(place)
