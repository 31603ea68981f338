"""BasicVSR with SEEM in its two branches (Eq. 10 to 14 of "Can SAM Boost Video Super-Resolution?")."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from basicsr.archs.arch_util import flow_warp
from basicsr.archs.basicvsr_arch import BasicVSR
from basicsr.utils.registry import ARCH_REGISTRY
from torch.nn import functional as F

from ..priors import SemanticPriors
from .layers.mask_input import MissingPriors, check_masks, check_missing_priors, masks_of, split_channels
from .layers.size_requirements import SizeRequirements
from .layers.spynet import is_at_zero_flow, load_spynet, start_at_zero_flow
from .seem_arch import SEEM, SAMEmbedding
from .semantic_arch import SemanticArch

_BRANCHES = ('backward', 'forward')

# What R_i is for frame i: looked up while training, worked out again in inference.
_Representations = Callable[[int], torch.Tensor]


@ARCH_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
class BasicVSRSEEM(BasicVSR, SemanticArch):
    """BasicVSR whose propagated features are refined by SEEM, before and after the residual blocks of each branch.

    All parameters of BasicVSR keep their names, so released checkpoints load (``strict_load_g: false``); the new ones
    are ``sam_embed.*`` and ``seem_*``. With ``zero_init`` the network starts as BasicVSR, bit for bit.

    Args:
        num_feat: Channels D.
        num_block: Residual blocks of each branch; released checkpoints have 30.
        spynet_path: Weights of SPyNet, a file {'params': state dict}.
        num_masks: Masks a frame; frames with fewer are padded with empty ones.
        reduction: Ratio of SEEM's channel attention; must divide ``num_feat``.
        branches: Branches with SEEM, of 'backward' and 'forward' (Table 6). None of them is plain BasicVSR, which
            takes no masks.
        share_branches: One pair of SEEMs for both branches instead of a pair each.
        propagate_enhanced: Pass the feature after the second SEEM on to the next frame. False passes on the one before
            it, and only the reconstruction gets the enhanced one. The paper does not say which.
        zero_init: SEEM starts as the identity.
        zero_flow: SPyNet starts with flow zero everywhere, for training without its released weights.
        missing_priors: Without masks, raise an error or go on as if nothing were masked ('neutral').

    Raises:
        ValueError: Arguments that contradict each other or are out of range, or a file that does not hold SPyNet.
    """

    prior_fields: tuple[str, ...] = ('masks',)
    adapter_prefixes: tuple[str, ...] = ('sam_embed.', 'seem_')
    size_requirements = SizeRequirements(minimum=33)  # SPyNet's coarsest level vanishes at 32 pixels
    scale = 4

    def __init__(
        self,
        *,
        num_feat: int = 64,
        num_block: int = 15,
        spynet_path: str | None = None,
        num_masks: int = 64,
        reduction: int = 16,
        branches: Sequence[str] = _BRANCHES,
        share_branches: bool = False,
        propagate_enhanced: bool = True,
        zero_init: bool = True,
        zero_flow: bool = False,
        missing_priors: MissingPriors = 'error',
    ) -> None:
        unknown = [branch for branch in branches if branch not in _BRANCHES]
        if isinstance(branches, str) or unknown or len(set(branches)) != len(branches):
            raise ValueError(f'branches is a list of backward, forward, both or none, not {branches!r}.')
        if zero_flow and spynet_path:
            raise ValueError(f'zero_flow starts SPyNet without weights, but spynet_path is {spynet_path}. Remove one.')
        check_missing_priors(missing_priors)
        super().__init__(num_feat, num_block)
        if spynet_path:
            load_spynet(self.spynet, spynet_path)
        if zero_flow:
            start_at_zero_flow(self.spynet)
        self.zero_flow = zero_flow
        self.branches = tuple(branches)
        self.share_branches = share_branches
        self.propagate_enhanced = propagate_enhanced
        self.missing_priors: MissingPriors = missing_priors
        self.num_masks: int = num_masks
        if not branches:
            self.prior_fields = ()
            return
        self.sam_embed = SAMEmbedding(num_feat, num_masks)
        for name in ('shared',) if share_branches else self.branches:
            for position in ('pre', 'post'):
                setattr(self, f'seem_{name}_{position}', SEEM(num_feat, reduction, zero_init))

    def forward(self, lq: torch.Tensor, priors: SemanticPriors | torch.Tensor | None = None) -> torch.Tensor:
        """Restore a clip.

        Args:
            lq: LR frames (b, t, 3, h, w), RGB in [0, 1], h and w at least 33; or (b, t, 3 + num_masks, h, w) with the
                masks behind the colours.
            priors: Priors with masks, or the masks alone, (b, t, num_masks, h, w), 0 or 1, bool, integer or floating
                point. Not looked at where ``branches`` is empty.

        Returns:
            HR frames (b, t, 3, 4 h, 4 w).

        Raises:
            ValueError: Wrong shapes, frames too small, or no masks where they are needed.
        """
        network = type(self).__name__
        x, masks = split_channels(lq, masks_of(priors), 3, network)
        b, t, _, h, w = x.shape
        self.size_requirements.check(h, w, network)
        if self.branches:
            check_masks(masks, (b, t, self.num_masks, h, w), self.missing_priors, network)
        represent = self._representations(x, masks)
        flows_forward, flows_backward = self.get_flow(x)

        features: list[torch.Tensor] = []
        state = x.new_zeros(b, self.num_feat, h, w)
        for i in range(t - 1, -1, -1):
            state = self.warp(state, flows_backward, i) if i < t - 1 else state
            state, enhanced = self.branch('backward', x[:, i], state, i, represent)
            features.append(enhanced)

        frames: list[torch.Tensor] = []
        state = torch.zeros_like(state)
        for i in range(t):
            state = self.warp(state, flows_forward, i - 1) if i > 0 else state
            state, enhanced = self.branch('forward', x[:, i], state, i, represent)
            frames.append(self.reconstruct(features.pop(), enhanced, x[:, i]))
        return torch.stack(frames, dim=1)

    def get_flow(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Forward and backward flows (b, t - 1, 2, h, w) of frames (b, t, 3, h, w).

        A SPyNet that stays at zero flow is not run: at small widths it would be most of the time of a step.
        """
        if self.zero_flow and is_at_zero_flow(self.spynet):
            zero = x.new_zeros(x.size(0), x.size(1) - 1, 2, *x.shape[-2:])
            return zero, zero
        return super().get_flow(x)

    def flow(self, ref: torch.Tensor, supp: torch.Tensor) -> torch.Tensor:
        """Flow (b, 2, h, w) that warps features of ``supp`` onto ``ref``, frames (b, 3, h, w) of one pair each."""
        if self.zero_flow and is_at_zero_flow(self.spynet):
            return ref.new_zeros(ref.size(0), 2, *ref.shape[-2:])
        return self.spynet(ref, supp)

    @staticmethod
    def warp(state: torch.Tensor, flows: torch.Tensor, i: int) -> torch.Tensor:
        """Warp features (b, D, h, w) with the i-th of the flows (b, t - 1, 2, h, w) (Eq. 11)."""
        return flow_warp(state, flows[:, i].permute(0, 2, 3, 1))

    def _representations(self, x: torch.Tensor, masks: torch.Tensor | None) -> _Representations:
        """Return the function that gives R_i.

        Both branches use it. Training works each out once, since autograd keeps it anyway. Inference works it out again
        for each branch: that is 2 % more arithmetic, but nothing that grows with the clip is kept.
        """
        result: dict[int, torch.Tensor] = {}

        def represent(i: int) -> torch.Tensor:
            if i in result:
                return result[i]
            representation = self.sam_embed(x[:, i], None if masks is None else masks[:, i])
            if torch.is_grad_enabled():
                result[i] = representation
            return representation

        return represent

    def branch(
        self, name: str, frame: torch.Tensor, warped: torch.Tensor, i: int, represent: _Representations
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of a branch.

        Returns:
            The recurrent state for the next frame and the feature for the reconstruction, both (b, D, h, w).
        """
        trunk = getattr(self, f'{name}_trunk')
        x = torch.cat([frame, warped], dim=1)
        if name not in self.branches:
            feat = trunk(x)
            return feat, feat
        representation = represent(i)
        pre, post = self._seems(name)
        first_conv, activation, blocks = trunk.main
        # Eq. 13. The paper prints Ref_b in its second line; by Eq. 12 the forward branch has Ref_f.
        feat = blocks(pre.refine(activation(first_conv(x)), representation))
        enhanced = post.refine(feat, representation)  # Eq. 14
        return (enhanced if self.propagate_enhanced else feat), enhanced

    def _seems(self, branch: str) -> tuple[SEEM, SEEM]:
        """Return the SEEMs before and after the residual blocks of a branch."""
        name = 'shared' if self.share_branches else branch
        return getattr(self, f'seem_{name}_pre'), getattr(self, f'seem_{name}_post')

    def reconstruct(self, backward: torch.Tensor, forward: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        """Merge both branches and upsample, as BasicVSR does: (b, D, h, w) twice to (b, 3, 4 h, 4 w)."""
        out = self.lrelu(self.fusion(torch.cat([backward, forward], dim=1)))
        out = self.lrelu(self.pixel_shuffle(self.upconv1(out)))
        out = self.lrelu(self.pixel_shuffle(self.upconv2(out)))
        out = self.lrelu(self.conv_hr(out))  # a line of its own, so that the largest feature is freed
        out = self.conv_last(out)
        out += F.interpolate(frame, scale_factor=4, mode='bilinear', align_corners=False)
        return out
