"""The loss of a set of queries against a set of annotated instances, of clips or of single frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.nn import functional as F

from .matcher import HungarianMatcher, Match
from .point_sampling import all_points, sample_points, uncertain_points


@dataclass
class Instances:
    """What was annotated in a clip of t frames, or in one frame (t = 1).

    Attributes:
        labels: (n,) int64 classes.
        ids: (n,) int64, one number for each identity within the clip.
        masks: (n, t, H, W) bool; n may be 0, and an instance may be absent from some frames.
    """

    labels: torch.Tensor
    ids: torch.Tensor
    masks: torch.Tensor

    def present(self) -> Instances:
        """The instances that are seen in at least one frame."""
        seen = self.masks.flatten(1).any(dim=1)
        return Instances(self.labels[seen], self.ids[seen], self.masks[seen])

    def frames(self) -> list[Instances]:
        """Each frame with the instances that are seen in it."""
        single = (self.masks[:, t : t + 1] for t in range(self.masks.size(1)))
        return [Instances(self.labels, self.ids, masks).present() for masks in single]


@dataclass
class Predictions:
    """What a network says about m clips (or frames).

    Attributes:
        class_logits: (m, q, classes + 1); the last class is "no object".
        masks: Gives the mask logits (k, t, h, w) of clip i: of the k queries of an index, or of all for None.
        anchor: Tensor from which the masks are made; ties the loss to it where no instance is matched.
    """

    class_logits: torch.Tensor
    masks: Callable[[int, torch.Tensor | None], torch.Tensor]
    anchor: torch.Tensor


class SetLoss:
    """Match, then classify all queries and compare the masks of the matched ones in points.

    Sums are divided by counts over all processes, so that a step of several processes equals that of one with the
    whole batch (DistributedDataParallel averages gradients).

    Args:
        class_weight: Weight of the cross-entropy of classes, in the matching and in the loss.
        mask_weight: Weight of the masks' binary cross-entropy, in both.
        dice_weight: Weight of the masks' dice, in both.
        no_object_weight: Weight of queries without an instance in the cross-entropy of classes.
        num_points: Points at which a mask is judged; None: all its pixels.
        oversample: Candidates for each point.
        importance: Share of the points taken where the prediction is least certain.
    """

    def __init__(
        self,
        class_weight: float,
        mask_weight: float,
        dice_weight: float,
        no_object_weight: float,
        num_points: int | None,
        oversample: float,
        importance: float,
    ) -> None:
        self.matcher = HungarianMatcher(class_weight, mask_weight, dice_weight, num_points)
        self.no_object_weight, self.num_points = no_object_weight, num_points
        self.oversample, self.importance = oversample, importance

    def match(self, predictions: Predictions, targets: Sequence[Instances]) -> list[Match]:
        """Match each clip."""
        with torch.no_grad():
            return [
                self.matcher(logits, predictions.masks(i, None), target.labels, target.masks)
                for i, (logits, target) in enumerate(zip(predictions.class_logits, targets, strict=True))
            ]

    def __call__(
        self, predictions: Predictions, targets: Sequence[Instances], matches: Sequence[Match]
    ) -> dict[str, torch.Tensor]:
        """Weighted losses ``cls``, ``mask`` and ``dice``, each (), in float32."""
        weights = self.matcher
        mask, dice = self._masks(predictions, targets, matches)
        return {
            'cls': weights.class_weight * self._classes(predictions.class_logits.float(), targets, matches),
            'mask': weights.mask_weight * mask,
            'dice': weights.dice_weight * dice,
        }

    def _classes(self, logits: torch.Tensor, targets: Sequence[Instances], matches: Sequence[Match]) -> torch.Tensor:
        none = logits.size(-1) - 1
        wanted = torch.full(logits.shape[:2], none, dtype=torch.int64, device=logits.device)
        for row, target, (queries, instances) in zip(wanted, targets, matches, strict=True):
            row[queries] = target.labels[instances]
        weight = torch.ones(none + 1, device=logits.device)
        weight[none] = self.no_object_weight
        total = F.cross_entropy(logits.transpose(1, 2), wanted, weight, reduction='sum')
        return total / mean_over_processes(weight[wanted].sum()).clamp(min=1e-6)

    def _masks(
        self, predictions: Predictions, targets: Sequence[Instances], matches: Sequence[Match]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        count = mean_over_processes(
            torch.tensor(float(sum(len(t.labels) for t in targets)), device=predictions.anchor.device)
        )
        pairs = [(i, *match) for i, match in enumerate(matches) if len(match[0])]
        nothing = 0 * predictions.anchor.float().sum()
        if not pairs:
            return nothing, nothing
        # instances of all clips in a row, frame by frame: (M * t, h, w)
        logits = torch.cat([predictions.masks(i, queries) for i, queries, _ in pairs]).float()
        masks = torch.cat([targets[i].masks[instances] for i, _, instances in pairs]).float()
        instances = logits.size(0)
        logits, masks = logits.flatten(0, 1), masks.flatten(0, 1)
        if self.num_points is None:
            points = all_points(logits.size(-2), logits.size(-1), logits.device)
        else:
            with torch.no_grad():
                points = uncertain_points(logits, self.num_points, self.oversample, self.importance)
        x = sample_points(logits[:, None], points).view(instances, -1)
        y = sample_points(masks[:, None], points).view(instances, -1)
        entropy = F.binary_cross_entropy_with_logits(x, y, reduction='none').mean(1)
        shares = x.sigmoid()
        dice = 1 - (2 * (shares * y).sum(1) + 1) / (shares.sum(1) + y.sum(1) + 1)
        count = count.clamp(min=1)
        return entropy.sum() / count + nothing, dice.sum() / count + nothing


def mean_over_processes(count: torch.Tensor) -> torch.Tensor:
    """The mean of a number over all processes, without a gradient."""
    count = count.detach().clone()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(count)
        count /= dist.get_world_size()
    return count
