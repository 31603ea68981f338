"""Matching of queries and instances, against costs written out pair by pair and against all permutations."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from basicsr_semantic.losses.matcher import HungarianMatcher, mask_costs
from basicsr_semantic.losses.point_sampling import all_points


def random_case(queries: int = 4, instances: int = 3):
    torch.manual_seed(queries + instances)
    masks = torch.rand(instances, 2, 6, 8) > 0.5
    return torch.randn(queries, 6), torch.randn(queries, 2, 6, 8), torch.arange(instances) % 5, masks


def test_mask_costs_are_those_of_every_pair():
    logits, targets = torch.randn(3, 50), torch.rand(2, 50)
    entropy, dice = mask_costs(logits, targets)
    for i, j in itertools.product(range(3), range(2)):
        torch.testing.assert_close(entropy[i, j], F.binary_cross_entropy_with_logits(logits[i], targets[j]))
        p = logits[i].sigmoid()
        expected = 1 - (2 * (p * targets[j]).sum() + 1) / (p.sum() + targets[j].sum() + 1)
        torch.testing.assert_close(dice[i, j], expected)


def test_the_match_is_the_cheapest_of_all():
    matcher = HungarianMatcher(num_points=None)
    logits, mask_logits, labels, masks = random_case()
    costs = matcher.costs(logits, mask_logits, labels, masks, all_points(6, 8, masks.device))
    queries, instances = matcher(logits, mask_logits, labels, masks)
    cheapest = min(sum(costs[q, i] for i, q in enumerate(p)) for p in itertools.permutations(range(4), 3))
    torch.testing.assert_close(costs[queries, instances].sum(), cheapest)
    assert sorted(instances.tolist()) == [0, 1, 2]


def test_classes_decide_where_masks_are_equal_and_masks_where_classes_are():
    matcher = HungarianMatcher(num_points=None)
    same = torch.zeros(2, 1, 4, 4)
    confident = torch.tensor([[0.0, 9.0, 0.0], [9.0, 0.0, 0.0]])
    labels, masks = torch.tensor([0, 1]), torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    masks[0, :, :2] = masks[1, :, 2:] = True
    assert [x.tolist() for x in matcher(confident, same, labels, masks)] == [[0, 1], [1, 0]]
    mask_logits = torch.where(masks.flip(0), 5.0, -5.0)
    assert [x.tolist() for x in matcher(torch.zeros(2, 3), mask_logits, labels, masks)] == [[0, 1], [1, 0]]


def test_random_points_find_the_same_match_as_all_pixels():
    torch.manual_seed(0)
    masks = torch.zeros(3, 2, 32, 32, dtype=torch.bool)
    for i in range(3):
        masks[i, :, 10 * i : 10 * i + 8] = True
    order = torch.tensor([2, 0, 1])
    mask_logits = torch.where(masks[order], 4.0, -4.0) + torch.randn(3, 2, 32, 32)
    for points in (None, 200):
        queries, instances = HungarianMatcher(num_points=points)(torch.zeros(3, 2), mask_logits, order * 0, masks)
        assert queries.tolist() == [0, 1, 2] and torch.equal(instances, order)


@pytest.mark.parametrize(('queries', 'instances'), [(4, 0), (2, 5), (1, 1)])
def test_none_and_more_instances_than_queries(queries, instances):
    found = HungarianMatcher(num_points=16)(*random_case(queries, instances))
    assert [len(x) for x in found] == [min(queries, instances)] * 2


def test_what_is_not_finite_is_matched_somehow_so_that_the_loss_can_say_so():
    logits, mask_logits, labels, masks = random_case()
    mask_logits[1, 0, 0, 0] = float('nan')
    queries, _ = HungarianMatcher(num_points=None)(logits, mask_logits, labels, masks)
    assert len(queries) == 3
