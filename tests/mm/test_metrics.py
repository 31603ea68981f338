"""Figures, pictures and restored frames of MMEngine are those of `basicsr train` and `basicsr test`."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from helpers import mm_runs
from helpers.instances import frozen_weights, make_options
from helpers.project import write_options
from helpers.seeclear import TINY as SEECLEAR

from basicsr_semantic.cli import main
from basicsr_semantic.priors import PriorStore, PriorStoreWriter, store_metadata

pytest.importorskip('mmengine')

from mmengine.registry import MODELS

from basicsr_semantic.mm import test as mm_test
from basicsr_semantic.utils.errors import UserError

pytestmark = [pytest.mark.slow(15), pytest.mark.filterwarnings('ignore')]

SEEM = {
    'type': 'EDVRSEEM', 'num_feat': 8, 'num_frame': 3, 'deformable_groups': 2, 'num_extract_block': 1,
    'num_reconstruct_block': 1, 'num_masks': 4, 'reduction': 2,
}  # fmt: skip
CLEAR = {
    'type': 'basicsr_semantic.SeeClearRestorer',
    'generator': {'type': 'SeeClear', **SEECLEAR},
    'diffusion': {'steps': 4},
    'pixel_loss': {'type': 'CharbonnierLoss'},
    'train_cfg': {'stage': 'condenser'},
}
METRICS = {
    'psnr': {'type': 'calculate_psnr', 'crop_border': 2, 'test_y_channel': True},
    'ssim': {'type': 'calculate_ssim', 'crop_border': 0, 'test_y_channel': False},
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    """Experiments are made in the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tested(clips, tmp_path) -> dict:
    """The data set of a validation, with masks."""
    with PriorStoreWriter(tmp_path / 'masks', store_metadata('regions', order='id', max_masks=4)) as writer:
        for frame in sorted((clips / 'lq').rglob('*.png')):
            key = frame.relative_to(clips / 'lq').with_suffix('').as_posix()
            writer.put(key, np.random.default_rng(0).random((4, 24, 24)) > 0.5)
    places = {'dataroot_gt': str(clips / 'gt'), 'dataroot_lq': str(clips / 'lq'), 'dataroot_priors': 'masks'}
    window = {'num_frame': 3, 'num_masks': 4, 'prior_kind': 'regions', 'center_masks_only': True}
    return {'name': 'tiny', 'type': 'SemanticClipTestDataset', 'io_backend': {'type': 'disk'}, **places, **window}


def test_validation_and_test_have_the_figures_and_frames_of_basicsr(options, tested, tmp_path):
    opt = options(name='seem', network_g=SEEM)
    same = ('dataroot_priors', 'num_masks', 'prior_kind', 'center_masks_only')
    opt['datasets']['train'] |= {key: tested[key] for key in same} | {'center_frame_only': True}
    opt['datasets']['val'] = tested
    opt['train'] |= {'total_iter': 2}
    opt['val'] = {'val_freq': 2, 'metrics': METRICS}
    torch.manual_seed(0)
    opt['path']['pretrain_network_g'] = mm_runs.start(build_network(dict(SEEM)), tmp_path / 's.pth')
    assert main(['train', '-opt', str(write_options(opt, tmp_path / 'a.yml'))]) == 0
    wanted = json.loads((tmp_path / 'experiments/seem/validation/tiny_2.json').read_text())['average']
    mm_runs.train(mm_runs.configuration(opt, tmp_path), tmp_path / 'run')
    found = mm_runs.scalars(tmp_path / 'run')[-1]
    assert {name: found[f'tiny/{name}'] for name in METRICS} == pytest.approx(wanted, rel=0, abs=1e-6)
    # every tenth frame: the first of each clip, as LR, restored, GT, masks
    pictures = sorted((tmp_path / 'run').glob('*/vis_data/restored/*/*.png'))
    assert [picture.parent.name for picture in pictures] == ['000', '001', '002']
    assert cv2.imread(str(pictures[0])).shape == (96, 4 * 96, 3)

    # a test, without GT: no figures, and the frames are saved
    test = {key: opt[key] for key in ('name', 'model_type', 'scale', 'num_gpu', 'network_g', 'path')}
    without = {key: value for key, value in tested.items() if key != 'dataroot_gt'}
    test |= {'name': 'try', 'datasets': {'test': without}, 'val': {'metrics': METRICS}}
    assert main(['test', '-opt', str(write_options(test, tmp_path / 'b.yml'))]) == 0
    config = mm_runs.configuration(test, tmp_path)
    assert mm_test.main([str(config), '--work-dir', str(tmp_path / 'tested')]) == 0
    theirs = sorted((tmp_path / 'results/try/visualization').rglob('*.png'))
    ours = sorted((tmp_path / 'work_dirs/try/restored').rglob('*.png'))
    assert len(ours) == len(theirs) == 21
    for one, other in zip(ours, theirs, strict=True):
        assert np.array_equal(cv2.imread(str(one)), cv2.imread(str(other)))


