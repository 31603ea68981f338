"""The recurrent transformer that PSRT and Semantic Lens share: features, four propagation branches, reconstruction.

The grid propagation is that of BasicVSR++ without its dense connections: each branch takes the features that the branch
before it made of the same frame, and the last branch alone is reconstructed. Semantic Lens calls its propagation
identical to that of BasicVSR++, and its blocks those of PSRT; we follow PSRT's network, so its weights can be taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from .mfsa import PropagationBranch, conv_channels_last

BRANCHES = ('backward_1', 'forward_1', 'backward_2', 'forward_2')

# Frames that meet in a step of a branch: neighbour, current frame, the neighbour's neighbour.
_SLOTS = 3

# Parameters and buffers of released checkpoints that take no part in the result.
_UNUSED_PARTS = ('conv_first', 'conv_first_feat', 'conv_before_upsample')
_DERIVED = 'attn.relative_position_index'


@dataclass(frozen=True)
class Step:
    """One step of a propagation branch.

    Attributes:
        branch: One of :data:`BRANCHES`.
        frame: Frame that is being worked on.
        first: The neighbour whose propagated feature is used; None in a branch's first step.
        second: That neighbour's neighbour; None in the first two steps.
    """

    branch: str
    frame: int
    first: int | None = None
    second: int | None = None

    @property
    def sources(self) -> tuple[int, int, int]:
        """The frame that each of the three slots shows.

        In a branch's first step all slots are copies of the current frame. In its second step the last slot is zero,
        which shows no frame; it counts as the current one.
        """
        return (
            self.frame if self.first is None else self.first,
            self.frame,
            self.frame if self.second is None else self.second,
        )


#: ``align(step, current, first, second)``: features (b, h, w, c) of the current frame, and the propagated ones, which
#: it returns aligned to the current one. ``second`` is None in a branch's second step.
Align = Callable[[Step, torch.Tensor, torch.Tensor, torch.Tensor | None], tuple[torch.Tensor, torch.Tensor | None]]
#: ``embed(step, k, x)``: what is done to the three slots (b, 3, h, w, c) before the branch's k-th group of blocks.
Embed = Callable[[Step, int, torch.Tensor], torch.Tensor]


def check_clip(lq: torch.Tensor, network: str) -> None:
    """Accept a clip (b, t, 3, h, w) or say what is wrong with it.

    Raises:
        ValueError: Another number of axes or channels, or nothing in it.
    """
    if lq.dim() != 5 or 0 in lq.shape or lq.size(2) != 3:
        raise ValueError(
            f'{network} takes frames of shape (batch, frames, 3, height, width); these have {tuple(lq.shape)}.'
        )


class RecurrentEnhancer(nn.Module):
    """Frames to frames, ``upscale`` times larger; parameters have the names of PSRT's released weights.

    Args:
        mid_channels: Channels at the LR size behind the branches.
        embed_dim: Channels C of the propagated features.
        depths: Blocks of each group of a branch.
        num_heads: Heads of each group.
        window_size: Frames, rows and columns of a window; a step has three frames.
        mlp_ratio: Hidden channels of the MLPs, in units of C.
        drop_path_rate: Stochastic depth of the last block of a branch, in training.
        upscale: 2, 3 or 4.
        cpu_cache_length: Clips of more frames than this keep propagated features in main memory instead of the GPU's.
        checkpointing: Work blocks out again in the backward pass instead of keeping what they need for it.

    Raises:
        ValueError: Arguments out of range.
    """

    def __init__(
        self,
        *,
        mid_channels: int,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_size: Sequence[int],
        mlp_ratio: float,
        drop_path_rate: float,
        upscale: int,
        cpu_cache_length: int,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        if len(depths) != len(num_heads) or not depths or min(depths) < 1:
            raise ValueError(
                f'depths and num_heads give the blocks and heads of each group, so they have the same length; they are '
                f'{list(depths)} and {list(num_heads)}.'
            )
        if len(window_size) != 3 or window_size[0] != _SLOTS or min(window_size) < 1:
            raise ValueError(
                f'window_size is [3, rows, columns], since a step of the recurrence has three frames; it is '
                f'{list(window_size)}.'
            )
        if upscale not in (2, 3, 4):
            raise ValueError(f'upscale is 2, 3 or 4, not {upscale}.')
        if mlp_ratio <= 0 or not 0 <= drop_path_rate < 1:
            raise ValueError(
                f'mlp_ratio is positive and drop_path_rate in [0, 1); they are {mlp_ratio} and {drop_path_rate}.'
            )
        self.embed_dim = embed_dim
        self.scale = upscale
        self.cpu_cache_length = cpu_cache_length
        self.checkpointing = checkpointing
        self.conv_first = nn.Conv2d(3, embed_dim, 3, 1, 1)
        self.patch_align = nn.ModuleDict(
            {
                name: PropagationBranch(embed_dim, depths, num_heads, window_size, mlp_ratio, drop_path_rate)
                for name in BRANCHES
            }
        )
        self.conv_before_upsample = nn.Conv2d(embed_dim, mid_channels, 3, 1, 1)
        # x4 has the layers of the released network; x2 and x3 reach the 64 channels of conv_hr in one step
        if upscale == 4:
            self.upconv1 = nn.Conv2d(mid_channels, mid_channels * 4, 3, 1, 1)
            self.upconv2 = nn.Conv2d(mid_channels, 64 * 4, 3, 1, 1)
        else:
            self.upconv1 = nn.Conv2d(mid_channels, 64 * upscale**2, 3, 1, 1)
        self.conv_hr = nn.Conv2d(64, 64, 3, 1, 1)
        self.conv_last = nn.Conv2d(64, 3, 3, 1, 1)

    def filter_checkpoint(self, state: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[str]]:
        """Leave out what released checkpoints of PSRT hold but this network does not use.

        These are layers that the released code makes and never calls, the indices of the relative positions, which
        follow from the window size, and SPyNet where this network estimates no flow.

        Args:
            state: State dict from a file.

        Returns:
            The state dict for ``load_state_dict``, and the keys left out.
        """
        with_flow = hasattr(self, 'spynet')

        def is_unused(key: str) -> bool:
            part = key.split('.')
            if part[0] == 'patch_align' and len(part) > 2:
                return part[2] in _UNUSED_PARTS or key.endswith(_DERIVED)
            return part[0] == 'spynet' and not with_flow

        left_out = [key for key in state if is_unused(key)]
        return {key: value for key, value in state.items() if key not in set(left_out)}, left_out

    def enhance(self, lq: torch.Tensor, align: Align, embed: Embed | None = None) -> torch.Tensor:
        """Restore a clip.

        Args:
            lq: LR frames (b, t, 3, h, w), RGB in [0, 1].
            align: How propagated features meet the current one.
            embed: What happens before each group of blocks.

        Returns:
            HR frames (b, t, 3, scale * h, scale * w).
        """
        offload = lq.size(1) > self.cpu_cache_length
        home = torch.device('cpu') if offload else lq.device
        features = [self._first_features(lq[:, i]).to(home) for i in range(lq.size(1))]
        for branch in BRANCHES[:-1]:
            propagated = dict(self._propagate(branch, features, lq.device, home, align, embed))
            features = [propagated[i] for i in range(len(features))]
        frames = []
        for i, feature in self._propagate(BRANCHES[-1], features, lq.device, home, align, embed):
            frames.append(self._reconstruct(feature.to(lq.device), lq[:, i]).to(home if offload else lq.device))
        return torch.stack(frames, dim=1)

    def _first_features(self, frame: torch.Tensor) -> torch.Tensor:
        """(b, 3, h, w) to (b, h, w, c)."""
        return conv_channels_last(self.conv_first, frame.permute(0, 2, 3, 1))

    def _propagate(
        self,
        branch: str,
        features: Sequence[torch.Tensor],
        device: torch.device,
        home: torch.device,
        align: Align,
        embed: Embed | None,
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield frame number and propagated feature (b, h, w, c), in the order of the branch.

        Args:
            branch: Name of the branch.
            features: What the branch before it made of each frame, on ``home``.
            device: Where to compute.
            home: Where the yielded features are kept.
            align: See :meth:`enhance`.
            embed: See :meth:`enhance`.
        """
        order = range(len(features))
        order = order if branch.startswith('forward') else order[::-1]
        first = second = None
        for n, i in enumerate(order):
            step = Step(branch, i, order[n - 1] if n > 0 else None, order[n - 2] if n > 1 else None)
            current = features[i].to(device)
            if first is None:
                slots = [current, current, current]
            else:
                aligned, beyond = align(step, current, first, second)
                slots = [aligned, current, torch.zeros_like(current) if beyond is None else beyond]
            result = self.patch_align[branch](
                torch.stack([slot.to(current.dtype) for slot in slots], dim=1),
                None if embed is None else lambda k, x, step=step: embed(step, k, x),
                self.checkpointing,
            )
            first, second = result, first
            yield i, result.to(home)

    def _reconstruct(self, feature: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        """Feature (b, h, w, c) and LR frame (b, 3, h, w) to the HR frame."""
        x = self.conv_before_upsample(feature.permute(0, 3, 1, 2))
        for conv, factor in (
            ((self.upconv1, 2), (self.upconv2, 2)) if self.scale == 4 else ((self.upconv1, self.scale),)
        ):
            x = F.leaky_relu(F.pixel_shuffle(conv(x), factor), 0.1, inplace=True)
        x = F.leaky_relu(self.conv_hr(x), 0.1, inplace=True)  # a line of its own, so that the largest one is freed
        x = self.conv_last(x)
        return x + F.interpolate(frame, scale_factor=self.scale, mode='bilinear', align_corners=False)
