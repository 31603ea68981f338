"""BasicVSR, with SEEM or without, small enough for a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from basicsr.archs.arch_util import ResidualBlockNoBN
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn
from torch.nn import functional as F

from .basicvsr_seem_arch import BasicVSRSEEM
from .layers.mask_input import MissingPriors
from .layers.shared_flow import SharedFlow
from .layers.size_requirements import SizeRequirements


@ARCH_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
class BasicVSRLite(BasicVSRSEEM):
    """BasicVSR for a CPU: the two branches of BasicVSR with few channels, and what costs most of it replaced.

    Of BasicVSR with 32 channels, SPyNet and the convolutions at the output's size would be nine tenths. Instead, the
    flow comes from :class:`SharedFlow`, and the frame is made at the size of the input: one residual block, and one
    convolution whose channels become 4x4 pixels, added to bicubic interpolation. This is ours, from no paper.

    Args:
        num_feat: Channels.
        num_block: Residual blocks of each branch.
        flow_feat: Channels of the flow network.
        num_masks: Masks a frame, where there is SEEM.
        reduction: Ratio of SEEM's channel attention; must divide ``num_feat``.
        branches: Branches with SEEM, of 'backward' and 'forward'; by default none, so it takes frames alone.
        missing_priors: Without masks, raise an error or go on as if nothing were masked ('neutral').

    Raises:
        ValueError: Arguments that contradict each other or are out of range.
    """

    size_requirements = SizeRequirements()

    def __init__(
        self,
        *,
        num_feat: int = 32,
        num_block: int = 3,
        flow_feat: int = 32,
        num_masks: int = 64,
        reduction: int = 8,
        branches: Sequence[str] = (),
        missing_priors: MissingPriors = 'error',
    ) -> None:
        super().__init__(
            num_feat=num_feat,
            num_block=num_block,
            num_masks=num_masks,
            reduction=reduction,
            branches=branches,
            missing_priors=missing_priors,
        )
        if not branches:
            self.adapter_prefixes = ()
        self.spynet = SharedFlow(flow_feat)
        del self.upconv1, self.upconv2, self.conv_hr
        self.block = ResidualBlockNoBN(num_feat)
        self.conv_last = nn.Conv2d(num_feat, 3 * 4**2, 3, 1, 1)
        self.pixel_shuffle = nn.PixelShuffle(4)
        for parameter in self.conv_last.parameters():  # starts as bicubic interpolation
            nn.init.zeros_(parameter)
        self.to(memory_format=torch.channels_last)  # on a CPU 1.2 to 1.8 times as fast at these widths

    def reconstruct(self, backward: torch.Tensor, forward: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        """Merge both branches and upsample: (b, D, h, w) twice to (b, 3, 4 h, 4 w)."""
        out = self.lrelu(self.fusion(torch.cat([backward, forward], dim=1)))
        out = self.pixel_shuffle(self.conv_last(self.block(out)))
        out += F.interpolate(frame, scale_factor=4, mode='bicubic', align_corners=False)
        return out
