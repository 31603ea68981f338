"""Small option files with the keys of BasicSR's own, and the demo of ours, for tests of everything around options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr_semantic.cli.remedies import with_remedies
from basicsr_semantic.config.building import check_building
from basicsr_semantic.config.check import check_options
from basicsr_semantic.config.option_file import OptionFile
from basicsr_semantic.config.problems import Problem

IMAGE_DATA = """
datasets:
  train:
    name: tiny
    type: PairedImageDataset
    dataroot_gt: {root}/gt
    dataroot_lq: {root}/lq
    filename_tmpl: '{{}}'
    io_backend:
      type: disk
    gt_size: 64
    use_hflip: true
    use_rot: true
    num_worker_per_gpu: 2
    batch_size_per_gpu: 4
    dataset_enlarge_ratio: 10
    prefetch_mode: ~
  val:
    name: held_out
    type: PairedImageDataset
    dataroot_gt: {root}/gt
    dataroot_lq: {root}/lq
    io_backend:
      type: disk
"""

VIDEO_DATA = """
datasets:
  train:
    name: tiny
    type: REDS{recurrent}Dataset
    dataroot_gt: {root}/gt
    dataroot_lq: {root}/lq
    dataroot_flow: ~
    meta_info_file: {root}/meta_info.txt
    val_partition: REDS4
    test_mode: false
    io_backend:
      type: disk
    num_frame: 5
    gt_size: 256
    interval_list: [1]
    random_reverse: false
    use_hflip: true
    use_rot: true
    num_worker_per_gpu: 2
    batch_size_per_gpu: 4
    dataset_enlarge_ratio: 200
    prefetch_mode: ~
  val:
    name: REDS4
    type: Video{recurrent}TestDataset
    dataroot_gt: {root}/gt
    dataroot_lq: {root}/lq
    cache_data: true
    io_backend:
      type: disk
    num_frame: 5
    padding: reflection_circle
"""

REST = """
path:
  pretrain_network_g: ~
  strict_load_g: true
  resume_state: ~
val:
  val_freq: !!float 5e3
  save_img: false
  metrics:
    psnr:
      type: calculate_psnr
      crop_border: 4
      test_y_channel: false
      better: higher
    ssim:
      type: calculate_ssim
      crop_border: 4
      test_y_channel: false
logger:
  print_freq: 100
  save_checkpoint_freq: !!float 5e3
  use_tb_logger: true
  wandb:
    project: ~
    resume_id: ~
dist_params:
  backend: nccl
  port: 29500
"""

TRAIN = """
train:
  ema_decay: 0.999
  optim_g:
    type: Adam
    lr: !!float 2e-4
    weight_decay: 0
    betas: [0.9, 0.99]
  scheduler:
    type: MultiStepLR
    milestones: [200000, 400000]
    gamma: 0.5
  total_iter: 500000
  warmup_iter: -1
  pixel_opt:
    type: L1Loss
    loss_weight: 1.0
    reduction: mean
"""

COSINE = TRAIN.replace(
    'type: MultiStepLR\n    milestones: [200000, 400000]\n    gamma: 0.5',
    'type: CosineAnnealingRestartLR\n    periods: [500000]\n    restart_weights: [1]\n    eta_min: !!float 1e-7',
)

GAN = (
    TRAIN
    + """
  optim_d:
    type: Adam
    lr: !!float 1e-4
    weight_decay: 0
    betas: [0.9, 0.99]
  perceptual_opt:
    type: PerceptualLoss
    layer_weights:
      'conv5_4': 1
    vgg_type: vgg19
    use_input_norm: true
    range_norm: false
    perceptual_weight: 1.0
    style_weight: 0
    criterion: l1
  gan_opt:
    type: GANLoss
    gan_type: vanilla
    real_label_val: 1.0
    fake_label_val: 0.0
    loss_weight: !!float 5e-3
  net_d_iters: 1
  net_d_init_iters: 0
