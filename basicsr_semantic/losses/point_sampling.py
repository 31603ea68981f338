"""Maps looked at in a few points only, as PointRend does (Kirillov et al., CVPR 2020): mask losses at full resolution
would need the memory of all pixels of all masks.

Points are (x, y) in [0, 1] of the width and height of a map; 0 is the outer border of the first pixel.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


def sample_points(maps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Read maps at points, bilinearly; beyond the border they are zero.

    Args:
        maps: (n, c, h, w) float.
        points: (n, p, 2), or (1, p, 2) for the same points in all maps.

    Returns:
        (n, c, p).
    """
    grid = (2 * points - 1).expand(maps.size(0), -1, -1)[:, None].to(maps.dtype)
    return F.grid_sample(maps, grid, align_corners=False)[:, :, 0]


def all_points(height: int, width: int, device: torch.device) -> torch.Tensor:
    """The centres of all pixels, (1, height * width, 2)."""
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    rows, columns = torch.meshgrid(y, x, indexing='ij')
    return torch.stack([columns, rows], dim=-1).view(1, -1, 2)


def uncertain_points(logits: torch.Tensor, count: int, oversample: float, importance: float) -> torch.Tensor:
    """Draw points, most of them where a mask is least certain.

    Args:
        logits: (n, h, w) mask logits.
        count: Points for each mask.
        oversample: Candidates for each point, drawn uniformly.
        importance: Share of the points that are taken from the candidates, those with logits next to 0; the rest is
            drawn uniformly.

    Returns:
        (n, count, 2).
    """
    masks = logits.size(0)
    candidates = torch.rand(masks, int(count * oversample), 2, device=logits.device)
    certain = sample_points(logits[:, None], candidates)[:, 0].abs()
    chosen = int(count * importance)
    nearest = certain.topk(chosen, dim=1, largest=False).indices
    kept = candidates.gather(1, nearest[..., None].expand(-1, -1, 2))
    return torch.cat([kept, torch.rand(masks, count - chosen, 2, device=logits.device)], dim=1)
