"""`lite`, the network that comes with the package: it loads by name, needs nothing, and is worth a decibel."""

from __future__ import annotations

import sys

import pytest
import torch
from helpers.project import ROOT

import basicsr_semantic
from basicsr_semantic.config.named_weights import NAMED


@pytest.fixture(scope='module')
def lite():
    return basicsr_semantic.load('lite')


def test_it_is_a_module_that_takes_frames_alone(lite):
    assert isinstance(lite, torch.nn.Module) and not lite.training
    assert lite.prior_fields == () and lite.scale == 4 and lite.description['degradation'] == 'BI'
    assert not any(parameter.requires_grad for parameter in lite.parameters())
    restored = lite(torch.rand(2, 3, 3, 21, 34))
    assert restored.shape == (2, 3, 3, 84, 136) and restored.isfinite().all()


def test_it_is_small_and_in_the_wheel():
    file = NAMED['lite'].find()
    assert file.parent == ROOT / 'basicsr_semantic' / 'weights'
    assert file.stat().st_size == NAMED['lite'].size < 3e6


@pytest.mark.slow(20)
def test_it_gains_a_decibel_on_the_held_out_demo_clips(lite, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'experiments')
    from lite_clips import demo_clips
    from real_clips import measure, read_folder

    demo_clips(tmp_path / 'demo')
    held_out = read_folder(tmp_path / 'demo' / 'val' / 'frames')
    bicubic, restored = measure(None, held_out), measure(lite, held_out)
    for name, figures in restored.items():
        print(name, bicubic[name], figures, file=sys.stderr)
        assert figures['psnr_y'] > bicubic[name]['psnr_y'] + 1.0
