"""Warping error: how much a restored clip flickers along the motion of the true one."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from basicsr.archs.arch_util import flow_warp
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor

from ..utils.errors import UserError
from .flow import FARNEBACK, Flow, FlowOption, flow_of
from .frames import chosen_device, prepared_by, rgb_tensor


def _prepare(flow: FlowOption = FARNEBACK, device: str | None = None) -> Flow:
    return flow_of(flow, chosen_device(device))


@METRIC_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
@prepared_by(_prepare)
def calculate_warping_error(
    img: np.ndarray,
    img2: np.ndarray | None = None,
    previous: np.ndarray | None = None,
    previous2: np.ndarray | None = None,
    flow: FlowOption = FARNEBACK,
    device: str | None = None,
    better: Literal['higher', 'lower'] = 'lower',
) -> float:
    """Warping error (Lai et al., Learning Blind Video Temporal Consistency, ECCV 2018), frame by frame.

    With w the flow from the frame before to this one, and w' the flow back, both between the GT frames (without GT:
    between the restored ones), this frame is read at p + w(p) (bilinear) and compared with the frame before: the mean,
    over the three channels and all pixels p of the frame before that are to be seen in both, of the squared difference
    of values in [0, 1]. A pixel is left out, by the rules of Ruder et al. (Artistic Style Transfer for Videos, GCPR
    2016),

    - where flow and flow back disagree: |w(p) + w'(p + w(p))|^2 > 0.01 (|w(p)|^2 + |w'(p + w(p))|^2) + 0.5,
    - at motion boundaries: |grad u|^2 + |grad v|^2 > 0.01 |w|^2 + 0.002, with forward differences,
    - where p + w(p) lies outside the frame.

    The first frame of an item has no value, so a clip of T frames counts T - 1, and one that is cut into segments loses
    one at each border. The papers multiply by 1000.

    Args:
        img: (H, W, 3) uint8, BGR, the restored frame.
        img2: The GT, if there is any.
        previous: The restored frame before it.
        previous2: The GT of the frame before.
        flow: farneback (OpenCV, with its defaults; needs no weights), or a section {type: SpyNet, load_path: FILE} of a
            registered arch that gives the flow from ref to supp by forward(ref, supp). The papers use FlowNet2 or RAFT;
            values of different flows cannot be compared.
        device: cpu, cuda, cuda:1, ...; ~ takes the GPU if there is one.
        better: Which value the log calls best.

    Returns:
        The error, 0 for a clip that only moves; NaN, which counts as no value, where no pixel is visible in both frames
        (a cut).

    Raises:
        UserError: There is no frame before, or the flow cannot be computed.
    """
    if previous is None:
        raise UserError(
            'calculate_warping_error compares consecutive frames, and this validation shows it single ones: it works '
            'for video models.'
        )
    where = chosen_device(device)
    between = flow_of(flow, where)
    before, now = (previous, img) if img2 is None or previous2 is None else (previous2, img2)
    forth, back = between(before, now), between(now, before)
    frames = [rgb_tensor(frame, where) for frame in (previous, img)]
    with torch.no_grad():
        seen = visible(forth, back)
        difference = (_read_at(frames[1], forth) - frames[0]).square().mean(dim=1)
        return float(difference[seen].double().mean())


def visible(forth: Tensor, back: Tensor) -> Tensor:
    """Which pixels of the first frame are visible in the second, too.

    Args:
        forth: Flow from the first to the second frame, (n, 2, H, W) in pixels, right and down.
        back: Flow from the second to the first.

    Returns:
        (n, H, W) bool.
    """
    returned = _read_at(back, forth)
    length = forth.square().sum(dim=1)
    agrees = (forth + returned).square().sum(dim=1) <= 0.01 * (length + returned.square().sum(dim=1)) + 0.5
    smooth = _gradient(forth) <= 0.01 * length + 0.002
    # Lai et al. leave this to the comparison of the two flows, which reads the flow back at the border and may agree
    # there by chance; what has left the frame cannot be compared.
    height, width = forth.shape[-2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=forth.device), torch.arange(width, device=forth.device), indexing='ij'
    )
    x, y = columns + forth[:, 0], rows + forth[:, 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return agrees & smooth & inside


def _read_at(values: Tensor, flow: Tensor) -> Tensor:
    """values (n, c, H, W) at p + flow(p), bilinear; the nearest pixel beyond the border."""
    return flow_warp(values, flow.permute(0, 2, 3, 1), padding_mode='border')


def _gradient(flow: Tensor) -> Tensor:
    """Squared length of the gradients of both components, (n, H, W); zero in the last row and column."""
    squares = torch.zeros_like(flow)
    squares[..., :, :-1] += flow.diff(dim=-1).square()
    squares[..., :-1, :] += flow.diff(dim=-2).square()
    return squares.sum(dim=1)
