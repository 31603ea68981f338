"""spandrel loads the networks of this package by their weights, for single frames."""

from __future__ import annotations

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from helpers.seem import randomise
from safetensors.torch import save_file

from basicsr_semantic.inference.spandrel_archs import install

spandrel = pytest.importorskip('spandrel')

LITE = {'num_feat': 12, 'num_block': 2, 'flow_feat': 6, 'reduction': 4}
SEEM = {'num_feat': 8, 'num_block': 3, 'num_masks': 5, 'reduction': 4}
EDVR = {'num_feat': 8, 'num_frame': 3, 'deformable_groups': 2, 'num_extract_block': 2, 'num_reconstruct_block': 3}


@pytest.mark.parametrize(
    ('arch', 'arguments'),
    [
        ('BasicVSRLite', LITE),
        ('BasicVSRLite', {**LITE, 'num_masks': 7, 'branches': ['forward']}),
        ('BasicVSRSEEM', SEEM),
        ('BasicVSRSEEM', {**SEEM, 'branches': ['backward']}),
        ('BasicVSR', {'num_feat': 8, 'num_block': 2}),
        ('EDVRSEEM', {**EDVR, 'num_masks': 5, 'reduction': 2, 'positions': ['aggr']}),
        ('EDVRSEEM', {**EDVR, 'num_masks': 5, 'reduction': 4, 'with_tsa': False, 'num_frame': 5}),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_a_frame_is_restored_as_a_clip_in_which_nothing_moves(tmp_path, arch, arguments):
    install()
    more = {'missing_priors': 'neutral'} if arch != 'BasicVSR' else {}
    net = randomise(ARCH_REGISTRY.get(arch)(**arguments, **more), 1, 0.05).eval()
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, tmp_path / 'net.safetensors')
    model = spandrel.ModelLoader().load_from_file(tmp_path / 'net.safetensors').eval()
    assert model.scale == 4 and model.architecture.name in (arch, f'{arch}SEEM')
    frame, frames = torch.rand(1, 3, 64, 64), arguments.get('num_frame', 1)
    with torch.no_grad():
        wanted = net(frame[:, None].expand(-1, frames, -1, -1, -1)).view(1, 3, 256, 256)
        assert (model(frame) - wanted.clamp(0, 1)).abs().max() < 1e-6
        assert model(frame[..., :30, :37]).shape == (1, 3, 120, 148)  # spandrel pads and crops


def test_installed_twice_it_is_there_once():
    install()
    before = len(spandrel.MAIN_REGISTRY)
    assert install() == [] and len(spandrel.MAIN_REGISTRY) == before
