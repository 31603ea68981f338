"""Option files for clips of one's own: the commands of datasets/README.md make what they need, and each file runs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.archs.basicvsr_arch import BasicVSR
from basicsr.archs.spynet_arch import SpyNet
from helpers.options import problems_of
from helpers.project import ROOT
from helpers.semantics import WIDTH, save_network, tiny_instances, tiny_xdecoder

from basicsr_semantic.cli import main
from basicsr_semantic.config.option_file import OptionFile, load_yaml

FILES = {file.stem: file for room in ('seem', 'semantic_lens') for file in (ROOT / 'options' / room).glob('*.yml')}
FILES = {name: FILES[name] for name in sorted(FILES) if name.endswith(('_mine', '_frames'))}
OPTIONS = {name: load_yaml(str(file)) for name, file in FILES.items()}
TRAININGS = [name for name in FILES if 'train' in OPTIONS[name]]
TESTS = [name for name in FILES if name not in TRAININGS]
SIDE, FRAMES, LQ_SIDE = 256, 6, 96
"""Of the clips: side of a frame in pixels, frames, and side of a frame without ground truth."""
SMALL = {
    'BasicVSRSEEM': 'network_g:num_feat=8 network_g:num_block=1 network_g:reduction=4',
    'SemanticLens': 'network_g:mid_channels=8 network_g:embed_dim=12 network_g:depths=[1] network_g:num_heads=[2] '
    f'network_g:image_window=5 network_g:token_dim={WIDTH} network_g:global_dim={WIDTH} network_s:short_side=32 '
    'network_s:score_threshold=0',
}
SMALL_TRAINING = (
    'datasets:train:num_worker_per_gpu=0 datasets:train:batch_size_per_gpu=1 datasets:train:num_frame=3 '
    'datasets:train:gt_size=160 logger:use_tb_logger=false'
)


def changes(name: str) -> list[str]:
    """Entries of --force_yml that cut a file to a size for which a test has time."""
    network = SMALL[OPTIONS[name]['network_g']['type']]
    return f'num_gpu=0 {network} {SMALL_TRAINING if name in TRAININGS else ""}'.split()


def run(verb: str, name: str, *more: str) -> int:
    return main([verb, '-opt', str(FILES[name]), '--force_yml', *changes(name), *more])


def make_clips(folder: Path) -> None:
    """Three clips of a texture that moves, and a part of one of them as frames without ground truth."""
    generator = np.random.default_rng(0)
    for clip in ('garden', 'holiday', 'sea'):
        texture = cv2.GaussianBlur(generator.random((SIDE + 40, SIDE + 40, 3)).astype(np.float32), (0, 0), 3)
        texture = np.uint8(255 * (texture - texture.min()) / (texture.max() - texture.min()))  # type: ignore[operator]
        for i in range(FRAMES):
            frame = texture[2 * i : 2 * i + SIDE, 3 * i : 3 * i + SIDE]
            places = [(folder / clip, frame)]
            if clip == 'sea':
                places.append((Path('datasets/frames/lq') / clip, frame[:LQ_SIDE, :LQ_SIDE]))
            for place, image in places:
                place.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(place / f'{i + 1:04d}.png'), image)


def make_weights() -> None:
    """What the files start from and what their trainings would have written, small."""
    models = Path('experiments/pretrained_models')
    for place in ('X-Decoder', 'flownet', 'BasicVSR'):
        (models / place).mkdir(parents=True)
    save_network(tiny_xdecoder(), models / 'X-Decoder/xdecoder_focalt_last.pt')
    torch.save({'params': SpyNet().state_dict()}, models / 'flownet/spynet_sintel_final-3d2a1287.pth')
    torch.save({'params': BasicVSR(8, 1).state_dict()}, models / 'BasicVSR/BasicVSR_REDS-543c8261.pth')
    stage_1 = Path('experiments/stage1_vis_ytvis19/models')
    stage_1.mkdir(parents=True)
    save_network(tiny_instances(), stage_1 / 'net_g_latest.pth')
    for name in FILES:
        options = OptionFile.read(FILES[name], changes(name)).values
        place = Path(options['path']['pretrain_network_g'] or 'experiments/pretrained_models')
        if place.suffix and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            state = build_network(options['network_g']).state_dict()
            torch.save({'params': state, 'params_ema': state}, place)


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    """A folder with clips in which all was typed that datasets/README.md and the messages of a run say."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp('project'))
        make_clips(Path('my_clips'))
        make_weights()
        for scale in {OPTIONS[name]['scale'] for name in FILES}:
            data = Path('datasets/mine' if scale == 4 else f'datasets/mine_x{scale}')
            assert main(['prepare', 'clips', 'my_clips', str(data), '--scale', str(scale)]) == 0
            lines = (data / 'meta_info.txt').read_text().splitlines(keepends=True)
            (data / 'train.txt').write_text(''.join(lines[:-1]))
            (data / 'val.txt').write_text(lines[-1])
        for name in FILES:
            for problem in problems_of(OptionFile.read(FILES[name], changes(name)), name in TRAININGS):
                if (
                    problem.missing_file
                    and problem.key.endswith('dataroot_priors')
                    and not Path(problem.value).exists()
                ):
                    command = problem.suggestion.partition(': basicsr ')[2].partition(' (or ')[0]
                    assert main(command.replace('--extractor sam', '--extractor regions').split()) == 0, problem
        yield Path.cwd()


