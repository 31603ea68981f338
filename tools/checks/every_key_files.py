"""The option files of every_key.py, cut to a size that trains within a second, and the data that they ask for."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from demo_clips import make_demo_clips

from basicsr_semantic.archs import InstanceTransformer
from basicsr_semantic.cli import main
from basicsr_semantic.config.option_file import OptionFile
from basicsr_semantic.models.networks import make_network
from basicsr_semantic.priors.store import PriorStore, PriorStoreWriter
from basicsr_semantic.priors.store_meta import store_metadata

OPTIONS = Path(__file__).resolve().parents[2] / 'options'
SIZE, FRAMES, CLASSES = 192, 7, 14
"""Of the clips: side of a GT frame, frames, and categories of their instances."""
TOKENS, WIDTH, FEATURES = 4, 16, 8
"""Of the stores: tokens of a frame, their width, width of pixel features."""
DATA = Path('datasets/davis320')
INSTANCES = {
    'hidden_dim': WIDTH, 'num_heads': 2, 'feedforward_dim': 32, 'encoder_layers': 1, 'decoder_layers': 1, 'window': 3,
    'num_queries': 5, 'num_frame_queries': TOKENS, 'num_classes': CLASSES, 'mask_dim': WIDTH, 'feature_dim': WIDTH,
}  # fmt: skip

_SEECLEAR = (
    'datasets:train:num_frame={frames} datasets:train:gt_size=32 datasets:val:first_frames=2 network_g:dim=24 '
    'network_g:head_dim=12 network_g:window=4 network_g:clip_length=2 network_g:token_dim=16 network_g:feature_dim=8 '
    'network_g:hidden_dim=16 network_g:num_tokens=4 network_g:num_queries=5 network_g:instance_heads=2 '
    'network_g:feedforward_dim=32 network_g:encoder_layers=1 network_g:decoder_layers=1 network_g:groups=2 '
    'diffusion:steps=2 val:sample_steps=2'
)
_REDS = (
    'datasets:train:meta_info_file=clips_train.txt datasets:val:meta_info_file=clips_val.txt '
    'datasets:train:dataroot_gt=datasets/davis320/train/gt.lmdb datasets:train:dataroot_lq=datasets/davis320/train/'
    'lq.lmdb datasets:val:dataroot_gt=datasets/davis320/val/gt.lmdb datasets:val:dataroot_lq=datasets/davis320/val/'
    'lq.lmdb datasets:train:dataroot_priors=datasets/davis320/train/{0}.lmdb '
    'datasets:val:dataroot_priors=datasets/davis320/val/{0}.lmdb '
)
FILES = {
    'seem/train_BasicVSR_davis320.yml': 'datasets:val:first_frames=2 network_g:num_feat=8 network_g:num_block=1',
    'seem/tune_BasicVSRSEEM_davis320.yml': 'datasets:val:first_frames=2 network_g:num_feat=8 network_g:num_block=1',
    'seem/tune_EDVRSEEM_M_REDS.yml': _REDS.format('sam')
    + 'datasets:train:gt_size=64 datasets:train:batch_size_per_gpu=1 network_g:num_feat=8 '
    'network_g:deformable_groups=2 network_g:num_extract_block=1 network_g:num_reconstruct_block=1 '
    'network_g:reduction=4 logger:use_tb_logger=false',
    'semantic_lens/train_SemanticLens_davis320.yml': 'datasets:val:first_frames=3 datasets:train:num_frame=3 '
    'datasets:train:gt_size=64 '
    'network_g:mid_channels=8 network_g:embed_dim=12 network_g:depths=[1] network_g:num_heads=[2] '
    'network_g:image_window=5 network_g:token_dim=16 '
    'network_g:global_dim=16',
    'semantic_lens/stage1_davis320.yml': 'datasets:train:num_frame=2 datasets:train:short_sides=[32,64] '
    'datasets:train:crop_range=[32,64] datasets:train:crop_sides=[64] datasets:val:short_side=64 '
    'frame_decoder:embed_dim=8 frame_decoder:depths=[1,1,1,1] frame_decoder:hidden_dim=16 frame_decoder:mask_dim=16 '
    'frame_decoder:num_queries=5 frame_decoder:nheads=2 frame_decoder:dim_feedforward=32 frame_decoder:norm_groups=4 '
    'train:instance_opt:num_points=64 ' + ' '.join(f'network_g:{key}={value}' for key, value in INSTANCES.items()),
    'seeclear/train_SeeClear_condenser_davis320.yml': _SEECLEAR.format(frames=2),
    'seeclear/train_SeeClear_memory_davis320.yml': _SEECLEAR.format(frames=4),
    'seeclear/train_SeeClear_joint_davis320.yml': _SEECLEAR.format(frames=4),
    'seeclear/train_SeeClear_BasicVSR_joint_REDS.yml': _REDS.format('openseed')
    + _SEECLEAR.format(frames=4)
    + ' datasets:train:gt_size=160 datasets:train:batch_size_per_gpu=1 network_g:instance_heads=2 '
    'base_upsampler:num_feat=8 base_upsampler:num_block=1 logger:use_tb_logger=false train:amp=~ val:amp=~',
    'VideoRecurrentModel': '',
    'SRModel': '',
}
"""File below options/, or model of BasicSR with a file of its own here -> entries of --force_yml that make it small."""
ALL = 'num_gpu=0 datasets:train:num_worker_per_gpu=0'
"""Entries for every file."""

BASICSR = """
name: {model}
model_type: {model}
scale: 4
num_gpu: 0
manual_seed: 0
datasets:
  train:
    name: tiny
    dataroot_gt: datasets/folders/gt{clip}
    dataroot_lq: datasets/folders/lq{clip}
    io_backend: {{type: disk}}
    gt_size: 144
    use_hflip: true
    use_rot: true
    num_worker_per_gpu: 0
    batch_size_per_gpu: 1
    dataset_enlarge_ratio: 1
    prefetch_mode: ~
  val:
    name: REDS4
    dataroot_gt: datasets/folders/gt{clip}
    dataroot_lq: datasets/folders/lq{clip}
    io_backend: {{type: disk}}
