"""The comparisons on davis320: the same budget for every row, what is run, what is written, and the table."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import compare
import davis320_priors
import davis320_runs as runs
import pytest
from arms import COMPARISONS
from helpers.project import ROOT

from basicsr_semantic.cli import main

# what Table 2 of the SeeClear paper switches on in each row
PARTS = {
    'base': {'dwt'},
    'semantic': {'dwt', 'semantic'},
    'mfsa': {'dwt', 'semantic', 'mfsa'},
    'incam': {'dwt', 'semantic', 'mfsa', 'incam'},
    'category': {'dwt', 'semantic', 'category'},
    'no_dwt': {'semantic', 'mfsa', 'incam', 'category'},
    'full': {'dwt', 'semantic', 'mfsa', 'incam', 'category'},
}
POSTERIORS = ('resshift', 'ddim', 'paper')
FIGURES = {'psnr_y': 27.0, 'ssim_y': 0.7, 'psnr_rgb': 26.0, 'ssim_rgb': 0.6, 'niqe': 5.0, 'warping_error': 0.002}


class Call(NamedTuple):
    """A command that was to be run."""

    words: tuple[str, ...]
    forced: dict[str, str]

    @property
    def name(self) -> str:
        return self.forced['name']


@pytest.fixture
def called(monkeypatch, tmp_path) -> list[Call]:
    """The commands, none of which is run; those that train or test leave their figures."""
    calls: list[Call] = []

    def basicsr(*args: str, log: str) -> None:
        words, _, changes = ' '.join(args).partition(' --force_yml ')
        call = Call(tuple(words.split()), dict(change.split('=', 1) for change in changes.split()))
        calls.append(call)
        assert all((ROOT / word).is_file() for word in call.words if word.endswith('.yml'))
        if args[0] in ('train', 'test'):
            kind, file = ('experiments', 'davis320_1') if args[0] == 'train' else ('results', f'davis320_{call.name}')
            folder = tmp_path / kind / call.name / 'validation'
            folder.mkdir(parents=True)
            (folder / f'{file}.json').write_text(json.dumps({'average': FIGURES}))

    (tmp_path / 'options').symlink_to(ROOT / 'options')
    (tmp_path / 'data' / 'train' / 'frames').mkdir(parents=True)
    for module in (runs, davis320_priors):
        monkeypatch.setattr(module, 'ROOT', tmp_path)
        monkeypatch.setattr(module, 'basicsr', basicsr)
    monkeypatch.setattr(davis320_priors, 'merge_stores', lambda *stores: None)
    monkeypatch.setattr(compare, 'bicubic', lambda option, first_frames: dict.fromkeys(FIGURES, 1.0))
    return calls


@pytest.fixture
def compared(called, tmp_path):
    """Compares a method for one seed: gives trainings and tests by the names of the arms, and what is written."""

    def run(method: str, *flags: str) -> tuple[dict[str, Call], dict[str, Call], dict]:
        out = tmp_path / 'out.json'
        compare.main([method, '--data', str(tmp_path / 'data'), '--seeds', '2', '--out', str(out), *flags])
        runs_of = []
        for kind in ('train', 'test'):
            ends = {call.name: call for call in called if call.words[0] == kind and call.name.endswith('_seed2')}
            prefix = COMPARISONS[method].prefix
            runs_of.append({name.removeprefix(prefix).removesuffix('_seed2'): call for name, call in ends.items()})
        return *runs_of, json.loads(out.read_text())

    return run


def stores(file: str) -> dict[str, str]:
    """The options that name the stores of that name."""
    return {f'datasets:{part}:dataroot_priors': f'datasets/davis320/{part}/{file}' for part in ('train', 'val')}


@pytest.mark.parametrize('method', COMPARISONS)
def test_the_figures_have_the_layout_of_those_that_were_published(compared, capsys, method):
    _, _, written = compared(method)
    rows = ROOT / 'docs' / 'results' / f'{method}_davis320.json'
    of_the_method = rows.with_name(f'{COMPARISONS[method].method}_davis320.json')
    published = json.loads((rows if rows.is_file() else of_the_method).read_text())
    assert set(written) == set(published) and list(written['seeds']) == ['2']
    assert list(written['seeds']['2']) == [arm.name for arm in COMPARISONS[method].arms]
    if rows.is_file():
        assert list(written['seeds']['2']) == list(published['seeds']['0'])
    assert set(written.get('settings', ())) == set(published.get('settings', ()))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(' |')[0] for line in lines[3:] if line.startswith('|')] == [
        f'| {arm.label}' for arm in COMPARISONS[method].arms
    ]
    of = COMPARISONS[method].method
    assert ('| 2.0000 ± 0.0000 |' in lines[3]) == (of == 'seeclear'), 'the warping error, times 1000'
    assert lines[-1].startswith('Stage 1 on the held-out clips') == (of == 'semantic_lens')


def test_seem_and_its_control_start_from_the_baseline_for_the_same_iterations(called, compared, tmp_path):
    trainings, _, written = compared('seem', '--iters', '40', '20')
    assert written['iters'] == [40, 20] and list(trainings) == ['baseline', 'control', 'regions', 'annotations']
    start = str(tmp_path / 'experiments/davis320_baseline_seed2/models/net_g_latest.pth')
    for name, call in trainings.items():
        length = '40' if name == 'baseline' else '20'
        wanted = {'train:total_iter': length, 'val:val_freq': length, 'train:scheduler:periods': f'[{length}]'}
        wanted |= {'manual_seed': '2', 'name': f'davis320_{name}_seed2'}
        if name != 'baseline':
            wanted['path:pretrain_network_g'] = start
        if name in ('regions', 'annotations'):
            wanted |= stores(f'{name}.lmdb')
            assert {call.words[6] for call in called if call.words[:3] == ('extract', '--extractor', name)} == {
                *stores(f'{name}.lmdb').values()
            }
        assert call.forced == wanted


def test_every_row_of_semantic_lens_is_trained_from_scratch_for_the_same_iterations(called, compared):
    trainings, _, written = compared('semantic_lens', '--iters', '30', '10')
    assert written['iters'] == [30, 10] and written['stage_1'] == FIGURES
    (stage_1,) = (call for call in called if call.words[0] == 'train' and call.name == 'stage1_davis320')
    assert stage_1.forced['train:total_iter'] == '30'
    kinds = {f'datasets:{part}:prior_kind': 'xdecoder_annotations' for part in ('train', 'val')}
    for name, call in trainings.items():
        wanted = {'train:total_iter': '10', 'val:val_freq': '10', 'train:scheduler:periods': '[10]'}
        wanted |= {'manual_seed': '2', 'name': f'davis320_lens_{name}_seed2'}
        assert call.forced == wanted | (stores('xdecoder_annotations.lmdb') | kinds if name == 'full_oracle' else {})


def test_every_row_of_seeclear_sees_as_many_clips(compared):
    trainings, tests, written = compared('seeclear', '--clips', '900', '--memory', '50', '--stage-1', '7')
    assert written['settings'] == {'clips': 900, 'memory': 50, 'stage_1': 7}
    assert list(tests) == list(written['seeds']['2']) == [*PARTS, *POSTERIORS]
    seen: dict[str, int] = {}
    for name, call in trainings.items():
        row, stage = name.rsplit('_', 1)
        assert f'options/seeclear/train_SeeClear_{stage}_davis320.yml' in call.words
        seen[row] = seen.get(row, 0) + int(call.forced['train:total_iter']) * (1 if stage == 'condenser' else 2)
        switches = {f'network_g:{part}': str(part in PARTS[row]).lower() for part in PARTS['full']}
        assert switches.items() <= call.forced.items() and switches.items() <= tests[row].forced.items()
        assert ('path:pretrain_network_g' in call.forced) == (stage != 'condenser')
        assert tests[row].forced['val:seed'] == '2'
    assert seen == dict.fromkeys(PARTS, 900)


def test_posteriors_are_sampled_from_the_last_row(compared, tmp_path):
    _, tests, _ = compared('seeclear')
    last = str(tmp_path / 'experiments/davis320_seeclear_full_joint_seed2/models/net_g_latest.pth')
    assert all(tests[one].forced['path:pretrain_network_g'] == last for one in ('full', *POSTERIORS))
    assert [tests[one].forced['diffusion:posterior'] for one in POSTERIORS] == list(POSTERIORS)


def test_the_neutral_twin_of_semantic_lens_differs_in_its_priors_alone(compared):
    trainings, _, _ = compared('semantic_lens_twins')
    changed = {'name', 'network_g:missing_priors', *stores('')}
    kept = [{key: v for key, v in trainings[arm].forced.items() if key not in changed} for arm in ('neutral', 'full')]
    assert kept[0] == kept[1] and all(trainings['neutral'].forced[key] == '~' for key in stores(''))
    assert trainings['neutral'].words == trainings['full'].words


def test_the_neutral_twin_of_seeclear_differs_in_its_priors_alone(compared):
    trainings, tests, _ = compared('seeclear_twins')
    crops, features = 'datasets:train:whole_frames', 'datasets:val:with_features'
    changed = {'name', 'network_g:missing_priors', *stores(''), crops, features}
    for stage in ('condenser', 'memory', 'joint'):
        twin, full = trainings[f'neutral_{stage}'], trainings[f'full_{stage}']
        start = 'path:pretrain_network_g'
        kept = [{k: v for k, v in one.forced.items() if k not in {start, *changed}} for one in (twin, full)]
        assert kept[0] == kept[1] and all(twin.forced[key] == '~' for key in stores('')) and twin.words == full.words
        assert (start in twin.forced) == (start in full.forced)
        assert twin.forced[crops] == 'true' and twin.forced[features] == 'false'
    forced = tests['neutral'].forced
    assert forced['datasets:test_1:dataroot_priors'] == '~' and forced['datasets:test_1:with_features'] == 'false'
    assert 'datasets:test_1:dataroot_priors' not in tests['full'].forced


@pytest.mark.parametrize('method', ['semantic_lens_twins', 'seeclear_twins'])
def test_every_twin_is_a_training_that_can_be_run(compared, capsys, monkeypatch, method):
    trainings, tests, _ = compared(method)
    capsys.readouterr()
    monkeypatch.chdir(ROOT)
    for call in (*trainings.values(), *tests.values()):
        option = next(word for word in call.words if word.endswith('.yml'))
        changes = [f'{key}={value}' for key, value in call.forced.items()]
        assert main(['check', '--ignore-missing-files', '-opt', option, '--force_yml', *changes]) == 0
        assert ': OK. T' in capsys.readouterr().out


@pytest.mark.parametrize('method', ['semantic_lens_twins', 'seeclear_twins'])
def test_the_page_of_results_has_the_table_of_the_twins(method):
    comparison = COMPARISONS[method]
    page = (ROOT / 'docs/results' / f'{comparison.method}.md').read_text(encoding='utf-8').splitlines()
    content = json.loads((ROOT / 'docs/results' / f'{method}_davis320.json').read_text())
    lines = [line for line in compare.report(comparison, content).splitlines() if line.startswith('|')]
    assert len(lines) == 3 + len(comparison.arms) and [line for line in lines if line not in page] == []


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['seeclear', '--clips', '400', '--memory', '100'], 'more than four times --memory'),
        (['seeclear', '--iters', '1', '2'], 'unrecognized arguments: --iters'),
        (['seem', '--iters', '1'], 'expected 2 arguments'),
    ],
)
def test_wrong_arguments_are_told(capsys, tmp_path, arguments, says):
    with pytest.raises(SystemExit):
        compare.main([*arguments, '--data', str(tmp_path)])
    assert says in capsys.readouterr().err


def test_a_folder_without_frames_is_told(tmp_path):
    with pytest.raises(SystemExit, match='has no train/frames'):
        compare.main(['seem', '--data', str(tmp_path)])


def test_the_table_has_means_spreads_and_differences_to_the_control():
    results = [{'a': {'psnr_y': 26.0, 'niqe': 5.0}, 'b': {'psnr_y': 27.0, 'niqe': 4.0}}]
    results.append({'a': {'psnr_y': 28.0, 'niqe': 7.0}, 'b': {'psnr_y': 27.5, 'niqe': 4.0}})
    columns = {'psnr_y': 'PSNR Y', 'niqe': 'NIQE'}
    lines = runs.table({'a': 'A', 'b': 'B'}, results, {'psnr_y': 25.0, 'niqe': 9.0}, 'a', columns).splitlines()
    assert lines[0] == '| method | PSNR Y | NIQE | PSNR Y minus control |'
    assert lines[2] == '| bicubic | 25.0000 | 9.0000 | |'
    assert lines[3] == '| A | 27.0000 ± 1.4142 | 6.0000 ± 1.4142 |  |'
    assert lines[4] == '| B | 27.2500 ± 0.3536 | 4.0000 ± 0.0000 | +1.0000, -0.5000 |'


@pytest.mark.parametrize('stopped', [KeyboardInterrupt, SystemExit])
def test_no_seed_begins_after_a_run_has_failed_or_was_interrupted(stopped):
    begun = []

    def one_seed(seed: int, bar: Any) -> runs.Results:
        begun.append(seed)
        raise stopped

    with pytest.raises(stopped):
        runs.run_seeds([0, 1, 2], 1, 1, one_seed)
    assert begun == [0]
