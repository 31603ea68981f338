"""IMAGE: equal to attention between all pixels with the forbidden ones left out, whatever the instances do."""

from __future__ import annotations

import math

import pytest
import torch

from basicsr_semantic.archs.layers import image_alignment
from basicsr_semantic.archs.layers.image_alignment import ImageAlignment, instance_labels, masked_local_attention


def brute_force(q, k, v, masks_q, masks_k, window, heads):
    """Every pixel with every other, of which those count that are near and share an instance or the background."""
    b, h, w, c = q.shape
    row, column = torch.arange(h).repeat_interleave(w), torch.arange(w).repeat(h)
    allowed = torch.zeros(b, h * w, h * w, dtype=torch.bool)
    for masks_here, masks_there in zip(_channels(masks_q), _channels(masks_k), strict=True):
        allowed |= masks_here[:, :, None] & masks_there[:, None, :]
    allowed &= ((row[:, None] - row).abs() <= window // 2) & ((column[:, None] - column).abs() <= window // 2)
    for i, pixel in (~allowed.any(2)).nonzero().tolist():
        allowed[i, pixel, pixel] = True
    queries, keys, values = (x.flatten(1, 2).unflatten(2, (heads, -1)) for x in (q, k, v))
    scores = torch.einsum('bphd,bqhd->bhpq', queries, keys) / math.sqrt(c // heads)
    attention = scores.masked_fill(~allowed[:, None], -math.inf).softmax(-1)
    return torch.einsum('bhpq,bqhd->bphd', attention, values).reshape(q.shape)


def _channels(masks):
    """Background and instances, one after the other: (b, h * w) bool."""
    inside = masks.bool().flatten(2)
    return [~inside.any(1), *inside.unbind(1)]


def features(shape, dtype=torch.float64):
    torch.manual_seed(0)
    return tuple(torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(3))


def boxes(b, n, h, w, seed, share=0.5):
    """Random rectangles, which overlap; some channels are empty."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(b, n, h, w, dtype=torch.uint8)
    for i in range(b):
        for j in range(n):
            top, left = (int(torch.randint(size, (), generator=generator)) for size in (h, w))
            if torch.rand((), generator=generator) < 0.8:
                masks[i, j, top : top + max(1, int(share * h)), left : left + max(1, int(share * w))] = 1
    return masks


@pytest.mark.parametrize('window', [5, 7, 9, 11])
@pytest.mark.parametrize(
    ('size', 'instances'), [((11, 13), 3), ((8, 8), 11), ((3, 20), 1), ((9, 10), 40), ((1, 1), 2), ((7, 9), 0)]
)
def test_is_the_brute_force_with_its_gradients(window, size, instances):
    q, k, v = features((2, *size, 4))
    masks = boxes(2, instances, *size, seed=1), boxes(2, instances, *size, seed=2)
    out = masked_local_attention(q, k, v, *map(instance_labels, masks), window, 2)
    expected = brute_force(q, k, v, *masks, window, 2)
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=1e-12)
    grad = torch.randn_like(out)
    wanted = torch.autograd.grad(expected, (q, k, v), grad)
    for mine, theirs in zip(torch.autograd.grad(out, (q, k, v), grad), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize('at_once', [1, 10**9])
def test_gradients_are_those_of_finite_differences(at_once, monkeypatch):
    """In portions of one row of tiles as well as all at once."""
    monkeypatch.setattr('basicsr_semantic.archs.layers.window_attention._SCORES_AT_ONCE', {'cpu': at_once})
    q, k, v = features((1, 9, 17, 2))
    labels = instance_labels(boxes(1, 2, 9, 17, seed=1)), instance_labels(boxes(1, 2, 9, 17, seed=2))
    run = lambda *x: masked_local_attention(*x, *labels, 5, 1)  # noqa: E731
    assert torch.autograd.gradcheck(run, (q, k, v), fast_mode=True)


def test_background_alone_is_plain_local_attention():
    """With a window that covers the frame from every pixel, it is attention over the whole frame."""
    q, k, v = features((1, 6, 5, 4))
    for masks in (torch.zeros(1, 0, 6, 5), torch.zeros(1, 3, 6, 5)):
        out = masked_local_attention(q, k, v, instance_labels(masks), instance_labels(masks), 11, 1)
        whole = torch.softmax(q.flatten(1, 2) @ k.flatten(1, 2).mT / 2, -1) @ v.flatten(1, 2)
        torch.testing.assert_close(out.flatten(1, 2), whole)


def test_where_nothing_is_allowed_a_pixel_takes_its_own_place():
    q, k, v = features((1, 9, 9, 4))
    everywhere, nowhere = torch.ones(1, 1, 9, 9), torch.zeros(1, 1, 9, 9)
    out = masked_local_attention(q, k, v, instance_labels(everywhere), instance_labels(nowhere), 9, 2)
    assert torch.equal(out, v)
    out.sum().backward()
    assert torch.equal(v.grad, torch.ones_like(v)) and not q.grad.any() and not k.grad.any()


def test_overlapping_instances_may_meet_either():
    """A pixel of instances 0 and 1 sees pixels of 0, of 1 and of both, but neither 2 nor the background."""
    q, k, v = features((1, 1, 5, 4))
    masks_q, masks_k = torch.zeros(1, 3, 1, 5), torch.zeros(1, 3, 1, 5)
    masks_q[0, :2, 0, 2] = 1
    masks_k[0, 0, 0, 0] = masks_k[0, 1, 0, 1] = masks_k[0, 2, 0, 3] = 1
    out = masked_local_attention(q, k, v, instance_labels(masks_q), instance_labels(masks_k), 5, 1)
    seen = torch.softmax(q[0, 0, 2] @ k[0, 0, :2].T / 2, -1) @ v[0, 0, :2]
    torch.testing.assert_close(out[0, 0, 2], seen)


def test_labels_are_bits_and_the_background_is_the_first():
    masks = torch.zeros(1, 40, 1, 3)
    masks[0, [0, 5, 39], 0, 1] = 1
    labels = instance_labels(masks)
    assert labels.shape == (1, 2, 1, 3) and labels.dtype is torch.int32
    assert labels[0, :, 0, 0].tolist() == [1, 0]
    assert labels[0, :, 0, 1].tolist() == [2 + 2**6, 2 ** (40 - 31)]


def test_keeps_queries_keys_values_and_labels_only():
    q, k, v = features((1, 40, 48, 12), torch.float32)
    labels = instance_labels(boxes(1, 3, 40, 48, seed=1))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        masked_local_attention(q, k, v, labels, labels, 9, 6)
    assert sum(x.numel() for x in kept) == 3 * q.numel() + 2 * labels.numel()


def test_no_tensor_grows_with_window_times_frame(monkeypatch):
    """An unfolded frame would have 81 times its size; nothing here has more than a portion's squares."""
    largest = []
    attend = image_alignment.scaled_attention
    monkeypatch.setattr('basicsr_semantic.archs.layers.window_attention._SCORES_AT_ONCE', {'cpu': 2**16})

    def watch(q, k, v, mask):
        largest.append(k.numel())
        return attend(q, k, v, mask)

    monkeypatch.setattr(image_alignment, 'scaled_attention', watch)
    q, k, v = (x.detach() for x in features((1, 96, 96, 12), torch.float32))
    labels = instance_labels(torch.zeros(1, 0, 96, 96))
    masked_local_attention(q, k, v, labels, labels, 9, 6)
    assert len(largest) == 12 and max(largest) == 12 * 16 * 16 * 12


def test_the_module_projects_and_runs_in_mixed_precision():
    torch.manual_seed(0)
    module = ImageAlignment(12, 5, 2)
    assert sum(p.numel() for p in ImageAlignment(120).parameters()) == 43_560
    current, support = torch.randn(2, 9, 10, 12), torch.randn(2, 9, 10, 12)
    masks = boxes(2, 3, 9, 10, seed=1), boxes(2, 3, 9, 10, seed=2)
    labels = tuple(map(instance_labels, masks))
    out = module(current, support, *labels)
    expected = brute_force(module.query(current), module.key(support), module.value(support), *masks, 5, 2)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    with torch.autocast('cpu', torch.bfloat16):
        mixed = module(current, support, *labels)
    torch.testing.assert_close(mixed.float(), out, atol=0.03, rtol=0.05)
    mixed.float().mean().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())


def test_window_sizes_are_four():
    with pytest.raises(ValueError, match='5, 7, 9, 11, not 6'):
        ImageAlignment(12, 6)


def test_from_the_identity_an_instance_shows_a_mean_of_itself():
    """Every pixel of an instance gets a mean of the supporting frame over its instance, so a constant stays itself."""
    module = ImageAlignment(12, 9, 2, 'identity')
    current, support = torch.randn(1, 8, 8, 12), torch.zeros(1, 8, 8, 12)
    masks, moved = (torch.zeros(1, 1, 8, 8, dtype=torch.uint8) for _ in range(2))
    masks[..., 3:6, 3:6], moved[..., 2:5, 4:7] = 1, 1
    support[moved[:, 0] == 1] = torch.randn(12)
    aligned = module(current, support, instance_labels(masks), instance_labels(moved))
    expected = torch.zeros_like(support)
    expected[masks[:, 0] == 1] = support[moved[:, 0] == 1][0]
    torch.testing.assert_close(aligned, expected)


def test_starts_are_two():
    with pytest.raises(ValueError, match='identity, random, not zero'):
        ImageAlignment(12, 5, 2, 'zero')
