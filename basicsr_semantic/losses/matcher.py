"""Which query is matched to which annotated instance (Carion et al., DETR, ECCV 2020; masks as in Mask2Former)."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from .point_sampling import all_points, sample_points

Match = tuple[torch.Tensor, torch.Tensor]


def mask_costs(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Costs of all pairs of a predicted and an annotated mask.

    Args:
        logits: (q, p) float, predicted masks at p points.
        targets: (n, p) in [0, 1], annotated masks at the same points.

    Returns:
        Binary cross-entropy, mean over the points, and dice, each (q, n).
    """
    # -log(sigmoid(x)) = softplus(-x) and -log(1 - sigmoid(x)) = softplus(x), so the sum over points is
    # sum softplus(x) - x * target: one matrix product instead of two
    entropy = (F.softplus(logits).sum(1, keepdim=True) - logits @ targets.T) / logits.size(1)
    shares = logits.sigmoid()
    both = shares.sum(1)[:, None] + targets.sum(1)
    return entropy, 1 - (2 * shares @ targets.T + 1) / (both + 1)


class HungarianMatcher:
    """Match queries to annotated instances so that the sum of costs is smallest.

    Args:
        class_weight: Weight of the negative probability of the annotated class.
        mask_weight: Weight of the masks' binary cross-entropy.
        dice_weight: Weight of the masks' dice.
        num_points: Random points at which masks are compared, the same in all frames of a clip; None: all pixels of
            the predicted masks.
    """

    def __init__(
        self,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        num_points: int | None = 12544,
    ) -> None:
        self.class_weight, self.mask_weight, self.dice_weight = class_weight, mask_weight, dice_weight
        self.num_points = num_points

    def costs(
        self,
        class_logits: torch.Tensor,
        mask_logits: torch.Tensor,
        labels: torch.Tensor,
        masks: torch.Tensor,
        points: torch.Tensor,
    ) -> torch.Tensor:
        """Costs (q, n) of all pairs; arguments as for :meth:`__call__`, and the points (1, p, 2)."""
        classes = -class_logits.float().softmax(-1)[:, labels]
        predicted = sample_points(mask_logits.float(), points).flatten(1)
        annotated = sample_points(masks.float(), points).flatten(1)
        entropy, dice = mask_costs(predicted, annotated)
        return self.class_weight * classes + self.mask_weight * entropy + self.dice_weight * dice

    @torch.no_grad()
    def __call__(
        self, class_logits: torch.Tensor, mask_logits: torch.Tensor, labels: torch.Tensor, masks: torch.Tensor
    ) -> Match:
        """Match one clip (or frame).

        Args:
            class_logits: (q, classes), with or without "no object" as the last class.
            mask_logits: (q, t, h, w).
            labels: (n,) int64.
            masks: (n, t, H, W) bool, showing the same as ``mask_logits`` at any resolution.

        Returns:
            Indices of queries and of instances, (min(q, n),) int64 each, in order of the queries.
        """
        from scipy.optimize import linear_sum_assignment

        device = mask_logits.device
        if not len(labels):
            none = torch.zeros(0, dtype=torch.int64, device=device)
            return none, none
        if self.num_points is None:
            points = all_points(mask_logits.size(-2), mask_logits.size(-1), device)
        else:
            points = torch.rand(1, self.num_points, 2, device=device)
        costs = self.costs(class_logits, mask_logits, labels, masks, points)
        # values that are not finite make the loss not finite too, which raises an error
        rows, columns = linear_sum_assignment(costs.nan_to_num(1e6, 1e6, -1e6).cpu().numpy())
        return torch.as_tensor(rows, device=device), torch.as_tensor(columns, device=device)
