"""Networks, losses and the diffusion on tensors of a GPU that is not there: what mixes devices fails.

PyTorch's fake tensors know shapes and devices and compute nothing. A network is built on the CPU and called with fake
parameters and buffers of a GPU, forward only, since gradients need a driver. Where there is a GPU the same calls run on
it, with gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from basicsr.archs.arch_util import flow_warp
from helpers.metrics import TINY_CLIP, backbone_state, random_backbone, random_clip, random_factors
from helpers.openseed import TINY as TINY_OPENSEED
from helpers.seeclear import TINY as TINY_SEECLEAR
from helpers.semantics import WIDTH, tiny_instances, tiny_xdecoder
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.func import functional_call

from basicsr_semantic.archs import PSRTRecurrent, SemanticLens
from basicsr_semantic.archs.basicvsr_seem_arch import BasicVSRSEEM
from basicsr_semantic.archs.edvr_seem_arch import EDVRSEEM
from basicsr_semantic.archs.layers import tiles, window_attention, windows
from basicsr_semantic.archs.layers.instance_transformer import VideoInstances
from basicsr_semantic.archs.seeclear_arch import SeeClear
from basicsr_semantic.diffusion import BlurringResShift
from basicsr_semantic.extractors.openseed.network import OpenSeeD
from basicsr_semantic.losses.point_sampling import sample_points
from basicsr_semantic.losses.set_loss import Instances
from basicsr_semantic.losses.video_instance_loss import VideoInstanceLoss
from basicsr_semantic.metrics import clip_iqa, perceptual
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
        with FakeTensorMode(allow_non_fake_inputs=True):  # tensors of a module that are neither: CPU ones
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


def without_values(monkeypatch) -> None:
    """Let the loss do without the two values it asks for: which instances are seen, and the cost of a match.

    All instances are taken for seen, by an index of theirs, and scipy gets zeros in place of the costs.
    """

    def seen(instances: Instances) -> Instances:
        index = instances.masks.flatten(1).any(dim=1).long().argsort()
        return Instances(instances.labels[index], instances.ids[index], instances.masks[index])

    def numpy(tensor: torch.Tensor) -> np.ndarray:
        assert not tensor.is_cuda, 'NumPy takes nothing from a GPU'
        return np.zeros(tensor.shape, np.float32)

    monkeypatch.setattr(Instances, 'present', seen)
    monkeypatch.setattr(FakeTensor, 'numpy', numpy)


@pytest.mark.parametrize('num_points', [None, 12])
def test_the_loss_of_instances_stays_on_its_device(num_points, monkeypatch):
    layers, clips, frames, queries, width, classes = 2, 2, 3, 5, 6, 3
    if not GPU:
        without_values(monkeypatch)

    def predicted(*shape: int) -> torch.Tensor:
        return there(*shape).requires_grad_(GPU)

    instances = Instances(there(2, kind=torch.long), there(2, kind=torch.long), there(2, frames, 8, 8, kind=torch.bool))
    nothing = Instances(there(0, kind=torch.long), there(0, kind=torch.long), there(0, frames, 8, 8, kind=torch.bool))
    targets = [instances, nothing]
    each = [frame for clip in targets for frame in clip.frames()]
    found = VideoInstances(
        predicted(layers, clips, queries, width),
        predicted(2, layers, clips, queries, classes + 1),
        predicted(2, layers, clips, queries, width),
        predicted(layers, clips, queries, width),
        predicted(layers, clips, frames, queries, width),
    )
    logits = predicted(layers, clips * frames, queries, classes + 1)
    shapes = predicted(layers, clips * frames, queries, 8, 8)
    loss = VideoInstanceLoss(num_points=num_points)
    matches = loss.match_frames(logits, shapes, each)
    check(matches)
    parts = loss(found, predicted(clips, frames, width, 8, 8), targets, matches)
    parts |= loss.frame_loss(logits, shapes, each, matches)
    assert len(parts) == 7
    check(parts)


def perceptual_network(name: str, monkeypatch) -> torch.nn.Module:
    """The network behind a metric, as it is made for the CPU, of random weights."""
    cpu = torch.device('cpu')
    if name == 'CLIP-IQA':
        monkeypatch.setattr(clip_iqa, 'read_weights', lambda *_: random_clip(TINY_CLIP))
        return clip_iqa._clip_iqa.__wrapped__(None, cpu)
    net: Any = 'vgg' if name == 'DISTS' else name.partition(' ')[2]
    factors, state = random_factors(), backbone_state(random_backbone(net))
    monkeypatch.setattr(perceptual, 'read_weights', lambda path, *_: factors if path == 'factors' else state)
    if name == 'DISTS':
        return perceptual._dists.__wrapped__(None, 'factors', cpu)
    return perceptual._lpips.__wrapped__(net, None, cpu)


@pytest.mark.parametrize('name', ['LPIPS vgg', 'LPIPS alex', 'LPIPS squeeze', 'DISTS', 'CLIP-IQA'])
def test_the_network_of_a_metric_stays_on_its_device(name, monkeypatch):
    pytest.importorskip('lpips' if name[0] == 'L' else 'piq')
    network = on_gpu(lambda: perceptual_network(name, monkeypatch))
    if not GPU and name[0] != 'L':  # piq moves a network that is there, and looks whether values are in their range
        monkeypatch.setattr(torch.nn.Module, 'to', lambda module, *_: module)
        monkeypatch.setattr('piq.clip_iqa._validate_input', lambda *_, **__: None)
    frame = there(1, 3, 64, 72)
    check(network(frame) if name == 'CLIP-IQA' else network(frame, frame))


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
