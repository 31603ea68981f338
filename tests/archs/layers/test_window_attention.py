"""Window attention: equal to the plain formula, right gradients, and memory that does not hold attention matrices."""

from __future__ import annotations

import math

import pytest
import torch

from basicsr_semantic.archs.layers.window_attention import (
    MASKED_SCORE,
    WindowAttention,
    relative_positions,
    window_attention,
)
from basicsr_semantic.archs.layers.windows import make_windows


def plain(qkv, bias, mask=None, counts=None):
    """The formula, written down without care for memory."""
    q, k, v = (x.transpose(1, 2) for x in qkv.unbind(2))
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1)) + bias
    if mask is not None:
        scores = scores + mask.repeat_interleave(torch.tensor(counts), 0)[:, None]
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def random_case(windows, n, heads, d, dtype, counts=None):
    torch.manual_seed(0)
    qkv = torch.randn(windows, n, 3, heads, d, dtype=dtype, requires_grad=True)
    bias = torch.randn(heads, n, n, dtype=dtype, requires_grad=True)
    mask = None
    if counts is not None:
        mask = torch.where(torch.rand(len(counts), n, n) < 0.3, MASKED_SCORE, 0.0).to(dtype)
        mask.diagonal(dim1=1, dim2=2).zero_()
    return qkv, bias, mask


@pytest.mark.parametrize('counts', [None, (2, 0, 3)])
def test_gradients_are_those_of_finite_differences(counts):
    qkv, bias, mask = random_case(5, 4, 2, 3, torch.float64, counts)
    assert torch.autograd.gradcheck(lambda x, y: window_attention(x, y, mask, counts), (qkv, bias))


