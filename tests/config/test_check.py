"""Option files against the constructors they configure: all problems at once, and no false alarm."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
import yaml
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY
from helpers.options import make_data, problems_of, stock_options
from helpers.project import ROOT, write_options
from torch import nn

from basicsr_semantic.cli.components import option_sections
from basicsr_semantic.cli.remedies import with_remedies
from basicsr_semantic.config.check import optimizers, schedules
from basicsr_semantic.config.components import components
from basicsr_semantic.config.option_file import OptionFile
from basicsr_semantic.config.problems import Problem, raise_problems
from basicsr_semantic.config.sections import LoaderOptions
from basicsr_semantic.utils.errors import UserError

OURS = sorted((ROOT / 'options').rglob('*.yml'))


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp('data'))


@pytest.fixture
def check(data, tmp_path):
    """A function: a file in BasicSR's manner (or text) and overrides to the problems, by key."""

    def run(name: str, *overrides: str, text: str = '', warnings: bool = False) -> dict[str, Problem]:
        path = tmp_path / f'{name}.yml'
        path.write_text(text or stock_options(data)[name])
        file = OptionFile.read(path, overrides)
        return {problem.key: problem for problem in problems_of(file, 'train' in file.values, warnings)}

    return run


def line_of(text: str, beginning: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith(beginning))


# -------------------------------------------------------------------------------------------------- no false alarms


@pytest.mark.parametrize('name', sorted(stock_options(Path('x'))))
def test_files_in_basicsr_manner_are_in_order(check, name):
    assert check(name) == {}


@pytest.mark.parametrize('name', ['srresnet', 'edvr', 'basicvsr'])
def test_their_test_files_are_in_order(check, data, name):
    opt = yaml.safe_load(stock_options(data)[name])
    opt['datasets'] = {'test_1': opt['datasets']['val']}
    del opt['train'], opt['logger'], opt['dist_params'], opt['val']['val_freq']
    assert check(name, text=yaml.safe_dump(opt)) == {}


