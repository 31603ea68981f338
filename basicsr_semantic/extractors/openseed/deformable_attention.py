"""Multi-scale deformable attention (Zhu et al., "Deformable DETR", ICLR 2021, Eq. 3) in plain PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

#: Heights and widths of the levels, in the order in which their positions follow each other.
Sizes = Sequence[tuple[int, int]]


class DeformableAttention(nn.Module):
    """Each query reads a few places of every level, near a point or within a box, and weighs them.

    Parameters have the usual names. It runs on every device; there is no compiled kernel.

    Args:
        dim: Width C.
        levels: Levels.
        num_heads: Heads; divides ``dim``.
        points: Places that a head reads of each level.
    """

    def __init__(self, dim: int, levels: int, num_heads: int, points: int) -> None:
        super().__init__()
        self.levels, self.num_heads, self.points = levels, num_heads, points
        self.sampling_offsets = nn.Linear(dim, num_heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, num_heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self._initialise()

    def forward(self, query: torch.Tensor, reference: torch.Tensor, memory: torch.Tensor, sizes: Sizes) -> torch.Tensor:
        """Attend.

        Args:
            query: (n, q, C).
            reference: Points (..., q, 2) as x, y or boxes (n, q, 4) as centre x, y, width, height; 0 to 1 from the
                left upper to the right lower end of the frame. Offsets are in units of a level's pixels from a point,
                and in 1 / (2 points) of the box's sides from its centre.
            memory: (n, positions, C), level after level, row after row.
            sizes: Height and width of each level.

        Returns:
            (n, q, C).
        """
        n, q, _ = query.shape
        shape = (n, q, self.num_heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).view(*shape, 2)
        weights = self.attention_weights(query).view(n, q, self.num_heads, -1).softmax(-1).view(shape)
        values = self.value_proj(memory).unflatten(2, (self.num_heads, -1))  # n, positions, heads, d
        reference = reference[..., None, None, :]  # for heads and points
        result = values.new_zeros(n * self.num_heads, values.size(3), q)
        for i, (part, (h, w)) in enumerate(zip(values.split([h * w for h, w in sizes], 1), sizes, strict=True)):
            unit = reference[..., 2:] / (2 * self.points) if reference.size(-1) == 4 else 1 / offsets.new_tensor((w, h))
            places = reference[..., :2] + offsets[:, :, :, i] * unit  # n, q, heads, points, 2
            plane = part.permute(0, 2, 3, 1).reshape(n * self.num_heads, -1, h, w)
            grid = 2 * places.transpose(1, 2).flatten(0, 1) - 1
            read = F.grid_sample(plane, grid, mode='bilinear', padding_mode='zeros', align_corners=False)
            weight = weights[:, :, :, i].transpose(1, 2).flatten(0, 1)  # n * heads, q, points
            result = result + (read * weight[:, None]).sum(-1)
        return self.output_proj(result.view(n, -1, q).transpose(1, 2))

    def _initialise(self) -> None:
        """At first each head reads along its own direction, 1, 2, ... pixels away, and weighs all places alike."""
        angles = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        directions = torch.stack((angles.cos(), angles.sin()), -1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1)[:, None] * directions[:, None, None]  # heads, 1, points, 2
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(steps.expand(-1, self.levels, -1, -1).flatten())
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


def pixel_centres(sizes: Sizes, device: torch.device | str | None = None) -> torch.Tensor:
    """Centres of all positions as x, y, from 0 to 1 across the frame.

    Args:
        sizes: Height and width of each level.
        device: Where the result lives.

    Returns:
        (positions, 2) float32, level after level, row after row.
    """
    centres = []
    for h, w in sizes:
        y = (torch.arange(h, dtype=torch.float32, device=device) + 0.5) / h
        x = (torch.arange(w, dtype=torch.float32, device=device) + 0.5) / w
        centres.append(torch.stack((x.expand(h, w), y[:, None].expand(h, w)), -1).flatten(0, 1))
    return torch.cat(centres)
