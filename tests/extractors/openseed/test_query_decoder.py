"""Query selection: by hand-made cases."""

from __future__ import annotations

import math

import pytest
import torch

from basicsr_semantic.extractors.openseed.query_decoder import QueryDecoder, box_embedding, box_logits, first_boxes


@torch.no_grad()
def test_positions_are_chosen_by_their_likeness_to_the_nearest_text():
    """One level of 4x4 positions in two dimensions' directions; features pass through the selection unchanged."""
    decoder = QueryDecoder(4, 4, 4, num_queries=3, num_heads=2, points=1, feedforward_dim=4, layers=1)
    decoder.enc_output.weight.copy_(torch.eye(4))
    decoder.enc_output.bias.zero_()
    decoder.class_embed.copy_(torch.eye(4))
    memory = torch.zeros(1, 16, 4)
    memory[0, :, 3] = -1.0
    memory[0, 5] = torch.tensor([1.0, -1.0, 0.1, -0.1])
    memory[0, 10] = torch.tensor([1.0, -1.0, 0.5, -0.5])
    memory[0, 3] = torch.tensor([-0.5, 0.5, 1.0, -1.0])
    texts = torch.nn.functional.normalize(torch.tensor([[1.0, -1, 0, 0], [0, 0, 1, -1]]), dim=-1)
    queries, boxes = decoder.select(memory, [(4, 4)], texts)
    # likeness: 5 by the first text 0.995; 3 by the second and 10 by the first 0.894: of a tie either may come first
    assert boxes[0, 0].tolist() == pytest.approx([1.5 / 4, 1.5 / 4, 0.05, 0.05], abs=1e-5)
    places = {tuple(round(value * 8) for value in box[:2].tolist()) for box in boxes[0]}
    assert places == {(3, 3), (5, 5), (7, 1)}
    assert torch.allclose(queries[0, 0], torch.nn.functional.layer_norm(memory[0, 5], (4,)), atol=1e-5)
    only, _ = decoder.select(memory, [(4, 4)], texts[1:])
    assert torch.allclose(only[0, 0], torch.nn.functional.layer_norm(memory[0, 3], (4,)), atol=1e-5)


def test_first_boxes_double_from_level_to_level():
    boxes = first_boxes([(1, 2), (2, 2)])
    assert boxes[:2].tolist() == [pytest.approx([0.25, 0.5, 0.05, 0.05]), pytest.approx([0.75, 0.5, 0.05, 0.05])]
    assert boxes[3].tolist() == pytest.approx([0.75, 0.25, 0.1, 0.1])


@torch.no_grad()
def test_positions_at_the_border_of_large_images_are_no_candidates():
    decoder = QueryDecoder(4, 4, 4, num_queries=60, num_heads=2, points=1, feedforward_dim=4, layers=1)
    memory = torch.randn(1, 60, 4)
    _, boxes = decoder.select(memory, [(1, 60)], torch.randn(3, 4))
    assert (boxes == 1).all(-1).sum() == 2, 'centres at 1 / 120 and 119 / 120 are outside 0.01 to 0.99'


def test_box_numbers():
    boxes = torch.tensor([0.0, 0.5, 0.2, 1.0])
    assert box_logits(boxes).isfinite().all()
    assert torch.allclose(box_logits(boxes)[1:3].sigmoid(), boxes[1:3])
    found = box_embedding(boxes, 8)
    assert tuple(found.shape) == (16,)
    expected = []
    for value in (0.5, 0.0, 0.2, 1.0):  # y, x, width, height
        for angle in (2 * math.pi * value, 2 * math.pi * value / 100):
            expected += [math.sin(angle), math.cos(angle)]
    assert torch.allclose(found, torch.tensor(expected), atol=1e-5)
