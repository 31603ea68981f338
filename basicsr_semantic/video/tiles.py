"""Frames that are too large for the memory, restored in tiles that overlap and are faded into one another."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from ..priors.geometry import ClipGeometry
from ..priors.semantic_priors import CELL
from ..utils.errors import UserError, short_of_memory
from ..utils.memory import free_memory, memory_of
from .choices import Choices
from .scene_restorers import Progress, Saved, SceneRestorer, ScenesWithin, never, silent
from .scenes import Scene, SceneView

SMALLEST = 32
"""Side below which a tile is not halved again."""
_OVERLAP = 32
_TRIED = 128
"""Side of what is restored to see how much memory a pixel takes; frames of four times that are taken whole."""
_SHARE = 0.7
"""Part of the free memory that a tile may take."""


class TiledScenes(ScenesWithin):
    """Every tile is restored as a scene of its own, all side by side, and frame by frame they are faded into one.

    No tile waits on disk for the others: each has its state, and all make a frame before any makes the one behind it.

    Args:
        inner: Restores a scene.
        device: Where it does.
        scale: How many times it enlarges.
        tile: Side in pixels of the input, a multiple of 4; 0: whole frames; None: the largest that fits. It is halved
            when memory runs out, from the frame on where that happens.
        choices: Keeps the side in use.

    Raises:
        UserError: The side is none that a tile can have.
    """

    def __init__(
        self,
        inner: SceneRestorer,
        device: torch.device,
        scale: int,
        tile: int | None = None,
        choices: Choices | None = None,
    ) -> None:
        if tile is not None and tile and (tile % CELL or tile < SMALLEST):
            raise UserError(f'A tile must be a multiple of {CELL} and at least {SMALLEST} pixels, not {tile}.')
        super().__init__(inner)
        self.device, self.scale, self.tile = device, scale, tile
        self.choices = choices or Choices()

    @property
    def plan(self) -> str:
        """What is special about how scenes are restored, as a sentence; empty: nothing."""
        tiles = f'Tiles of {self.tile}x{self.tile} pixels, faded into one another.' if self.tile else ''
        return ' '.join(part for part in (self.inner.plan, tiles) if part)

    def disk(self, height: int, width: int) -> int:
        """Bytes on disk for a frame."""
        boxes = tiles(height, width, self.tile) if self.tile else [(0, 0, height, width)]
        return sum(self.inner.disk(h, w) for _, _, h, w in boxes)

    def restore(
        self, scene: Scene, first: int = 0, saved: Saved = never, progress: Progress = silent
    ) -> Iterator[Tensor]:
        """See `SceneRestorer`."""
        if (chosen := self.choices.get('tile')) is not None:
            self.tile = chosen
        elif self.tile is None:
            self.tile = largest_tile(self.inner, scene, self.device)
            self.choices.put('tile', self.tile)
        while first < len(scene):
            try:
                for made in self._restore(scene, first, saved, progress):
                    yield made
                    first += 1
                return
            except Exception as error:
                smaller = halved(self.tile or max(scene.size))
                if not short_of_memory(error) or smaller is None:
                    raise
                self.tile = smaller
                self.choices.put('tile', smaller)
            if self.device.type == 'cuda':
                torch.cuda.empty_cache()

    def _restore(self, scene: Scene, first: int, saved: Saved, progress: Progress) -> Iterator[Tensor]:
        height, width = scene.size
        if not self.tile or self.tile >= max(height, width):
            yield from self.inner.restore(scene, first, saved, progress)
            return
        boxes, streams = tiles(height, width, self.tile), []
        for number, box in enumerate(boxes):
            view = SceneView(scene, f'tile_{self.tile}_{number}', ClipGeometry(*box))
            # progress counts frames, not tiles
            streams.append(self.inner.restore(view, first, saved, progress if not number else silent))
        rows, columns = (fades(length, self.tile, self.scale) for length in (height, width))
        for parts in zip(*streams, strict=True):
            made = torch.zeros(3, height * self.scale, width * self.scale)
            for (top, left, h, w), part in zip(boxes, parts, strict=True):
                y, x, bottom, right = (self.scale * place for place in (top, left, top + h, left + w))
                made[:, y:bottom, x:right] += rows[top][:, None] * columns[left] * part.cpu()
            yield made


def overlap_of(tile: int) -> int:
    """Pixels that neighbouring tiles share at least."""
    return min(_OVERLAP, tile // 4 // CELL * CELL)


def starts(length: int, tile: int) -> list[int]:
    """Where the tiles along one side begin: multiples of 4, evenly spread, the last one ending with the frame."""
    if length <= tile:
        return [0]
    count = -(-(length - tile) // (tile - overlap_of(tile))) + 1
    last = -(-(length - tile) // CELL) * CELL  # the tile at the far edge may be up to three pixels smaller
    return [round(k * last / (count - 1) / CELL) * CELL for k in range(count)]


def tiles(height: int, width: int, tile: int) -> list[tuple[int, int, int, int]]:
    """(top, left, height, width) of the tiles of a frame, row by row."""
    places = product(starts(height, tile), starts(width, tile))
    return [(top, left, min(tile, height - top), min(tile, width - left)) for top, left in places]


def fades(length: int, tile: int, scale: int) -> dict[int, Tensor]:
    """What each tile along one side counts at each of its pixels in the result, by where it begins; in sum 1."""
    ramp, total, found = scale * overlap_of(tile), torch.zeros(scale * length), {}
    for begin in starts(length, tile):
        end = min(begin + tile, length)
        places = torch.arange(scale * (end - begin)) + 0.5
        fade = torch.ones_like(places)
        if begin:
            fade = (places / ramp).clamp(max=1)
        if end < length:
            fade = torch.minimum(fade, (len(places) - places) / ramp)
        total[scale * begin : scale * end] += fade
        found[begin] = fade
    return {begin: fade / total[scale * begin :][: len(fade)] for begin, fade in found.items()}


def halved(tile: int) -> int | None:
    """The next smaller side; None where a tile is as small as it gets."""
    smaller = tile // 2 // CELL * CELL
    return smaller if smaller >= SMALLEST else None


def largest_tile(inner: SceneRestorer, scene: Scene, device: torch.device) -> int:
    """The side of the largest tile that the memory has room for; 0: whole frames.

    What a small piece of the scene takes says how much a pixel takes. Small frames are not tried.
    """
    height, width = scene.size
    if height * width <= 4 * _TRIED**2:
        return 0
    free = free_memory(device)
    box = ClipGeometry(0, 0, min(_TRIED, height), min(_TRIED, width))
    view = SceneView(scene, 'tried', box, count=min(len(scene), inner.frames_at_once))

    def restore() -> None:
        for _ in inner.restore(view):
            pass

    restore()  # what the first time alone takes is not counted, as to see which precision is faster
    taken = None if free is None else memory_of(restore, device)
    view.remove()
    if free is None or not taken:
        return 0
    side = int((_SHARE * free / taken * box.height * box.width) ** 0.5)
    if side >= max(height, width) or side**2 >= height * width:
        return 0
    return max(side // CELL * CELL, SMALLEST)