@pytest.mark.parametrize('path', OURS, ids=lambda path: path.stem)
def test_our_option_files_lack_at_most_data_and_weights(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    file = OptionFile.read(path)
    problems = problems_of(file, 'train' in file.values)
    assert [str(problem) for problem in problems if not problem.missing_file] == []


@pytest.mark.parametrize(
    ('entries', 'key', 'says'),
    [
        (['with_features=true', 'dataroot_priors=~'], '', 'with_features is true, but there is no store.'),
        (['with_features=true', 'gt_size=72'], '', 'Choose a multiple of 16, or'),
        (["filename_tmpl='{:08d}{}'"], ':filename_tmpl', 'is not a format for one number'),
        (['io_backend:type=disk', 'io_backend:foo=1'], ':io_backend:foo', "HardDiskBackend has no key 'foo' (its"),
    ],
)
def test_options_of_data_that_are_not_there_are_held_to_each_other(tmp_path, monkeypatch, entries, key, says):
    path = ROOT / 'options/seeclear/train_SeeClear_condenser_davis320.yml'
    monkeypatch.chdir(tmp_path)
    file = OptionFile.read(path, [f'datasets:train:{entry}' for entry in entries])
    found = [one for one in with_remedies(problems_of(file, True), file) if not one.missing_file]
    about_data = next(one for one in found if one.key == f'datasets:train{key}')
    assert says in about_data.message
    extract = 'Extract the priors with: basicsr extract --extractor openseed'
    assert (extract in about_data.suggestion) == ('no store' in says)
    assert ('--frames datasets/davis320/train/lq.lmdb' in about_data.suggestion) == ('no store' in says)


@pytest.mark.parametrize(
    ('name', 'entry'),
    [
        # what BasicSR's own files carry along without effect
        ('edvr', 'datasets:val:interval_list=[1]'),
        ('srresnet', 'datasets:train:num_frame=5'),
        ('edvr', 'network_d={type: VGGStyleDiscriminator, num_in_ch: 3, num_feat: 64}'),
        ('edvr', 'train:net_d_iters=1'),
        ('rcan', 'crop_border=~'),
        # what people write
        ('rcan', 'train:total_iter=!!float 3e5'),
        ('swinir', 'network_g:of_another_fork=1'),
        ('rcan', 'num_gpu=auto'),
        ('rcan', 'val=~'),
        ('rcan', 'network_g:res_scale=0.1'),
        ('rcan', 'network_g:img_range=1'),
    ],
)
def test_what_is_harmless_is_no_problem(check, name, entry):
    assert check(name, entry) == {}


# ------------------------------------------------------------------------------------------------------ misspellings


@pytest.mark.parametrize(
    ('name', 'old', 'new', 'key', 'advice'),
    [
        ('rcan', 'num_gpu', 'num_gpus', 'num_gpus', 'Did you mean num_gpu?'),
        ('rcan', 'squeeze_factor', 'squeeze_factors', 'network_g:squeeze_factors', 'Did you mean squeeze_factor?'),
        ('basicvsr', 'num_block', 'num_blocks', 'network_g:num_blocks', 'Did you mean num_block?'),
        ('basicvsr', 'gt_size', 'gt_sise', 'datasets:train:gt_sise', 'Did you mean gt_size?'),
        (
            'basicvsr',
            'batch_size_per_gpu',
            'batch_size',
            'datasets:train:batch_size',
            'Did you mean batch_size_per_gpu?',
        ),
        ('basicvsr', 'strict_load_g', 'strict_load', 'path:strict_load', 'Did you mean strict_load_g?'),
        ('basicvsr', 'betas', 'beta', 'train:optim_g:beta', 'Did you mean betas?'),
        ('basicvsr', 'eta_min', 'min_eta', 'train:scheduler:min_eta', 'Did you mean eta_min?'),
        ('basicvsr', 'flow_lr_mul', 'flow_lr_mult', 'train:flow_lr_mult', 'Did you mean flow_lr_mul?'),
        ('rcan', 'loss_weight', 'weight', 'train:pixel_opt:weight', 'Did you mean loss_weight?'),
        ('rcan', 'save_img', 'save_image', 'val:save_image', 'Did you mean save_img?'),
        ('rcan', 'test_y_channel', 'test_y_chanel', 'val:metrics:psnr:test_y_chanel', 'Did you mean test_y_channel?'),
        ('rcan', 'print_freq', 'print_frequency', 'logger:print_frequency', 'Did you mean print_freq?'),
        ('rcan', 'resume_id', 'resume', 'logger:wandb:resume', 'Did you mean resume_id?'),
        ('rcan', 'port', 'prot', 'dist_params:prot', 'Did you mean port?'),
        ('swinir', 'img_size', 'image_size', 'network_g:image_size', 'Did you mean img_size?'),
        ('esrgan', 'net_d_init_iters', 'net_d_init_iter', 'train:net_d_init_iter', 'Did you mean net_d_init_iters?'),
    ],
)
def test_a_misspelt_key_is_named_with_its_line(check, data, name, old, new, key, advice):
    text = stock_options(data)[name].replace(f'{old}:', f'{new}:', 1)
    problem = check(name, text=text, warnings=True)[key]
    # of what a constructor does not take the run dies; what an opt-dict class of BasicSR's does not read does nothing
    constructed = key.startswith(('network_g', 'train:optim_g', 'train:scheduler', 'train:pixel_opt'))
    assert problem.warning != (constructed and name != 'swinir')
    assert problem.suggestion == advice and f"no key '{new}'" in problem.message
    assert text.splitlines()[problem.line - 1].find(f'{new}:') >= 0
    assert str(problem).startswith(f'{problem.file}:{problem.line}: {key}: ')


def test_a_misspelt_key_is_named_also_where_the_right_one_is_there(check):
    problem = check('rcan', 'val:metrics:psnr:test_y_chanel=true', warnings=True)['val:metrics:psnr:test_y_chanel']
    assert problem.warning and problem.suggestion == 'Did you mean test_y_channel?'


@pytest.mark.parametrize(('model', 'refused'), [('SemanticVSRModel', True), ('SRModel', False)])
def test_two_data_sets_of_one_name_are_told(check, model, refused):
    """The files of one would replace those of the other; BasicSR's own models did so, and go on."""
    entries = [
        f'model_type={model}',
        'datasets:val_2={name: Set5, type: PairedImageDataset, dataroot_gt: ., dataroot_lq: .}',
    ]
    problem = check('rcan', 'datasets:val:name=Set5', *entries, warnings=True)['datasets:val_2:name']
    assert 'datasets:val is called' in problem.message and problem.warning != refused


FREE_NAMES = {'conv5_4', 'psnr', 'ssim'}
"""Keys that are names of one's choice."""


@pytest.mark.parametrize('name', ['swinir', 'esrgan', 'basicvsr'])
def test_no_misspelt_key_goes_unnoticed(data, name):
    opt = yaml.safe_load(stock_options(data)[name].replace('!!float ', ''))

    def sections(section):
        yield section
        for value in section.values():
            if isinstance(value, dict):
                yield from sections(value)

    unnoticed = []
    for section in list(sections(opt)):
        for key in [key for key in section if key not in FREE_NAMES]:
            items = list(section.items())
            section.clear()
            section.update((f'{k[:-2]}{k[-1]}{k[-2]}x' if k == key else k, v) for k, v in items)
            if not problems_of(opt, True, warnings=True):
                unnoticed.append(key)
            section.clear()
            section.update(items)
    assert unnoticed == []


def test_a_key_in_the_wrong_section_is_sent_home(check):
    found = check('rcan', 'ema_decay=0.9', 'train:val_freq=3', 'network_g:total_iter=3', warnings=True)
    assert found['ema_decay'].suggestion == 'It belongs into section train.'
    assert found['train:val_freq'].suggestion == 'It belongs into section val.'
    assert found['network_g:total_iter'].suggestion == 'It belongs into section train.'
    assert found['ema_decay'].file == '--force_yml' and found['ema_decay'].line is None


# ------------------------------------------------------------------------------------------------- types and values


@pytest.mark.parametrize(
    ('name', 'entry', 'message'),
    [
        ('rcan', 'scale="4"', "An integer is expected, but it is '4'. Write 4 without quotes."),
        ('rcan', 'train:total_iter=ten', "An integer is expected, but it is 'ten'."),
        ('rcan', 'train:total_iter=10.5', 'An integer is expected, but it is 10.5.'),
        ('rcan', 'scale=true', 'but it is true'),
        ('rcan', 'network_g:num_block=many', 'RCAN cannot be built: TypeError: '),
        ('rcan', 'datasets:train:pin_memory=1', 'True or false is expected, but it is 1.'),
        ('rcan', 'datasets:train:prefetch_mode=cdua', 'Did you mean cuda?'),
        ('rcan', 'train:optim_g:betas=[0.9]', 'A list of 2 is expected, but it is [0.9].'),
        ('rcan', 'train:pixel_opt:reduction=5', 'L1Loss cannot be built: ValueError: Unsupported reduction mode: 5'),
        ('rcan', 'path:ignore_resume_networks=network_g', "Write ['network_g']."),
        ('rcan', 'path:param_key_g=5', "Write '5' in quotes"),
        ('rcan', 'train=5', 'A section of keys is expected, but it is 5.'),
        ('rcan', 'network_g=RCAN', "A section of keys is expected, but it is 'RCAN'."),
        ('rcan', 'datasets:train=5', 'A section of keys is expected'),
        ('rcan', 'train:optim_g=Adam', 'A section of keys is expected'),
        ('rcan', 'train:pixel_opt=L1Loss', 'A section of keys is expected'),
        ('rcan', 'val:metrics:psnr=calculate_psnr', 'A section of keys is expected'),
        ('rcan', 'val:metrics:psnr:better=more', 'One of higher, lower is expected'),
        ('rcan', 'scale=0', 'It is 0, but must be at least 1.'),
        ('rcan', 'num_gpu=-1', 'It is -1, but must be at least 0.'),
        ('rcan', 'num_gpu=all', "but it is 'all'"),
        ('rcan', 'train:ema_decay=1', 'must be less than 1'),
        ('rcan', 'datasets:train:batch_size_per_gpu=0', 'must be at least 1'),
        ('rcan', 'logger:print_freq=0', 'must be at least 1'),
        ('rcan', 'train:optim_g:lr=-1e-4', 'Invalid learning rate'),
        ('rcan', 'train:optim_g:betas=[0.9, 1.5]', 'Adam cannot be built: ValueError: Invalid beta parameter'),
        ('basicvsr', 'train:scheduler:periods=[1, 500000]', 'restart_weights should have the same length'),
        ('rcan', 'name=a/b', 'cannot be the name of a folder'),
        ('rcan', 'datasets:val:name=../a', "has '..' in it"),
        ('rcan', 'datasets:val:name=/tmp/a', 'begins at the root of a file system or drive'),
        ('rcan', 'datasets:val:name=""', 'is empty'),
        ('rcan', 'val:suffix=/../../a', "has '..' in it"),
        ('rcan', 'datasets:train:io_backend:type=lmbd', 'Did you mean lmdb?'),
    ],
)
def test_a_wrong_value_is_one_problem(check, name, entry, message):
    key = entry.partition('=')[0]
    found = check(name, entry)
    problem = found.get(key) or found[key.rpartition(':')[0]]
    assert len(found) == 1 and message in str(problem) and problem.value is not None


def test_a_schedule_that_ends_before_the_run_is_refused(check):
    """BasicSR's has no learning rate beyond its periods, and stops with an exception when they are over."""
    name = next(
        name for name in sorted(stock_options(Path('x'))) if 'CosineAnnealing' in stock_options(Path('x'))[name]
    )
    overrides = ('train:scheduler:type=CosineAnnealingRestartLR', 'train:scheduler:periods=[4,3]')
    problems = check(name, *overrides, 'train:scheduler:restart_weights=[1,1]', 'train:total_iter=8')
    assert 'They add up to 7, but train:total_iter is 8' in problems['train:scheduler:periods'].message
    assert check(name, *overrides, 'train:scheduler:restart_weights=[1,1]', 'train:total_iter=7') == {}


@pytest.mark.parametrize(
    ('network', 'message'),
    [
        ('{type: SemanticLens, embed_dim: 100, num_heads: [6, 6, 6]}', '6 does not divide 100'),
        ('{type: PSRTRecurrent, upscale: 2, align: none}', 'PSRTRecurrent enlarges 2 times, but scale is 4.'),
        ('{type: SeeClear, window: 0}', 'window are at least 1'),
        ('{type: SeeClear, head_dim: 0}', 'by zero'),
        ('{type: BasicVSRSEEM, num_feat: -3}', 'negative dimension'),
        ('{type: BasicVSRSEEM, branches: [sideways]}', 'branches'),
    ],
)
def test_what_a_network_of_ours_refuses_is_known_before_it_is_built(check, network, message):
    (problem,) = check('rcan', f'network_g={network}').values()
    assert problem.key.split(':')[0] == 'network_g' and message in problem.message


def test_none_written_as_a_word_is_explained(check, data):
    text = stock_options(data)['rcan'].replace('pretrain_network_g: ~', 'pretrain_network_g: None')
    (problem,) = check('rcan', text=text).values()
    assert problem.suggestion == 'Write ~ for no file.' and problem.line == line_of(text, '  pretrain_network_g')


# ------------------------------------------------------------------------------------------------ unknown components


@pytest.mark.parametrize(
    ('name', 'entry', 'message'),
    [
        (
            'rcan',
            'model_type=SRModl',
            "No model is registered as 'SRModl'; a model is needed here. Did you mean SRModel?",
        ),
        ('rcan', 'network_g:type=RCNA', "No arch is registered as 'RCNA'; an arch is needed here. Did you mean RCAN?"),
        ('rcan', 'network_g:type=SRModel', 'SRModel is a model.'),
        ('rcan', 'datasets:train:type=EDVR', 'EDVR is an arch.'),
        ('rcan', 'datasets:train:type=PairedImagesDataset', 'Did you mean PairedImageDataset?'),
        ('rcan', 'train:pixel_opt:type=L2Loss', 'Did you mean L1Loss?'),
        ('rcan', 'val:metrics:psnr:type=psnr', '"basicsr components --kind metric" lists all'),
        ('rcan', 'train:optim_g:type=Adm', "'Adm' is not an optimiser. Did you mean Adam?"),
        ('rcan', 'train:scheduler:type=CosineLR', 'is not a schedule.'),
        ('rcan', 'network_g:type=5', 'No arch is registered as 5'),
        ('rcan', 'network_g:type=[RCAN]', "No arch is registered as ['RCAN']"),
        ('rcan', 'train:optim_g:type=[Adam]', 'is not an optimiser'),
        ('rcan', 'datasets:train:io_backend:type={a: 1}', 'is not an io_backend. There are: disk'),
    ],
)
def test_an_unknown_component_names_the_nearest(check, name, entry, message):
    problem = check(name, entry)[entry.partition('=')[0]]
    assert message in str(problem)


def test_an_unknown_model_does_not_make_other_keys_unknown(check):
    assert list(check('esrgan', 'model_type=Mine', 'of_mine=1', 'train:of_mine=1')) == ['model_type']


# ----------------------------------------------------------------------------------------------------------- metrics

METRICS = {
    'lpips': {'type': 'calculate_lpips', 'net': 'vgg', 'weights': '~', 'crop_border': 4, 'better': 'lower'},
    'dists': {'type': 'calculate_dists', 'device': 'cpu'},
    'niqe': {'type': 'calculate_niqe', 'crop_border': 0, 'better': 'lower'},
    'clip_iqa': {'type': 'calculate_clip_iqa'},
    'warp': {'type': 'calculate_warping_error', 'flow': 'farneback'},
    'warp_net': {'type': 'calculate_warping_error', 'flow': {'type': 'SpyNet', 'load_path': __file__}},
    'warp_other': {'type': 'calculate_warping_error', 'flow': {'type': 'RCAN', 'num_in_ch': 3, 'num_out_ch': 2}},
}


@pytest.mark.parametrize('name', sorted(METRICS))
def test_our_metrics_are_in_order(check, name):
    section = yaml.safe_dump(METRICS[name], default_flow_style=True, width=1000).strip().replace("'~'", '~')
    assert check('rcan', f'val:metrics:{name}={section}') == {}


@pytest.mark.parametrize(
    ('entry', 'key', 'message'),
    [
        ('{type: calculate_lpips, net: vgg19}', 'net', 'One of vgg, alex, squeeze is expected'),
        ('{type: calculate_lpips, wieghts: a.pth}', 'wieghts', 'Did you mean weights?'),
        ('{type: calculate_lpips, weights: none.pth}', 'weights', "'none.pth' does not exist. Write ~ to download"),
        ('{type: calculate_dists, dists_weights: none.pt}', 'dists_weights', "'none.pt' does not exist."),
        ('{type: calculate_lpips, img2: a.png}', 'img2', "no key 'img2'"),
        ('{type: calculate_warping_error, previous: a.png}', 'previous', "no key 'previous'"),
        ('{type: calculate_warping_error, flow: raft}', 'flow', 'Farneback or a section of keys is expected'),
        ('{type: calculate_warping_error, flow: {type: SpyNot}}', 'flow:type', 'Did you mean SpyNet?'),
        ('{type: calculate_warping_error, flow: {type: SpyNet, load_paht: .}}', 'flow:load_paht', 'load_path'),
        ('{type: calculate_warping_error, flow: {type: SpyNet, load_path: none.pth}}', 'flow:load_path', 'not exist'),
        ('{type: calculate_niqe}', 'crop_border', "'crop_border', which calculate_niqe needs, is missing"),
    ],
)
def test_mistakes_in_our_metrics(check, entry, key, message):
    problems = check('rcan', f'val:metrics:m={entry}')
    assert list(problems) == [f'val:metrics:m:{key}'] and message in str(problems[f'val:metrics:m:{key}'])


# -------------------------------------------------------------------------------------------------- what is missing


@pytest.mark.parametrize(
    ('name', 'line', 'key'),
    [
        ('rcan', 'name: rcan', 'name'),
        ('rcan', 'model_type: SRModel', 'model_type'),
        ('rcan', '  total_iter: 500000', 'train:total_iter'),
        ('rcan', '    lr: !!float 2e-4', 'train:optim_g:lr'),
        ('rcan', '    type: MultiStepLR', 'train:scheduler:type'),
        ('rcan', '    milestones: [200000, 400000]', 'train:scheduler:milestones'),
        ('rcan', '    dataroot_lq: ', 'datasets:train:dataroot_lq'),
        ('rcan', '      crop_border: 4', 'val:metrics:psnr:crop_border'),
        ('rcan', '  print_freq: 100', 'logger:print_freq'),
        ('basicvsr', '    test_mode: false', 'datasets:train:test_mode'),
        ('edvr', '    dataroot_flow: ~', 'datasets:train:dataroot_flow'),
        ('edvr', '    padding: ', 'datasets:val:padding'),
        ('rcan', 'scale: 4', 'datasets:train:scale'),
    ],
)
def test_a_missing_key_is_named(check, data, name, line, key):
    lines = stock_options(data)[name].splitlines()
    at = next(i for i, one in enumerate(lines) if one.startswith(line))
    found = check(name, text='\n'.join(lines[:at] + lines[at + 1 :]))
    assert key in found and 'missing' in found[key].message and found[key].value is None


@pytest.mark.parametrize('section', ['datasets', 'train', 'logger', 'network_g'])
def test_a_missing_section_is_named(check, data, section):
    opt = yaml.safe_load(stock_options(data)['rcan'])
    del opt[section]
    problems = problems_of(opt, True)
    assert [p.key for p in problems if 'missing' in p.message] == [section]


def test_a_training_without_training_data_and_a_test_without_any(check, data):
    opt = yaml.safe_load(stock_options(data)['rcan'])
    opt['datasets']['training'] = opt['datasets'].pop('train')
    keys = {p.key: p for p in problems_of(opt, True)}
    assert set(keys) == {'datasets:train', 'datasets:training'} and keys['datasets:training'].suggestion == 'Say train.'
    opt['datasets'] = {}
    assert 'There is no data set to test on.' in [p.message for p in problems_of(opt, False)]


def clip_options(**keys) -> dict:
    """A test with our data set."""
    dataset = {'name': 'x', 'type': 'SemanticClipTestDataset', 'io_backend': {'type': 'disk'}} | keys
    network = {'type': 'BasicVSR'}
    return {'name': 'x', 'model_type': 'VideoRecurrentModel', 'datasets': {'test_1': dataset}, 'network_g': network}


@pytest.mark.parametrize(
    ('key', 'value', 'advice'),
    [
        ('dataroot_gt', 'datasets/REDS/gt.lmdb', 'basicsr prepare clips FRAMES_OR_VIDEOS datasets/REDS'),
        (
            'dataroot_priors',
            'datasets/REDS/masks.lmdb',
            'basicsr extract --extractor sam --frames here/lq --out datasets/REDS/masks.lmdb',
        ),
        ('dataroot_lq', 'datasets/demo/test/lq', 'make demo-data'),
        ('dataroot_lq', 'my data/gone.lmdb', 'Make it with: basicsr prepare ytvis SRC my data --split x'),
        ('annotation_file', 'my data/gone.json', 'Make it with: basicsr prepare ytvis SRC my data --split x'),
        ('dataroot_priors', 'datasets/demo/test/masks.lmdb', 'make demo-data'),
        ('meta_info_file', 'basicsr/data/meta_info/meta_info_REDS_TG.txt', 'Did you mean basicsr/data/meta_info/'),
    ],
)
def test_missing_data_comes_with_the_command_that_makes_it(tmp_path, monkeypatch, key, value, advice):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'here' / 'lq').mkdir(parents=True)
    opt = clip_options(**({'dataroot_lq': 'here/lq'} | {key: value}))
    if 'my data' in value:
        opt['datasets']['test_1']['prepare'] = 'basicsr prepare ytvis SRC {folder} --split x'
    if key == 'annotation_file':
        opt['datasets']['test_1']['type'] = 'VideoInstanceTestDataset'
    (problem,) = problems_of(opt, False)
    assert problem.key == f'datasets:test_1:{key}' and problem.missing_file
    assert f"'{value}' does not exist" in problem.message and advice in problem.suggestion


