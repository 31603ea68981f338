"""Models by name, from the hub, and single-image networks of other projects by spandrel."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from helpers.seem import randomise

from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.video.models import model_file, open_model


def esrgan(path):
    """Weights of ESRGAN's generator as their authors release them: a state dict that names no network."""
    net = randomise(RRDBNet(3, 3, num_feat=16, num_block=1, num_grow_ch=32), 1).eval()
    torch.save({'params': net.state_dict()}, path)
    return net


def test_a_network_of_another_project_restores_frame_by_frame(tmp_path):
    pytest.importorskip('spandrel')
    net, lq = esrgan(tmp_path / 'x4.pth'), torch.rand(1, 3, 3, 15, 22)
    restorer = open_model(str(tmp_path / 'x4.pth'))
    assert restorer.single_frames and restorer.scale == 4 and not restorer.prior_fields
    with torch.no_grad():
        wanted = torch.stack([net(lq[:, k]) for k in range(3)], dim=1).clamp(0, 1)
    assert torch.allclose(restorer(lq), wanted, atol=1e-6)


def test_without_spandrel_or_for_what_it_does_not_know(tmp_path, monkeypatch):
    pytest.importorskip('spandrel')
    torch.save({'params': {'a': torch.zeros(3)}}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=r'does not say which network.* spandrel does not know it either'):
        open_model(str(tmp_path / 'a.pth'))
    monkeypatch.setitem(sys.modules, 'spandrel', None)
    with pytest.raises(UserError, match='pip install spandrel'):
        open_model(str(tmp_path / 'a.pth'))


def test_files_of_the_hub(tmp_path, monkeypatch):
    asked = []

    def download(repository, file):
        asked.append((repository, file))
        if file == 'none.safetensors':
            raise OSError('404: there is none')
        return str(tmp_path / file)

    monkeypatch.setitem(sys.modules, 'huggingface_hub', types.SimpleNamespace(hf_hub_download=download))
    assert model_file('hf:owner/repository/folder/a.safetensors') == str(tmp_path / 'folder/a.safetensors')
    assert asked == [('owner/repository', 'folder/a.safetensors')]
    with pytest.raises(UserError, match=r'hf:o/r/none\.safetensors could not be fetched: 404: there is none\.'):
        model_file('hf:o/r/none.safetensors')
    for wrong in ('hf:', 'hf:owner', 'hf:owner/repository'):
        with pytest.raises(UserError, match='is not of the form hf:owner/repository/file'):
            model_file(wrong)
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(UserError, match='pip install huggingface_hub'):
        model_file('hf:o/r/f')
    assert model_file('lite') == 'lite'
