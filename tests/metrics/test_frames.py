"""What the metrics share: frames as tensors, devices, optional packages."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from basicsr_semantic.metrics.frames import chosen_device, optional_package, prepared_by, rgb_tensor, to_tensor
from basicsr_semantic.utils.errors import UserError

CPU = torch.device('cpu')


def test_frames_become_rgb_between_0_and_1():
    frame = np.zeros((2, 3, 3), np.uint8)
    frame[1, 2] = (51, 102, 255)  # blue, green, red
    tensor = rgb_tensor(frame, CPU)
    assert tensor.shape == (1, 3, 2, 3) and tensor.dtype == torch.float32
    torch.testing.assert_close(tensor[0, :, 1, 2], torch.tensor([1.0, 0.4, 0.2]))
    assert float(tensor.sum()) == pytest.approx(1.6)


def test_the_border_is_cut_before_the_size_is_judged():
    frame = np.zeros((40, 44, 3), np.uint8)
    frame[4:-4, 4:-4] = 255
    inner = to_tensor(frame, CPU, 4, 32, 'calculate_x')
    assert inner.shape == (1, 3, 32, 36) and bool((inner == 1).all())
    assert to_tensor(frame, CPU, 0, 32, 'calculate_x').shape == (1, 3, 40, 44)
    with pytest.raises(UserError, match=r'calculate_x needs .* 32x32 pixels, but .* 30x34 without a border of 5'):
        to_tensor(frame, CPU, 5, 32, 'calculate_x')


def test_the_device_is_the_gpu_if_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert chosen_device(None) == CPU == chosen_device('cpu')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'current_device', lambda: 2)
    assert chosen_device(None) == torch.device('cuda', 2)
    with pytest.raises(UserError, match="device 'graphics' cannot be used"):
        chosen_device('graphics')


def test_an_absent_package_is_one_sentence_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'lpips', None)
    with pytest.raises(UserError, match=r'calculate_lpips needs the package lpips.*pip install "basicsr-semantic\['):
        optional_package('lpips', 'calculate_lpips')
    assert optional_package('json', 'calculate_lpips').dumps([]) == '[]'


def test_a_metric_carries_what_makes_its_network():
    def build(net='a'):
        return net

    @prepared_by(build)
    def metric(img):
        return 0.0

    assert metric.prepare is build and metric(None) == 0.0