def test_a_missing_checkpoint_comes_with_the_run_that_writes_it(tmp_path):
    (tmp_path / 'first_stage.yml').touch()
    for run, advice in (
        ('first_stage', f'The run first_stage writes it: basicsr train -opt {tmp_path / "first_stage.yml"}'),
        ('elsewhere', 'The run elsewhere writes it.'),
        ('pretrained_models', 'Give the path of the file, or ~ for none.'),
    ):
        opt = clip_options()
        opt['path'] = {'pretrain_network_g': f'experiments/{run}/models/net_g_latest.pth'}
        problems = problems_of(OptionFile(opt, str(tmp_path / 'second_stage.yml')), False)
        assert [p.suggestion for p in problems if p.key == 'path:pretrain_network_g'] == [advice]


def test_a_folder_is_no_checkpoint(tmp_path):
    opt = clip_options()
    opt['path'] = {'pretrain_network_g': str(tmp_path)}
    (problem,) = [p for p in problems_of(opt, False) if p.key == 'path:pretrain_network_g']
    assert 'is a folder' in problem.message


@pytest.mark.parametrize(
    ('kind', 'arguments'),
    [
        ('regions', 'regions --frames here/lq --out x/masks.lmdb'),
        ('annotations', 'annotations --annotations x/instances.json --frames here/lq --out x/masks.lmdb'),
        (
            'xdecoder',
            'xdecoder --checkpoint frames.pth --instance-checkpoint INSTANCE_CHECKPOINT --short-side 128 '
            '--score-threshold 0.1 --frames here/lq --out x/masks.lmdb',
        ),
    ],
)
def test_missing_priors_come_with_the_extractor_of_their_kind(tmp_path, monkeypatch, kind, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'here' / 'lq').mkdir(parents=True)
    opt = clip_options(dataroot_lq='here/lq', dataroot_priors='x/masks.lmdb', prior_kind=kind)
    opt['network_s'] = {'type': 'xdecoder', 'checkpoint': 'frames.pth', 'short_side': 128, 'score_threshold': 0.1}
    opt['network_s'] |= {'max_instances': 10, 'instance_source': 'vita'}  # as by default
    found = {problem.key: problem for problem in problems_of(opt, False)}
    suggestion = found['datasets:test_1:dataroot_priors'].suggestion
    assert f'basicsr extract --extractor {arguments}' in suggestion and 'regions' not in suggestion.replace(
        arguments, ''
    )


