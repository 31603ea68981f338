"""What SeeClear's equations of attention and memory give as printed, and how many parameters its network has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from basicsr_semantic.archs.layers.incam import InstanceAlignment
from basicsr_semantic.archs.layers.texture_memory import MemoryState, TextureMemory
from basicsr_semantic.archs.seeclear_arch import SeeClear
from basicsr_semantic.extractors.openseed.network import OpenSeeD
from basicsr_semantic.extractors.xdecoder.text import TextEncoder

#: Widths of the table, each with a head width that divides it.
WIDTHS = ((96, 32), (120, 30), (160, 32))
#: Parameters that the paper's Table 5 gives for SeeClear, in millions.
REPORTED = 229.23


def memory_learns(start: str, iterations: Sequence[int] = (100, 300), seed: int = 0) -> dict[str, Any]:
    """Train a small memory to read a random target after one update with random features; all its weights may change.

    In float64, with Adam at a rate of 0.01.

    Args:
        start: 'printed': C = T = 0, and Eq. 18 replaces T; 'semantics_zero': C = T = 0, and the update is added to T;
            'near_zero' and 'unit': with these values of ``memory_start``.
        iterations: After how many to look, in ascending order.
        seed: Of weights, features and target.

    Returns:
        loss_of_one_item, the least that any T whose groups have one item each can reach; first_gradient_semantics and
        first_gradient_textures, the largest of C and T; loss at the start; trained, for each of ``iterations``: loss,
        and item_spread, how far the items of T are from their mean.
    """
    torch.manual_seed(seed)
    tokens, dim, groups = 6, 8, 2
    net = TextureMemory(dim, tokens, groups, 2, [dim], 'unit' if start == 'unit' else 'near_zero').double()
    if start in ('printed', 'semantics_zero'):
        nn.init.zeros_(net.semantics)
    features, clip = torch.randn(1, 2, dim, 8, 8).double(), torch.randn(1, tokens, dim).double()
    target = torch.randn(1, groups * dim, dim).double()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    rows = target.unflatten(1, (groups, -1))
    found: dict[str, Any] = {'loss_of_one_item': (rows - rows.mean(2, keepdim=True)).square().mean().item()}
    trained = []
    for iteration in range(iterations[-1] + 1):
        state = net.initial(1)
        after = as_printed(net, state, features) if start == 'printed' else net.update(state, [features])
        loss = F.mse_loss(net.read(clip, after), target)
        optimizer.zero_grad()
        loss.backward()
        if iteration == 0:
            for name in ('semantics', 'textures'):
                found[f'first_gradient_{name}'] = largest(getattr(net, name).grad)
            found['loss'] = loss.item()
        if iteration in iterations:
            spread = largest(net.textures - net.textures.mean(1, keepdim=True))
            trained.append({'iterations': iteration, 'loss': loss.item(), 'item_spread': spread})
        optimizer.step()
    return {**found, 'trained': trained}


def as_printed(net: TextureMemory, state: MemoryState, features: Tensor) -> MemoryState:
    """Eq. 17 and 18 without the residual around them: T is replaced by SA(CA(C T, features))."""
    x = (state.semantics @ state.textures).flatten(0, 1)
    tokens = features.flatten(3).transpose(2, 3).flatten(1, 2).repeat_interleave(state.textures.size(1), dim=0)
    x = x + net.cross(net.norms[0](x), tokens, tokens)
    x = x + net.feedforward[0](net.norms[1](x))
    y = net.norms[2](x)
    x = x + net.own(y, y, y)
    x = x + net.feedforward[1](net.norms[3](x))
    return MemoryState(state.semantics, x.unflatten(0, state.textures.shape[:2]))


def largest(values: Tensor | None) -> float:
    """Largest magnitude."""
    assert values is not None
    return values.detach().abs().max().item()


@torch.no_grad()
def kept_by_attention(seed: int = 0) -> float:
    """What Eq. 13 keeps of the differences between pixels, without a residual: a share of their variance.

    Pixels and 100 tokens are random, the weights those of the start.
    """
    torch.manual_seed(seed)
    module: Any = InstanceAlignment(120, 4, 256, 256, clip=False)
    module.proj = nn.Identity()
    pixels = torch.randn(1, 64, 64, 120)
    attended = module.attend(pixels, *module.keys_values(torch.randn(1, 100, 256)))
    return (attended.flatten(0, 2).var(0).mean() / pixels.flatten(0, 2).var(0).mean()).item()


def parameters() -> list[dict[str, Any]]:
    """Parameters of SeeClear for every width, in millions: the network, its instance encoder and decoder, the sum."""
    rows = []
    for dim, head_dim in WIDTHS:
        with torch.device('meta'):
            net = SeeClear(dim=dim, head_dim=head_dim)
        assert net.instances is not None
        total, instances = count(net), count(net.instances)
        rows.append({'dim': dim, 'net': total - instances, 'instances': instances, 'total': total})
    return rows


def distiller_parameters() -> dict[str, float]:
    """Parameters of OpenSeeD Swin-T, in millions, and of its text encoder, which runs once for a vocabulary."""
    with torch.device('meta'):
        return {'vision': count(OpenSeeD()), 'text': count(TextEncoder(context=18))}


def count(module: nn.Module) -> float:
    """Parameters in millions."""
    return sum(p.numel() for p in module.parameters()) / 1e6
