# Made by: basicsr mm-config options/seem/tune_BasicVSRSEEM_REDS.yml

custom_imports = dict(imports='basicsr_semantic.mm')
default_scope = 'mmengine'
experiment_name = 'tune_BasicVSRSEEM_REDS'
work_dir = 'work_dirs/tune_BasicVSRSEEM_REDS'
randomness = dict(seed=0)
model = dict(
    type='basicsr_semantic.SemanticRestorer',
    generator=dict(
        type='BasicVSRSEEM',
        num_feat=64,
        num_block=30,
        num_masks=64,
        reduction=16,
        branches=['backward', 'forward'],
        share_branches=False,
        propagate_enhanced=True,
        zero_init=True,
    ),
    scale=4,
    pixel_loss=dict(type='CharbonnierLoss', loss_weight=1.0, reduction='mean'),
    train_cfg=dict(trainable=['sam_embed', 'seem_']),
    weights=dict(
        pretrain_network_g='experiments/pretrained_models/BasicVSR/BasicVSR_REDS-543c8261.pth',
        strict_load_g=False,
        param_key_g='params',
    ),
    seed=0,
    data_preprocessor=dict(type='basicsr_semantic.ClipPreprocessor'),
)
train_dataloader = dict(
    batch_size=6,
    num_workers=6,
    pin_memory=False,
    sampler=dict(type='basicsr_semantic.PlacedSampler', batch_size=6, total_iter=300000, ratio=200.0),
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
            dataroot_priors='datasets/REDS/sam_masks.lmdb',
            num_masks=64,
            prior_kind='sam',
            meta_info_file='basicsr/data/meta_info/meta_info_REDS_GT.txt',
            val_partition='REDS4',
            io_backend=dict(type='lmdb'),
            num_frame=15,
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
    type='OptimWrapper',
    constructor='basicsr_semantic.GroupedOptimizer',
    optimizer=dict(type='Adam', lr=0.0002, weight_decay=0, betas=[0.9, 0.99]),
)
param_scheduler = [
    dict(type='CosineRestartLR', by_epoch=False, periods=[300000], restart_weights=[1], eta_min=1e-07),
]
train_cfg = dict(type='basicsr_semantic.ResumableTrainLoop', max_iters=300000, val_interval=5000)
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
            dataroot_priors='datasets/REDS/sam_masks.lmdb',
            num_masks=64,
            prior_kind='sam',
            meta_info_file='basicsr/data/meta_info/meta_info_REDS4_test_GT.txt',
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
