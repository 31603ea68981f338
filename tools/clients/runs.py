"""What ``train_clients.py`` runs: option files of other people's projects, and the changes made to each.

Only data, sizes, numbers of iterations and pretrained files are changed. Where a file has its validation commented
out, the comment is taken away, with the data of this tool.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Training:
    """A training of four iterations and one that is stopped after the second and resumed.

    Args:
        client: Name of the client.
        options: Its option file, relative to its checkout.
        changes: Entries of ``--force_yml`` in addition to those of every run.
        networks: Random weights to save first: file -> the class's module and name, its arguments.
        beyond: What is changed apart from data, sizes, iterations and pretrained files.
        unvalidated: Why there is no validation.
        cannot: Why the client itself cannot train so, with file and line; it is then not run.
    """

    client: str
    options: str
    changes: tuple[str, ...] = ()
    networks: dict[str, tuple[str, str, dict]] = field(default_factory=dict)
    beyond: str = ''
    unvalidated: str = ''
    cannot: str = ''


@dataclass(frozen=True)
class Testing:
    """A test or inference script that is run once, with weights of a training before it or random ones.

    Args:
        client: Name of the client.
        script: The script or option file, relative to its checkout.
        arguments: What follows the script; for an option file, entries of ``--force_yml``.
        networks: As for a training.
        makes: Glob pattern of what the run has to leave behind.
        beyond: As for a training.
        cannot: As for a training.
    """

    client: str
    script: str
    arguments: tuple[str, ...] = ()
    networks: dict[str, tuple[str, str, dict]] = field(default_factory=dict)
    makes: str = ''
    beyond: str = ''
    cannot: str = ''


EVERY_RUN = (
    'train:total_iter=4',
    'val:val_freq=2',
    'logger:print_freq=1',
    'logger:save_checkpoint_freq=2',
    'datasets:train:num_worker_per_gpu=1',
)


def _images(section: str, scale: str = '_x4', kind: str = 'val') -> tuple[str, ...]:
    return f'datasets:{section}:dataroot_gt=made/{kind}_gt', f'datasets:{section}:dataroot_lq=made/{kind}{scale}'


UNCOMMENTED_VALIDATION = (
    'datasets:val:name=validation',
    'datasets:val:type=PairedImageDataset',
    *_images('val'),
    'datasets:val:io_backend:type=disk',
    'val:save_img=True',
    'val:metrics:psnr:type=calculate_psnr',
    'val:metrics:psnr:crop_border=4',
    'val:metrics:psnr:test_y_channel=false',
)
PAIRS = (
    *_images('train', kind='train'),
    *_images('val'),
    'datasets:train:meta_info_file=made/meta_gt.txt',
    'datasets:train:batch_size_per_gpu=2',
    'datasets:train:gt_size=64',
)
REDS = (
    'datasets:train:dataroot_gt=made/reds/gt',
    'datasets:train:dataroot_lq=made/reds/lq',
    'datasets:train:meta_info_file=made/meta_reds.txt',
    'datasets:train:batch_size_per_gpu=1',
    'datasets:train:gt_size=256',  # SpyNet takes no frames below 64 pixels
    'datasets:val:dataroot_gt=made/clips/gt',
    'datasets:val:dataroot_lq=made/clips/lq',
)
SMALL_RRDB = ('network_g:num_feat=8', 'network_g:num_block=1', 'network_g:num_grow_ch=4')
RRDB = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}
REALESRNET = 'experiments/pretrained_models/RealESRNet_x4plus.pth'
PRETRAINED_RRDB = {REALESRNET: ('basicsr.archs.rrdbnet_arch', 'RRDBNet', RRDB)}
DEGRADED = (
    'datasets:train:dataroot_gt=made/train_gt',
    'datasets:train:meta_info=made/meta_gt.txt',
    'datasets:train:batch_size_per_gpu=2',
    'datasets:train:gt_size=64',
    'gt_size=64',
    'queue_size=4',  # full after two iterations, so that the resumed run draws from what was in it
    *UNCOMMENTED_VALIDATION,
)
SMALL_HAT = (
    'network_g:depths=[2]',
    'network_g:num_heads=[6]',
    'network_g:embed_dim=60',
    'network_g:img_size=16',
)
SMALL_PSRT = (
    'network_g:depths=[1]',
    'network_g:num_heads=[2]',
    'network_g:embed_dim=12',
    'network_g:mid_channels=8',
    'network_g:img_size=64',
    'network_g:spynet_path=~',
    'datasets:train:num_frame=3',
)
ANIME = (
    'datasets:train:dataroot_gt=made/anime',
    'datasets:train:num_frame=3',
    'datasets:train:gt_size=64',
    'datasets:train:batch_size_per_gpu=1',
    'network_g:num_feat=8',
    'network_g:num_block=[1,1,1]',
)
FACES = (
    'datasets:train:dataroot_gt=made/faces_gt',
    'datasets:train:batch_size_per_gpu=1',
    'datasets:val:dataroot_gt=made/faces_val_gt',
    'datasets:val:dataroot_lq=made/faces_val_lq',
    'network_g:decoder_load_path=~',
    'network_g:narrow=0.125',
    'network_d:narrow=0.125',
)
ANIME_VALIDATION = (
    'animesr/models/video_recurrent_model.py:167 asks for a data set whose name ends in CoreFrames; neither it nor '
    'BasicSR has one'
)
SCALER = (
    'its model takes optimize_parameters(scaler, current_iter), models/recurrent_mixprecision_model.py:{line}, which '
    "BasicSR's loop cannot call; its own loop is recurrent_mix_precision_train.py"
)

TRAININGS = (
    Training(
        'BasicSR',
        'options/train/SRResNet_SRGAN/train_MSRResNet_x4.yml',
        (*PAIRS, *_images('val_2'), 'network_g:num_feat=8', 'network_g:num_block=2'),
    ),
    Training(
        'BasicSR',
        'options/train/ESRGAN/train_ESRGAN_x4.yml',
        (
            *PAIRS,
            *SMALL_RRDB,
            'datasets:train:gt_size=128',  # its discriminator takes no other size
            'network_d:num_feat=4',
            f'path:pretrain_network_g={REALESRNET}',
        ),
        PRETRAINED_RRDB,
    ),
    Training(
        'BasicSR',
        'options/train/SwinIR/train_SwinIR_SRx4_scratch.yml',
        (*PAIRS, 'network_g:depths=[2]', 'network_g:num_heads=[2]', 'network_g:embed_dim=12', 'network_g:img_size=16'),
    ),
    Training(
        'BasicSR',
        'options/train/EDVR/train_EDVR_M_x4_SR_REDS.yml',
        (
            *REDS,
            'datasets:val:meta_info_file=made/meta_reds_val.txt',
            'network_g:num_feat=8',
            'network_g:num_extract_block=1',
            'network_g:num_reconstruct_block=1',
            'path:pretrain_network_g=~',
        ),
    ),
    Training(
        'BasicSR',
        'options/train/BasicVSR/train_BasicVSR_REDS.yml',
        (
            *REDS,
            'datasets:train:num_frame=4',
            'network_g:num_feat=8',
            'network_g:num_block=1',
            'network_g:spynet_path=~',
        ),
    ),
    Training(
        'BasicSR',
        'options/train/BasicVSRPP/train_BasicVSRPP_REDS.yml',
        (
            *REDS,
            'datasets:train:num_frame=3',
            'network_g:mid_channels=16',
            'network_g:num_blocks=1',
            'network_g:spynet_path=~',
        ),
    ),
    Training(
        'BasicSR',
        'options/train/RealESRGAN/train_realesrnet_x2plus.yml',
        (*DEGRADED, *_images('val', '_x2'), *SMALL_RRDB, 'path:pretrain_network_g=~'),
    ),
    Training(
        'BasicSR',
        'options/train/StyleGAN/train_StyleGAN2_256_Cmul2_FFHQ.yml',
        (
            'datasets:train:dataroot_gt=made/faces_small.lmdb',
            'datasets:train:batch_size_per_gpu=2',
            'network_g:out_size=128',
            'network_d:out_size=128',
            'network_g:narrow=0.05',
            'network_d:narrow=0.05',
        ),
        unvalidated='its option file has no data for one',
    ),
    Training(
        'BasicSR-examples',
        'options/example_option.yml',
        (
            'datasets:train:dataroot_gt=made/train_gt',
            'datasets:train:batch_size_per_gpu=2',
            'datasets:train:gt_size=64',
            'datasets:val:dataroot_gt=made/val_gt',
            'network_g:num_feat=8',
        ),
    ),
    Training(
        'HAT',
        'options/train/train_HAT_SRx4_ImageNet_from_scratch.yml',
        (
            'datasets:train:dataroot_gt=made/train_gt',
            'datasets:train:meta_info_file=made/meta_gt.txt',
            'datasets:train:batch_size_per_gpu=1',
            'datasets:train:gt_size=64',
            *_images('val_1'),
            *_images('val_2'),
            *SMALL_HAT,
        ),
    ),
    Training(
        'HAT',
        'options/train/train_Real_HAT_GAN_SRx4_finetune_from_mse_model.yml',
        (*DEGRADED, *SMALL_HAT, 'network_d:num_feat=4', 'path:pretrain_network_g=~'),
    ),
    Training(
        'Real-ESRGAN', 'options/train_realesrnet_x4plus.yml', (*DEGRADED, *SMALL_RRDB, 'path:pretrain_network_g=~')
    ),
    Training(
        'Real-ESRGAN',
        'options/train_realesrgan_x4plus.yml',
        (*DEGRADED, *SMALL_RRDB, 'network_d:num_feat=4'),
        PRETRAINED_RRDB,
    ),
    Training(
        'Real-ESRGAN',
        'options/finetune_realesrgan_x4plus_pairdata.yml',
        (
            *DEGRADED,
            'datasets:train:dataroot_gt=made',
            'datasets:train:dataroot_lq=made',
            'datasets:train:meta_info=made/meta_pairs.txt',
            *SMALL_RRDB,
            'network_d:num_feat=4',
        ),
        PRETRAINED_RRDB
        | {
            'experiments/pretrained_models/RealESRGAN_x4plus_netD.pth': (
                'basicsr.archs.discriminator_arch',
                'UNetDiscriminatorSN',
                {'num_in_ch': 3, 'num_feat': 4},
            )
        },
    ),
    Training(
        'GFPGAN',
        'options/train_gfpgan_v1.yml',
        (*FACES, 'datasets:train:component_path=made/landmarks.pth'),
        {
            'experiments/pretrained_models/arcface_resnet18.pth': (
                'gfpgan.archs.arcface_arch',
                'ResNetArcFace',
                {'block': 'IRBlock', 'layers': [2, 2, 2, 2], 'use_se': False},
            )
        },
    ),
    Training(
        'GFPGAN',
        'options/train_gfpgan_v1_simple.yml',
        (
            *FACES,
            'datasets:train:out_size=128',
            'datasets:train:dataroot_gt=made/faces_small_gt',
            'datasets:val:dataroot_gt=made/faces_small_val_gt',
            'datasets:val:dataroot_lq=made/faces_small_val_lq',
            'network_g:out_size=128',
            'network_d:out_size=128',
        ),
    ),
    Training('AnimeSR', 'options/train_animesr_step1_net_BasicOPonly.yml', ANIME, unvalidated=ANIME_VALIDATION),
    Training(
        'AnimeSR',
        'options/train_animesr_step1_gan_BasicOPonly.yml',
        (*ANIME, 'datasets:train:gt_size=128', 'network_d:num_feat=4', 'path:pretrain_network_g=~'),
        unvalidated=ANIME_VALIDATION,
    ),
    Training(
        'AnimeSR',
        'options/train_animesr_step2_lbo_1_net.yml',
        (
            'datasets:train:dataroot_gt=made/lbo_gt',
            'datasets:train:dataroot_lq=made/lbo_lq',
            'datasets:train:batch_size_per_gpu=2',
            'datasets:train:gt_size=64',
            'network_g:num_feat=8',
        ),
        unvalidated='its option file has no data for one',
    ),
    Training(
        'AnimeSR',
        'options/train_animesr_step3_gan_3LBOs.yml',
        cannot="its data set moves to f'cuda:{rank}', animesr/data/ffmpeg_anime_lbo_dataset.py:32",
    ),
    Training('PSRT', 'options/4126_PSRTRecurrent_mix_precision_REDS_600K_N16.yml', cannot=SCALER.format(line=103)),
    Training(
        'PSRT',
        'options/4126_PSRTRecurrent_mix_precision_REDS_600K_N16.yml',
        (*REDS, *SMALL_PSRT, 'model_type=VideoRecurrentModel'),
        beyond="model_type is BasicSR's VideoRecurrentModel",
    ),
    Training('IART', 'options/IART_REDS_N6_300K.yml', cannot=SCALER.format(line=103)),
    Training(
        'MIA-VSR',
        'options/4126_MIAVSR_mix_precision_REDS_600K_N1.yml',
        cannot=f'archs/functions.py:14 imports torch._six, which PyTorch dropped; {SCALER.format(line=106)}',
    ),
)

TESTINGS: tuple[Testing, ...] = (
    Testing(
        'BasicSR',
        'options/test/SRResNet_SRGAN/test_MSRResNet_x4.yml',
        (
            *_images('test_1'),
            *_images('test_2'),
            *_images('test_3'),
            "datasets:test_3:filename_tmpl='{}'",
            'network_g:num_feat=8',
            'network_g:num_block=2',
            'path:pretrain_network_g=experiments/pretrained_models/srresnet.pth',
        ),
        {
            'experiments/pretrained_models/srresnet.pth': (
                'basicsr.archs.srresnet_arch',
                'MSRResNet',
                {'num_feat': 8, 'num_block': 2},
            )
        },
        makes='results/*/visualization/Set5/*.png',
    ),
    Testing(
        'BasicSR',
        'options/test/BasicVSR/test_BasicVSR_REDS.yml',
        (
            'datasets:test_1:dataroot_gt=made/clips/gt',
            'datasets:test_1:dataroot_lq=made/clips/lq',
            'network_g:num_feat=8',
            'network_g:num_block=1',
            'network_g:spynet_path=~',
            'path:pretrain_network_g=~',
        ),
        makes='results/*/visualization/REDS4/**/*.png',
    ),
    Testing(
        'HAT',
        'options/test/HAT_SRx4.yml',
        (*_images('test_1'), *SMALL_HAT),
        {
            'experiments/pretrained_models/HAT_SRx4.pth': (
                'hat.archs.hat_arch',
                'HAT',
                {
                    'upscale': 4,
                    'img_size': 16,
                    'window_size': 16,
                    'compress_ratio': 3,
                    'squeeze_factor': 30,
                    'depths': [2],
                    'num_heads': [6],
                    'embed_dim': 60,
                    'mlp_ratio': 2,
                    'upsampler': 'pixelshuffle',
                    'img_range': 1.0,
                },
            )
        },
        makes='results/*/visualization/Set5/*.png',
    ),
    Testing(
        'Real-ESRGAN',
        'inference_realesrgan.py',
        ('-i', 'made/val_x4', '-n', 'realesr-animevideov3', '--model_path', 'weights/random.pth', '--fp32'),
        {
            'weights/random.pth': (
                'realesrgan.archs.srvgg_arch',
                'SRVGGNetCompact',
                {'num_feat': 64, 'num_conv': 16, 'upscale': 4, 'act_type': 'prelu'},
            )
        },
        makes='results/*_out.png',
    ),
    Testing(
        'GFPGAN',
        'inference_gfpgan.py',
        ('-i', 'made/faces_val_gt', '-v', '1.3', '--aligned', '--bg_upsampler', 'none'),
        {
            'experiments/pretrained_models/GFPGANv1.3.pth': (
                'gfpgan.archs.gfpganv1_clean_arch',
                'GFPGANv1Clean',
                {'out_size': 512, 'channel_multiplier': 2, 'different_w': True, 'sft_half': True},
            ),
            'gfpgan/weights/detection_Resnet50_Final.pth': (
                'facexlib.detection.retinaface',
                'RetinaFace',
                {'network_name': 'resnet50'},
            ),
            'gfpgan/weights/parsing_parsenet.pth': (
                'facexlib.parsing.parsenet',
                'ParseNet',
                {'in_size': 512, 'out_size': 512, 'parsing_ch': 19},
            ),
        },
        makes='results/restored_faces/*.png',
    ),
    Testing(
        'AnimeSR',
        'scripts/inference_animesr_frames.py',
        cannot='it calls torch.cuda.synchronize(), scripts/inference_animesr_frames.py:146',
    ),
    Testing(
        'PSRT',
        'inference/inference_psrtrecurrent_reds.py',
        cannot="it names torch.device('cuda'), inference/inference_psrtrecurrent_reds.py:17",
    ),
)
