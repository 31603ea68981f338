"""The losses that train the instance encoder and decoder and, where asked, the frame decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn
from torch.nn import functional as F

from ..archs.layers.instance_transformer import VideoInstances
from .matcher import Match
from .set_loss import Instances, Predictions, SetLoss, mean_over_processes


@LOSS_REGISTRY.register()  # pyright: ignore[reportOptionalCall]
class VideoInstanceLoss(nn.Module):
    """Set loss of clips and similarity loss of VITA (Heo et al., NeurIPS 2022), and the set loss of single frames.

    Every decoder layer is judged (deep supervision), and the similarity after the last one.

    Args:
        class_weight: Weight of the cross-entropy of classes.
        mask_weight: Weight of the masks' binary cross-entropy.
        dice_weight: Weight of the masks' dice.
        sim_weight: Weight of the similarity between tokens of frames and clips; 0: without it, and the similarity heads
            of the network do not train.
        frame_weight: Weight of the frame decoder's own loss, where it trains.
        no_object_weight: Weight of queries without an instance in the cross-entropy of classes.
        num_points: Points at which a mask is matched and judged; ~ takes all pixels of the predicted masks.
        oversample_ratio: Candidates drawn for each point.
        importance_ratio: Share of the points taken from the candidates where the prediction is least certain.
    """

    def __init__(
        self,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        sim_weight: float = 0.5,
        frame_weight: float = 1.0,
        no_object_weight: float = 0.1,
        num_points: int | None = 12544,
        oversample_ratio: float = 3.0,
        importance_ratio: float = 0.75,
    ) -> None:
        super().__init__()
        if oversample_ratio < 1 or not 0 <= importance_ratio <= 1:
            raise ValueError(
                f'oversample_ratio is {oversample_ratio} and importance_ratio {importance_ratio}; '
                'they must be at least 1 and between 0 and 1.'
            )
        if num_points is not None and num_points < 1:
            raise ValueError(f'num_points is {num_points}; at least 1 is needed, or ~ for all.')
        self.sim_weight, self.frame_weight = sim_weight, frame_weight
        self.set_loss = SetLoss(
            class_weight, mask_weight, dice_weight, no_object_weight, num_points, oversample_ratio, importance_ratio
        )

    def match_frames(
        self, class_logits: torch.Tensor, mask_logits: torch.Tensor, targets: Sequence[Instances]
    ) -> list[list[Match]]:
        """Match the frame decoder's queries to the instances of each frame.

        Args:
            class_logits: (D, n, K, classes) of D layers and n frames, with or without "no object" as the last class.
            mask_logits: (D, n, K, h, w).
            targets: What was annotated in each of the n frames.

        Returns:
            For each layer the matches of each frame.
        """
        layers = zip(class_logits, mask_logits, strict=True)
        return [self.set_loss.match(frame_predictions(c, m), targets) for c, m in layers]

    def frame_loss(
        self,
        class_logits: torch.Tensor,
        mask_logits: torch.Tensor,
        targets: Sequence[Instances],
        matches: Sequence[Sequence[Match]],
    ) -> dict[str, torch.Tensor]:
        """Loss of the frame decoder: every layer against the instances of each frame; arguments as above.

        Returns:
            ``l_frame_cls``, ``l_frame_mask``, ``l_frame_dice``: weighted sums over the layers, () each.
        """
        layers = zip(class_logits, mask_logits, matches, strict=True)
        parts = [self.set_loss(frame_predictions(c, m), targets, match) for c, m, match in layers]
        return {f'l_frame_{name}': self.frame_weight * sum_of(parts, name) for name in ('cls', 'mask', 'dice')}

    def forward(
        self,
        found: VideoInstances,
        features: torch.Tensor,
        targets: Sequence[Instances],
        frame_matches: Sequence[Sequence[Match]] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Loss of the instances of clips.

        Args:
            found: Made from the tokens of L layers of the frame decoder, each of them judged: (D, L, b, N, ...).
            features: Projected pixel features (b, t, mask_dim, h, w).
            targets: What was annotated in each of the b clips.
            frame_matches: For each of the L layers the matches of the b * t frames, from :meth:`match_frames`; needed
                for the similarity.

        Returns:
            ``l_cls``, ``l_mask``, ``l_dice``: weighted sums over decoder layers, and ``l_sim``; () each.
        """
        layers, clips = found.class_logits.shape[1:3]
        repeated = [target.present() for target in targets] * layers
        features = features.float()
        parts, matches = [], []
        for logits, embeds in zip(found.class_logits.flatten(1, 2), found.mask_embeds.flatten(1, 2), strict=True):
            predictions = clip_predictions(logits, embeds.float(), features, clips)
            matches = self.set_loss.match(predictions, repeated)
            parts.append(self.set_loss(predictions, repeated, matches))
        losses = {f'l_{name}': sum_of(parts, name) for name in ('cls', 'mask', 'dice')}
        if self.sim_weight:
            if found.frame_embeds is None or found.clip_embeds is None or frame_matches is None:
                raise ValueError(
                    'The similarity loss needs similarity=True in InstanceTransformer and matches of frames; '
                    'set sim_weight: 0 to train without it.'
                )
            losses['l_sim'] = self.sim_weight * similarity_loss(
                found.frame_embeds.flatten(0, 1).float(),
                found.clip_embeds.flatten(0, 1).float(),
                repeated,
                matches,
                [match for layer in frame_matches for match in layer],
            )
        return losses


