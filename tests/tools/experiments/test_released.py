"""SEEM over the released BasicVSR: the arms, whose masks they get, and the table of pairs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import released
import torch
from helpers.project import ROOT
from real_clips import Clip

from basicsr_semantic.cli import main
from basicsr_semantic.priors import PriorStore, PriorStoreWriter, store_metadata


@pytest.mark.parametrize('base', released.BASES)
@pytest.mark.parametrize('name', [name for name, arm in released.ARMS.items() if arm.trains])
def test_every_arm_is_a_training_that_can_be_run(name, base, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    changes = released.ARMS[name].force_yml(released.BASES[base])
    option = released.BASES[base].option
    assert main(['check', '--ignore-missing-files', '-opt', option, '--force_yml', *changes]) == 0
    assert ': OK. Training: ' in capsys.readouterr().out


def test_the_neutral_twin_has_the_parameters_of_the_arm_with_masks():
    arms = released.ARMS
    assert arms['annotations'].trains == arms['neutral'].trains and arms['annotations'].seem and arms['neutral'].seem
    assert arms['annotations'].masks == 'annotations' and arms['neutral'].masks is None


def test_an_arm_is_validated_with_the_kind_that_it_trains_with():
    for name, kind in (('regions', 'regions'), ('annotations', 'annotations'), ('other_clip', 'annotations')):
        changes = released.ARMS[name].force_yml(released.BASES['released'])
        assert f'datasets:val:dataroot_priors={released.DATA}/val/{kind}.lmdb' in changes


@pytest.fixture
def stores(tmp_path, monkeypatch):
    """A store of two clips of three frames, and one in which they have each other's masks."""
    monkeypatch.setattr(released, 'ROOT', tmp_path)
    with PriorStoreWriter(tmp_path / 'a.lmdb', store_metadata('annotations')) as store:
        for clip in ('x', 'y'):
            for k in range(3):
                masks = np.zeros((1, 6, 8), bool)
                masks[0, : k + 1, : 2 if clip == 'x' else 5] = True
                store.put(f'{clip}/{k:08d}', masks)
    for _ in range(2):  # a second call finds it there
        released.give_to_others(tmp_path / 'a.lmdb', tmp_path / 'b.lmdb')
    return tmp_path / 'a.lmdb', tmp_path / 'b.lmdb'


def test_every_clip_gets_the_masks_of_another(stores):
    own, others = (PriorStore(path) for path in stores)
    assert own.keys() == others.keys()
    for k in range(3):
        assert np.array_equal(others.masks(f'x/{k:08d}'), own.masks(f'y/{k:08d}'))
        assert np.array_equal(others.masks(f'y/{k:08d}'), own.masks(f'x/{k:08d}'))


def test_masks_of_a_donor_are_fitted_to_the_clip(stores):
    clip = Clip('z', torch.zeros(5, 3, 48, 64, dtype=torch.uint8), torch.zeros(5, 3, 12, 16, dtype=torch.uint8))
    masks = released.masks_of([clip], stores[0], 'y')['z']
    assert masks.shape == (5, 64, 12, 16)
    assert masks[1, 0, :4, :10].all() and masks[1].sum() == 40  # twice as large
    assert torch.equal(masks[4], masks[1])  # its three frames again


def test_the_table_has_a_line_for_each_pair_and_each_row(tmp_path, capsys):
    def row(arm, seed, value, **more):
        return {'arm': arm, 'seed': seed, 'iterations': 1, 'val': {'goat': {'psnr_y': value}}, **more}

    rows = [row('annotations', 0, 30.5), row('neutral', 0, 99.0, val_neutral={'goat': {'psnr_y': 30.25}})]
    clips = {'dog': {'psnr_y': 30, 'ssim_y': 0.9}, 'soapbox': {'psnr_y': 31, 'ssim_y': 0.8}}
    tried = {'iterations': 100, 'clips': clips}
    grid = [{'lr': 1e-4, 'seem': 20, **tried}, {'lr': 0, **tried}]
    choice = [{'arm': name, **tried} for name in ('dropout', 'neutral')]
    (tmp_path / 'rows.json').write_text(json.dumps({'grid': grid, 'rows': rows, 'choice': choice}))
    released.main(['--table', '--results', str(tmp_path / 'rows.json')])
    said = capsys.readouterr().out
    assert '| 0 | goat | 30.5000 | 30.2500 | +0.2500 |' in said
    assert '| the same parameters, no masks | 0 | 99.0000 |  | 30.2500 |' in said
    assert '| none: as it is |  | 100 | 30.500 | 0.8500 |\n| 0.0001 | 0.002 | 100 | 30.500 | 0.8500 |' in said
    assert said.splitlines()[-2:] == [
        '| the same parameters, no masks | 100 | 30.5000 | 0.8500 |',
        '| annotated masks, one clip in five without | 100 | 30.5000 | 0.8500 |',
    ]


def test_the_page_of_results_has_the_tables_of_the_rows_that_are_done():
    page = (ROOT / 'docs/results/seem.md').read_text(encoding='utf-8').splitlines()
    for base in released.BASES.values():
        if base.results.is_file():
            missing = [line for line in released.table(released.read(base.results)).splitlines() if line not in page]
            assert missing == [], base.results.name


def test_the_adapter_is_the_arm_that_is_best_on_the_clips_left_out(tmp_path, monkeypatch, capsys):
    trained = []

    def train(option, run, seed, *changes):
        trained.append((run, seed, changes))
        return tmp_path / run

    gains = dict(zip(released.CHOICE, (30.0, 30.1, 30.4, 30.2, 30.3), strict=True))
    monkeypatch.setattr(released, 'train', train)
    monkeypatch.setattr(released, 'load', lambda path, missing_priors: path.parent.parent.name.rpartition('choice_')[2])
    monkeypatch.setattr(released, 'masks_of', lambda clips, kind: kind)
    figures = {}

    def measure(net, clips, masks, note):
        assert clips == ['dog', 'soapbox']
        figures[net] = masks
        return {'dog': {'psnr_y': gains[net]}}

    monkeypatch.setattr(released, 'measure', measure)
    base, sets = released.BASES['released'], {'grid': ['dog', 'soapbox']}
    said = []
    for names in (released.CHOICE[1:], released.CHOICE, released.CHOICE):  # what is done is not trained again
        released.run_choice(base, names, sets, tmp_path / 'rows.json')
        said.append(capsys.readouterr().out)
    order = (*released.CHOICE[1:], released.CHOICE[0])
    assert [run for run, _, _ in trained] == [f'seem_released_choice_{name}' for name in order]
    for _, _, changes in trained:
        assert f'datasets:train:meta_info_file={released.DATA}/train/without_grid.txt' in changes
        assert f'train:total_iter={released.CHOICE_ITERATIONS}' in changes
    assert figures['neutral'] is None and figures['regions'] == released.store('train', 'regions')
    assert figures['annotations'] == released.store('train', 'annotations')
    assert said == ['', *2 * ['The best on dog and soapbox: regions\n']]


def test_unknown_arms_are_told(capsys):
    with pytest.raises(SystemExit):
        released.main(['nonsense', '--data', 'x'])
    assert 'there is no arm nonsense; there are annotations, neutral' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        released.main(['released', '--choice', '--data', 'x'])  # nothing is trained in it
    assert 'there is no arm released; there are annotations, neutral, regions,' in capsys.readouterr().err
