"""Maps read at points."""

from __future__ import annotations

import torch

from basicsr_semantic.losses.point_sampling import all_points, sample_points, uncertain_points


def test_pixel_centres_give_the_pixels_and_the_middle_between_two_their_mean():
    maps = torch.arange(12.0).view(1, 1, 3, 4)
    torch.testing.assert_close(sample_points(maps, all_points(3, 4, maps.device))[0, 0], torch.arange(12.0))
    between = torch.tensor([[[2 / 4, 1.5 / 3], [1.5 / 4, 1 / 3]]])  # (x, y): right of (1, 1), below (0, 1)
    torch.testing.assert_close(sample_points(maps, between)[0, 0], torch.tensor([5.5, 3.0]))


def test_beyond_the_border_there_is_nothing():
    assert sample_points(torch.ones(1, 1, 2, 2), torch.tensor([[[2.0, 0.5]]])).item() == 0
    assert sample_points(torch.ones(1, 1, 2, 2), torch.tensor([[[0.0, 0.5]]])).item() == 0.5


def test_maps_of_two_resolutions_agree_at_the_same_points():
    small = torch.zeros(1, 1, 8, 8)
    small[..., 2:6, :4] = 1
    large = small.repeat_interleave(4, 2).repeat_interleave(4, 3)
    points = all_points(8, 8, small.device)
    torch.testing.assert_close(sample_points(small, points), sample_points(large, points))


def test_most_points_lie_where_the_mask_is_uncertain():
    torch.manual_seed(0)
    logits = torch.linspace(-50, 50, 64).expand(2, 64, 64).clone()  # zero at x = 0.5
    points = uncertain_points(logits, 400, oversample=3, importance=0.75)
    assert points.shape == (2, 400, 2) and points.min() >= 0 and points.max() <= 1
    near = (points[..., 0] - 0.5).abs()
    # 300 of 1200 uniform candidates: those within an eighth of the width to both sides, and a little further at the
    # upper and lower border, where the zeros beyond halve the logits
    assert near[:, :300].max() < 0.26 and near[:, :300].mean() < 0.07
    assert 0.2 < near[:, 300:].mean() < 0.3


def test_without_importance_all_points_are_uniform():
    torch.manual_seed(0)
    points = uncertain_points(torch.linspace(-50, 50, 64).expand(1, 64, 64), 4000, oversample=1, importance=0)
    torch.testing.assert_close(points.mean(1), torch.full((1, 2), 0.5), atol=0.02, rtol=0)