def test_there_is_a_file_for_each_purpose():
    assert {'train_BasicVSRSEEM_mine', 'tune_BasicVSRSEEM_mine'} <= set(TRAININGS)
    assert {'train_SemanticLens_mine', 'tune_SemanticLens_mine', 'train_SemanticLens_x2_mine'} <= set(TRAININGS)
    for name in TESTS:
        with_gt = 'dataroot_gt' in OPTIONS[name]['datasets']['test_1']
        assert with_gt == name.endswith('_mine') and OPTIONS[name]['val']['save_img']
        metrics = {one['type'] for one in OPTIONS[name]['val']['metrics'].values()}
        assert (metrics == {'calculate_psnr', 'calculate_ssim'}) == with_gt
    assert {OPTIONS[name]['network_g'].get('upscale', 4) for name in FILES if '_x2_' in name} == {2}


@pytest.mark.parametrize('name', TESTS)
def test_a_test_has_the_network_of_its_training(name):
    options = OPTIONS[name]
    trained = OPTIONS[Path(options['path']['pretrain_network_g']).parts[1]]
    without = ('checkpointing', 'spynet_path')
    networks = [{k: v for k, v in one['network_g'].items() if k not in without} for one in (options, trained)]
    assert networks[0] == networks[1] and options['scale'] == trained['scale']
    sources = [{**(one.get('network_s') or {}), 'extract_mode': None} for one in (options, trained)]
    assert sources[0] == sources[1]
    if name.endswith('_mine'):
        assert options['datasets']['test_1'] == trained['datasets']['val']


@pytest.mark.parametrize('name', TRAININGS)
def test_no_clip_is_trained_on_and_judged_by(name):
    data = OPTIONS[name]['datasets']
    assert Path(data['train']['meta_info_file']).name == 'train.txt' and data['train']['unfit_clips'] == 'leave_out'
    assert Path(data['val']['meta_info_file']).name == 'val.txt'


@pytest.mark.slow(15)
@pytest.mark.parametrize('name', list(FILES))
def test_all_is_in_order_with_the_data_made(project, name):
    assert problems_of(OptionFile.read(FILES[name], changes(name)), name in TRAININGS, warnings=True) == []


@pytest.mark.slow(20)
@pytest.mark.parametrize('name', TRAININGS)
def test_each_training_runs(project, name, capsys):
    assert run('train', name, '--dry-run') == 0
    assert 'The dry run is over' in capsys.readouterr().err


@pytest.mark.slow(20)
@pytest.mark.parametrize('name', TESTS)
def test_each_test_restores_its_clips(project, name):
    assert run('test', name) == 0
    images = sorted((project / 'results' / name / 'visualization').rglob('*.png'))
    assert len(images) == FRAMES
    side = SIDE if name.endswith('_mine') else LQ_SIDE * OPTIONS[name]['scale']
    assert {cv2.imread(str(image)).shape for image in images} == {(side, side, 3)}
