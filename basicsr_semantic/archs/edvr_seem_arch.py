"""EDVR with SEEM in alignment, fusion and reconstruction (Eq. 4 to 9 of "Can SAM Boost Video Super-Resolution?")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from basicsr.archs.edvr_arch import EDVR
from basicsr.utils.registry import ARCH_REGISTRY
from torch.nn import functional as F

from ..priors import SemanticPriors
from .layers.mask_input import MissingPriors, check_masks, check_missing_priors, masks_of, split_channels
from .layers.size_requirements import SizeRequirements
from .seem_arch import SEEM, SAMEmbedding
from .semantic_arch import SemanticArch

_POSITIONS = ('align', 'aggr', 'recon')


@ARCH_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
class EDVRSEEM(EDVR, SemanticArch):
    """EDVR whose reference feature, fused feature and reconstructed feature are refined by SEEM.

    Masks are those of the reference frame, the centre of the window; its neighbours have none. All parameters of EDVR
    keep their names, so released checkpoints load (``strict_load_g: false``); the new ones are ``sam_embed.*`` and
    ``seem_*``. With ``zero_init`` the network starts as EDVR, bit for bit. EDVR-M is the default; EDVR-L has
    ``num_feat: 128`` and ``num_reconstruct_block: 40``.

    Args:
        num_in_ch: Channels of a frame.
        num_out_ch: Kept for option files of EDVR, which does not use it.
        num_feat: Channels D.
        num_frame: Frames of a window.
        deformable_groups: Groups of the deformable convolutions.
        num_extract_block: Residual blocks of the feature extraction.
        num_reconstruct_block: Residual blocks of the reconstruction.
        center_frame_idx: Reference frame, counted from 0; None is the middle.
        hr_in: Must be False; masks are at LR size.
        with_predeblur: Must be False, as above.
        with_tsa: Fuse with temporal and spatial attention, otherwise with one convolution.
        num_masks: Masks of the reference frame; frames with fewer are padded with empty ones.
        reduction: Ratio of SEEM's channel attention; must divide ``num_feat``.
        positions: Where SEEM works, of 'align' (Eq. 8), 'aggr' and 'recon' (Eq. 9). None of them is plain EDVR, which
            takes no masks.
        align_levels: The paper does not name the pyramid levels that see the refined reference: 'all' derives levels
            2 and 3 from the refined level 1; 'l1' leaves them as they are.
        zero_init: SEEM starts as the identity.
        missing_priors: Without masks, raise an error or go on as if nothing were masked ('neutral').

    Raises:
        ValueError: Arguments that are out of range or not supported.
    """

    prior_fields: tuple[str, ...] = ('masks',)
    adapter_prefixes: tuple[str, ...] = ('sam_embed.', 'seem_')
    size_requirements = SizeRequirements(minimum=4, multiple_of=4)
    scale = 4

    def __init__(
        self,
        *,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_frame: int = 5,
        deformable_groups: int = 8,
        num_extract_block: int = 5,
        num_reconstruct_block: int = 10,
        center_frame_idx: int | None = None,
        hr_in: bool = False,
        with_predeblur: bool = False,
        with_tsa: bool = True,
        num_masks: int = 64,
        reduction: int = 16,
        positions: Sequence[str] = _POSITIONS,
        align_levels: Literal['all', 'l1'] = 'all',
        zero_init: bool = True,
        missing_priors: MissingPriors = 'error',
    ) -> None:
        if hr_in or with_predeblur:
            raise ValueError(
                'EDVRSEEM has no variant with hr_in or with_predeblur: its masks are those of LR frames that are '
                'upsampled 4x. Set both to false.'
            )
        unknown = [position for position in positions if position not in _POSITIONS]
        if isinstance(positions, str) or unknown or len(set(positions)) != len(positions):
            raise ValueError(f'positions is a list of align, aggr and recon, or some of them, not {positions!r}.')
        if align_levels not in ('all', 'l1'):
            raise ValueError(f"align_levels is 'all' or 'l1', not {align_levels!r}.")
        if center_frame_idx is not None and not 0 <= center_frame_idx < num_frame:
            raise ValueError(f'center_frame_idx is {center_frame_idx}, but a window has frames 0 to {num_frame - 1}.')
        check_missing_priors(missing_priors)
        super().__init__(
            num_in_ch,
            num_out_ch,
            num_feat,
            num_frame,
            deformable_groups,
            num_extract_block,
            num_reconstruct_block,
            center_frame_idx,
            with_tsa=with_tsa,
        )
        self.num_in_ch = num_in_ch
        self.num_frame: int = num_frame
        self.num_masks: int = num_masks
        self.positions = tuple(positions)
        self.align_levels = align_levels
        self.missing_priors: MissingPriors = missing_priors
        if not positions:
            self.prior_fields = ()
            return
        self.sam_embed = SAMEmbedding(num_feat, num_masks, num_in_ch)
        for position in self.positions:
            setattr(self, f'seem_{position}', SEEM(num_feat, reduction, zero_init))

    def forward(self, lq: torch.Tensor, priors: SemanticPriors | torch.Tensor | None = None) -> torch.Tensor:
        """Restore the reference frame of a window.

        Args:
            lq: LR frames (b, num_frame, 3, h, w), RGB in [0, 1], h and w multiples of 4; or
                (b, num_frame, 3 + num_masks, h, w) with the masks behind the colours.
            priors: Priors with masks, or the masks alone: those of the reference frame (b, num_masks, h, w) or
                (b, 1, num_masks, h, w), or those of all frames (b, num_frame, num_masks, h, w), of which the
                others are not looked at; 0 or 1, bool, integer or floating point. Not looked at where ``positions``
                is empty.

        Returns:
            HR reference frame (b, 3, 4 h, 4 w).

        Raises:
            ValueError: Wrong shapes, sizes that are not multiples of 4, or no masks where they are needed.
        """
        network = type(self).__name__
        x, masks = split_channels(lq, masks_of(priors), self.num_in_ch, network)
        b, t, c, h, w = x.shape
        if t != self.num_frame:
            raise ValueError(f'This {network} restores windows of num_frame: {self.num_frame} frames; it got {t}.')
        self.size_requirements.check(h, w, network)
        center = x[:, self.center_frame_idx]
        representation = self._represent(center, masks, t) if self.positions else None

        feat_l1 = self.lrelu(self.conv_first(x.reshape(-1, c, h, w)))
        feat_l1 = self.feature_extraction(feat_l1)  # (b * t, D, h, w)
        levels = self._pyramid(feat_l1, b, t)
        aligned = self._align(levels, self._refine_reference(levels, representation))
        del feat_l1, levels  # what follows needs the memory

        feat = self.fusion(aligned if self.with_tsa else aligned.view(b, -1, h, w))
        del aligned
        feat = self.reconstruction(self._refine('aggr', feat, representation))
        # Eq. 7 calls the result of f_rec a frame, Eq. 9 refines it as a feature: f_rec is the residual trunk alone.
        return self._upsample(self._refine('recon', feat, representation), center)

    def _represent(self, center: torch.Tensor, masks: torch.Tensor | None, t: int) -> torch.Tensor:
        """Compute the SAM-based representation (b, D, h, w) of the reference frame (Eq. 1)."""
        b, _, h, w = center.shape
        expected = (b, t, self.num_masks, h, w)
        if masks is not None and masks.dim() == 5 and masks.size(1) == 1:
            expected = (b, 1, self.num_masks, h, w)
        elif masks is not None and masks.dim() == 4:
            expected = (b, self.num_masks, h, w)
        check_masks(masks, expected, self.missing_priors, type(self).__name__)
        if masks is not None and masks.dim() == 5:
            masks = masks[:, self.center_frame_idx if masks.size(1) == t else 0]
        return self.sam_embed(center, masks)

    def _refine(self, position: str, feat: torch.Tensor, representation: torch.Tensor | None) -> torch.Tensor:
        """Add what SEEM says at a position; without SEEM there, return the feature as it is."""
        if representation is None or position not in self.positions:
            return feat
        return getattr(self, f'seem_{position}').refine(feat, representation)

    def _pyramid(self, feat_l1: torch.Tensor, b: int, t: int) -> list[torch.Tensor]:
        """Derive levels 2 and 3 from level 1 (b * t, D, h, w); each level comes as (b, t, D, h', w')."""
        feat_l2 = self.lrelu(self.conv_l2_2(self.lrelu(self.conv_l2_1(feat_l1))))
        feat_l3 = self.lrelu(self.conv_l3_2(self.lrelu(self.conv_l3_1(feat_l2))))
        return [feat.view(b, t, *feat.shape[1:]) for feat in (feat_l1, feat_l2, feat_l3)]

    def _refine_reference(self, levels: list[torch.Tensor], representation: torch.Tensor | None) -> list[torch.Tensor]:
        """Return the levels (b, D, h', w') of the reference frame, refined (Eq. 8); ``levels`` stay as they are."""
        at = self.center_frame_idx
        reference = [level[:, at] for level in levels]
        if representation is None or 'align' not in self.positions:
            return reference
        reference[0] = self._refine('align', reference[0], representation)
        if self.align_levels == 'l1':
            return reference
        # Levels 2 and 3 of one frame would do, but a convolution over a batch of another size may differ in the last
        # bit, and the network starts as EDVR to the bit: so the refined frame takes its place among all frames.
        b, t = levels[0].shape[:2]
        frames = [reference[0] if i == at else levels[0][:, i] for i in range(t)]
        refined = self._pyramid(torch.stack(frames, dim=1).flatten(0, 1), b, t)
        return [reference[0], *(level[:, at] for level in refined[1:])]

    def _align(self, levels: list[torch.Tensor], reference: list[torch.Tensor]) -> torch.Tensor:
        """Align all frames to the reference (Eq. 4 and 5): (b, t, D, h, w)."""
        if levels[0].device.type == 'cpu' and torch.is_autocast_enabled('cpu'):
            # torchvision's deformable convolution has no bfloat16 on CPUs, and autocast leaves it alone there.
            with torch.autocast('cpu', enabled=False):
                return self._align([level.float() for level in levels], [level.float() for level in reference])
        frames = range(self.num_frame)
        return torch.stack([self.pcd_align([level[:, i] for level in levels], reference) for i in frames], dim=1)

    def _upsample(self, feat: torch.Tensor, center: torch.Tensor) -> torch.Tensor:
        """Upsample as EDVR does: (b, D, h, w) to (b, 3, 4 h, 4 w)."""
        out = self.lrelu(self.pixel_shuffle(self.upconv1(feat)))
        out = self.lrelu(self.pixel_shuffle(self.upconv2(out)))
        out = self.lrelu(self.conv_hr(out))  # a line of its own, so that the largest feature is freed
        out = self.conv_last(out)
        out += F.interpolate(center, scale_factor=4, mode='bilinear', align_corners=False)
        return out