def test_a_missing_list_that_nobody_declares_stops_no_run(third_party):
    """Real-HAT's files name a list that its data set does not read."""
    opt = foreign_options()
    opt['datasets']['train']['meta_info_file'] = 'nowhere/list.txt'
    assert problems_of(opt, True) == []
    found = {problem.key: problem for problem in problems_of(opt, True, warnings=True)}
    assert found['datasets:train:meta_info_file'].missing_file and found['datasets:train:meta_info_file'].warning
    opt['datasets']['train']['dataroot_gt'] = 'nowhere'
    assert [problem.key for problem in problems_of(opt, True)] == ['datasets:train:dataroot_gt']


def test_missing_data_of_images_points_to_the_layout(check, data):
    text = stock_options(data)['rcan'].replace(f'{data}/gt', 'nowhere/gt', 1)
    (problem,) = check('rcan', text=text).values()
    assert 'datasets/README.md' in problem.suggestion and problem.missing_file


def test_missing_weights_name_the_nearest_file(check, tmp_path):
    (tmp_path / 'net_g_500.pth').touch()
    found = check(
        'basicvsr',
        f'path:pretrain_network_g={tmp_path}/net_g_50.pth',
        f'path:resume_state={tmp_path}/sub/5.state',
        f'network_g:spynet_path={tmp_path}/net_g_500.pth',
    )
    assert set(found) == {'path:pretrain_network_g', 'path:resume_state'}
    assert found['path:pretrain_network_g'].suggestion == f'Did you mean {tmp_path}/net_g_500.pth?'
    found = check('basicvsr', 'network_g:spynet_path=no/spynet.pth')
    assert list(found) == ['network_g:spynet_path'] and found['network_g:spynet_path'].missing_file