"""
)

HEAD = """
name: {name}
model_type: {model}
scale: 4
num_gpu: 1
manual_seed: 0
"""

NETWORKS = {
    'MSRResNet': '{type: MSRResNet, num_in_ch: 3, num_out_ch: 3, num_feat: 64, num_block: 16, upscale: 4}',
    'RCAN': '{type: RCAN, num_in_ch: 3, num_out_ch: 3, num_feat: 64, num_group: 10, num_block: 20, squeeze_factor: 16, '
    'upscale: 4, res_scale: 1, img_range: 255., rgb_mean: [0.4488, 0.4371, 0.4040]}',
    'SwinIR': '{type: SwinIR, upscale: 4, in_chans: 3, img_size: 48, window_size: 8, img_range: 1., depths: [6, 6], '
    "embed_dim: 180, num_heads: [6, 6], mlp_ratio: 2, upsampler: 'pixelshuffle', resi_connection: '1conv'}",
    'EDVR': '{type: EDVR, num_in_ch: 3, num_out_ch: 3, num_feat: 64, num_frame: 5, deformable_groups: 8, '
    'num_extract_block: 5, num_reconstruct_block: 10, center_frame_idx: ~, hr_in: false, with_predeblur: false, '
    'with_tsa: true}',
    'BasicVSR': '{type: BasicVSR, num_feat: 64, num_block: 30, spynet_path: ~}',
    'BasicVSRPlusPlus': '{type: BasicVSRPlusPlus, mid_channels: 64, num_blocks: 7, is_low_res_input: true, '
    'spynet_path: ~}',
    'RRDBNet': '{type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: 64, num_block: 23, num_grow_ch: 32}',
}

DISCRIMINATOR = 'network_d: {type: VGGStyleDiscriminator, num_in_ch: 3, num_feat: 64}\n'


def stock_options(root: Path) -> dict[str, str]:
    """Training files in the manner of BasicSR's, name -> YAML; data and meta info lie below ``root``."""

    def file(name: str, model: str, network: str, data: str, train: str, more: str = '', recurrent: str = '') -> str:
        head = HEAD.format(name=name, model=model)
        net = f'network_g: {NETWORKS[network]}\n'
        return head + data.format(root=root, recurrent=recurrent) + net + more + train + REST

    flow = '  fix_flow: 5000\n  flow_lr_mul: 0.125\n'
    two_d = '  tsa_iter: 50000\n  dcn_lr_mul: 1\n'
    return {
        'srresnet': file('srresnet', 'SRModel', 'MSRResNet', IMAGE_DATA, TRAIN),
        'rcan': file('rcan', 'SRModel', 'RCAN', IMAGE_DATA, TRAIN),
        'swinir': file('swinir', 'SwinIRModel', 'SwinIR', IMAGE_DATA, TRAIN),
        'esrgan': file('esrgan', 'ESRGANModel', 'RRDBNet', IMAGE_DATA, GAN, DISCRIMINATOR),
        'edvr': file('edvr', 'EDVRModel', 'EDVR', VIDEO_DATA, COSINE + two_d),
        'basicvsr': file('basicvsr', 'VideoRecurrentModel', 'BasicVSR', VIDEO_DATA, COSINE + flow, '', 'Recurrent'),
        'basicvsrpp': file(
            'basicvsrpp', 'VideoRecurrentModel', 'BasicVSRPlusPlus', VIDEO_DATA, COSINE + flow, '', 'Recurrent'
        ),
    }


def make_data(root: Path) -> Path:
    """The folders and the meta info file that `stock_options` names, empty."""
    for folder in ('gt', 'lq'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / 'meta_info.txt').write_text('000 100 (720,1280,3)\n')
    return root


def problems_of(opt: OptionFile | Mapping[str, Any], is_train: bool, warnings: bool = False) -> list[Problem]:
    """What `basicsr check` says about options; of the warnings only where they are asked for."""
    file = opt if isinstance(opt, OptionFile) else OptionFile(dict(opt), 'a.yml')
    checked = check_options(file, is_train)
    found = [*checked.problems, *check_building(file, checked)]
    found = with_remedies(found, file)
    return [problem for problem in found if warnings or not problem.warning]