@pytest.fixture
def seem(options, tested, tmp_path) -> tuple[dict, dict[str, str]]:
    """A training of SEEM with masks of regions, and what makes its masks those of SAM."""
    opt = options(name='seem', network_g=SEEM, val={'val_freq': 2, 'metrics': METRICS})
    same = ('dataroot_priors', 'num_masks', 'prior_kind', 'center_masks_only')
    opt['datasets']['train'] |= {key: tested[key] for key in same} | {'center_frame_only': True}
    opt['datasets']['val'] = tested
    with PriorStoreWriter(tmp_path / 'sam', store_metadata('sam', order='id', max_masks=4)) as writer:
        for key in PriorStore(tmp_path / tested['dataroot_priors']).keys():  # noqa: SIM118 (it is no mapping)
            writer.put(key, np.ones((1, 24, 24), bool))
    opt['path']['pretrain_network_g'] = mm_runs.start(build_network(dict(SEEM)), tmp_path / 's.pth')
    return opt, {'dataroot_priors': 'sam', 'prior_kind': 'sam'}


REFUSED = "was trained with priors of kind 'regions', but dataroot_priors holds 'sam'"


def test_a_validation_with_priors_of_another_kind_is_refused_before_the_first_step(seem, tmp_path, capsys):
    opt, others = seem
    opt['datasets']['val'] = opt['datasets']['val'] | others
    with pytest.raises(AssertionError):
        mm_runs.train(mm_runs.configuration(opt, tmp_path), tmp_path / 'run')
    assert REFUSED in capsys.readouterr().err
    assert not list((tmp_path / 'run').glob('*.pth'))


@pytest.mark.parametrize('named', [True, False])
def test_a_run_does_not_go_on_with_priors_of_another_kind(seem, tmp_path, capsys, named):
    opt, others = seem
    opt['train']['total_iter'] = 2
    mm_runs.train(mm_runs.configuration(opt, tmp_path), tmp_path / 'run')
    for part in ('train', 'val'):
        opt['datasets'][part] = opt['datasets'][part] | others
    opt['train']['total_iter'] = 4
    flags = ('--resume', str(tmp_path / 'run/iter_2.pth')) if named else ('--resume',)
    with pytest.raises(AssertionError):
        mm_runs.train(mm_runs.configuration(opt, tmp_path), tmp_path / 'run', *flags)
    assert REFUSED in capsys.readouterr().err
    assert not (tmp_path / 'run/iter_4.pth').exists()


