"""Dense features averaged over the cells of a frame: place for place, without padding."""

from __future__ import annotations

import torch

from basicsr_semantic.extractors.layers.pixel_features import extend_to_cells, features_of_cells


def test_frames_are_extended_by_their_last_row_and_column():
    frames = torch.rand(2, 3, 6, 9)
    found = extend_to_cells(frames)
    assert found.shape == (2, 3, 8, 12)
    assert torch.equal(found[..., :6, :9], frames)
    assert torch.equal(found[..., 6:, :9], frames[..., 5:6, :].expand(-1, -1, 2, -1))
    assert torch.equal(found[..., 9:], found[..., 8:9].expand(-1, -1, -1, 3))
    assert extend_to_cells(frames[..., :4, :8]).shape == (2, 3, 4, 8)
    assert extend_to_cells(frames[..., :1, :1]).shape == (2, 3, 4, 4)


def test_a_cell_is_the_mean_of_what_lies_over_it():
    """A frame of 6x9 pixels, 2x3 cells, seen enlarged 4 times as 32x48: each cell is 4x4 features wide."""
    features = torch.randn(2, 5, 10, 14)  # with padding of two features
    found = features_of_cells(features, (32, 48), (6, 9))
    expected = features[..., :8, :12].unflatten(3, (3, 4)).unflatten(2, (2, 4)).mean((3, 5))
    assert found.shape == (2, 5, 2, 3) and found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    assert torch.equal(found, found.half().float())


def test_features_that_fall_between_cells_belong_to_both():
    """Seen as 24x24, a frame of 16x16 has 6x6 features for 4x4 cells."""
    ramp = torch.arange(6.0).expand(1, 1, 6, 6)
    found = features_of_cells(ramp, (24, 24), (16, 16))
    assert found[0, 0, 0].tolist() == [0.5, 1.5, 3.5, 4.5]


def test_a_frame_that_was_seen_smaller_than_its_cells():
    found = features_of_cells(torch.randn(1, 2, 3, 3), (10, 10), (40, 41))
    assert found.shape == (1, 2, 10, 11) and found.isfinite().all()
