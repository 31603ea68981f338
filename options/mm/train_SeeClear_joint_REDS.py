# Made by: basicsr mm-config options/seeclear/train_SeeClear_joint_REDS.yml

custom_imports = dict(imports='basicsr_semantic.mm')
default_scope = 'mmengine'
experiment_name = 'train_SeeClear_joint_REDS'
work_dir = 'work_dirs/train_SeeClear_joint_REDS'
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
        checkpointing=True,
    ),
    scale=4,
    pixel_loss=dict(type='CharbonnierLoss', loss_weight=1.0, reduction='mean'),
    train_cfg=dict(stage='joint'),
    test_cfg=dict(sample_steps=15, seed=0, amp='bf16'),
    weights=dict(
        pretrain_network_g='experiments/train_SeeClear_memory_REDS/models/net_g_50000.pth',
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
train_dataloader = dict(
    batch_size=2,
    num_workers=6,
    pin_memory=False,
    sampler=dict(type='basicsr_semantic.PlacedSampler', batch_size=2, total_iter=50000, ratio=200.0),
    collate_fn=dict(type='basicsr_semantic.collate_clips'),
    worker_init_fn=dict(type='basicsr_semantic.start_worker'),
    dataset=dict(
        type='basicsr_semantic.SeededClips',
        seed=0,
        dataset=dict(
            type='basicsr_semantic.SemanticClipDataset',
            name='REDS',
            dataroot_gt='datasets/REDS/gt.lmdb',
            dataroot_lq='datasets/REDS/lq.lmdb',
            dataroot_priors='datasets/REDS/openseed.lmdb',
            prior_kind='openseed',
            meta_info_file='basicsr/data/meta_info/meta_info_REDS_GT.txt',
            val_partition='REDS4',
            io_backend=dict(type='lmdb'),
            num_frame=10,
            gt_size=256,
            interval_list=[1],
            random_reverse=False,
            use_hflip=True,
            use_rot=True,
            phase='train',
            scale=4,
        ),
    ),
)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',
    constructor='basicsr_semantic.GroupedOptimizer',
    optimizer=dict(type='Adam', lr=5e-05, weight_decay=0, betas=[0.5, 0.999]),
)
param_scheduler = [
    dict(type='CosineRestartLR', by_epoch=False, periods=[50000], restart_weights=[1], eta_min=2e-05),
]
train_cfg = dict(type='basicsr_semantic.ResumableTrainLoop', max_iters=50000, val_interval=10000)
val_dataloader = dict(
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
            first_frames=10,
            io_backend=dict(type='lmdb'),
            phase='val',
            scale=4,
        ),
    ),
)
val_evaluator = [
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
]
val_cfg = dict(type='ValLoop')
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=100),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=5000),
)
custom_hooks = [
    dict(type='basicsr_semantic.SeedHook', seed=0),
    dict(type='basicsr_semantic.PlainCheckpoint'),
    dict(type='EMAHook', ema_type='basicsr_semantic.AverageFromStart', momentum=0.0010000000000000009),
    dict(type='basicsr_semantic.ShowHook'),
]
log_processor = dict(by_epoch=False)
