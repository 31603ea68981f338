"""Networks that metrics look through, with random weights."""

from __future__ import annotations

import torch
import torchvision
from torch import nn

FULL_CLIP = {'embed_dim': 1024, 'layers': (3, 4, 6, 3), 'width': 64, 'resolution': 224, 'text_width': 512, 'depth': 12}
TINY_CLIP = {'embed_dim': 16, 'layers': (1, 1, 1, 1), 'width': 8, 'resolution': 64, 'text_width': 64, 'depth': 1}


def random_backbone(net: str) -> torch.nn.Module:
    """The convolutions of torchvision's network, for ``vgg``, ``alex`` or ``squeeze``."""
    torch.manual_seed(1)
    build = {'vgg': 'vgg16', 'alex': 'alexnet', 'squeeze': 'squeezenet1_1'}[net]
    with torch.device('meta'):  # the classifiers are large, and nobody looks at them
        features = getattr(torchvision.models, build)(weights=None).features
    features = features.to_empty(device='cpu')
    for parameter in features.parameters():
        bound = (3 / parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 0.1
        torch.nn.init.uniform_(parameter, -bound, bound)
    return features.eval()


def backbone_state(features: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights under torchvision's keys."""
    return {f'features.{key}': value for key, value in features.state_dict().items()}


def random_factors() -> dict[str, torch.Tensor]:
    """The alpha and beta of DISTS."""
    torch.manual_seed(2)
    factors = {name: torch.rand(1, 1475, 1, 1) for name in ('alpha', 'beta')}
    total = factors['alpha'].sum() + factors['beta'].sum()
    return {name: value / total for name, value in factors.items()}


def random_clip(sizes) -> dict[str, torch.Tensor]:
    """The state dict of a CLIP with a ResNet, in half precision as OpenAI releases them."""
    from piq.feature_extractors import clip

    torch.manual_seed(0)
    net = clip.CLIP(
        sizes['embed_dim'],
        sizes['resolution'],
        sizes['layers'],
        sizes['width'],
        None,
        77,
        49408,
        sizes['text_width'],
        sizes['text_width'] // 64,
        sizes['depth'],
    )
    for name, buffer in net.named_buffers():
        if name.endswith(('running_mean', 'running_var')):
            buffer.uniform_(0.5, 1.5)
    for name, parameter in net.named_parameters():
        if name.endswith('bn3.weight'):
            torch.nn.init.uniform_(parameter, 0.5, 1)
    clip.convert_weights(net)
    return dict(net.state_dict())


class GivenFlow(nn.Module):
    """The same flow for every pixel; no weights."""

    def __init__(self, x: float = 0.0, y: float = 0.0) -> None:
        super().__init__()
        self.flow = (x, y)

    def forward(self, ref, supp):
        return torch.tensor(self.flow).view(1, 2, 1, 1).expand(len(ref), 2, *ref.shape[-2:])
