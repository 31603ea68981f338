"""`import basicsr_semantic` first, then plain BasicSR: components and repairs are there."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_archs
import torch
from helpers.project import python, write_options

from basicsr_semantic.compat import repairs
from basicsr_semantic.utils.errors import UserError


def run_script(text: str, cwd: Path, *args: str) -> subprocess.CompletedProcess:
    (cwd / 'script.py').write_text(text)
    return python('script.py', *args, cwd=cwd)


def test_a_plain_script_has_the_archs_data_sets_and_models(tmp_path):
    done = run_script(
        'import basicsr_semantic\n'
        'from basicsr.archs import build_network\n'
        'from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY\n'
        "net = build_network({'type': 'BasicVSRSEEM', 'num_feat': 8, 'num_block': 1, 'reduction': 4})\n"
        "assert 'SemanticClipDataset' in DATASET_REGISTRY and 'SemanticVSRModel' in MODEL_REGISTRY\n"
        'print(type(net).__name__)\n',
        tmp_path,
    )
    assert done.stdout.splitlines()[-1] == 'BasicVSRSEEM', done.stderr


def test_registering_twice_is_harmless():
    import basicsr_semantic

    basicsr_semantic.register()
    basicsr_semantic.register()


def test_importing_loads_no_optional_package(tmp_path):
    done = run_script(
        'import sys, torchvision\n'  # older ones import PyAV themselves where it is installed
        'before = set(sys.modules)\n'
        'import basicsr_semantic, basicsr_semantic.cli; basicsr_semantic.register()\n'
        "optional = {'segment_anything', 'skimage', 'mmengine', 'mmcv', 'pyiqa', 'av', 'lpips', 'piq'}\n"
        'print(sorted(optional & (set(sys.modules) - before)))\n',
        tmp_path,
    )
    assert done.stdout.strip() == '[]', done.stderr


def test_niqe_of_current_numpy_and_scipy():
    """BasicSR states 5.7296 for a photograph that is not here; smooth noise has to be better than white noise."""
    from basicsr.metrics import calculate_niqe

    white = np.random.default_rng(0).integers(0, 256, (192, 288, 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(white, (0, 0), 1.5)
    values = [calculate_niqe(frame, crop_border=0) for frame in (smooth, white)]
    assert 5 < values[0] < values[1] < 100
    assert calculate_niqe(smooth, crop_border=0, img2=white) == values[0]  # BasicSR's loops give it the GT too
    assert calculate_niqe(cv2.copyMakeBorder(smooth, 4, 4, 4, 4, cv2.BORDER_CONSTANT), crop_border=4) == values[0]


def test_niqe_of_frames_of_one_colour_is_no_value():
    from basicsr.metrics import calculate_niqe

    black = np.zeros((192, 192, 3), np.uint8)
    assert math.isnan(calculate_niqe(black, crop_border=0))
    black[:96, :96] = np.random.default_rng(0).integers(0, 256, (96, 96, 3))
    assert math.isnan(calculate_niqe(black, crop_border=0))  # one block is no distribution


def test_niqe_of_frames_that_are_too_small_is_refused():
    from basicsr.metrics import calculate_niqe

    with pytest.raises(UserError, match=r'at least two in a frame, but this one has 180x180 pixels'):
        calculate_niqe(np.zeros((192, 192, 3), np.uint8), crop_border=6)


@pytest.mark.slow
def test_the_pipeline_of_a_plain_script_is_repaired(tmp_path, options, clips):
    """BasicSR's own recipe: a script that calls train_pipeline, here with BasicSR's own video model, on a CPU."""
    opt = options(name='plain', model_type='VideoRecurrentModel')
    opt['datasets']['val'] = {
        'name': 'Vid4',
        'type': 'VideoRecurrentTestDataset',
        'dataroot_gt': str(clips / 'gt'),
        'dataroot_lq': str(clips / 'lq'),
        'cache_data': True,
        'io_backend': {'type': 'disk'},
        'num_frame': -1,
    }
    psnr = {'type': 'calculate_psnr', 'crop_border': 0}
    opt['val'] = {'val_freq': 6, 'save_img': False, 'metrics': {'psnr': psnr}}
    opt['train'] |= {'fix_flow': 3, 'flow_lr_mul': 0.25}
    done = run_script(
        "import basicsr_semantic, tiny_archs\nfrom basicsr.train import train_pipeline\ntrain_pipeline('.')\n",
        tmp_path,
        '-opt',
        str(write_options(opt, tmp_path / 'plain.yml')),
        '--force_yml',
        'train:total_iter=6',
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'experiments/plain/models/net_g_6.pth').is_file()
    assert (tmp_path / 'experiments/plain/validation/Vid4_6.json').is_file()


def recurrent_model(tmp_path, options, **sections):
    from basicsr.models import build_model

    opt = options(model_type='VideoRecurrentModel', **sections)
    opt['path'] |= {'models': str(tmp_path), 'training_states': str(tmp_path)}
    return build_model(opt | {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1})


def test_basicsr_video_models_test_with_their_average(tmp_path, options):
    model = recurrent_model(tmp_path, options, val={})
    with torch.no_grad():
        model.net_g_ema.body.bias.add_(1)
    model.lq = torch.rand(1, 3, 3, 16, 16)
    model.test()
    with torch.no_grad():
        assert torch.equal(model.output, model.net_g_ema(model.lq))


def test_basicsr_video_models_thaw_only_what_their_stage_froze(tmp_path, options):
    model = recurrent_model(tmp_path, options, train={'fix_flow': 2})
    model.net_g.body.bias.requires_grad_(False)
    model.lq, model.gt = torch.rand(1, 3, 3, 16, 16), torch.rand(1, 3, 3, 64, 64)
    trained = []
    for i in (1, 2, 3):
        model.optimize_parameters(i)
        trained.append({n for n, p in model.net_g.named_parameters() if p.requires_grad})
    assert trained[0] == {'body.weight'}
    assert trained[1] == trained[2] == {'body.weight', 'spynet.weight', 'spynet.bias'}


def test_the_average_starts_equal_where_a_pretrained_file_has_no_value(tmp_path, options):
    net = tiny_archs.TinyVSR()
    torch.save({'params': {k: v for k, v in net.state_dict().items() if 'body' in k}}, tmp_path / 'part.pth')
    path = {'pretrain_network_g': str(tmp_path / 'part.pth'), 'strict_load_g': False}
    model = recurrent_model(tmp_path, options, path=path)
    for k, v in model.net_g.state_dict().items():
        assert torch.equal(v, model.net_g_ema.state_dict()[k]), k


def test_every_optimiser_of_torch_can_be_named():
    from basicsr.models.base_model import BaseModel

    model = BaseModel({'num_gpu': 0, 'is_train': True})
    weights = [torch.nn.Parameter(torch.zeros(1))]
    built = model.get_optimizer('AdamW', weights, 0.1, weight_decay=0.5)
    assert type(built) is torch.optim.AdamW
    assert (built.defaults['lr'], built.defaults['weight_decay']) == (0.1, 0.5)
    assert model.get_optimizer('Adam', weights, 0.1, betas=(0, 0.99)).defaults['betas'] == (0.0, 0.99)
    with pytest.raises(UserError, match="no optimiser 'AdamZ'"):
        model.get_optimizer('AdamZ', weights, 0.1)


def test_unsafe_yaml_is_refused_by_basicsr_too(tmp_path):
    from basicsr.utils.options import yaml_load

    (tmp_path / 'evil.yml').write_text('name: !!python/object/apply:os.system ["touch ran"]\n')
    with pytest.raises(UserError):
        yaml_load(str(tmp_path / 'evil.yml'))
    assert not (tmp_path / 'ran').exists()


def test_a_missing_basicsr_is_one_sentence(tmp_path):
    done = run_script(
        'import sys\n'
        "sys.modules['basicsr'] = None\n"
        'try:\n'
        '    import basicsr_semantic; basicsr_semantic.register()\n'
        'except ValueError as error:\n'
        '    print(error)\n',
        tmp_path,
    )
    assert 'pip install --no-build-isolation basicsr' in done.stdout


def test_apply_is_idempotent():
    repairs.apply()
    from basicsr.models.sr_model import SRModel

    before = SRModel.init_training_settings
    repairs.apply()
    assert SRModel.init_training_settings is before


def test_names_of_earlier_versions_are_there():
    """HAT imports the first from where 1.3.4.9 had it; Real-ESRGAN and GFPGAN test the second."""
    from basicsr.losses.losses import GANLoss, L1Loss
    from basicsr.utils.color_util import rgb2ycbcr as expected
    from basicsr.utils.matlab_functions import rgb2ycbcr

    assert rgb2ycbcr is expected
    assert {GANLoss.__module__, L1Loss.__module__} == {'basicsr.losses.gan_loss', 'basicsr.losses.basic_loss'}


def test_a_video_model_with_a_validation_of_its_own_keeps_it():
    from basicsr.models.video_base_model import VideoBaseModel

    class Theirs(VideoBaseModel):
        def __init__(self) -> None:
            self.opt, self.validated = {'dist': False}, 0

        def dist_validation(self, dataloader, current_iter, tb_logger, save_img):
            self.validated = current_iter

    model = Theirs()
    model.validation(None, 3, None)
    assert model.validated == 3


def test_jpeg_of_a_quality_with_a_fraction():
    from basicsr.data.degradations import add_jpg_compression, random_add_jpg_compression

    image = np.random.default_rng(0).random((16, 16, 3)).astype(np.float32)
    assert np.array_equal(add_jpg_compression(image, np.float64(60.7)), add_jpg_compression(image, 60))
    assert random_add_jpg_compression(image, (60, 70)).shape == image.shape