# ------------------------------------------------------------------------------------------------ all at once, ours


def test_all_problems_of_a_file_come_in_one_error(check, data):
    text = stock_options(data)['rcan'].replace('gt_size', 'gt_sise').replace('type: RCAN', 'type: RCNA')
    problems = list(check('rcan', 'train:optim_g:lrr=3', text=text).values())
    with pytest.raises(UserError) as error:
        raise_problems(problems)
    lines = str(error.value).splitlines()
    assert lines[0].startswith('3 problems in ') and len(lines) == 4  # gt_size is missing, the type, lrr
    assert [problem.line is None for problem in problems] == [False, False, True]
    assert problems[0].line < problems[1].line
    raise_problems([])
    with pytest.raises(UserError, match=r'^f\.yml:3: a:b: Wrong\. Do this\.$'):
        raise_problems([Problem('f.yml', 3, 'a:b', 1, 'Wrong.', 'Do this.')])


def test_our_model_and_data_are_checked_strictly(options):
    good = options()
    assert [p for p in problems_of(good, True) if p.key != 'network_g:type'] == []
    bad = options(train={'amp': 'fp8', 'trainabel': ['a'], 'grad_clip': 0}, path={'strict_load_g': 'yes'})
    bad['datasets']['train'] |= {'degradation': 'BX', 'masks': 3, 'num_masks': 65, 'interval_list': 1}
    found = {p.key: str(p) for p in problems_of(bad, True)}
    found.pop('network_g:type', None)
    assert set(found) == {
        'train:amp',
        'train:trainabel',
        'train:grad_clip',
        'path:strict_load_g',
        'datasets:train:degradation',
        'datasets:train:masks',
        'datasets:train:num_masks',
        'datasets:train:interval_list',
    }
    assert 'One of bf16, fp16 is expected' in found['train:amp']
    assert 'Did you mean trainable?' in found['train:trainabel']
    assert 'One of BI, BD, BD_DUF is expected' in found['datasets:train:degradation']
    assert 'Write [1].' in found['datasets:train:interval_list']


