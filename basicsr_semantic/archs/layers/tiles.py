"""Frames in tiles, and the overlapping squares around them, for attention over a window around every pixel."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.nn import functional as F

from .window_attention import scores_at_once

#: Rows and columns of a tile of queries. A tile shares the keys of all its pixels' windows.
TILE = 8


class Tiles:
    """Cuts frames into tiles and the squares around them, and lays them back.

    Args:
        shape: b, h, w.
        window: Rows and columns of the window.
        heads: Heads.
    """

    def __init__(self, shape: tuple[int, int, int], window: int, heads: int) -> None:
        self.b, self.h, self.w = shape
        self.radius, self.heads = window // 2, heads
        self.side = TILE + 2 * self.radius
        self.down, self.right = -(-self.h // TILE), -(-self.w // TILE)

    def pad(self, x: torch.Tensor, around: bool) -> torch.Tensor:
        """(b, h, w, c) to whole tiles, with zeros; ``around`` adds the radius on all sides."""
        r = self.radius if around else 0
        extra = self.down * TILE - self.h, self.right * TILE - self.w
        return F.pad(x, (0, 0, r, extra[1] + r, r, extra[0] + r))

    def queries(self, padded: torch.Tensor, rows: slice) -> torch.Tensor:
        """Tiles (tiles, 64, c) of some rows of tiles of a padded tensor."""
        part = padded[:, rows.start * TILE : rows.stop * TILE]
        part = part.unflatten(2, (-1, TILE)).unflatten(1, (-1, TILE))
        return part.permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(0, 2)

    def squares(self, padded: torch.Tensor, rows: slice) -> torch.Tensor:
        """Squares (tiles, side * side, c) around those tiles."""
        part = padded[:, rows.start * TILE : rows.stop * TILE + 2 * self.radius]
        part = part.unfold(1, self.side, TILE).unfold(2, self.side, TILE)  # b rows columns c side side
        return part.permute(0, 1, 2, 4, 5, 3).flatten(3, 4).flatten(0, 2)

    def lay(self, tiles: torch.Tensor, target: torch.Tensor, rows: slice) -> None:
        """Write tiles (tiles, 64, c) into a padded tensor."""
        tiles = tiles.view(self.b, -1, self.right, TILE, TILE, tiles.size(-1)).permute(0, 1, 3, 2, 4, 5)
        part = target[:, rows.start * TILE : rows.stop * TILE]
        part.unflatten(2, (-1, TILE)).unflatten(1, (-1, TILE)).copy_(tiles)

    def sums(self, like: torch.Tensor) -> torch.Tensor:
        """A padded tensor of zeros for :meth:`add_squares`."""
        pieces = -(-self.side // TILE)
        return like.new_zeros(self.b, (self.down + pieces) * TILE, (self.right + pieces) * TILE, like.size(-1))

    def add_squares(self, squares: torch.Tensor, target: torch.Tensor, rows: slice) -> None:
        """Add squares (tiles, side * side, c), which overlap, piece by piece: pieces at the same place do not."""
        squares = squares.view(self.b, -1, self.right, self.side, self.side, squares.size(-1))
        squares = squares.permute(0, 1, 3, 2, 4, 5)  # b rows side columns side c
        for top in range(0, self.side, TILE):
            below = squares[:, :, top : top + TILE]
            y = rows.start * TILE + top
            strip = target[:, y : y + squares.size(1) * TILE].unflatten(1, (-1, TILE))[:, :, : below.size(2)]
            for x in range(0, self.side, TILE):
                piece = below[..., x : x + TILE, :]
                cells = strip[:, :, :, x : x + self.right * TILE].unflatten(3, (-1, TILE))
                cells[..., : piece.size(4), :] += piece

    def crop(self, padded: torch.Tensor, around: bool) -> torch.Tensor:
        """The frames (b, h, w, c) in a padded tensor."""
        r = self.radius if around else 0
        return padded[:, r : r + self.h, r : r + self.w].contiguous()

    def split_heads(self, tiles: torch.Tensor) -> torch.Tensor:
        """(tiles, n, c) to (tiles, heads, n, d)."""
        return tiles.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def join_heads(self, tiles: torch.Tensor) -> torch.Tensor:
        """(tiles, heads, n, d) to (tiles, n, c)."""
        return tiles.transpose(1, 2).flatten(2)

    def portions(self, device: torch.device) -> list[slice]:
        """Rows of tiles that are worked on together."""
        scores = self.b * self.right * self.heads * (TILE * self.side) ** 2
        step = max(1, scores_at_once(device) // scores)
        return [slice(first, min(first + step, self.down)) for first in range(0, self.down, step)]


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept here must serve training too
def window_of_tile(radius: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """For every pixel of a tile and every key of the square around it: in the pixel's window, at its own place."""
    queries, keys = torch.arange(TILE) + radius, torch.arange(TILE + 2 * radius)
    distance = (queries[:, None] - keys).abs()
    down, right = distance[:, None, :, None], distance[None, :, None, :]
    far = torch.maximum(down, right).flatten(2).flatten(0, 1).to(device)
    return far <= radius, far == 0
