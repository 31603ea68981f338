"""CLIP-IQA against the package's own way of loading and computing, with the same random weights."""

from __future__ import annotations

import inspect
import sys

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric
from helpers.metrics import FULL_CLIP, TINY_CLIP, random_clip

from basicsr_semantic.metrics import clip_iqa
from basicsr_semantic.metrics.frames import rgb_tensor
from basicsr_semantic.utils.errors import UserError


@pytest.fixture(autouse=True)
def fresh_networks():
    """No network of another test."""
    clip_iqa._clip_iqa.cache_clear()


@pytest.fixture(scope='module')
def frame():
    return np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)


def value_of_piq(state, frame, monkeypatch) -> float:
    """piq with these weights in place of what it would download."""
    import piq.clip_iqa

    tokens = torch.zeros(2, 77, dtype=torch.long)
    tokens[0, :5] = torch.tensor([49406, 886, 1125, 269, 49407])
    tokens[1, :5] = torch.tensor([49406, 2103, 1125, 269, 49407])
    monkeypatch.setattr(piq.clip_iqa.clip, 'load', lambda: piq.clip_iqa.clip.build_model(dict(state)).float())
    monkeypatch.setattr(piq.clip_iqa, 'download_tensor', lambda *args, **kwargs: tokens)
    return float(piq.clip_iqa.CLIPIQA(data_range=1.0)(rgb_tensor(frame, torch.device('cpu'))))


@pytest.mark.parametrize('sizes', [TINY_CLIP, pytest.param(FULL_CLIP, marks=pytest.mark.slow)], ids=['tiny', 'RN50'])
def test_it_equals_the_package(sizes, frame, tmp_path, monkeypatch):
    pytest.importorskip('piq')
    state = random_clip(sizes)
    torch.save(state, tmp_path / 'RN50.pt')
    options = {'type': 'calculate_clip_iqa', 'weights': str(tmp_path / 'RN50.pt'), 'device': 'cpu', 'better': 'higher'}
    ours = calculate_metric({'img': frame}, options)
    assert ours == pytest.approx(value_of_piq(state, frame, monkeypatch), abs=1e-7)
    assert 0 < ours < 1 and ours != 0.5
    # no GT is looked at where there is one
    assert calculate_metric({'img': frame, 'img2': frame[:10]}, options) == ours
    assert clip_iqa._clip_iqa.cache_info().misses == 1


def test_the_tokens_are_those_of_the_two_prompts():
    """Read off CLIP's vocabulary, bpe_simple_vocab_16e6."""
    assert [tokens[0] for tokens in clip_iqa._PROMPTS] == [49406] * 2
    assert [tokens[2:] for tokens in clip_iqa._PROMPTS] == [(1125, 269, 49407)] * 2  # photo, full stop, end
    assert [tokens[1] for tokens in clip_iqa._PROMPTS] == [886, 2103]  # good, bad


def test_a_clip_with_a_transformer_or_anything_else_is_refused(frame, tmp_path):
    pytest.importorskip('piq')
    for name, state in (('vit', {'visual.proj': torch.zeros(2, 2)}), ('vgg', {'features.0.weight': torch.zeros(2, 2)})):
        torch.save(state, tmp_path / f'{name}.pt')
        with pytest.raises(UserError, match=r'weights: .* other weights than RN50\.pt: it has no visual\.layer1'):
            clip_iqa.calculate_clip_iqa(frame, weights=str(tmp_path / f'{name}.pt'), device='cpu')


def test_a_frame_that_is_too_small_is_refused(frame, tmp_path):
    pytest.importorskip('piq')
    torch.save(random_clip(TINY_CLIP), tmp_path / 'RN50.pt')
    with pytest.raises(UserError, match='at least 64x64 pixels, but this one has 63x90'):
        clip_iqa.calculate_clip_iqa(frame[:63], weights=str(tmp_path / 'RN50.pt'), device='cpu')


def test_without_the_package_it_says_what_to_install(frame, monkeypatch):
    monkeypatch.setitem(sys.modules, 'piq.clip_iqa', None)
    with pytest.raises(UserError, match=r'calculate_clip_iqa needs the package piq.*pip install "basicsr-semantic\['):
        clip_iqa.calculate_clip_iqa(frame)


def test_it_does_not_ask_for_gt():
    assert inspect.signature(clip_iqa.calculate_clip_iqa).parameters['img2'].default is None
