"""Priors never vanish in silence: networks that read them, under model classes that hand on frames alone."""

from __future__ import annotations

import sys

import pytest
import torch
from basicsr.models import build_model
from basicsr.models.video_recurrent_model import VideoRecurrentModel
from helpers.options import make_data, problems_of, stock_options

from basicsr_semantic.archs import EDVRSEEM, BasicVSRSEEM
from basicsr_semantic.config.lost_priors import lost_priors
from basicsr_semantic.config.option_file import OptionFile
from basicsr_semantic.models import SemanticVSRModel
from basicsr_semantic.utils.errors import UserError

SMALL = {'num_feat': 8, 'num_block': 1, 'reduction': 4, 'num_masks': 2}
DATA = {'train': {'type': 'REDSRecurrentDataset'}, 'val': {'type': 'VideoRecurrentTestDataset'}}


class TheirModel(VideoRecurrentModel):
    """Somebody else's."""


TheirModel.__module__ = 'their_project.models'


@pytest.mark.parametrize(
    ('model', 'datasets', 'warning'),
    [(VideoRecurrentModel, DATA, False), (VideoRecurrentModel, {'train': {'type': 'TheirData'}}, True)],
)
def test_frames_alone_are_refused_where_that_is_known(model, datasets, warning):
    message, is_warning = lost_priors(model, {'datasets': datasets}, BasicVSRSEEM(**SMALL))
    assert is_warning == warning and 'masks' in str(message) and model.__name__ in str(message)
    assert warning or (message.what == 'priors' and str(message).count('\n') == 5)


def test_a_class_of_somebody_else_gets_a_warning(monkeypatch):
    monkeypatch.setitem(sys.modules, 'their_project', torch)
    message, warning = lost_priors(TheirModel, {'datasets': DATA}, BasicVSRSEEM(**SMALL))
    assert warning and message == 'BasicVSRSEEM needs masks with its frames; make sure that TheirModel passes them on.'


@pytest.mark.parametrize(
    'net',
    [
        BasicVSRSEEM(**SMALL, missing_priors='neutral'),
        BasicVSRSEEM(**SMALL, branches=[]),
        torch.nn.Conv2d(3, 3, 3),
    ],
)
def test_networks_that_need_none_are_left_alone(net):
    assert lost_priors(VideoRecurrentModel, {'datasets': DATA}, net) is None


def test_our_model_and_its_heirs_hand_them_on(monkeypatch):
    class Heir(SemanticVSRModel):
        """Somebody else's."""

    Heir.__module__ = 'their_project.models'
    monkeypatch.setitem(sys.modules, 'their_project', torch)
    for model in (SemanticVSRModel, Heir):
        assert lost_priors(model, {'datasets': DATA}, EDVRSEEM(num_feat=16)) is None


@pytest.fixture
def file(tmp_path):
    """BasicSR's option file for BasicVSR, with SEEM's network in its place."""
    text = stock_options(make_data(tmp_path))['basicvsr']
    (tmp_path / 'a.yml').write_text(text)
    seem = 'network_g={type: BasicVSRSEEM, num_feat: 8, num_block: 1, reduction: 4}'
    return lambda *more: OptionFile.read(tmp_path / 'a.yml', [seem, 'num_gpu=0', *more])


def test_check_says_so_with_the_lines_that_mend_it(file):
    [problem] = problems_of(file(), is_train=True)
    assert problem.key == 'model_type' and 'type: SemanticClipDataset, dataroot_priors: STORE' in problem.message
    assert problem.suggestion.startswith('Extract the priors with: basicsr extract')
    assert not problems_of(file('network_g:missing_priors=neutral'), is_train=True)


def test_the_models_construction_says_so(file):
    opt = file().values | {'is_train': False, 'dist': False, 'rank': 0}
    with pytest.raises(UserError, match='passes on frames only, so this BasicVSRSEEM would never see masks'):
        build_model(opt)


def test_a_key_of_our_model_is_named_with_its_owner(file):
    found = problems_of(file('train:trainable=[seem_]'), is_train=True, warnings=True)
    [problem] = [one for one in found if one.key == 'train:trainable']
    assert 'SemanticVSRModel' in problem.suggestion
