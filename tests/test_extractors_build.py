"""Extractors are found by name, checked before they are built, and imported late."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT, environment

from basicsr_semantic.extractors import EXTRACTORS, build_extractor, extractor_class
from basicsr_semantic.utils.errors import UserError


def test_unknown_names_and_arguments_get_the_nearest_one():
    with pytest.raises(UserError, match=r"no extractor 'region'\. Did you mean 'regions'\?.*sam, regions, annotations"):
        build_extractor('region')
    with pytest.raises(UserError, match=r"'regions' takes no argument 'scale'\. Did you mean 'scales'\?"):
        build_extractor('regions', scale=[1])
    with pytest.raises(UserError, match="'annotations' needs the argument 'annotations'"):
        build_extractor('annotations')


@pytest.mark.parametrize('name', EXTRACTORS)
def test_every_argument_is_documented_and_the_kind_is_the_name(name):
    import inspect

    chosen = extractor_class(name)
    assert chosen.kind == name
    for argument in inspect.signature(chosen).parameters:
        assert f'\n    {argument}: ' in inspect.getdoc(chosen).replace('\n        ', '\n    '), argument


def test_the_table_imports_nothing_optional():
    code = (
        'import sys, basicsr_semantic.extractors, basicsr_semantic.priors\n'
        'for name in basicsr_semantic.extractors.EXTRACTORS: basicsr_semantic.extractors.extractor_class(name)\n'
        'print([m for m in ("segment_anything", "skimage", "pycocotools") if m in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done.stderr


@pytest.mark.parametrize(('module', 'extractor'), [('segment_anything', 'sam'), ('skimage.segmentation', 'regions')])
def test_a_missing_package_is_one_sentence(module, extractor, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    arguments = {}
    if extractor == 'sam':
        import torch

        path = tmp_path / 'weights.pth'
        arguments = {'checkpoint': str(path), 'model_type': 'vit_b'}
        blocks = {f'image_encoder.blocks.{i}.norm1.weight': torch.zeros(1) for i in range(12)}
        torch.save({'image_encoder.patch_embed.proj.weight': torch.zeros(768, 1, 1, 1), **blocks}, path)
    with pytest.raises(UserError, match=f'The extractor "{extractor}" needs .* Install it with: pip install'):
        build_extractor(extractor, **arguments)
