# Made by: basicsr mm-config options/seem/test_BasicVSRSEEM_REDS4.yml

custom_imports = dict(imports='basicsr_semantic.mm')
default_scope = 'mmengine'
experiment_name = 'test_BasicVSRSEEM_REDS4'
work_dir = 'work_dirs/test_BasicVSRSEEM_REDS4'
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
    weights=dict(
        pretrain_network_g='experiments/train_BasicVSRSEEM_REDS/models/net_g_300000.pth',
        strict_load_g=True,
        param_key_g='params_ema',
    ),
    seed=0,
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
            dataroot_priors='datasets/REDS/sam_masks.lmdb',
            num_masks=64,
            prior_kind='sam',
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
]
test_cfg = dict(type='TestLoop')
custom_hooks = [dict(type='basicsr_semantic.PlainCheckpoint'), dict(type='basicsr_semantic.ShowHook')]
