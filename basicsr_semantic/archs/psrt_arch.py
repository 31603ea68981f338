"""PSRT in its recurrent form ("Rethinking Alignment in Video Super-Resolution Transformers", NeurIPS 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from basicsr.archs.arch_util import flow_warp
from basicsr.archs.spynet_arch import SpyNet
from basicsr.utils.registry import ARCH_REGISTRY
from torch.nn import functional as F

from ..priors import SemanticPriors
from .layers.recurrent_enhancer import RecurrentEnhancer, Step, check_clip
from .layers.size_requirements import SizeRequirements
from .layers.spynet import is_at_zero_flow, load_spynet, start_at_zero_flow
from .semantic_arch import SemanticArch

_Flows = tuple[torch.Tensor, torch.Tensor]

PATCH = 8
"""Side of the patches that PSRT moves as a whole, in pixels."""


@ARCH_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
class PSRTRecurrent(RecurrentEnhancer, SemanticArch):
    """A recurrent transformer over windows of three frames, with SPyNet and patch alignment or without either.

    Released checkpoints load under their own names; :meth:`filter_checkpoint` leaves out what they hold and this
    network does not use. The keys of the released option files are accepted, with ``type: PSRTRecurrent`` instead of
    BasicRecurrentSwin.

    Args:
        in_channels: Channels of a frame; 3.
        mid_channels: Channels at the LR size behind the branches.
        embed_dim: Channels of the propagated features.
        depths: Swin blocks of each group of a branch.
        num_heads: Heads of each group.
        window_size: Frames, rows and columns of a window; 3 frames.
        mlp_ratio: Hidden channels of the MLPs, in units of ``embed_dim``.
        drop_path_rate: Probability of leaving out a branch's last block in training; it grows linearly from the first.
        num_frames: Frames that meet in a step; 3. The length of a clip is free.
        img_size: Size of training patches in the released option files. Any size works, so it has no effect.
        patch_size: Pixels a token; 1.
        cpu_cache_length: Clips of more frames than this keep propagated features in main memory instead of the GPU's.
        is_low_res_input: Frames are LR; true.
        spynet_path: Weights of SPyNet, a file {'params': state dict}; only with ``align: patch``.
        zero_flow: SPyNet starts with flow zero everywhere, for training without its released weights.
        align: 'patch' as released; 'none' passes propagated features on as they are, and there is no SPyNet.
        upscale: 4; 2 and 3 are possible with ``align: none``.
        checkpointing: Work blocks out again in the backward pass instead of keeping what they need for it. About a
            third more time; without it, a training step at the full size needs some GB a frame of 64x64.

    Raises:
        ValueError: Arguments that contradict each other or are out of range, or a file that does not hold SPyNet.
    """

    size_requirements = SizeRequirements(minimum=33)  # SPyNet's coarsest level vanishes at 32 pixels
    scale = 4

    def __init__(
        self,
        *,
        in_channels: int = 3,
        mid_channels: int = 64,
        embed_dim: int = 120,
        depths: Sequence[int] = (6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6),
        window_size: Sequence[int] = (3, 8, 8),
        mlp_ratio: float = 2.0,
        drop_path_rate: float = 0.1,
        num_frames: int = 3,
        img_size: int = 64,
        patch_size: int = 1,
        cpu_cache_length: int = 100,
        is_low_res_input: bool = True,
        spynet_path: str | None = None,
        zero_flow: bool = False,
        align: Literal['patch', 'none'] = 'patch',
        upscale: int = 4,
        checkpointing: bool = False,
    ) -> None:
        only = {'in_channels': (in_channels, 3), 'num_frames': (num_frames, 3), 'patch_size': (patch_size, 1)}
        for name, (value, supported) in {**only, 'is_low_res_input': (is_low_res_input, True)}.items():
            if value != supported:
                raise ValueError(f'PSRTRecurrent works with {name}: {supported}, not {value}.')
        if align not in ('patch', 'none'):
            raise ValueError(f"align is 'patch' or 'none', not {align!r}.")
        if align == 'none' and (spynet_path or zero_flow):
            raise ValueError('align: none estimates no flow, so spynet_path and zero_flow have no effect. Remove them.')
        if align == 'patch' and upscale != 4:
            raise ValueError(f'upscale is {upscale}, but align: patch has the released scale of 4; use align: none.')
        if zero_flow and spynet_path:
            raise ValueError(f'zero_flow starts SPyNet without weights, but spynet_path is {spynet_path}. Remove one.')
        super().__init__(
            mid_channels=mid_channels,
            embed_dim=embed_dim,
            depths=depths,
            num_heads=num_heads,
            window_size=window_size,
            mlp_ratio=mlp_ratio,
            drop_path_rate=drop_path_rate,
            upscale=upscale,
            cpu_cache_length=cpu_cache_length,
            checkpointing=checkpointing,
        )
        self.img_size = img_size
        self.align = align
        self.zero_flow = zero_flow
        if align == 'none':
            self.size_requirements = SizeRequirements()
            return
        self.spynet = SpyNet()
        if spynet_path:
            load_spynet(self.spynet, spynet_path)
        if zero_flow:
            start_at_zero_flow(self.spynet)

    def forward(self, lq: torch.Tensor, priors: SemanticPriors | None = None) -> torch.Tensor:
        """Restore a clip.

        Args:
            lq: LR frames (b, t, 3, h, w), RGB in [0, 1]; h and w at least 33 with ``align: patch``.
            priors: Not looked at.

        Returns:
            HR frames (b, t, 3, upscale * h, upscale * w).

        Raises:
            ValueError: Frames of a wrong shape or too small.
        """
        check_clip(lq, type(self).__name__)
        self.size_requirements.check(lq.size(3), lq.size(4), type(self).__name__)
        if self.align == 'none':
            return self.enhance(lq, lambda step, current, first, second: (first, second))
        return self.enhance(lq, partial(self._align, self.get_flow(lq)))

    def get_flow(self, lq: torch.Tensor) -> _Flows:
        """Flows (b, t - 1, 2, h, w) from each frame to the one before it, and to the one after it."""
        b, t, _, h, w = lq.shape
        if t == 1 or (self.zero_flow and is_at_zero_flow(self.spynet)):
            zero = lq.new_zeros(b, t - 1, 2, h, w)
            return zero, zero
        early, late = lq[:, :-1].flatten(0, 1), lq[:, 1:].flatten(0, 1)
        to_previous, to_next = self.spynet(late, early), self.spynet(early, late)
        return to_previous.unflatten(0, (b, t - 1)), to_next.unflatten(0, (b, t - 1))

    @staticmethod
    def _align(
        flows: _Flows, step: Step, current: torch.Tensor, first: torch.Tensor, second: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Patch alignment of the propagated features to the current frame."""
        to_previous, to_next = flows
        assert step.first is not None

        def flow(frame: int, other: int) -> torch.Tensor:
            return to_previous[:, frame - 1] if other < frame else to_next[:, frame]

        near = flow(step.frame, step.first)
        aligned = patch_warp(first, near)
        if second is None or step.second is None:
            return aligned, None
        return aligned, patch_warp(second, chain_flows(near, flow(step.first, step.second)))


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
