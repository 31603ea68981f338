"""Runs of stage 2 by the command: store made, all three modes trained, resumed, distributed, tested."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from helpers.project import basicsr, basicsr_in_two, write_options
from helpers.runs import equal
from helpers.semantics import WIDTH, checkpoints

from basicsr_semantic.cli import main
from basicsr_semantic.engine.checkpoint import load_file
from basicsr_semantic.priors import PriorStore

pytestmark = pytest.mark.slow

LENS = {
    'type': 'SemanticLens', 'mid_channels': 8, 'embed_dim': 12, 'depths': [2, 2], 'num_heads': [2, 2],
    'window_size': [3, 4, 4], 'image_window': 5, 'token_dim': WIDTH, 'global_dim': WIDTH,
}  # fmt: skip
EXTRACTION = {'short_side': 32, 'score_threshold': 0.0, 'max_instances': 4}


@pytest.fixture(scope='module')
def made(clips, tmp_path_factory) -> dict[str, str]:
    """Checkpoints of stage 1 and the store that the command makes with them."""
    root = tmp_path_factory.mktemp('stage_one')
    files = checkpoints(root)
    flags = [f'--{name.replace("_", "-")}={value}' for name, value in {**files, **EXTRACTION}.items()]
    done = basicsr('extract', '--extractor', 'xdecoder', '--frames', clips / 'lq', '--out', 'store', *flags, cwd=root)
    assert done.returncode == 0, done.stderr
    assert 'store: masks and tokens of 21 frames made' in done.stdout
    assert '21/21' in done.stderr and 'frame/s' in done.stderr
    return {**files, 'store': str(root / 'store')}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    """Experiments and results are made in the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def stage_two(options, made):
    """A function: an option file of stage 2 in a mode."""

    def make(name: str, mode: str, **sections) -> dict:
        opt = options(name=name, network_g=LENS, **sections)
        files = {key: made[key] for key in ('checkpoint', 'instance_checkpoint')}
        opt['network_s'] = {'type': 'xdecoder', 'extract_mode': mode, **files, **EXTRACTION}
        data = {'dataroot_priors': made['store'], 'prior_kind': 'xdecoder', 'num_masks': 4}
        more = data if mode == 'cached' else {'whole_frames': mode == 'online_full'}
        opt['datasets']['train'] |= more
        opt['train']['total_iter'] = 4
        return opt

    return make


def train(opt: dict, cwd: Path, *flags: str) -> str:
    """Train to the end in this process; gives the log."""
    file = write_options(opt, cwd / f'{opt["name"]}.yml')
    assert main(['train', '-opt', str(file), *flags]) == 0
    return max((cwd / f'experiments/{opt["name"]}').glob(f'train_{opt["name"]}_*.log')).read_text()


def weights(cwd: Path, name: str, iteration: int | str = 'latest') -> dict:
    return load_file(cwd / f'experiments/{name}/models/net_g_{iteration}.pth')