@pytest.mark.parametrize(('counts', 'windows'), [(None, 7), ((4, 1, 0, 2), 7)])
@pytest.mark.parametrize('at_once', [1, 2**21])
def test_is_the_plain_formula_in_single_precision(counts, windows, at_once, monkeypatch):
    monkeypatch.setattr('basicsr_semantic.archs.layers.window_attention._SCORES_AT_ONCE', {'cpu': at_once})
    qkv, bias, mask = random_case(windows, 48, 6, 20, torch.float32, counts)
    out, expected = window_attention(qkv, bias, mask, counts), plain(qkv, bias, mask, counts)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    grad = torch.randn_like(out)
    for mine, theirs in zip(
        torch.autograd.grad(out, (qkv, bias), grad), torch.autograd.grad(expected, (qkv, bias), grad), strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(window_attention(qkv, bias, mask, counts), expected, atol=1e-5, rtol=1e-5)


def test_keeps_queries_keys_values_and_bias_only():
    qkv, bias, _ = random_case(7, 48, 6, 20, torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        window_attention(qkv, bias)
    assert sum(x.numel() for x in kept) == qkv.numel() + bias.numel()


def test_relative_positions_count_from_the_most_negative_difference():
    index = relative_positions((3, 8, 8), torch.device('cpu')).view(192, 192)
    frame, row, column = 2 * 64, 8, 1
    assert index[0, 0] == (2 * 15 + 7) * 15 + 7 == index[191, 191]
    assert index[0, frame] == index[0, 0] - 2 * 15 * 15
    assert index[row, 0] == index[0, 0] + 15 and index[column, 0] == index[0, 0] + 1
    assert index.min() == 0 and index.max() == 5 * 15 * 15 - 1


def test_inference_is_training_and_follows_the_weights():
    torch.manual_seed(0)
    attention = WindowAttention(12, (3, 2, 2), 2)
    windows = make_windows((1, 3, 6, 4), (2, 2), (1, 1), torch.device('cpu'))
    x = torch.randn(sum(windows.counts), 12, 12)
    arguments = (x, windows.mask, windows.counts)
    for _ in range(2):
        with torch.no_grad():
            first = attention(*arguments)
            assert torch.equal(attention(*arguments), first)
            other = attention(x)
        torch.testing.assert_close(attention(*arguments).detach(), first)
        torch.testing.assert_close(attention(x).detach(), other)
        assert (first - other).abs().max() > 1e-3
        with torch.no_grad():
            attention(*arguments)
            attention.relative_position_bias_table.mul_(100)  # the next round would see an outdated bias


def test_an_average_of_weights_is_noticed():
    """BasicSR averages through ``.data``, which bumps no version, and calls ``eval`` before it tests."""
    torch.manual_seed(0)
    attention = WindowAttention(12, (3, 2, 2), 2).eval()
    x = torch.randn(5, 12, 12)
    with torch.no_grad():
        attention(x)
        attention.relative_position_bias_table.data.mul_(0.5).add_(torch.randn(3 * 3 * 5, 2), alpha=2)
        averaged = attention.eval()(x)
    torch.testing.assert_close(averaged, attention(x).detach())


def test_runs_in_mixed_precision():
    torch.manual_seed(0)
    attention = WindowAttention(12, (3, 2, 2), 2)
    x = torch.randn(5, 12, 12, requires_grad=True)
    exact = attention(x)
    with torch.autocast('cpu', torch.bfloat16):
        output = attention(x)
        with torch.no_grad():
            inferred = attention(x)
    assert output.dtype is inferred.dtype is torch.bfloat16
    torch.testing.assert_close(output.float(), exact, atol=0.02, rtol=0.05)
    torch.testing.assert_close(inferred, output, atol=0.02, rtol=0.05)
    grad = torch.randn_like(exact)
    table = attention.relative_position_bias_table
    wanted = torch.autograd.grad(exact, (x, table), grad)
    for mine, theirs in zip(torch.autograd.grad(output, (x, table), grad.bfloat16()), wanted, strict=True):
        assert (mine - theirs).norm() < 0.03 * theirs.norm()


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match='5 does not divide 12'):
        WindowAttention(12, (3, 2, 2), 5)


@pytest.mark.parametrize('size', [(8, 8), (5, 11), (3, 4), (1, 1), (16, 4)])
@pytest.mark.parametrize('shift', [(0, 0), (2, 2)])
def test_windows_hold_every_token_once_and_give_it_back(size, shift):
    shape = (2, 3, *size)
    windows = make_windows(shape, (4, 4), shift, torch.device('cpu'))
    x = torch.randn(*shape, 2, dtype=torch.float64, requires_grad=True)
    cut = windows.split(x)
    assert cut.shape == (sum(windows.counts), 48, 2)
    assert torch.equal(cut.abs().sum(), x.abs().sum()) or abs(cut.abs().sum() - x.abs().sum()) < 1e-9
    assert torch.equal(windows.join(cut, x.shape), x)
    assert torch.autograd.gradcheck(lambda y: windows.join(windows.split(y) ** 2, y.shape), x)


def test_windows_are_the_rolled_frames_in_pieces():
    x = torch.arange(2 * 3 * 8 * 12).view(2, 3, 8, 12, 1).float()
    rolled = x.roll((-2, -2), (2, 3))
    pieces = [rolled[b, :, y : y + 4, c : c + 4].flatten() for b in (0, 1) for y in (0, 4) for c in (0, 4, 8)]
    cut = make_windows((2, 3, 8, 12), (4, 4), (2, 2), torch.device('cpu')).split(x)[..., 0]
    order = [0, 1, 6, 7, 2, 8, 3, 4, 9, 10, 5, 11]  # inside, right end, lower end, corner, of both clips
    assert torch.equal(cut, torch.stack([pieces[i] for i in order]))


def test_a_shifted_window_keeps_apart_what_the_roll_brought_together():
    h, w = 8, 12
    windows = make_windows((1, 3, h, w), (4, 4), (2, 2), torch.device('cpu'))
    assert windows.counts == (2, 1, 2, 1) and windows.mask is not None
    place = windows.index.view(-1, windows.tokens) % (h * w)
    row, column = place // w, place % w
    apart = ((row[:, :, None] - row[:, None]).abs() > 4) | ((column[:, :, None] - column[:, None]).abs() > 4)
    assert torch.equal(windows.mask.repeat_interleave(torch.tensor(windows.counts), 0) == MASKED_SCORE, apart)


def test_what_inference_mode_made_serves_training():
    make_windows.cache_clear(), relative_positions.cache_clear()
    attention = WindowAttention(4, (3, 2, 2), 2)

    def run():
        windows = make_windows((1, 3, 4, 4), (2, 2), (1, 1), torch.device('cpu'))
        x = torch.ones(1, 3, 4, 4, 4)
        return windows.join(attention(windows.split(x), windows.mask, windows.counts), x.shape)

    with torch.inference_mode():
        run()
    run().sum().backward()
    assert attention.qkv.weight.grad is not None