@pytest.mark.parametrize(
    ('groups', 'key', 'said'),
    [
        ([{'prefixes': ['a'], 'lr_scale': 0}], '0:lr_scale', 'It is 0, but must be more than 0.'),
        ([{'prefixes': ['a'], 'lr_scale': 'fast'}], '0:lr_scale', "A number is expected, but it is 'fast'."),
        ([{'prefixes': [], 'lr_scale': 2}], '0:prefixes', 'It is empty, so the group would hold nothing.'),
        ([{'prefixes': 'a', 'lr_scale': 2}], '0:prefixes', "A list is expected, but it is 'a'."),
        ([{'prefixes': ['a'], 'lr_scale': 1}, {'prefixes': [3], 'lr_scale': 1}], '1:prefixes:0', 'Text is expected'),
        ([{'prefixes': ['a']}], '0', "The key 'lr_scale' is missing."),
        (
            [{'prefixes': ['a'], 'lr_scale': 1, 'lr_scal': 2}],
            '0:lr_scal',
            'There is no such key; they are prefixes, lr_scale. Did you mean lr_scale?',
        ),
        (['a'], '0', "A section of keys is expected, but it is 'a'."),
        ({'prefixes': ['a'], 'lr_scale': 1}, '', 'A list is expected, but it is {prefixes, lr_scale}.'),
    ],
)
def test_groups_of_parameters_are_checked_entry_by_entry(options, groups, key, said):
    opt = options(network_g={'type': 'EDVRSEEM', 'num_frame': 3, 'positions': []})
    opt['train']['optim_g']['groups'] = groups
    (problem,) = problems_of(opt, True)
    assert problem.key == f'train:optim_g:groups:{key}'.removesuffix(':') and said in str(problem)


