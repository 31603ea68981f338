"""Models whose training step takes something else than the iteration."""

from __future__ import annotations

import pytest

from basicsr_semantic.utils.signatures import wrong_signature


class Plain:
    def optimize_parameters(self, current_iter):
        pass


class WithDefaults:
    def optimize_parameters(self, current_iter, scaler=None):
        pass


class Anything:
    def optimize_parameters(self, *args, **kwargs):
        pass


class MixedPrecision:
    def optimize_parameters(self, scaler, current_iter):
        pass


class Older:
    def optimize_parameters(self):
        pass


class Unbound:
    @staticmethod
    def optimize_parameters(model, current_iter):
        pass


@pytest.mark.parametrize('model', [Plain, WithDefaults, Anything])
def test_what_the_loop_can_call(model):
    assert wrong_signature(model) is None


@pytest.mark.parametrize('model', [MixedPrecision, Older, Unbound])
def test_what_it_cannot(model):
    sentence = wrong_signature(model)
    assert sentence and model.__name__ in sentence and 'optimize_parameters(' in sentence
    assert sentence.endswith('.')


def test_the_arguments_are_shown():
    assert 'optimize_parameters(self, scaler, current_iter)' in (wrong_signature(MixedPrecision) or '')


def test_basicsrs_own_models_train_except_the_base():
    from basicsr.models.base_model import BaseModel
    from basicsr.models.sr_model import SRModel
    from basicsr.models.video_recurrent_model import VideoRecurrentModel

    assert wrong_signature(SRModel) is None
    assert wrong_signature(VideoRecurrentModel) is None
    assert wrong_signature(BaseModel) is not None
