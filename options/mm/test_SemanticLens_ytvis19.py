# Made by: basicsr mm-config options/semantic_lens/test_SemanticLens_ytvis19.yml

custom_imports = dict(imports='basicsr_semantic.mm')
default_scope = 'mmengine'
experiment_name = 'test_SemanticLens_ytvis19'
work_dir = 'work_dirs/test_SemanticLens_ytvis19'
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
        checkpointing=False,
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
    weights=dict(
        pretrain_network_g='experiments/semlens_ytvis/models/net_g_300000.pth',
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
            phase='test',
            scale=4,
        ),
    ),
)
test_evaluator = [
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
test_cfg = dict(type='TestLoop')
custom_hooks = [dict(type='basicsr_semantic.PlainCheckpoint'), dict(type='basicsr_semantic.ShowHook')]