def test_the_store_is_that_of_the_command_run_in_parts(clips, made, tmp_path):
    flags = [f'--{name}={made[name.replace("-", "_")]}' for name in ('checkpoint', 'instance-checkpoint')]
    flags += [f'--{name.replace("_", "-")}={value}' for name, value in EXTRACTION.items()]
    for shard in ('2/2', '1/2'):
        done = basicsr(
            'extract', '--extractor', 'xdecoder', '--frames', clips / 'lq', '--out', 's', '--shard', shard, *flags,
            cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    first, second = PriorStore(made['store']), PriorStore(tmp_path / 's')
    assert first.meta == second.meta and first.meta['tokens'] == {'num': 6, 'dim': WIDTH, 'global_dim': WIDTH}
    keys = first.keys()
    assert keys == second.keys() and len(first) == 21
    assert all(first._get(key) == second._get(key) for key in keys)
    for one, two in zip(first.clip_tokens(keys), second.clip_tokens(keys), strict=True):
        assert (one == two).all() and one.any()


@pytest.mark.parametrize('mode', ['cached', 'online_full', 'online_patch'])
def test_every_mode_trains_and_keeps_the_extractor_out_of_its_files(stage_two, made, tmp_path, mode):
    before = {name: Path(made[name]).read_bytes() for name in ('checkpoint', 'instance_checkpoint')}
    opt = stage_two(f'tiny_{mode}', mode)
    log = train(opt, tmp_path)
    assert re.search(r'iter: +4,.* l_pix: ', log)
    assert all(Path(made[name]).read_bytes() == content for name, content in before.items())
    found = weights(tmp_path, opt['name'])
    assert found['prior_kind'] == 'xdecoder'
    # the extractor has parts of these names, the network none
    assert not [key for key in found['params'] if re.match(r'backbone|sem_seg_head|enc_|decoder|query_|fq_pos', key)]
    assert found['params'].keys() == found['params_ema'].keys()
    folder = tmp_path / f'experiments/{opt["name"]}'
    assert sorted(file.name for file in (folder / 'models').iterdir()) == [
        'net_g_2.pth',
        'net_g_4.pth',
        'net_g_latest.pth',
    ]
    state = load_file(folder / 'training_states/4.state')
    assert state['weights'] == {'net_g': 'net_g_4.pth'}
    assert len(state['optimizers'][0]['state']) == len(list(found['params'])) - len(
        [key for key in found['params'] if key.endswith('relative_position_index')]
    )


def test_modes_agree_where_they_see_the_same(stage_two, tmp_path):
    """Whole clips in order and no crop: store, whole frames and patch are one and the same."""
    losses = []
    for mode in ('cached', 'online_full', 'online_patch'):
        opt = stage_two(f'same_{mode}', mode)
        same = {'num_frame': 7, 'interval_list': [1], 'random_reverse': False, 'gt_size': None}
        opt['datasets']['train'] |= same | {'use_hflip': False, 'use_rot': False, 'batch_size_per_gpu': 1}
        opt['train']['total_iter'] = 2
        log = train(opt, tmp_path)
        losses.append(re.findall(r'l_pix: (\S+)', log))
    assert len(losses[0]) == 2 and losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize('mode', ['cached', 'online_full'])
def test_a_resumed_run_ends_bit_identical(stage_two, tmp_path, mode):
    opt = stage_two('whole', mode)
    train(opt, tmp_path)
    shutil.copytree(tmp_path / 'experiments/whole', tmp_path / 'experiments/resumed')
    for pattern in ('models/*_4.pth', 'models/*_latest.pth', 'training_states/4.state'):
        for file in (tmp_path / 'experiments/resumed').glob(pattern):
            file.unlink()
    log = train(opt | {'name': 'resumed'}, tmp_path, '--auto_resume')
    assert 'Resuming after iteration 2.' in log
    for file in ('models/net_g_4.pth', 'models/net_g_latest.pth', 'training_states/4.state'):
        one, two = (load_file(tmp_path / f'experiments/{name}/{file}') for name in ('whole', 'resumed'))
        assert equal(one, two), file
    assert not equal(weights(tmp_path, 'whole', 2)['params'], weights(tmp_path, 'whole')['params'])


def test_two_processes_with_half_the_batch_equal_one_with_all(stage_two, tmp_path):
    """Gloo on the CPU, without find_unused_parameters: every parameter takes part in every step."""
    for name, batch in (('one', 2), ('two', 1)):
        opt = stage_two(name, 'cached')
        opt['network_g'] = LENS | {'drop_path_rate': 0.0}
        opt['datasets']['train'] |= {'batch_size_per_gpu': batch, 'use_hflip': False, 'use_rot': False}
        opt['dist_params'] = {'backend': 'nccl'}
        opt['train']['optim_g']['eps'] = 1e-4  # so that a gradient of rounding errors alone makes no step
        if name == 'one':
            train(opt, tmp_path)
            continue
        for done in basicsr_in_two('train', '-opt', write_options(opt, tmp_path / 'two.yml'), cwd=tmp_path):
            assert done.returncode == 0, done.stderr
    one, two = weights(tmp_path, 'one'), weights(tmp_path, 'two')
    for key in ('params', 'params_ema'):
        for name, value in one[key].items():
            torch.testing.assert_close(two[key][name], value, rtol=0, atol=1e-5)
    assert not equal(weights(tmp_path, 'one', 2)['params'], one['params'])


def test_segments_of_full_length_are_tested_with_and_without_a_store(stage_two, made, clips, tmp_path):
    """Clips of 7 frames in segments of 5, the second shifted back by 3; whole frames need no whole_frames."""
    train(stage_two('trained', 'cached'), tmp_path)
    results = {}
    for mode in ('cached', 'online_full'):
        opt = stage_two(f'test_{mode}', mode)
        priors = {'dataroot_priors': made['store'], 'num_masks': 4} if mode == 'cached' else {}
        data = {'name': 'held_out', 'type': 'SemanticClipTestDataset', 'dataroot_gt': str(clips / 'gt')}
        cut = {'dataroot_lq': str(clips / 'lq'), 'io_backend': {'type': 'disk'}, 'max_frames': 5, 'shift_last': True}
        opt['datasets'] = {'test': data | cut | priors}
        opt['path']['pretrain_network_g'] = str(tmp_path / 'experiments/trained/models/net_g_latest.pth')
        opt['val'] = {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}}
        del opt['train'], opt['logger']
        file = write_options(opt, tmp_path / f'{opt["name"]}.yml')
        assert main(['test', '-opt', str(file)]) == 0
        written = tmp_path / f'results/{opt["name"]}/validation/held_out_{opt["name"]}.json'
        results[mode] = json.loads(written.read_text())
    for found in results.values():
        places = [(row['clip'], row['index']) for row in found['frames']]
        assert places == [(clip, index) for clip in ('000', '001', '002') for index in range(7)]
        assert found['average']['psnr'] > 15


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'instance_checkpoint': 'checkpoint'}, 'is not an instance checkpoint'),
        ({'extract_mode': 'online_patch', 'checkpoint': 'instance_checkpoint'}, 'is not that of X-Decoder'),
    ],
)
def test_swapped_checkpoints_are_one_sentence(stage_two, made, tmp_path, capsys, change, message):
    opt = stage_two('swapped', change.get('extract_mode', 'cached'))
    opt['network_s'] |= {key: made.get(value, value) for key, value in change.items()}
    file = write_options(opt, tmp_path / 'swapped.yml')
    assert main(['train', '-opt', str(file)]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith('basicsr: ') and message in last
