# Made by: basicsr mm-config options/semlens_ytvis.yml

custom_imports = dict(imports='basicsr_semantic.mm')
default_scope = 'mmengine'
experiment_name = 'semlens_ytvis'
work_dir = 'work_dirs/semlens_ytvis'
randomness = dict(seed=0)
model = dict(
    type='basicsr_semantic.SemanticRestorer',
    generator=dict(
        type='SemanticLens',
        mid_channels=64,
        embed_dim=120,
        depths=[6, 6, 6],
        num_heads=[6, 6, 6],
        window_size=[3, 8, 8],
        mlp_ratio=2,
        drop_path_rate=0.1,
        gps=True,
        isee=True,
        image=True,
        image_window=9,
        token_dim=512,
        global_dim=512,
        checkpointing=True,
    ),
    scale=4,
    extractor=dict(
        type='xdecoder',
        extract_mode='cached',
        instance_source='vita',
        checkpoint='experiments/pretrained_models/X-Decoder/xdecoder_focalt_last.pt',
        instance_checkpoint='experiments/stage1_vis_ytvis19/models/net_g_latest.pth',
        short_side=360,
        max_instances=10,
        score_threshold=0.3,
    ),
    pixel_loss=dict(type='CharbonnierLoss', loss_weight=1.0, reduction='mean'),
    weights=dict(pretrain_network_g=None, strict_load_g=True),
    seed=0,
    data_preprocessor=dict(type='basicsr_semantic.ClipPreprocessor'),
)
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    pin_memory=False,
    sampler=dict(type='basicsr_semantic.PlacedSampler', batch_size=2, total_iter=300000, ratio=1.0),
    collate_fn=dict(type='basicsr_semantic.collate_clips'),
    worker_init_fn=dict(type='basicsr_semantic.start_worker'),
    dataset=dict(
        type='basicsr_semantic.SeededClips',
        seed=0,
        dataset=dict(
            type='basicsr_semantic.SemanticClipDataset',
            name='YTVIS-19',
            dataroot_gt='datasets/ytvis19_BI/train/gt.lmdb',
            dataroot_lq='datasets/ytvis19_BI/train/lq.lmdb',
            dataroot_priors='datasets/ytvis19_BI/train/xdecoder.lmdb',
            prior_kind='xdecoder',
            num_masks=10,
            prepare='basicsr prepare ytvis datasets/ytvis19 {folder}',
            io_backend=dict(type='lmdb'),
            num_frame=5,
            gt_size=256,
            interval_list=[1],
            random_reverse=False,
            use_hflip=True,
            use_rot=True,
            unfit_clips='leave_out',
            phase='train',
            scale=4,
        ),
    ),
)
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='basicsr_semantic.GroupedOptimizer',
    optimizer=dict(type='AdamW', lr=0.0002, weight_decay=0.0001, betas=[0.9, 0.99]),
)
param_scheduler = [
    dict(type='CosineRestartLR', by_epoch=False, periods=[300000], restart_weights=[1], eta_min=1e-07),
]
train_cfg = dict(type='basicsr_semantic.ResumableTrainLoop', max_iters=300000, val_interval=50000)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='basicsr_semantic.collate_item'),
    dataset=dict(
        type='basicsr_semantic.TestedClips',
        dataset=dict(
            type='basicsr_semantic.SemanticClipTestDataset',
            name='YTVIS-19',
            dataroot_gt='datasets/ytvis19_BI/valid/gt.lmdb',
            dataroot_lq='datasets/ytvis19_BI/valid/lq.lmdb',
            dataroot_priors='datasets/ytvis19_BI/valid/xdecoder.lmdb',
            prior_kind='xdecoder',
            num_masks=10,
            prepare='basicsr prepare ytvis datasets/ytvis19 {folder} --split valid',
            io_backend=dict(type='lmdb'),
            max_frames=5,
            shift_last=True,
            phase='val',
            scale=4,
        ),
    ),
)
val_evaluator = [
    dict(
        type='basicsr_semantic.calculate_psnr',
        crop_border=0,
        test_y_channel=True,
        label='psnr_y',
        prefix='YTVIS-19',
    ),
    dict(
        type='basicsr_semantic.calculate_ssim',
        crop_border=0,
        test_y_channel=True,
        label='ssim_y',
        prefix='YTVIS-19',
    ),
    dict(
        type='basicsr_semantic.calculate_psnr',
        crop_border=0,
        test_y_channel=False,
        label='psnr_rgb',
        prefix='YTVIS-19',
    ),
    dict(
        type='basicsr_semantic.calculate_ssim',
        crop_border=0,
        test_y_channel=False,
        label='ssim_rgb',
        prefix='YTVIS-19',
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