def test_groups_of_parameters_have_lines_and_are_a_key_of_our_models_alone(check, options, tmp_path):
    opt = options(network_g={'type': 'EDVRSEEM', 'num_frame': 3, 'positions': []})
    opt['train']['optim_g'] |= {'lr': '1e-3', 'groups': [{'prefixes': ['fusion.'], 'lr_scale': '2'}]}
    file = OptionFile.read(write_options(opt, tmp_path / 'a.yml'))
    assert problems_of(file, True) == []
    file = OptionFile.read(tmp_path / 'a.yml', ['train:optim_g:groups:0:lr_scale=-1', 'train:optim_g:weight_deca=0'])
    found = {problem.key: str(problem) for problem in problems_of(file, True)}
    assert found.keys() == {'train:optim_g:groups:0:lr_scale', 'train:optim_g:weight_deca'}
    assert 'Did you mean weight_decay?' in found['train:optim_g:weight_deca']
    found = check('rcan', 'train:optim_g:groups=[{prefixes: [head], lr_scale: 2}]')
    assert found.keys() == {'train:optim_g:groups'} and "Adam has no key 'groups'" in str(found['train:optim_g:groups'])


# ------------------------------------------------------------------------------------------------------- third parties


@pytest.fixture
def third_party(monkeypatch):
    """Components that another package would register."""

    class ForeignNet(nn.Module):
        """A net."""

        def __init__(self, width: int, mode: Literal['fast', 'slow'] = 'fast', parts: list[int] | None = None):
            super().__init__()

    class ForeignData(torch.utils.data.Dataset):
        def __init__(self, opt):
            self.root = opt['dataroot_gt']

    class Published(LoaderOptions):
        size: int
        """Size."""

    class ForeignPublished(torch.utils.data.Dataset):
        Options = Published

        def __init__(self, opt):
            self.opt = opt

    class ForeignModel:
        def __init__(self, opt):
            self.mode = opt['train']['phase_mode']

        def optimize_parameters(self, current_iter):
            pass

    def foreign_metric(img, img2, power: float = 2.0):
        return 0

    class ForeignLoss(nn.Module):
        def __init__(self, weight: float = 1.0):
            super().__init__()

    for registry, target in (
        (ARCH_REGISTRY, ForeignNet),
        (DATASET_REGISTRY, ForeignData),
        (DATASET_REGISTRY, ForeignPublished),
        (MODEL_REGISTRY, ForeignModel),
        (METRIC_REGISTRY, foreign_metric),
        (LOSS_REGISTRY, ForeignLoss),
    ):
        monkeypatch.setitem(registry._obj_map, target.__name__, target)


