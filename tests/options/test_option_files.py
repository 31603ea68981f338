"""Every option file that we ship: complete, named after itself, checked, and buildable."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network
from helpers.options import problems_of
from helpers.project import ROOT

from basicsr_semantic.cli import prepare
from basicsr_semantic.config.option_file import load_yaml
from basicsr_semantic.models.frame_decoders import build_frame_decoder
from basicsr_semantic.models.semantic_source import SemanticSource

FILES = sorted((ROOT / 'options').rglob('*.yml'))
IDS = [str(file.relative_to(ROOT / 'options')) for file in FILES]


@pytest.mark.parametrize('file', FILES, ids=IDS)
def test_only_files_of_data_and_weights_are_missing(file: Path):
    opt = load_yaml(str(file))
    problems = problems_of(opt, 'train' in opt)
    assert [str(problem) for problem in problems if not problem.missing_file] == []


@pytest.mark.parametrize('file', FILES, ids=IDS)
def test_it_says_what_it_is_for_and_is_named_after_itself(file: Path):
    lines = file.read_text().splitlines()
    schema = lines[0].removeprefix('# yaml-language-server: $schema=')
    assert (file.parent / schema).resolve() == ROOT / 'options' / 'schema.json'
    assert lines[1].startswith('# ') and lines[2].startswith('# ') and not lines[3].startswith('#')
    for_no_table = file.parent.name == 'demo' or file.stem.endswith(('_davis320', '_mine', '_frames'))
    assert for_no_table or re.search(r'\bTables? \d', lines[1])
    assert load_yaml(str(file))['name'] == file.stem


def options_of(name: str) -> dict:
    """The content of the file of that name."""
    (file,) = (file for file in FILES if file.stem == name)
    return load_yaml(str(file))


def test_every_table_of_seem_has_its_files():
    """Full and tune-only for both data sets and hosts, tests, the ablation of Table 6, the control of Table 5."""
    names = {file.stem for file in FILES if file.parent.name == 'seem'}
    for host, data in (
        ('BasicVSRSEEM', 'REDS'),
        ('EDVRSEEM_M', 'REDS'),
        ('BasicVSRSEEM', 'Vimeo90K'),
        ('EDVRSEEM_L', 'Vimeo90K'),
    ):
        assert {f'train_{host}_{data}', f'tune_{host}_{data}'} <= names
    assert {'test_BasicVSRSEEM_REDS4', 'test_EDVRSEEM_M_REDS4', 'test_BasicVSRSEEM_Vid4'} <= names
    assert {'test_EDVRSEEM_L_Vid4', 'test_BasicVSRSEEM_Vimeo90K-T', 'test_EDVRSEEM_L_Vimeo90K-T'} <= names
    assert {f'train_BasicVSRSEEM_{branch}_Vimeo90K' for branch in ('forward', 'backward')} <= names
    assert {'train_EDVR_L_finetune_Vimeo90K', 'train_BasicVSR_finetune_Vimeo90K'} <= names


@pytest.mark.parametrize('host', ['BasicVSRSEEM', 'EDVRSEEM_M', 'EDVRSEEM_L'])
def test_tuning_trains_the_published_number_of_parameters(host):
    """SEEM alone: 594,640 on BasicVSR, 483,340 on EDVR-M, 1,854,488 on EDVR-L."""
    data = 'Vimeo90K' if host == 'EDVRSEEM_L' else 'REDS'
    opt = load_yaml(str(ROOT / 'options' / 'seem' / f'tune_{host}_{data}.yml'))
    net = build_network(opt['network_g'])
    prefixes = tuple(opt['train']['trainable'])
    count = sum(p.numel() for name, p in net.named_parameters() if name.startswith(prefixes))
    assert count == {'BasicVSRSEEM': 594_640, 'EDVRSEEM_M': 483_340, 'EDVRSEEM_L': 1_854_488}[host]


def test_every_network_can_be_built():
    networks = {json.dumps({**load_yaml(str(file))['network_g'], 'spynet_path': None}) for file in FILES}
    small = {text for text in networks if '"num_feat": 128' not in text}  # EDVR-L is built above
    for text in small:
        arguments = json.loads(text)
        if arguments['type'] not in ('BasicVSR', 'BasicVSRSEEM', 'BasicVSRPlusPlus', 'PSRTRecurrent'):
            del arguments['spynet_path']
        with torch.device('meta'):  # sizes alone: some of these networks have a hundred million parameters
            build_network(arguments)
    assert len(small) >= 15


# ------------------------------------------------------------------------------------------------------ Semantic Lens

ROWS = {
    'train_SemanticLens_base_{}': (False, False, False),
    'train_SemanticLens_gps_{}': (True, False, False),
    'train_SemanticLens_gps_isee_{}': (True, True, False),
}
"""The first rows of Table 3 of its paper: GPS, ISEE, IMAGE."""
PRIORS = ('dataroot_priors', 'prior_kind', 'num_masks')


def without_priors(opt: dict) -> dict:
    """Everything but the name and what has to do with priors."""
    parts = {f'network_g:{part}' for part in ('gps', 'isee', 'image')}
    flat = {f'{a}:{b}': v for a in ('network_g', 'path', 'train', 'val') for b, v in (opt.get(a) or {}).items()}
    data = {
        f'{phase}:{key}': value
        for phase, section in opt['datasets'].items()
        for key, value in section.items()
        if key not in PRIORS
    }
    return {key: value for key, value in (flat | data).items() if key not in parts}


@pytest.mark.parametrize('data', ['ytvis19', 'davis320'])
def test_the_rows_of_table_3_differ_in_their_modules_alone(data):
    last = options_of('semlens_ytvis' if data == 'ytvis19' else 'train_SemanticLens_davis320')
    assert [last['network_g'][part] for part in ('gps', 'isee', 'image')] == [True] * 3
    for name, modules in ROWS.items():
        row = options_of(name.format(data))
        assert tuple(row['network_g'][part] for part in ('gps', 'isee', 'image')) == modules
        assert without_priors(row) == without_priors(last)
        assert ('network_s' in row) == any(modules)
        assert all(('dataroot_priors' in section) == any(modules) for section in row['datasets'].values())


@pytest.mark.parametrize(
    'name',
    ['semlens_ytvis', 'train_SemanticLens_ytvis19_BD', 'train_SemanticLens_ytvis21', 'train_SemanticLens_ytvis22'],
)
def test_stage_2_is_trained_as_the_paper_says(name):
    opt = options_of(name)
    train, data = opt['train'], opt['datasets']['train']
    assert (data['num_frame'], data['gt_size'] // opt['scale'], data['batch_size_per_gpu']) == (5, 64, 2)
    optimiser = {'type': 'AdamW', 'lr': 2e-4, 'weight_decay': 1e-4, 'betas': [0.9, 0.99]}
    assert train['optim_g'] == optimiser and train['pixel_opt']['type'] == 'CharbonnierLoss'
    first = options_of('semlens_ytvis')
    assert opt['network_g'] == first['network_g'] and train == first['train'] and opt['val'] == first['val']
    assert opt['network_s']['extract_mode'] == 'cached'
    assert f'experiments/{stage_1(name)}/models/net_g_latest.pth' == opt['network_s']['instance_checkpoint']


def stage_1(name: str) -> str:
    """The file of stage 1 for one of stage 2."""
    year = next((year for year in ('21', '22') if f'ytvis{year}' in name), '19')
    stem = f'stage1_vis_ytvis{year}'
    assert options_of(stem)['name'] == stem
    return stem


def test_semantic_lens_has_the_published_number_of_parameters():
    net = build_network(options_of('semlens_ytvis')['network_g'])
    assert sum(p.numel() for p in net.parameters()) == 17_027_107


@pytest.mark.parametrize('year', ['19', '21', '22'])
def test_tests_of_semantic_lens_are_of_its_training(year):
    test = options_of(f'test_SemanticLens_ytvis{year}')
    trained = options_of('semlens_ytvis' if year == '19' else f'train_SemanticLens_ytvis{year}')
    last = trained['train']['total_iter']
    assert test['path']['pretrain_network_g'] == f'experiments/{trained["name"]}/models/net_g_{last}.pth'
    assert {**test['network_g'], 'checkpointing': True} == trained['network_g']
    assert test['network_s'] == trained['network_s'] and test['val']['metrics'] == trained['val']['metrics']
    assert test['datasets']['test_1'] == trained['datasets']['val']


def test_table_2_of_semantic_lens_has_its_baselines():
    for name in ('BasicVSR', 'BasicVSRPlusPlus', 'PSRT'):
        opt, lens = options_of(f'train_{name}_ytvis19'), options_of('semlens_ytvis')
        for phase, section in opt['datasets'].items():
            same = {key: value for key, value in lens['datasets'][phase].items() if key not in PRIORS}
            assert section == same
        assert opt['val'] == lens['val']


YTVIS = [
    pytest.param(file, phase, id=f'{file.stem}-{phase}')
    for file in FILES
    if 'ytvis' in file.stem
    for phase in load_yaml(str(file))['datasets']
]


@pytest.mark.parametrize(('file', 'phase'), YTVIS)
def test_missing_data_of_youtube_vis_come_with_the_exact_call(file, phase, tmp_path, monkeypatch):
    """The call that a run prints, read by the command it is for, writes what the file reads."""
    monkeypatch.chdir(tmp_path)  # where no data set is
    opt = load_yaml(str(file))
    section = opt['datasets'][phase]
    problems = {p.key: p for p in problems_of(opt, 'train' in opt)}
    for key in {'dataroot_gt', 'dataroot_lq', 'annotation_file'} & section.keys():
        advice = problems[f'datasets:{phase}:{key}'].suggestion
        command = advice.removeprefix('Make it with: basicsr ').split()
        parser = argparse.ArgumentParser()
        prepare.add_parser(parser.add_subparsers())
        args = parser.parse_args(command)
        assert args.run is prepare.run_ytvis
        target = Path(section[key]).parent
        assert args.target == target and args.split == target.name
        assert args.degradation == target.parent.name.rpartition('_')[2]
        assert args.source.name == target.parent.name.rpartition('_')[0]
        assert Path(section[key]).name in ('gt.lmdb', 'lq.lmdb', 'instances.json')
    if 'dataroot_priors' in section:
        advice = problems[f'datasets:{phase}:dataroot_priors'].suggestion
        frozen = opt['network_s']
        assert f'--checkpoint {frozen["checkpoint"]} --instance-checkpoint {frozen["instance_checkpoint"]} ' in advice
        assert f'--frames {section["dataroot_lq"]} --out {section["dataroot_priors"]}' in advice


@pytest.mark.parametrize(
    ('first', 'second'),
    [('stage1_demo', 'train_SemanticLens_demo'), ('stage1_davis320', 'train_SemanticLens_davis320')],
)
def test_stages_of_small_files_fit_each_other(first, second):
    one, two = options_of(first), options_of(second)
    frames = build_frame_decoder(one['frame_decoder'], None)
    instances = build_network(one['network_g'])
    assert frames.token_dim == instances.config['hidden_dim'] == two['network_g']['token_dim']
    assert two['network_g']['global_dim'] == frames.token_dim
    assert frames.num_tokens == instances.config['num_frame_queries']
    assert frames.mask_dim == instances.config['feature_dim']
    assert two['network_s']['checkpoint'] == f'experiments/{first}/models/net_f_latest.pth'
    assert two['network_s']['instance_checkpoint'] == f'experiments/{first}/models/net_g_latest.pth'
    assert two['network_s']['short_side'] == one['datasets']['val']['short_side']


def test_full_size_files_of_stage_1_fit_x_decoder():
    for year in ('19', '21', '22'):
        one = options_of(f'stage1_vis_ytvis{year}')
        assert one['train']['trainable'] == ['instance'] and one['frame_decoder']['preset'] == 'focal_t'
        assert one['datasets']['train']['val_every'] == one['datasets']['val']['val_every'] == 20
        config = build_network(one['network_g']).config
        assert (config['hidden_dim'], config['num_frame_queries'], config['feature_dim']) == (512, 100, 512)
        test = options_of(f'test_stage1_vis_ytvis{year}')
        assert test['network_g'] == one['network_g']
        assert test['path']['pretrain_network_g'] == f'experiments/{one["name"]}/models/net_g_latest.pth'


# ----------------------------------------------------------------------------------------------------------- SeeClear

PARTS = ('dwt', 'semantic', 'mfsa', 'incam', 'category')
TABLE_2 = {
    'train_SeeClear_base_REDS': (True, False, False, False, False),
    'train_SeeClear_semantic_REDS': (True, True, False, False, False),
    'train_SeeClear_semantic_mfsa_REDS': (True, True, True, False, False),
    'train_SeeClear_semantic_mfsa_incam_REDS': (True, True, True, True, False),
    'train_SeeClear_semantic_category_joint_REDS': (True, True, False, False, True),
    'train_SeeClear_no_dwt_joint_REDS': (False, True, True, True, True),
    'train_SeeClear_joint_REDS': (True, True, True, True, True),
}
TABLE_4 = {  # U-Net and variance of the blur
    'train_SeeClear_frame_wavediff_blur0_REDS': ('wavediff', 0),
    'train_SeeClear_frame_wavediff_blur2_REDS': ('wavediff', 2),
    'train_SeeClear_frame_wavediff_blur3_REDS': ('wavediff', 3),
    'train_SeeClear_frame_swin_blur0_REDS': ('swin', 0),
    'train_SeeClear_frame_blur2_REDS': ('seeclear', 2),
}
STAGES = ('condenser', 'memory', 'joint')


def test_the_rows_of_table_2_have_their_parts():
    for name, parts in TABLE_2.items():
        opt = options_of(name)
        assert tuple(opt['network_g'][part] for part in PARTS) == parts, name
        assert opt['datasets']['val']['meta_info_file'].endswith('REDS4_test_GT.txt')
        assert ('dataroot_priors' in opt['datasets']['train']) == any(parts[1:])


def test_the_rows_of_table_4_have_their_unets_and_blurs():
    for name, (unet, variance) in TABLE_4.items():
        opt = options_of(name)
        assert opt['network_g']['unet'] == unet and not any(opt['network_g'][part] for part in PARTS[1:])
        assert opt['diffusion']['sigma_max'] ** 2 == pytest.approx(variance, abs=1e-6)
        assert opt['network_g']['clip_length'] == opt['datasets']['train']['num_frame'] == 1
        assert opt['datasets']['val']['first_frames'] == 1


@pytest.mark.parametrize(
    ('base', 'data'),
    [('', 'REDS'), ('', 'Vimeo90K'), ('', 'davis320'), ('', 'demo'), ('BasicVSR_', 'REDS'), ('BasicVSR_', 'Vimeo90K')],
)
def test_every_stage_goes_on_from_the_one_before(base, data):
    before = None
    for stage in STAGES:
        name = f'train_SeeClear_{base}{stage}_{data}'
        opt = options_of(name)
        assert opt['train']['stage'] == stage and opt['train']['optim_g']['betas'] == [0.5, 0.999]
        start = (opt.get('path') or {}).get('pretrain_network_g')
        assert (start is None) == (before is None)
        if before is not None:
            assert start.startswith(f'experiments/{before["name"]}/models/net_g_')
            assert opt['network_g'] == before['network_g'] and opt['diffusion'] == before['diffusion']
        frames = opt['datasets']['train']['num_frame']
        assert frames == 5 if stage == 'condenser' else frames > 5
        before = opt


@pytest.mark.parametrize('data', ['REDS', 'Vimeo90K'])
@pytest.mark.parametrize('base', ['', 'BasicVSR_'])
def test_the_result_is_tested_with_the_network_that_was_trained(data, base):
    trained = options_of(f'train_SeeClear_{base}joint_{data}')
    tested = options_of(f'test_SeeClear_{base}{"REDS4" if data == "REDS" else "Vid4"}')
    del trained['network_g']['checkpointing']
    assert tested['network_g'] == trained['network_g'] and tested['diffusion'] == trained['diffusion']
    assert tested['base_upsampler'] == trained['base_upsampler']
    assert tested['path']['pretrain_network_g'].startswith(f'experiments/{trained["name"]}/')


def test_seeclear_has_the_size_that_its_page_names():
    with torch.device('meta'):
        net = build_network(options_of('train_SeeClear_joint_REDS')['network_g'])
    assert sum(p.numel() for p in net.parameters()) == 112_227_800


@pytest.mark.parametrize('file', [file for file in FILES if 'network_s' in load_yaml(str(file))], ids=lambda f: f.stem)
def test_the_frozen_extractor_goes_with_the_data(file: Path):
    """What the run itself would refuse at its start."""
    opt = load_yaml(str(file))
    source = object.__new__(SemanticSource)
    source.mode, source.instances = opt['network_s']['extract_mode'], None
    source.wanted = ('frame_tokens', 'pixel_features') if opt['model_type'] == 'SeeClearModel' else ('masks',)
    for name, dataset in opt['datasets'].items():
        source.check_dataset(dataset, f'datasets:{name}')