path:
  pretrain_network_g: ~
  strict_load_g: true
  resume_state: ~
train:
  ema_decay: 0.999
  optim_g: {{type: Adam, lr: 2e-4, weight_decay: 0, betas: [0.9, 0.99]}}
  scheduler: {{type: MultiStepLR, milestones: [200000, 400000], gamma: 0.5}}
  total_iter: 500000
  warmup_iter: -1
  pixel_opt: {{type: L1Loss, loss_weight: 1.0, reduction: mean}}
val:
  val_freq: 5000
  save_img: false
  metrics:
    psnr: {{type: calculate_psnr, crop_border: 4, test_y_channel: false, better: higher}}
    ssim: {{type: calculate_ssim, crop_border: 4, test_y_channel: false}}
logger:
  print_freq: 100
  save_checkpoint_freq: 5000
  use_tb_logger: false
  wandb: {{project: ~, resume_id: ~}}
dist_params: {{backend: nccl, port: 29500}}
"""
OF_MODEL: dict[str, dict[str, dict[str, Any]]] = {
    'VideoRecurrentModel': {
        'datasets:train': {
            'type': 'REDSRecurrentDataset', 'meta_info_file': 'meta_info.txt', 'val_partition': 'REDS4',
            'test_mode': False, 'num_frame': 2, 'interval_list': [1], 'random_reverse': False,
        },
        'datasets:val': {'type': 'VideoRecurrentTestDataset', 'cache_data': True, 'num_frame': 2},
        'network_g': {'type': 'BasicVSR', 'num_feat': 8, 'num_block': 1, 'spynet_path': None},
        'train': {'fix_flow': 5000, 'flow_lr_mul': 0.125},
    },
    'SRModel': {
        'datasets:train': {'type': 'PairedImageDataset', 'filename_tmpl': '{}'},
        'datasets:val': {'type': 'PairedImageDataset'},
        'network_g': {
            'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'upscale': 4,
        },
    },
}  # fmt: skip
"""What the files of BasicSR's models have in addition: section -> keys."""