def test_a_test_with_priors_of_another_kind_is_refused(seem, tmp_path, capsys):
    opt, others = seem
    opt['train']['total_iter'] = 2
    mm_runs.train(mm_runs.configuration(opt, tmp_path), tmp_path / 'run')
    tests = {'test_1': opt['datasets']['val'] | others}
    for_test = {name: opt[name] for name in ('model_type', 'scale', 'network_g', 'val')}
    config = mm_runs.configuration(for_test | {'name': 'other', 'datasets': tests, 'path': {}}, tmp_path)
    assert mm_test.main([str(config), str(tmp_path / 'run/iter_2.pth'), '--work-dir', str(tmp_path / 'tested')]) == 2
    assert REFUSED in capsys.readouterr().err


def test_a_checkpoint_of_another_network_is_refused(seem, tmp_path, capsys):
    """MMEngine takes the tensors that fit and says so in one line of its log."""
    opt, _ = seem
    opt['train']['total_iter'] = 2
    mm_runs.train(mm_runs.configuration(opt, tmp_path), tmp_path / 'run')
    checkpoint = str(tmp_path / 'run/iter_2.pth')
    for_test = {name: opt[name] for name in ('model_type', 'scale', 'val')}
    for_test |= {'name': 'other', 'datasets': {'test_1': opt['datasets']['val']}}
    for change in ({'num_feat': 16}, {'num_extract_block': 2}, {'num_reconstruct_block': 2}):
        config = mm_runs.configuration(for_test | {'network_g': SEEM | change, 'path': {}}, tmp_path)
        assert mm_test.main([str(config), checkpoint, '--work-dir', str(tmp_path / 'tested')]) == 2
        assert 'iter_2.pth is not of the model of this configuration: ' in capsys.readouterr().err
    # weights that the file names, and that one who trained under MMEngine lacks, are not asked for
    absent = {'pretrain_network_g': 'experiments/mine/models/net_g_2.pth'}
    config = mm_runs.configuration(for_test | {'network_g': SEEM, 'path': absent}, tmp_path)
    assert mm_test.main([str(config), checkpoint, '--work-dir', str(tmp_path / 'tested')]) == 0
    opt['train']['total_iter'] = 4
    opt['network_g'] = SEEM | {'num_feat': 16}
    opt['path'] = {}
    with pytest.raises(AssertionError):
        mm_runs.train(mm_runs.configuration(opt, tmp_path), tmp_path / 'run', '--resume')
    assert (
        f'The last checkpoint in {tmp_path / "run"} is not of the model of this configuration: '
        in capsys.readouterr().err
    )


def test_a_diffusion_goes_on_as_it_was_trained():
    model = MODELS.build(CLEAR)
    record = model.record()
    model.read_record('a.pth', record, resumed=True)
    for changed, message in (
        (record | {'stage': 'memory'}, 'a.pth is of stage memory, but train:stage is condenser'),
        (record | {'diffusion': record['diffusion'] | {'kappa': 9.0}}, 'a.pth was trained with diffusion:kappa: 9.0'),
    ):
        with pytest.raises(UserError, match=message):
            model.read_record('a.pth', changed, resumed=True)
    model.read_record('a.pth', record | {'stage': 'memory'}, resumed=False)


def test_instances_have_the_precision_of_basicsr(tmp_path):
    opt = make_options(tmp_path, ['instance'], total_iter=2)
    opt['path']['pretrain_frame_decoder'] = frozen_weights(tmp_path)
    opt['val'] = {'val_freq': 2}
    torch.manual_seed(0)
    opt['path']['pretrain_network_g'] = mm_runs.start(build_network(dict(opt['network_g'])), tmp_path / 's.pth')
    assert main(['train', '-opt', str(write_options(opt, tmp_path / 'a.yml'))]) == 0
    wanted = json.loads((tmp_path / 'experiments/stage1/validation/held_out_2.json').read_text())['average']
    mm_runs.train(mm_runs.configuration(opt, tmp_path), tmp_path / 'run')
    found = mm_runs.scalars(tmp_path / 'run')[-1]
    assert {name: found[f'held_out/{name}'] for name in wanted} == pytest.approx(wanted, rel=0, abs=1e-6)