def frame_predictions(class_logits: torch.Tensor, mask_logits: torch.Tensor) -> Predictions:
    """Predictions for n frames from (n, K, classes) and (n, K, h, w)."""

    def masks(i: int, queries: torch.Tensor | None) -> torch.Tensor:
        return (mask_logits[i] if queries is None else mask_logits[i][queries])[:, None]

    return Predictions(class_logits, masks, mask_logits)


def clip_predictions(
    class_logits: torch.Tensor, mask_embeds: torch.Tensor, features: torch.Tensor, clips: int
) -> Predictions:
    """Predictions for m = L * b clips from (m, N, classes + 1), (m, N, c) and features (b, t, c, h, w)."""

    def masks(i: int, queries: torch.Tensor | None) -> torch.Tensor:
        embeds = mask_embeds[i] if queries is None else mask_embeds[i][queries]
        return torch.einsum('nc,tchw->nthw', embeds, features[i % clips])

    return Predictions(class_logits, masks, mask_embeds.sum() + features.sum())


def similarity_loss(
    frame_embeds: torch.Tensor,
    clip_embeds: torch.Tensor,
    targets: Sequence[Instances],
    clip_matches: Sequence[Match],
    frame_matches: Sequence[Match],
) -> torch.Tensor:
    """Binary cross-entropy of the dot products of all matched tokens of a clip: same identity, or not.

    Args:
        frame_embeds: (m, t, K, C) tokens of frames.
        clip_embeds: (m, N, C) tokens of clips.
        targets: Instances of each of the m clips.
        clip_matches: m matches with the instances of the clips.
        frame_matches: m * t matches with the instances of the single frames.

    Returns:
        (), mean over the pairs of all clips.
    """
    frames = frame_embeds.size(1)
    total = 0 * (frame_embeds.sum() + clip_embeds.sum())
    count = torch.zeros((), device=frame_embeds.device)
    for i, (target, (queries, instances)) in enumerate(zip(targets, clip_matches, strict=True)):
        tokens, ids = [clip_embeds[i][queries]], [target.ids[instances]]
        for t, frame in enumerate(target.frames()):
            queries, instances = frame_matches[i * frames + t]
            tokens.append(frame_embeds[i, t][queries])
            ids.append(frame.ids[instances])
        rows, identity = torch.cat(tokens), torch.cat(ids)
        same = (identity[:, None] == identity).float()
        total = total + F.binary_cross_entropy_with_logits(rows @ rows.T, same, reduction='sum')
        count += same.numel()
    return total / (mean_over_processes(count) + 1e-6)


def sum_of(parts: Sequence[dict[str, torch.Tensor]], name: str) -> torch.Tensor:
    """The sum of one loss over the layers."""
    return torch.stack([part[name] for part in parts]).sum()
