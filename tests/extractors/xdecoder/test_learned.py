"""What stage 1 has learned, the extractor finds in its checkpoints: the same squares, absent where they are absent."""

from __future__ import annotations

import pytest
import torch
from helpers.instances import BOTH, make_model, make_options, squares, step
from torch.nn import functional as F

from basicsr_semantic.extractors.xdecoder.extractor import XDecoderExtractor

pytestmark = pytest.mark.slow
SEEN = (0, 1, 2, 4)


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> dict[str, str]:
    """Checkpoints of a stage 1 that knows four clips by heart."""
    folder = tmp_path_factory.mktemp('stage_one')
    opt = make_options(folder, BOTH, grad_clip=1.0)
    opt['train']['optim_g'] |= {'lr': 0.002, 'weight_decay': 0.0}
    model = make_model(opt, folder)
    step(model, count=81, indices=SEEN)
    model.save(0, 81)
    models = folder / 'models'
    return {'checkpoint': str(models / 'net_f_81.pth'), 'instance_checkpoint': str(models / 'net_g_81.pth')}


def best_iou(found: torch.Tensor, wanted: torch.Tensor) -> tuple[float, int]:
    """IoU over the whole clip of the channel that fits best, and its number; (t, i, h, w) and (t, h, w)."""
    wanted = wanted[:, None]
    both, either = (found & wanted).sum((0, 2, 3)), (found | wanted).sum((0, 2, 3))
    scores = both / either.clamp(min=1)
    return float(scores.max()), int(scores.argmax())


@pytest.mark.parametrize('shrink', [1, 2])
def test_squares_are_found_under_one_identity_and_absent_where_they_are_absent(files, shrink):
    """Also in frames of half the size, which the extractor enlarges again."""
    extractor = XDecoderExtractor(**files, short_side=64, score_threshold=0.3)
    for index in SEEN:
        video, labels, masks = squares(index)
        small = F.avg_pool2d(video, shrink)
        found = extractor.describe(small).masks.bool()
        assert found.shape[-2:] == (64 // shrink, 64 // shrink)
        channels = set()
        for i in range(len(labels)):
            wanted = F.avg_pool2d(masks[i].float()[:, None], shrink)[:, 0] >= 0.5
            iou, channel = best_iou(found, wanted)
            assert iou > 0.7, (index, i, iou)
            channels.add(channel)
            if i == 1:  # the second square enters the clip with its second frame
                assert not wanted[0].any()
                assert found[0, channel].float().mean() < 0.02
                assert found[1, channel].float().mean() > 0.05
        assert len(channels) == len(labels)
