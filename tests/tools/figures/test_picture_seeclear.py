"""The picture of a frame that is sampled: what its panels show, and what it refuses."""

from __future__ import annotations

import numpy as np
import picture_seeclear
import pytest
import tiny_archs  # noqa: F401  (registers TinyVSR)
from helpers.project import write_options
from helpers.seeclear import TINY

from basicsr_semantic.utils.errors import UserError

DATA = {'name': 'tiny', 'type': 'SemanticClipTestDataset', 'io_backend': {'type': 'disk'}}


@pytest.fixture
def option_file(options, clips, tmp_path, monkeypatch):
    """A function: the file of a test of an untrained network, which predicts the base."""
    monkeypatch.chdir(tmp_path)

    def make(**sections):
        data = DATA | {'dataroot_gt': str(clips / 'gt'), 'dataroot_lq': str(clips / 'lq')}
        opt = options(name='picture', model_type='SeeClearModel', network_g={'type': 'SeeClear', **TINY}, val={})
        del opt['train'], opt['logger']
        opt['network_g']['missing_priors'] = 'neutral'
        opt |= {'datasets': {'test_1': data}, 'diffusion': {'steps': 4}} | sections
        return write_options({key: value for key, value in opt.items() if value}, tmp_path / 'picture.yml')

    return make


def test_the_panels_are_those_of_the_frame(option_file):
    seen = picture_seeclear.sample_frame(option_file(), '001', 4)
    assert seen.lq.shape == (24, 24, 3) and seen.gt.shape == seen.result.shape == (96, 96, 3)
    assert sorted(seen.states) == sorted(seen.predictions) == [1, 2, 3, 4]
    # an untrained network predicts the base, whatever the state
    assert np.array_equal(seen.result, seen.base) and np.array_equal(seen.predictions[4], seen.base)
    assert seen.states[4].std() > seen.base.std() + 20, 'the first state is mostly noise'
    first = picture_seeclear.sample_frame(option_file(), '001', 0)
    assert not np.array_equal(first.gt, seen.gt) and not np.array_equal(first.states[4], seen.states[4])


def test_the_picture_has_eight_panels(option_file):
    drawn = picture_seeclear.draw(picture_seeclear.sample_frame(option_file(), None, 2))
    assert drawn.dtype == np.uint8 and drawn.shape[1] == 6 + 8 * (176 + 6)


def test_the_file_is_written(option_file, tmp_path):
    out = tmp_path / 'a' / 'picture.png'
    assert picture_seeclear.main(['-opt', str(option_file()), '--frame', '1', '--out', str(out)]) == 0
    assert out.is_file()


@pytest.mark.parametrize(
    ('clip', 'frame', 'message'),
    [('no', 0, "There is no clip 'no'. There are: 000, 001, 002"), ('000', 7, 'has 7 frames, numbered from 0')],
)
def test_refusals(option_file, clip, frame, message):
    with pytest.raises(UserError, match=message):
        picture_seeclear.sample_frame(option_file(), clip, frame)


def test_it_needs_ground_truth_and_seeclear(option_file, clips):
    with pytest.raises(UserError, match='needs ground truth'):
        picture_seeclear.sample_frame(
            option_file(datasets={'test_1': DATA | {'dataroot_lq': str(clips / 'lq')}}), None, 0
        )
    plain = option_file(model_type='SemanticVSRModel', network_g={'type': 'TinyVSR'}, diffusion=None)
    with pytest.raises(UserError, match='not a SemanticVSRModel'):
        picture_seeclear.sample_frame(plain, None, 0)