def options_of(name: str) -> dict[str, Any]:
    """The options of one of `FILES`, cut."""
    if name not in OF_MODEL:
        return OptionFile.read(OPTIONS / name, [*ALL.split(), *FILES[name].split()]).values
    clip = '' if name == 'VideoRecurrentModel' else '/001'
    options = yaml.load(BASICSR.format(model=name, clip=clip), yaml.SafeLoader)
    for path, keys in OF_MODEL[name].items():
        section = options
        for key in path.split(':'):
            section = section.setdefault(key, {})
        section |= deepcopy(keys)
    return options


def make_data() -> None:
    """Clips as LMDBs with stores of priors, and the same as folders, below the current folder."""
    make_demo_clips(DATA, size=SIZE, frames=FRAMES)
    for part in ('train', 'val'):
        assert main(['prepare', 'clips', str(DATA / part / 'frames'), str(DATA / part)]) == 0
        clips = sorted(folder.name for folder in (DATA / part / 'frames').iterdir())
        Path(f'clips_{part}.txt').write_text(''.join(f'{clip}\n' for clip in clips))
        keys = [f'{clip}/{number:08d}' for clip in clips for number in range(FRAMES)]
        for kind in ('regions', 'sam', 'openseed', 'xdecoder'):
            _make_store(DATA / part / f'{kind}.lmdb', kind, keys)
        _make_store(DATA / part / 'xdecoder_features.lmdb', 'xdecoder', keys)
    for number, frame in enumerate(sorted((DATA / 'train' / 'frames').rglob('*.png'))[:FRAMES]):
        image = cv2.imread(str(frame))
        small = cv2.resize(image, (SIZE // 4, SIZE // 4), interpolation=cv2.INTER_AREA)
        for kind, one in (('gt', image), ('lq', small)):
            folder = Path('datasets/folders') / kind / '001'
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f'{number:08d}.png'), one)
    # BasicSR takes clips to go on for ever: with two frames an item, 5 of 7 may come first
    Path('meta_info.txt').write_text(f'001 {FRAMES - 2} ({SIZE},{SIZE},3)\n')


def _make_store(path: Path, kind: str, keys: list[str]) -> None:
    """Random masks; tokens and features for the kinds that have some."""
    generator, side = np.random.default_rng(0), SIZE // 4
    whole = kind in ('openseed', 'xdecoder')
    tokens = {'num': TOKENS, 'dim': WIDTH, 'global_dim': WIDTH} if whole else None
    features = {'dim': FEATURES, 'cell': 4} if kind == 'openseed' or 'features' in path.name else None
    with PriorStoreWriter(path, store_metadata(kind, tokens=tokens, features=features)) as store:
        for key in keys:
            store.put(key, generator.random((4, side, side)) < 0.5)
            if tokens:
                store.put_tokens(key, generator.random((TOKENS, WIDTH)), generator.random(WIDTH))
            if features:
                store.put_features(key, generator.random((FEATURES, side // 4, side // 4)))
    PriorStore(path).close()


def make_weights(options: Mapping[str, Any]) -> None:
    """Checkpoints that the options name, of their own networks."""
    path = options.get('path') or {}
    torch.manual_seed(0)
    for key, section in (('pretrain_network_g', 'network_g'), ('pretrain_base_upsampler', 'base_upsampler')):
        if path.get(key):
            _save(path[key], make_network(dict(options[section]), None))
    source = options.get('network_s') or {}
    if source:
        _save(source['checkpoint'], torch.nn.Linear(1, 1))  # only extraction reads it
        instances = InstanceTransformer(**INSTANCES)
        _save(source['instance_checkpoint'], instances, network=instances.config)


def _save(path: str, net: torch.nn.Module, **more: Any) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    torch.save({'params': net.state_dict(), 'params_ema': net.state_dict(), **more}, path)
