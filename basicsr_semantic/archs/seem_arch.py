"""SEEM, the SAM-guided refinement module of "Can SAM Boost Video Super-Resolution?" (not Microsoft's SEEM)."""

from __future__ import annotations

import torch
from basicsr.archs.arch_util import ResidualBlockNoBN
from torch import nn
from torch.nn import functional as F

_SLOPE = 0.1


class SAMEmbedding(nn.Module):
    """Feature combination network f_r: a frame and its masks become one feature map (Eq. 1).

    The paper gives "two convolutional layers and one residual block". Kernels of 3x3, LeakyReLU 0.1 after both and
    BasicSR's residual block without normalisation follow the hosts' habits.

    Args:
        num_feat: Channels D of the representation, those of the host network.
        num_masks: Masks a frame.
        num_in_ch: Channels of a frame.

    Raises:
        ValueError: A size that is not positive.
    """

    def __init__(self, num_feat: int = 64, num_masks: int = 64, num_in_ch: int = 3) -> None:
        super().__init__()
        if min(num_feat, num_masks, num_in_ch) < 1:
            raise ValueError(
                f'num_feat, num_masks and num_in_ch must be positive; they are {num_feat}, {num_masks} and {num_in_ch}.'
            )
        self.num_masks = num_masks
        self.conv1 = nn.Conv2d(num_in_ch + num_masks, num_feat, 3, 1, 1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.block = ResidualBlockNoBN(num_feat)

    def forward(self, frame: torch.Tensor, masks: torch.Tensor | None) -> torch.Tensor:
        """Combine one frame with its masks.

        Args:
            frame: LR frame (b, c, h, w), RGB in [0, 1].
            masks: Masks (b, num_masks, h, w), 0 or 1, of any type and on any device; None means that nothing is
                masked. They become floating point only here, one frame at a time.

        Returns:
            SAM-based representation (b, D, h, w).
        """
        if masks is None:
            masks = frame.new_zeros(()).expand(frame.size(0), self.num_masks, *frame.shape[-2:])
        feat = torch.cat([frame, masks.to(frame)], dim=1)
        feat = F.leaky_relu(self.conv1(feat), _SLOPE, inplace=True)
        feat = F.leaky_relu(self.conv2(feat), _SLOPE, inplace=True)
        return self.block(feat)


class SEEM(nn.Module):
    """SAM-guided refinement module, SEEM (not Microsoft's segmentation model of that name): Eq. 2 and 3.

    Two convolutions map the host's feature and the SAM-based representation to F_m; a channel attention block weighs
    its channels. Kernels of 3x3 and LeakyReLU 0.1 follow the hosts' habits; the ratio and the non-linearities of the
    attention, which the paper leaves open, are RCAN's, whose block it cites.

    Args:
        num_feat: Channels D of the host's features and of the representation.
        reduction: Ratio r of the channel attention; must divide ``num_feat``.
        zero_init: Start with the second convolution at zero, so that the host's output is not changed at first.

    Raises:
        ValueError: ``reduction`` does not divide ``num_feat``.
    """

    def __init__(self, num_feat: int = 64, reduction: int = 16, zero_init: bool = True) -> None:
        super().__init__()
        if num_feat < 1 or reduction < 1 or num_feat % reduction:
            raise ValueError(f'reduction must divide num_feat; {reduction} does not divide {num_feat}.')
        self.conv1 = nn.Conv2d(num_feat * 2, num_feat, 3, 1, 1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.fc_down = nn.Linear(num_feat, num_feat // reduction)
        self.fc_up = nn.Linear(num_feat // reduction, num_feat)
        if zero_init:
            for parameter in self.conv2.parameters():
                nn.init.zeros_(parameter)

    def forward(self, feat: torch.Tensor, representation: torch.Tensor) -> torch.Tensor:
        """Compute the semantic-aware feature F_sem, which the host adds to its own.

        Args:
            feat: Feature of the host (b, D, h, w).
            representation: SAM-based representation of the same frame (b, D, h, w).

        Returns:
            F_sem (b, D, h, w).
        """
        mapped, gain = self._map(feat, representation)
        return mapped * gain

    def refine(self, feat: torch.Tensor, representation: torch.Tensor) -> torch.Tensor:
        """Return ``feat + forward(feat, representation)`` (Eq. 8, 9, 13, 14) in one pass over the features.

        Args:
            feat: Feature of the host (b, D, h, w); not changed.
            representation: SAM-based representation of the same frame (b, D, h, w).

        Returns:
            Refined feature (b, D, h, w).
        """
        mapped, gain = self._map(feat, representation)
        return torch.addcmul(feat, mapped, gain)

    def _map(self, feat: torch.Tensor, representation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return F_m (b, D, h, w) and 1 + F_a (b, D, 1, 1)."""
        mapped = F.leaky_relu(self.conv1(torch.cat([feat, representation], dim=1)), _SLOPE, inplace=True)
        mapped = self.conv2(mapped)
        # Eq. 2 ends in a third "phi", F_a = phi(F_u), that the text calls a fully-connected layer. It keeps the shape
        # and comes last, where RCAN's block, cited for it, has the sigmoid; so it is the sigmoid here.
        attention = self.fc_up(F.relu(self.fc_down(mapped.mean(dim=(2, 3)))))
        # Eq. 3: F_sem = F_m + F_cab = F_m + F_a * F_m.
        return mapped, 1 + torch.sigmoid(attention)[:, :, None, None]
