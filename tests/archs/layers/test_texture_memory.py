"""CaTeGory: reading, updating, and that it can learn at all."""

from __future__ import annotations

import pytest
import torch

from basicsr_semantic.archs.layers.texture_memory import MemoryState, TextureMemory, TextureReader

DIM, TOKENS, GROUPS = 8, 5, 2


def memory() -> TextureMemory:
    torch.manual_seed(0)
    return TextureMemory(DIM, TOKENS, GROUPS, 2, [4, 6])


def features(batch: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, 3, c, s, s, generator=generator) for c, s in ((4, 16), (6, 12))]


def moved(net: TextureMemory) -> TextureMemory:
    with torch.no_grad():
        net.textures.normal_()
        net.write.weight.normal_()
    return net


def test_reading_is_eq_19_and_20():
    net = moved(memory())
    tokens = torch.randn(1, TOKENS, DIM)
    read = net.read(tokens, net.initial(1))
    assert read.shape == (1, GROUPS * DIM, DIM)
    for j in range(GROUPS):
        weights = (tokens[0].T @ net.semantics[j]).softmax(dim=1)
        torch.testing.assert_close(read[0, j * DIM : (j + 1) * DIM], weights @ net.textures[j])


def test_the_update_is_pure_and_gives_every_video_its_own():
    net = moved(memory())
    state = net.initial(2)
    before = state.textures.clone()
    after = net.update(state, features())
    assert torch.equal(state.textures, before) and torch.equal(net.textures.expand(2, -1, -1, -1), before)
    assert after.textures.shape == before.shape and not torch.allclose(after.textures[0], after.textures[1])
    alone = net.update(net.initial(1), [level[1:] for level in features()])
    torch.testing.assert_close(after.textures[1:], alone.textures)
    assert after.semantics is state.semantics


def test_the_update_starts_as_the_identity():
    net = memory()
    assert torch.equal(net.update(net.initial(2), features()).textures, net.initial(2).textures)


def test_the_update_is_eq_17_and_18():
    """Group by group: T^ = C T attends to the features, then to itself, and what comes out joins what was learned."""
    net = moved(memory())
    state = MemoryState(net.initial(1).semantics, torch.randn(1, GROUPS, TOKENS, DIM))
    levels = features(1)
    seen = []
    for k, level in enumerate(levels):
        for frame in level[0]:
            cells = torch.nn.functional.adaptive_avg_pool2d(net.levels[k](frame[None]), 8)[0]
            seen += [cells[:, i, j] + net.level_embed[k] for i in range(8) for j in range(8)]
    tokens = torch.stack(seen)[None]
    found = net.update(state, levels)
    for j in range(GROUPS):
        x = (state.semantics[0, j] @ state.textures[0, j])[None]
        x = x + net.cross(net.norms[0](x), tokens, tokens)
        x = x + net.feedforward[0](net.norms[1](x))
        y = net.norms[2](x)
        x = x + net.own(y, y, y)
        x = x + net.feedforward[1](net.norms[3](x))
        torch.testing.assert_close(found.textures[0, j], net.textures[j] + net.write(net.norms[4](x))[0])


def test_the_memory_does_not_grow_with_the_length_of_a_video():
    net = moved(memory())
    state = net.initial(1)
    sizes = []
    for _ in range(30):
        state = net.update(state, features(1))
        sizes.append(state.textures.norm().item())
    assert max(sizes[1:]) < 1.5 * sizes[0]
    assert not torch.equal(net.update(state, features(1)).textures, net.update(net.initial(1), features(1)).textures)


def gradient(net: TextureMemory) -> tuple[float, float]:
    state = net.update(net.initial(1), features(1))
    net.read(torch.randn(1, TOKENS, DIM), state).square().sum().add(state.textures.sum()).backward()
    assert net.semantics.grad is not None and net.textures.grad is not None
    return net.semantics.grad.abs().max().item(), net.textures.grad.abs().max().item()


def test_as_printed_no_gradient_reaches_the_memory():
    """C = T = 0 and T <- SA(CA(C T)), without a residual: nothing that is read depends on either."""
    net = memory()
    torch.nn.init.zeros_(net.semantics)
    torch.nn.init.zeros_(net.textures)
    state = net.initial(1)
    embedded = (state.semantics @ state.textures).flatten(0, 1)  # Eq. 17
    tokens = torch.randn(GROUPS, 7, DIM)
    written = net.own(*[net.cross(embedded, tokens, tokens)] * 3).unflatten(0, (1, GROUPS))  # Eq. 18
    read = net.read(torch.randn(1, TOKENS, DIM), MemoryState(state.semantics, written))
    target = torch.randn_like(read)
    (read - target).square().sum().backward()
    assert net.semantics.grad.abs().max() < 1e-5 and net.textures.grad.abs().max() == 0


def test_gradients_reach_the_memory():
    net = memory()
    assert gradient(net)[1] > 1e-3  # T at once
    with torch.no_grad():
        net.textures -= 0.1 * net.textures.grad * torch.randn_like(net.textures)
    net.zero_grad()
    assert gradient(net)[0] > 1e-6  # C as soon as T has left zero


def test_detached_states_have_no_history():
    net = moved(memory())
    state = net.update(net.initial(1), features(1))
    assert state.textures.requires_grad and not state.detach().textures.requires_grad


@pytest.mark.parametrize('frames', [1, 3])
def test_the_reader_starts_as_the_identity_and_keeps_videos_apart(frames):
    torch.manual_seed(0)
    reader = TextureReader(6, 2, DIM)
    x, textures = torch.randn(2 * frames, 6, 4, 5), torch.randn(2, 9, DIM)
    assert torch.equal(reader(x, reader.keys_values(textures)), x)
    torch.nn.init.normal_(reader.proj.weight)
    changed = reader(x, reader.keys_values(textures))
    other = reader(x, reader.keys_values(torch.cat([textures[:1], -textures[1:]])))
    torch.testing.assert_close(changed[:frames], other[:frames])
    assert (changed[frames:] - other[frames:]).abs().max() > 1e-3


def test_scores_of_unit_tokens_have_a_spread_at_the_start():
    """Near zero the softmax of Eq. 19 is uniform: its entropy is that of no choice, log(N) = 4.605 for 100 items."""
    torch.manual_seed(0)
    tokens, entropy = torch.randn(4, 100, 16), {}
    for start in ('unit', 'near_zero'):
        net = TextureMemory(16, 100, 2, 2, [4], start)
        weights = (tokens.mT[:, None] @ net.initial(4).semantics).softmax(-1)
        entropy[start] = -(weights * weights.log()).sum(-1).mean().item()
        assert bool(net.textures.any()) == (start == 'unit')
    assert entropy['near_zero'] > 4.58 and entropy['unit'] < 4.25


def test_starts_are_two():
    with pytest.raises(ValueError, match='unit, near_zero, not zero'):
        TextureMemory(16, 10, 2, 2, [4], 'zero')


def test_textures_that_start_at_zero_learn_through_the_reader():
    """They are no priors, of which a zero one would be left out."""
    torch.manual_seed(0)
    net, reader = TextureMemory(DIM, TOKENS, GROUPS, 2, [4], 'near_zero'), TextureReader(6, 2, DIM)
    torch.nn.init.normal_(reader.proj.weight)  # as soon as it has left zero
    read = net.read(torch.randn(1, TOKENS, DIM), net.initial(1))
    reader(torch.randn(1, 6, 4, 5), reader.keys_values(read)).square().sum().backward()
    assert net.textures.grad.abs().max() > 0
