# Made by: basicsr mm-config options/seeclear/test_SeeClear_REDS4.yml

custom_imports = dict(imports='basicsr_semantic.mm')
default_scope = 'mmengine'
experiment_name = 'test_SeeClear_REDS4'
work_dir = 'work_dirs/test_SeeClear_REDS4'
randomness = dict(seed=0)
model = dict(
    type='basicsr_semantic.SeeClearRestorer',
    generator=dict(
        type='SeeClear',
        dim=120,
        multipliers=[1, 2, 2, 4],
        head_dim=30,
        window=8,
        mlp_ratio=2,
        clip_length=5,
        unet='seeclear',
        dwt=True,
        semantic=True,
        mfsa=True,
        incam=True,
        category=True,
        token_dim=256,
        feature_dim=256,
        hidden_dim=256,
        num_tokens=100,
        num_queries=100,
        groups=4,
    ),
    scale=4,
    test_cfg=dict(sample_steps=15, seed=0, noise_repeat=False, amp=None),
    weights=dict(
        pretrain_network_g='experiments/train_SeeClear_joint_REDS/models/net_g_50000.pth',
        strict_load_g=True,
        param_key_g='params_ema',
    ),
    seed=0,
    diffusion=dict(
        steps=15,
        kappa=2.0,
        min_noise=0.04,
        power=0.3,
        etas_end=0.99,
        sigma_min=0.5,
        sigma_max=1.41421356,
        patch=4,
        posterior='markov',
    ),
    base_upsampler='bicubic',
    data_preprocessor=dict(type='basicsr_semantic.ClipPreprocessor'),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='basicsr_semantic.collate_item'),
    dataset=dict(
        type='basicsr_semantic.TestedClips',
        dataset=dict(
            type='basicsr_semantic.SemanticClipTestDataset',
            name='REDS4',
            dataroot_gt='datasets/REDS/gt.lmdb',
            dataroot_lq='datasets/REDS/lq.lmdb',
            dataroot_priors='datasets/REDS/openseed.lmdb',
            prior_kind='openseed',
            meta_info_file='basicsr/data/meta_info/meta_info_REDS4_test_GT.txt',
            io_backend=dict(type='lmdb'),
            phase='test',
            scale=4,
        ),
    ),
)
test_evaluator = [
    dict(
        type='basicsr_semantic.calculate_psnr',
        crop_border=0,
        test_y_channel=False,
        label='psnr',
        prefix='REDS4',
    ),
    dict(
        type='basicsr_semantic.calculate_ssim',
        crop_border=0,
        test_y_channel=False,
        label='ssim',
        prefix='REDS4',
    ),
    dict(type='basicsr_semantic.calculate_lpips', net='vgg', label='lpips', prefix='REDS4'),
    dict(type='basicsr_semantic.calculate_dists', label='dists', prefix='REDS4'),
    dict(type='basicsr_semantic.calculate_niqe', crop_border=0, label='niqe', prefix='REDS4'),
    dict(type='basicsr_semantic.calculate_clip_iqa', label='clip_iqa', prefix='REDS4'),
]
test_cfg = dict(type='TestLoop')
custom_hooks = [dict(type='basicsr_semantic.PlainCheckpoint'), dict(type='basicsr_semantic.ShowHook')]
