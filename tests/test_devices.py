"""Networks, losses and the diffusion on tensors of a GPU that is not there: what mixes devices fails.

PyTorch's fake tensors know shapes and devices and compute nothing. A network is built on the CPU and called with fake
parameters and buffers of a GPU, forward only, since gradients need a driver. Where there is a GPU the same calls run on
it, with gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from basicsr.archs.arch_util import flow_warp
from helpers_openseed import TINY as TINY_OPENSEED
from helpers_seeclear import TINY as TINY_SEECLEAR
from helpers_semantics import WIDTH, tiny_instances, tiny_xdecoder
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.func import functional_call

from basicsr_semantic.archs import PSRTRecurrent, SemanticLens
from basicsr_semantic.archs.basicvsr_seem_arch import BasicVSRSEEM
from basicsr_semantic.archs.edvr_seem_arch import EDVRSEEM
from basicsr_semantic.archs.layers import tiles, window_attention, windows
from basicsr_semantic.archs.seeclear_arch import SeeClear
from basicsr_semantic.diffusion import BlurringResShift
from basicsr_semantic.extractors.openseed.network import OpenSeeD
from basicsr_semantic.losses.point_sampling import sample_points
from basicsr_semantic.metrics.warping_error import visible
from basicsr_semantic.priors import SemanticPriors

GPU = torch.cuda.is_available()
LENS = {'mid_channels': 8, 'embed_dim': 12, 'depths': [2], 'num_heads': [2], 'window_size': [3, 8, 8]}
EDVR = {'num_feat': 8, 'num_frame': 3, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}


@pytest.fixture(autouse=True)
def device(monkeypatch) -> Iterator[None]:
    """A mode in which tensors of a GPU can be made, and no index of another mode is kept."""
    monkeypatch.setattr(torch.backends.cudnn, 'enabled', GPU)
    caches = [one for module in (tiles, windows, window_attention) for one in vars(module).values()]
    clear = [one.cache_clear for one in caches if hasattr(one, 'cache_clear')]
    for each in clear:
        each()
    if GPU:
        yield
    else:
        with FakeTensorMode():
            yield
    for each in clear:
        each()


def there(*shape: int, kind: torch.dtype = torch.float32) -> torch.Tensor:
    """A tensor on the GPU, of ones."""
    return torch.ones(shape, dtype=kind, device='cuda')


def masks(*shape: int) -> torch.Tensor:
    return there(*shape, kind=torch.uint8)


def on_gpu(build: Callable[[], torch.nn.Module], train: bool = False) -> Callable[..., Any]:
    """A network, built on the CPU, on the GPU."""
    with unset_fake_temporarily():
        net = build().train(train)
        forms = {name: (one.shape, one.dtype) for name, one in [*net.named_parameters(), *net.named_buffers()]}
    if GPU:
        return net.cuda()
    state = {name: torch.empty(shape, dtype=kind, device='cuda') for name, (shape, kind) in forms.items()}
    return lambda *args, **kwargs: functional_call(net, state, args, kwargs)


def tensors(found: Any) -> list[torch.Tensor]:
    """All tensors in a result."""
    if torch.is_tensor(found):
        return [found]
    if isinstance(found, dict):
        found = list(found.values())
    parts = found if isinstance(found, list | tuple) else list(getattr(found, '__dict__', {}).values())
    return [tensor for part in parts for tensor in tensors(part)]


def check(found: Any) -> None:
    """All is on the GPU; where there is one, gradients are too."""
    given = tensors(found)
    assert given and all(tensor.is_cuda for tensor in given)
    if GPU and any(tensor.requires_grad for tensor in given):
        sum(tensor.float().sum() for tensor in given if tensor.requires_grad).backward()


NETWORKS: dict[str, tuple[Callable[[], torch.nn.Module], Callable[[], tuple]]] = {
    'BasicVSRSEEM': (
        lambda: BasicVSRSEEM(num_feat=8, num_block=1, num_masks=4, reduction=2),
        lambda: (there(1, 3, 3, 64, 64), masks(1, 3, 4, 64, 64)),
    ),
    'EDVRSEEM': (
        lambda: EDVRSEEM(**EDVR, num_masks=4, reduction=2),
        lambda: (there(1, 3, 3, 64, 64), masks(1, 3, 4, 64, 64)),
    ),
    'PSRTRecurrent': (lambda: PSRTRecurrent(**LENS), lambda: (there(1, 3, 3, 64, 64),)),
    'PSRTRecurrent, patch': (lambda: PSRTRecurrent(**LENS, align='patch'), lambda: (there(1, 3, 3, 64, 64),)),
    'SemanticLens': (
        lambda: SemanticLens(**LENS, image_window=5, token_dim=16, global_dim=16),
        lambda: (
            there(1, 3, 3, 64, 64),
            SemanticPriors(
                masks=masks(1, 3, 4, 64, 64), global_tokens=there(1, 3, 16), instance_tokens=there(1, 4, 16)
            ),
        ),
    ),
    'SeeClear': (
        lambda: SeeClear(**TINY_SEECLEAR),
        lambda: (
            there(1, 2, 3, 3, 64, 64),
            there(1, 2, kind=torch.long),
            there(1, 2, 3, 3, 16, 16),
            there(1, 2, 3, 3, 64, 64),
            [SemanticPriors(frame_tokens=there(1, 3, 5, 16), pixel_features=there(1, 3, 8, 4, 4))] * 2,
        ),
    ),
    'InstanceTransformer': (tiny_instances, lambda: (there(1, 3, 6, WIDTH),)),
    'X-Decoder': (tiny_xdecoder, lambda: (there(1, 3, 64, 64),)),
    'OpenSeeD': (lambda: OpenSeeD(**TINY_OPENSEED), lambda: (there(1, 3, 64, 64), there(7, 20))),
}


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize('name', NETWORKS)
def test_a_network_stays_on_its_device(name, train):
    build, inputs = NETWORKS[name]
    check(on_gpu(build, train)(*inputs()))


def test_what_mixes_devices_fails():
    """The control: without it a mode that lets everything pass would pass every network."""

    class Mixes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) + torch.ones(x.shape)

    with pytest.raises(RuntimeError, match='device'):
        on_gpu(Mixes)(there(1, 3, 4, 4))


def test_what_metrics_and_losses_sample_stays_on_its_device():
    flow = there(1, 2, 16, 24)
    check(visible(flow, -flow))
    check(sample_points(there(2, 3, 8, 8), there(2, 5, 2)))


@pytest.mark.parametrize('kind', [torch.float32, torch.bfloat16])
def test_warping_stays_on_its_device(kind):
    check(flow_warp(there(1, 4, 16, 24, kind=kind), there(1, 16, 24, 2)))


@pytest.mark.parametrize('patch', [1, 4])
def test_the_diffusion_stays_on_its_device(patch):
    x, base, noise = (there(2, 3, 16, 16) for _ in range(3))
    t = there(2, kind=torch.long)

    class Steps(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.diffusion = BlurringResShift(steps=4, patch=patch)

        def forward(self, t: torch.Tensor | int) -> list[torch.Tensor]:
            state = self.diffusion.q_sample(x, base, t, noise)
            state = self.diffusion.step(state, x, base, t, noise)
            return [self.diffusion.scale_input(state, t), self.diffusion.prior_sample(base, noise)]

    steps = on_gpu(Steps)
    check(steps(t))
    check(steps(2))
