"""Extractors are found by name, checked before they are built, and imported late."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest
from helpers.project import ROOT, environment

from basicsr_semantic.extractors import EXTRACTOR_REGISTRY, Extractor, build_extractor, extractor_class
from basicsr_semantic.utils.errors import UserError


def test_unknown_names_and_arguments_get_the_nearest_one():
    with pytest.raises(UserError, match=r"no extractor 'region'\. Did you mean 'regions'\?.*sam, regions, annotations"):
        build_extractor('region')
    with pytest.raises(UserError, match=r"'regions' takes no argument 'scale'\. Did you mean 'scales'\?"):
        build_extractor('regions', scale=[1])
    with pytest.raises(UserError, match="'annotations' needs the argument 'annotations'"):
        build_extractor('annotations')


@pytest.mark.parametrize('name', EXTRACTOR_REGISTRY.keys())
def test_every_argument_is_documented_and_the_kind_is_the_name(name):
    chosen = extractor_class(name)
    assert issubclass(chosen, Extractor) and chosen.kind == name
    for argument in inspect.signature(chosen).parameters:
        assert f'\n    {argument}: ' in inspect.getdoc(chosen).replace('\n        ', '\n    '), argument


@pytest.mark.parametrize('name', EXTRACTOR_REGISTRY.keys())
def test_every_extractor_says_what_it_can_do_and_has_the_attributes(name):
    chosen = extractor_class(name)
    ways = [chosen.by_clips(), chosen.by_frames(), chosen.only_masks()]
    assert sum(ways) == chosen.fills_stores()
    assert chosen.fills_stores() or chosen.online() or chosen.makes_instances()
    assert (chosen.not_for_models() is None) == (chosen.online() or chosen.makes_instances())
    if any(one.default is one.empty for one in inspect.signature(chosen).parameters.values()):
        for attribute in ('parameters', 'checkpoint', 'order', 'max_masks', 'tokens', 'features', 'instances'):
            assert hasattr(chosen, attribute)
        return
    built = build_extractor(name)
    assert built.kind == name and built.order in ('area', 'iou', 'grid', 'id') and built.max_masks >= 0
    json.dumps(built.parameters)
    for value, keys in ((built.tokens, {'num', 'dim', 'global_dim'}), (built.features, {'dim', 'cell'})):
        assert value is None or value.keys() == keys
    if chosen.only_masks():
        masks, _ = built(np.zeros((12, 16, 3), np.uint8), 'a/0')
        assert masks.shape[1:] == (12, 16) and masks.dtype == bool and len(masks) <= built.max_masks


def test_names_are_looked_up_without_importing_their_modules():
    code = (
        'import sys; from basicsr_semantic.extractors import EXTRACTOR_REGISTRY\n'
        'assert "openseed" in EXTRACTOR_REGISTRY and EXTRACTOR_REGISTRY.keys()\n'
        'print([m for m in sys.modules if m.endswith(("extractors.sam", "openseed.extractor"))])'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done.stderr


def test_the_table_imports_nothing_optional():
    code = (
        'import sys, basicsr_semantic.extractors, basicsr_semantic.priors\n'
        'for name, chosen in basicsr_semantic.extractors.EXTRACTOR_REGISTRY: chosen.fills_stores()\n'
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
