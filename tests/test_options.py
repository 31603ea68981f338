"""Every option file that we ship: complete, named after itself, checked, and buildable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from basicsr.archs import build_network
from conftest import ROOT

from basicsr_semantic.host.options import load_yaml
from basicsr_semantic.host.options.check import check_options

FILES = sorted((ROOT / 'options').rglob('*.yml'))
IDS = [str(file.relative_to(ROOT / 'options')) for file in FILES]


@pytest.mark.parametrize('file', FILES, ids=IDS)
def test_only_files_of_data_and_weights_are_missing(file: Path):
    opt = load_yaml(str(file))
    problems = check_options(opt, str(file), is_train='train' in opt)
    assert [str(problem) for problem in problems if not problem.missing_file] == []


@pytest.mark.parametrize('file', FILES, ids=IDS)
def test_it_says_what_it_is_for_and_is_named_after_itself(file: Path):
    lines = file.read_text().splitlines()
    assert lines[0].startswith('# ') and lines[1].startswith('# ') and not lines[2].startswith('#')
    assert load_yaml(str(file))['name'] == file.stem


def test_every_table_of_the_paper_has_its_files():
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
    networks = {json.dumps(load_yaml(str(file))['network_g']) for file in FILES}
    small = {text for text in networks if '"num_feat": 128' not in text}  # EDVR-L is built above
    for text in small:
        build_network(json.loads(text))
    assert len(small) >= 6
