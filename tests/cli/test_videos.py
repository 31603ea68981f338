"""``basicsr`` on videos: priors that fit, and tests without GT that save frames and say where they are."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from helpers.project import basicsr, training_options, write_options
from helpers.videos import decoded, make_video

from basicsr_semantic.cli import main
from basicsr_semantic.data import SemanticClipTestDataset
from basicsr_semantic.data.prepare.clips import prepare_clips
from basicsr_semantic.priors import PriorStore

NIQE = {'type': 'calculate_niqe', 'crop_border': 0}
PSNR = {'type': 'calculate_psnr', 'crop_border': 0}
POINTLESS = (
    'has no GT, and val:metrics has no metric that works without it: the test would measure nothing and save nothing'
)


def option_file(folder, lq, val, name: str = 'lq_only', **data):
    """An option file of a test of the tiny network on frames without GT; ``...`` for no section ``val``."""
    opt = training_options(folder, name=name, val=val)
    data = {'name': 'mine', 'type': 'SemanticClipTestDataset', 'dataroot_lq': str(lq)} | data
    opt['datasets'] = {'test': data}
    del opt['train'], opt['logger']
    if val is ...:
        del opt['val']
    return write_options(opt, folder / f'{name}.yml')


def run_test(file, cwd):
    """The log of ``basicsr test``."""
    done = basicsr('test', '--import', 'tiny_archs', '-opt', str(file), cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stderr + done.stdout


def test_priors_of_a_video_fit_data_sets_on_it_and_on_its_lmdb(tmp_path, capsys):
    video = make_video(tmp_path / 'src' / 'my dog.mp4', 4)
    for frames in (video, video.parent):
        store = tmp_path / f'priors_{frames.name}'
        arguments = ['extract', '--extractor', 'regions', '--frames', str(frames), '--out', str(store)]
        assert main([*arguments, '--min-size', '4']) == 0
        assert 'masks of 4 frames made' in capsys.readouterr().out
    assert PriorStore(store).keys() == [f'my_dog/{number:08d}' for number in range(4)]
    prepare_clips(video, tmp_path / 'dst')
    lmdb = {'dataroot_lq': str(tmp_path / 'dst' / 'gt.lmdb'), 'io_backend': {'type': 'lmdb'}}
    opt = {'name': 'v', 'type': 'SemanticClipTestDataset', 'phase': 'test', 'dataroot_priors': str(store)}
    first = SemanticClipTestDataset(opt | {'dataroot_lq': str(video)})[0]
    second = SemanticClipTestDataset(opt | lmdb)[0]
    assert first['masks'].any() and first['masks'].equal(second['masks']) and first['lq'].equal(second['lq'])


@pytest.mark.slow
@pytest.mark.parametrize('whole_folder', [False, True])
def test_a_test_without_gt_saves_the_frames_and_ends_with_their_folder(tmp_path, whole_folder):
    video = make_video(tmp_path / 'src' / 'my dog.mp4', 3)
    val = {'metrics': {'niqe': NIQE, 'psnr': PSNR}} if whole_folder else ...
    log = run_test(option_file(tmp_path, video.parent if whole_folder else video, val), tmp_path)
    folder = tmp_path / 'results' / 'lq_only' / 'visualization' / 'mine'
    assert f"The restored frames of mine are in '{folder}'." in log.strip().splitlines()[-1]
    saved = sorted((folder / 'my_dog').iterdir())
    assert [path.name for path in saved] == [f'{number:08d}_lq_only.png' for number in range(3)]
    for path, frame in zip(saved, decoded(video), strict=True):
        restored = cv2.imread(str(path))
        assert restored.shape == (192, 256, 3)  # by a network that begins near bilinear interpolation
        assert np.abs(cv2.resize(restored, (64, 48), interpolation=cv2.INTER_AREA).astype(int) - frame).mean() < 40
    report = json.loads((tmp_path / 'results/lq_only/validation/mine_lq_only.json').read_text())
    assert [row['index'] for row in report['frames']] == [0, 1, 2]
    assert [*report['average']] == (['niqe'] if whole_folder else [])
    assert ('has no GT: psnr could not be measured' in log) == whole_folder
    assert POINTLESS not in log


@pytest.mark.slow
def test_save_img_false_measures_alone_and_warns_where_nothing_can_be_measured(tmp_path, capsys):
    video = make_video(tmp_path / 'v.avi', 2)
    file = option_file(tmp_path, video, {'save_img': False, 'metrics': {'niqe': NIQE}}, 'measured')
    assert main(['check', '--import', 'tiny_archs', '-opt', str(file), '--strict']) == 0
    log = run_test(file, tmp_path)
    assert '# niqe:' in log and 'restored frames' not in log and POINTLESS not in log
    assert not [*(tmp_path / 'results/measured/visualization').rglob('*.png')]
    capsys.readouterr()
    file = option_file(tmp_path, video, {'save_img': False, 'metrics': {'psnr': PSNR}}, 'pointless')
    assert main(['check', '--import', 'tiny_archs', '-opt', str(file)]) == 0
    assert f"val:save_img: warning: Data set 'mine' {POINTLESS}" in capsys.readouterr().out
    assert POINTLESS in run_test(file, tmp_path)


@pytest.mark.slow
def test_with_gt_nothing_is_saved_unless_asked(tmp_path, clips):
    file = option_file(tmp_path, clips / 'lq', {'metrics': {'psnr': PSNR}}, 'judged', dataroot_gt=str(clips / 'gt'))
    log = run_test(file, tmp_path)
    assert '# psnr:' in log and 'restored frames' not in log
    assert not [*(tmp_path / 'results/judged/visualization').rglob('*.png')]


@pytest.mark.slow
def test_a_broken_video_ends_check_and_test_with_a_sentence(tmp_path, capsys):
    (tmp_path / 'v.mp4').write_bytes(b'no video')
    file = option_file(tmp_path, tmp_path / 'v.mp4', {})
    for verb in ('check', 'test'):
        assert main([verb, '--import', 'tiny_archs', '-opt', str(file)]) != 0
        captured = capsys.readouterr()
        assert "v.mp4' cannot be used: it is not a video that OpenCV can decode." in captured.out + captured.err
        assert 'Traceback' not in captured.err
