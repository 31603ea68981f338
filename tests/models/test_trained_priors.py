"""TrainedPriors: what is remembered, what is refused and what is said once."""

from __future__ import annotations

import pytest
from basicsr.utils import get_root_logger

from basicsr_semantic.models.trained_priors import TrainedPriors
from basicsr_semantic.utils.errors import UserError


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What the log is warned of."""
    lines: list[str] = []
    monkeypatch.setattr(get_root_logger(), 'warning', lines.append)
    return lines


def test_the_first_kind_is_that_of_training_and_another_is_refused():
    priors = TrainedPriors()
    priors.compare(None)
    assert priors.metadata() == {}
    for same in ('sam', ['sam', 'sam'], ('sam',)):
        priors.compare(same)
    with pytest.raises(UserError, match=r"kind 'sam', but dataroot_priors holds 'regions'\..*allow_prior_mismatch"):
        priors.compare(['sam', 'regions'])
    assert priors.metadata() == {'prior_kind': 'sam'}
    mixed = TrainedPriors(allow_mismatch=True)
    mixed.compare(['sam', 'regions'])
    assert mixed.kind == 'sam', 'the first sample speaks'


def test_another_kind_passes_where_mixing_is_allowed():
    priors = TrainedPriors(allow_mismatch=True)
    priors.compare('sam')
    priors.compare('regions')
    assert priors.kind == 'sam'


def test_tokens_of_another_origin_are_said_once_each(said):
    priors = TrainedPriors()
    for origin in (None, 'a', ['a', 'a'], ['b', 'a'], 'b', 'a', 'c'):
        priors.compare('xdecoder', origin)
    assert ['tokens of a; these are of b' in said[0], 'tokens of a; these are of c' in said[1]] == [True, True]
    assert len(said) == 2 and priors.origin == 'a'


def test_a_checkpoint_speaks_for_its_training(said):
    trained = TrainedPriors()
    trained.compare('xdecoder', 'a')
    trained.instances = {'source': 'vita', 'sha256': None}
    restored = TrainedPriors()
    restored.read({'params': {}})
    restored.read(trained.metadata() | {'params': {}})
    assert restored.metadata() == trained.metadata()
    restored.compare('xdecoder', 'b')
    assert len(said) == 1
    with pytest.raises(UserError):
        restored.compare('openseed')
