"""The training of `lite`: what it draws, that a stopped run goes on, and what it writes."""

from __future__ import annotations

import cv2
import lite_clips
import numpy as np
import pytest
import torch
import train_lite
from basicsr.archs.arch_util import flow_warp
from helpers.project import ROOT
from real_clips import Clip, as_clip, measure, read_folder

from basicsr_semantic import load
from basicsr_semantic.utils.errors import UserError

NETWORK = {'num_feat': 8, 'num_block': 1, 'flow_feat': 4}


def moving(name: str = 'a', count: int = 9, dx: int = 8, dy: int = 4) -> Clip:
    """A clip whose content moves by (dx, dy) pixels of GT a frame, with the flow that this is in LR."""
    generator = np.random.default_rng(0)
    texture = cv2.GaussianBlur(generator.random((400, 400, 3)).astype(np.float32), (0, 0), 6)
    texture = ((texture - texture.min()) / np.ptp(texture) * 255).astype(np.uint8)
    clip = as_clip(name, [texture[dy * k : dy * k + 240, dx * k : dx * k + 240] for k in range(count)])
    move = torch.tensor([dx / 4, dy / 4]).view(1, 2, 1, 1).expand(count - 1, 2, *clip.lq.shape[-2:])
    clip.flows = torch.stack([-move, move]).half()  # what is at p is at p - move in the next frame
    return clip


def test_flows_go_with_their_frames_whatever_is_drawn():
    generator = torch.Generator().manual_seed(0)
    lq, gt, flows = lite_clips.sample([moving()], 24, 4, 32, generator)
    assert lq.shape == (24, 4, 3, 32, 32) and gt.shape == (24, 4, 3, 128, 128) and flows.shape == (24, 2, 3, 2, 32, 32)
    for direction, (here, there) in enumerate(((lq[:, :-1], lq[:, 1:]), (lq[:, 1:], lq[:, :-1]))):
        moved = flow_warp(there.flatten(0, 1), flows[:, direction].flatten(0, 1).permute(0, 2, 3, 1))
        inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
        right, still = (float((one - here.flatten(0, 1))[inner].abs().mean()) for one in (moved, there.flatten(0, 1)))
        assert right < 0.01 < still
    assert len({tuple(flow[0, 0, :, 0, 0].tolist()) for flow in flows}) == 8, (
        'mirrored, transposed and played backwards'
    )


def test_a_stopped_run_goes_on_with_the_same_weights(tmp_path, monkeypatch):
    for name, value in (('BATCH', 2), ('FLOW_ITERATIONS', 3), ('FLOW_BATCH', 2), ('FLOW_PATCH', 32)):
        monkeypatch.setattr(train_lite, name, value)
    clips = [moving()]
    once = train_lite.Training(NETWORK, 4, 0, tmp_path / 'once')
    (tmp_path / 'once').mkdir()
    once.run(clips, 10)
    (tmp_path / 'twice').mkdir()
    first = train_lite.Training(NETWORK, 4, 0, tmp_path / 'twice')
    first._train_flow(clips)
    for _ in range(2):
        first._step(clips)
    first._save()
    second = train_lite.Training(NETWORK, 4, 0, tmp_path / 'twice')
    assert second.iteration == 2
    second.run(clips, 10)
    for a, b in zip(once.net.state_dict().values(), second.net.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    train_lite.export_average(once, tmp_path / 'lite.safetensors')
    net = load(tmp_path / 'lite.safetensors')
    assert net.description['licence'] == 'Apache-2.0' and '4 iterations' in net.description['card']
    found = measure(net, clips)['a']
    assert found.keys() == {'psnr_y', 'ssim_y'} and found['psnr_y'] > 20


def test_folders_are_read_and_an_empty_one_is_told(tmp_path):
    (tmp_path / 'clip').mkdir()
    cv2.imwrite(str(tmp_path / 'clip' / '0.png'), np.zeros((18, 17, 3), np.uint8))
    clips = read_folder(tmp_path)
    assert [clip.name for clip in clips] == ['clip'] and clips[0].gt.shape == (1, 3, 16, 16)
    with pytest.raises(UserError, match='has no folder of frames'):
        read_folder(tmp_path / 'clip')


def test_bicubic_is_measured_as_by_basicsr():
    clip = moving(count=2)
    assert 25 < measure(None, [clip])['a']['psnr_y'] < 60


def test_the_options_of_the_page_are_those_of_the_script():
    page = (ROOT / 'docs/models.md').read_text(encoding='utf-8')
    assert f'of {train_lite.BATCH} clips of {train_lite.FRAMES} frames of {train_lite.PATCH}x{train_lite.PATCH}' in page
