"""Semantic priors check their shapes when they are made."""

from __future__ import annotations

import pytest
import torch

from basicsr_semantic.priors import SemanticPriors


def full() -> SemanticPriors:
    return SemanticPriors(
        masks=torch.zeros(2, 5, 3, 8, 9, dtype=torch.uint8),
        global_tokens=torch.rand(2, 5, 6),
        frame_tokens=torch.rand(2, 5, 4, 7),
        instance_tokens=torch.rand(2, 3, 7),
        pixel_features=torch.rand(2, 5, 2, 4, 4),
        kind='sam',
    )


def test_frames_cut_what_has_a_time_axis_and_keep_the_rest():
    priors = full()
    part = priors.frames(slice(1, 3))
    assert part.num_frames == 2
    assert priors.num_frames == 5
    assert torch.equal(part.frame_tokens, priors.frame_tokens[:, 1:3])
    assert part.masks.shape == (2, 2, 3, 8, 9)
    assert part.instance_tokens is priors.instance_tokens
    assert part.kind == 'sam'
    with pytest.raises(ValueError, match='leaves no frame'):
        priors.frames(slice(5, 9))


def test_to_moves_every_tensor_and_keeps_types():
    moved = full().to('meta', non_blocking=True)
    assert all(tensor.device.type == 'meta' for tensor in moved.present().values())
    assert moved.masks.dtype is torch.uint8
    assert moved.kind == 'sam'


def test_forth_and_back_doubles_what_has_a_time():
    priors = full()
    doubled = priors.forth_and_back()
    for name, tensor in priors.present().items():
        other = getattr(doubled, name)
        if name == 'instance_tokens':
            assert other is tensor
        else:
            assert torch.equal(other, torch.cat([tensor, tensor.flip(1)], dim=1))
    assert doubled.kind == 'sam'


def test_chunks_are_equal_parts_of_the_batch():
    priors = full()
    twice = SemanticPriors(**{name: torch.cat([x, 1 - x]) for name, x in priors.present().items()}, kind='sam')
    count = len(twice.present()['masks'])
    parts = twice.chunk(count)
    assert len(parts) == count and all(part.kind == 'sam' for part in parts)
    for name, tensor in twice.present().items():
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), tensor)
    with pytest.raises(ValueError, match=f'batch of {count} cannot be split into {count + 1}'):
        twice.chunk(count + 1)
    assert [part.present() for part in SemanticPriors().chunk(2)] == [{}, {}]


def test_nothing_is_needed():
    assert SemanticPriors().num_frames is None
    assert SemanticPriors().to('cpu').present() == {}
    assert SemanticPriors(instance_tokens=torch.rand(1, 2, 3)).num_frames is None


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'masks': torch.zeros(5, 3, 8, 9, dtype=torch.uint8)}, r'masks must have the axes \(b, T, I, h, w\)'),
        ({'masks': torch.zeros(1, 5, 3, 8, 9)}, 'masks must be uint8'),
        ({'global_tokens': torch.zeros(1, 5, 3, dtype=torch.long)}, 'global_tokens must be floating point'),
        ({'global_tokens': [1.0]}, 'must be a torch.Tensor, not list'),
        ({'global_tokens': torch.rand(1, 5, 3), 'frame_tokens': torch.rand(1, 4, 2, 3)}, 'frame_tokens has T = 4'),
        ({'global_tokens': torch.rand(1, 5, 3), 'instance_tokens': torch.rand(2, 4, 2)}, 'instance_tokens has b = 2'),
        ({'frame_tokens': torch.rand(1, 5, 3, 8), 'instance_tokens': torch.rand(1, 4, 2)}, 'has Ct = 2'),
        ({'kind': 3}, 'kind must be a string'),
    ],
)
def test_mismatches_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        SemanticPriors(**fields)
