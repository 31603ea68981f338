"""Patch alignment of PSRT: whole patches of a feature move by their mean optical flow, without resampling."""

from __future__ import annotations

import torch
from basicsr.archs.arch_util import flow_warp
from torch.nn import functional as F

PATCH = 8


def patch_warp(feature: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Move patches of 8x8 pixels by the mean of the flow within them, to the nearest pixel.

    Args:
        feature: (b, h, w, c), h and w at least 8.
        flow: (b, 2, h, w), in pixels, x first.

    Returns:
        (b, h, w, c); what comes from beyond the frame is zero.
    """
    _, h, w, _ = feature.shape
    flow = F.avg_pool2d(F.pad(flow.float(), (0, -w % PATCH, 0, -h % PATCH), mode='reflect'), PATCH)
    flow = flow.repeat_interleave(PATCH, dim=2).repeat_interleave(PATCH, dim=3)[:, :, :h, :w]
    rows, columns = (torch.arange(size, device=flow.device, dtype=flow.dtype) for size in (h, w))
    x = 2 * (columns + flow[:, 0]) / max(w - 1, 1) - 1
    y = 2 * (rows[:, None] + flow[:, 1]) / max(h - 1, 1) - 1
    warped = F.grid_sample(
        feature.permute(0, 3, 1, 2).float(), torch.stack((x, y), dim=3), mode='nearest', align_corners=True
    )
    return warped.permute(0, 2, 3, 1).contiguous()


def chain_flows(near: torch.Tensor, far: torch.Tensor) -> torch.Tensor:
    """Flow over two frames from the flows (b, 2, h, w) to the neighbour, and from there to its neighbour."""
    return near + flow_warp(far, near.permute(0, 2, 3, 1))
