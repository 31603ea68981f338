"""Networks are one graph for torch.compile: no break in training or evaluation, and the same output."""

from __future__ import annotations

import pytest
import torch
from helpers.seeclear import awake, build
from helpers.seeclear import priors as tokens

from basicsr_semantic.archs import PSRTRecurrent, SemanticLens
from basicsr_semantic.archs.basicvsr_seem_arch import BasicVSRSEEM
from basicsr_semantic.archs.edvr_seem_arch import EDVRSEEM
from basicsr_semantic.priors import SemanticPriors

LENS = {'mid_channels': 8, 'embed_dim': 12, 'depths': [2], 'num_heads': [2], 'window_size': [3, 4, 4]}
LENS |= {'drop_path_rate': 0.0}
EDVR = {'num_feat': 8, 'num_frame': 3, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}


def masks(frames: int, size: int) -> torch.Tensor:
    return (torch.rand(1, frames, 4, size, size) > 0.5).to(torch.uint8)


def clip(frames: int, size: int) -> torch.Tensor:
    return torch.rand(1, frames, 3, size, size)


NETWORKS = {
    'BasicVSRSEEM': lambda: (
        BasicVSRSEEM(num_feat=8, num_block=1, num_masks=4, reduction=2),
        (clip(2, 64), masks(2, 64)),
    ),
    'EDVRSEEM': lambda: (EDVRSEEM(**EDVR, num_masks=4, reduction=2), (clip(3, 16), masks(3, 16))),
    'PSRTRecurrent': lambda: (PSRTRecurrent(**LENS), (clip(2, 36),)),
    'SemanticLens': lambda: (
        SemanticLens(**LENS, image_window=5, token_dim=16, global_dim=16),
        (
            clip(2, 16),
            SemanticPriors(
                masks=masks(2, 16), global_tokens=torch.rand(1, 2, 16), instance_tokens=torch.rand(1, 4, 16)
            ),
        ),
    ),
    'SeeClear': lambda: (  # two clips, so that the second reads what the memory took from the first
        awake(build()),
        (
            torch.rand(1, 2, 3, 3, 64, 64),
            torch.tensor([[3, 1]]),
            torch.rand(1, 2, 3, 3, 16, 16),
            torch.rand(1, 2, 3, 3, 64, 64),
            [tokens(cells=(4, 4))] * 2,
        ),
    ),
}


@pytest.mark.slow(30)
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize(('name', 'train'), [*((name, True) for name in NETWORKS), ('EDVRSEEM', False)])
def test_a_network_is_one_graph(name, train):
    torch.manual_seed(0)
    net, inputs = NETWORKS[name]()
    net.train(train)
    torch._dynamo.reset()
    with torch.set_grad_enabled(train):
        whole = torch.compile(net, backend='eager', fullgraph=True)  # an error where the graph would break
        torch.testing.assert_close(whole(*inputs), net(*inputs), rtol=0, atol=1e-6)
    torch._dynamo.reset()