def foreign_options() -> dict:
    return {
        'name': 'x',
        'model_type': 'ForeignModel',
        'datasets': {
            'train': {'name': 'x', 'type': 'ForeignData', 'dataroot_gt': '.', 'seed': 1, 'batch_size_per_gpu': 1},
            'val': {'name': 'y', 'type': 'ForeignPublished', 'size': 3},
        },
        'network_g': {'type': 'ForeignNet', 'width': 3},
        'own_section': {'x': 1},
        'train': {'total_iter': 3, 'phase_mode': 'a', 'foreign_opt': {'type': 'ForeignLoss', 'weight': 2}},
        'val': {'metrics': {'m': {'type': 'foreign_metric', 'power': 3}}},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 1},
    }


def test_third_party_components_in_order(third_party):
    opt = foreign_options()
    opt['train']['unread'] = 3
    assert problems_of(opt, True) == []
    warnings = {p.key: p.message for p in problems_of(opt, True, warnings=True)}
    # nobody can tell whether these are read; one word about each section is enough
    assert set(warnings) == {'own_section', 'datasets:train:dataroot_gt', 'train:phase_mode'}
    assert 'The keys phase_mode, foreign_opt, unread are not known here' in warnings['train:phase_mode']


def test_third_party_components_are_checked_where_they_declare_something(third_party):
    opt = foreign_options()
    opt['network_g'] = {'type': 'ForeignNet', 'mode': 'slwo', 'parts': [1, 'b']}
    opt['datasets']['train'] |= {'num_worker_per_gp': 3, 'batch_size_per_gpu': 'two'}
    opt['datasets']['val'] |= {'size': 'big', 'gt_size': 3}
    opt['val']['metrics']['m']['power'] = 'x'
    opt['train']['foreign_opt']['wieght'] = 3
    found = {p.key: p for p in problems_of(opt, True, warnings=True)}
    errors = {key for key, problem in found.items() if not problem.warning}
    assert errors == {
        'network_g:width',
        'network_g:mode',
        'network_g:parts:1',
        'datasets:train:batch_size_per_gpu',
        'datasets:val:size',
        'val:metrics:m:power',
        'train:foreign_opt:wieght',
    }
    assert found['datasets:train:num_worker_per_gp'].suggestion == 'Did you mean num_worker_per_gpu?'
    assert found['datasets:train:num_worker_per_gp'].warning and found['datasets:val:gt_size'].warning
    assert 'Did you mean slow?' in str(found['network_g:mode'])


def test_a_model_that_wants_other_arguments_is_named(third_party, monkeypatch):
    """As those of projects with a training script of their own, which hand over a gradient scaler."""
    model = MODEL_REGISTRY.get('ForeignModel')
    monkeypatch.setattr(model, 'optimize_parameters', lambda self, scaler, current_iter: None)
    assert problems_of(foreign_options(), True) == []  # its own training script may be able to
    (problem,) = [p for p in problems_of(foreign_options(), True, warnings=True) if p.key == 'model_type']
    assert 'optimize_parameters(self, scaler, current_iter)' in problem.message


def test_what_basicsr_models_can_build():
    assert {'Adam', 'AdamW', 'SGD'} <= optimizers().keys() and 'Optimizer' not in optimizers()
    assert set(schedules()) == {'MultiStepLR', 'MultiStepRestartLR', 'CosineAnnealingRestartLR'}


@pytest.mark.parametrize('kind', ['arch', 'model', 'dataset', 'loss', 'metric'])
def test_keys_of_everything_that_is_registered_are_known(kind):
    for component in components(kind).values():
        for options in option_sections(component).values():
            assert all(name.isidentifier() for name in options.model_fields)
