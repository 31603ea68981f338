"""The demo: its table, its picture, how its steps are skipped and resumed, and (slow) all of it at a tiny size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import demo
import demo_picture
import demo_report
import demo_steps
import demo_table
import lmdb
import numpy as np
import pytest
from demo_steps import Runner, Step
from demo_table import Result
from helpers.project import ROOT

from basicsr_semantic.config.option_file import load_yaml
from basicsr_semantic.priors.store import PriorStoreWriter
from basicsr_semantic.utils.errors import UserError


def values(psnr: float, ssim: float) -> dict[str, float]:
    return {'psnr_y': psnr, 'ssim_y': ssim, 'psnr_rgb': psnr - 1, 'ssim_rgb': ssim - 0.1}


class TestTable:
    def test_average_is_over_clips_not_over_frames(self):
        result = Result('a', {'long': values(20, 0.5), 'short': values(30, 0.7)})
        assert result.average == pytest.approx(values(25, 0.6))

    def test_frames_are_averaged_clip_by_clip(self):
        rng = np.random.default_rng(0)
        gt = rng.integers(40, 200, (4, 32, 32, 3), np.uint8)
        frames = [('x', gt[0] + np.uint8(1), gt[0]), ('x', gt[1] + np.uint8(2), gt[1]), ('y', gt[2], gt[2])]
        clips = demo_table.result_of_frames('m', frames).clips
        assert set(clips) == {'x', 'y'}
        # an offset of k levels is a mean squared error of k * k
        expected = np.mean([20 * np.log10(255 / k) for k in (1, 2)])
        assert clips['x']['psnr_rgb'] == pytest.approx(expected, abs=1e-4)
        assert clips['y']['ssim_rgb'] == pytest.approx(1)

    def test_y_is_measured_on_the_television_range(self):
        gt = np.full((32, 32, 3), 100, np.uint8)
        found = demo_table.measure(gt + np.uint8(10), gt)
        assert found['psnr_rgb'] == pytest.approx(20 * np.log10(255 / 10), abs=1e-3)
        assert found['psnr_y'] == pytest.approx(20 * np.log10(255 / (10 * 219 / 255)), abs=1e-2)

    def test_colours_are_not_swapped(self):
        gt = np.zeros((32, 32, 3), np.uint8)
        red, blue = gt.copy(), gt.copy()
        red[..., 0] = blue[..., 2] = 90
        # red weighs 65.5 in Y, blue 25.0
        gap = demo_table.measure(blue, gt)['psnr_y'] - demo_table.measure(red, gt)['psnr_y']
        assert gap == pytest.approx(20 * np.log10(65.481 / 24.966), abs=0.05)

    def test_bicubic_enlarges_four_times_and_keeps_a_flat_frame(self):
        flat = np.full((9, 7, 3), 93, np.uint8)
        flat[..., 1] = 10
        enlarged = demo_table.bicubic(flat)
        assert enlarged.shape == (36, 28, 3) and enlarged.dtype == np.uint8
        assert (enlarged == flat[0, 0]).all()

    def test_markdown_has_gains_over_the_first_line_and_says_losses(self):
        first = Result('bicubic', {'a': values(25, 0.7)}, 'nothing')
        worse = Result('SEEM', {'a': values(24.5, 0.68)}, 'SEEM only')
        head, per_clip = demo_table.markdown([first, worse]).split('\n\n')
        lines = head.splitlines()
        assert len({len(line) for line in lines}) == 1, 'columns are not aligned'
        assert [cell.strip() for cell in lines[0].strip('|').split('|')] == [
            'method',
            'PSNR Y',
            'SSIM Y',
            'PSNR RGB',
            'SSIM RGB',
            'trained',
        ]
        assert '25.00 ' in lines[2] and '+' not in lines[2]
        assert '24.50 (-0.50)' in lines[3] and '0.6800 (-0.0200)' in lines[3] and 'SEEM only' in lines[3]
        assert 'a' in per_clip and '24.50' in per_clip

    def test_json_holds_everything(self):
        content = json.loads(demo_table.as_json([Result('b', {'a': values(25, 0.7)}, 'n')]))
        assert content['results'][0]['average'] == pytest.approx(values(25, 0.7))
        assert content['results'][0]['clips']['a'] == pytest.approx(values(25, 0.7))

    def test_results_of_the_test_command_are_read(self, tmp_path):
        file = tmp_path / 'demo.json'
        file.write_text(json.dumps({'dataset': 'demo', 'clips': {'a': values(25, 0.7)}, 'frames': []}))
        assert demo_table.result_of_test('m', file).clips == {'a': values(25, 0.7)}


class TestPicture:
    def test_hardest_crop_is_where_the_error_is(self):
        gt = np.full((40, 60, 3), 50, np.uint8)
        restored = gt.copy()
        restored[12:20, 33:41] = 90
        assert demo_picture.hardest_crop(restored, gt, 8) == (12, 33)
        assert demo_picture.hardest_crop(restored, gt, 40)[0] == 0

    def test_panels_show_frame_crop_and_captions(self):
        rng = np.random.default_rng(1)
        frames = [rng.integers(0, 256, (32, 64, 3), np.uint8) for _ in range(3)]
        picture = demo_picture.compose([(f'p{i}', '', f) for i, f in enumerate(frames)], 8, 16, 16, panel=64, gap=4)
        assert picture.shape == (42 + 32 + 4 + 64 + 4, 4 + 3 * 68, 3)
        for index, frame in enumerate(frames):
            left = 4 + index * 68
            crop = picture[42 + 32 + 4 : 42 + 32 + 4 + 64, left : left + 64]
            assert np.array_equal(crop[::4, ::4], frame[8:24, 16:32])
            shown = picture[42 : 42 + 32, left : left + 64]
            assert np.array_equal(shown[:5], frame[:5])
            assert (shown[8, 20] == demo_picture.FRAME).all()
            assert (picture[:42, left : left + 64] < 128).any(), 'no caption'

    @pytest.mark.parametrize(
        ('panels', 'crop', 'message'),
        [
            ([], (0, 0, 4), 'at least one'),
            ([('a', '', (8, 8)), ('b', '', (8, 9))], (0, 0, 4), 'different sizes'),
            ([('a', '', (8, 8))], (5, 0, 4), 'leaves the 8x8 frame'),
        ],
    )
    def test_panels_that_do_not_fit_are_refused(self, panels, crop, message):
        result = [(name, figure, np.zeros((*size, 3), np.uint8)) for name, figure, size in panels]
        with pytest.raises(ValueError, match=message):
            demo_picture.compose(result, *crop)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(demo_steps, 'IMPORTED', ())  # these commands need none of it
    (tmp_path / 'job.py').write_text(
        'import pathlib, sys\n'
        "pathlib.Path('runs').open('a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        "print('noise')\n"
        "sys.stderr.write('  50%|#####     | 2/4 [00:01<00:01]\\r 100%|##########| 4/4 [00:02<00:00]\\n')\n"
        "if 'fail' in sys.argv: sys.exit('Something broke.')\n"
        "pathlib.Path('made').write_text('x')\n"
    )
    return tmp_path


def runs(folder: Path) -> list[str]:
    return (folder / 'runs').read_text().splitlines()


class TestSteps:
    def job(self, *arguments: str, **fields) -> Step:
        return Step('job', 'A job', ('python', 'job.py', *arguments), makes=('made',), **fields)

    def test_a_finished_step_is_skipped(self, folder, capsys):
        assert Runner(folder, folder / 'record').run(self.job('a'), 1, 1)
        assert not Runner(folder, folder / 'record').run(self.job('a'), 1, 1)
        assert runs(folder) == ['a']
        out = capsys.readouterr().out
        assert '$ python job.py a' in out and 'skipped' in out

    def test_fresh_runs_it_again(self, folder):
        Runner(folder, folder / 'record').run(self.job('a'), 1, 1)
        assert Runner(folder, folder / 'record', fresh=True).run(self.job('a', restart='--fresh'), 1, 1)
        assert runs(folder) == ['a', 'a --fresh']
        assert not Runner(folder, folder / 'record').run(self.job('a', restart='--fresh'), 1, 1)

    def test_what_it_made_is_looked_for(self, folder):
        Runner(folder, folder / 'record').run(self.job('a'), 1, 1)
        (folder / 'made').unlink()
        assert Runner(folder, folder / 'record').run(self.job('a'), 1, 1)

    @pytest.mark.parametrize('change', ['argument', 'option file', 'file it reads', 'step before'])
    def test_a_change_runs_it_again_from_the_beginning(self, folder, change):
        option = folder / 'o.yml'
        option.write_text('a: 1')
        (folder / 'read').touch()
        (folder / 'old').mkdir()

        def run(argument: str, before: str) -> bool:
            runner = Runner(folder, folder / 'record')
            runner.digests['before'] = before
            step = self.job('o.yml', argument, reads=('read',), needs=('before',), replaces=('old',), resume='--again')
            return runner.run(step, 1, 1)

        assert run('a', '0')
        (folder / 'old').mkdir(exist_ok=True)
        assert not run('a', '0')
        assert (folder / 'old').exists()
        if change == 'option file':
            option.write_text('a: 2')
        if change == 'file it reads':
            (folder / 'read').write_text('new')
        assert run('b' if change == 'argument' else 'a', '1' if change == 'step before' else '0')
        assert not (folder / 'old').exists()
        assert '--again' not in runs(folder)[-1]

    def test_an_interrupted_step_goes_on(self, folder, monkeypatch):
        step = self.job('a', resume='--auto_resume', replaces=('old',))
        (folder / 'old').mkdir()
        runner = Runner(folder, folder / 'record')
        monkeypatch.setattr(runner, '_execute', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            runner.run(step, 1, 1)
        (folder / 'old').mkdir()
        assert Runner(folder, folder / 'record').run(step, 1, 1)
        assert runs(folder) == ['a --auto_resume']
        assert (folder / 'old').exists(), 'what it goes on from was removed'

    def test_a_failure_shows_the_last_lines_and_is_not_done(self, folder):
        step = self.job('fail')
        for _ in range(2):
            with pytest.raises(UserError, match=r'exit code 1(?s:.*)Something broke\.(?s:.*)job\.log'):
                Runner(folder, folder / 'record').run(step, 1, 1)
        assert len(runs(folder)) == 2

    def test_a_command_that_leaves_nothing_is_a_failure(self, folder):
        step = Step('job', 'A job', ('python', 'job.py'), makes=('absent',))
        with pytest.raises(UserError, match='left no absent'):
            Runner(folder, folder / 'record').run(step, 1, 1)

    def test_a_damaged_record_means_nothing_is_done(self, folder):
        Runner(folder, folder / 'record').run(self.job('a'), 1, 1)
        (folder / 'record' / 'steps.json').write_text('{')
        assert Runner(folder, folder / 'record').run(self.job('a'), 1, 1)

    def test_output_is_kept_and_progress_is_shown(self, folder, capsys):
        runner = Runner(folder, folder / 'record')
        step = self.job('a')
        runner.run(step, 1, 1)
        assert 'noise' in runner.log(step).read_text()
        assert '4/4' in capsys.readouterr().err

    def test_iterations_of_a_training_are_counted(self, tmp_path, capsys):
        read, write = os.pipe()
        lines = [
            f'2025-01-01 INFO: [trai..][epoch:  0, iter:{i:8,d}, lr:(1.0e-03,)] l_pix: 1e-2\n' for i in (600, 1200)
        ]
        os.write(write, (''.join(lines) + 'End of training.').encode())
        os.close(write)
        with (tmp_path / 'log').open('w') as log:
            last = demo_steps.follow(read, log, 1200)
        os.close(read)
        assert last == ['End of training.']
        assert '1200/1200' in capsys.readouterr().err

    def test_a_command_of_ours_ends_with_its_code_and_its_sentence(self, folder):
        with pytest.raises(UserError, match=r'exit code [12](?s:.*)absent'):
            Runner(folder, folder / 'record').run(Step('a', 'A', ('basicsr', 'check', '-opt', 'absent')), 1, 1)

    def test_threads_are_few(self, monkeypatch):
        monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
        assert 1 <= int(demo_steps.environment()['OMP_NUM_THREADS']) <= demo_steps.MOST_THREADS
        monkeypatch.setenv('OMP_NUM_THREADS', '7')
        assert demo_steps.environment()['OMP_NUM_THREADS'] == '7'


class TestSetUp:
    files = sorted((ROOT / 'options' / 'demo').glob('*.yml'))
    # those of SeeClear are for afterwards: docs/seeclear.md
    options = {path.stem: load_yaml(path) for path in files if 'SeeClear' not in path.stem}

    def test_option_files_are_named_after_themselves_and_say_what_they_are_for(self):
        tested = {demo.test_name(name) for name in demo.TRAININGS}
        assert set(self.options) == {demo.STAGE_1, *demo.TRAININGS, *tested}
        for name, option in self.options.items():
            assert option['name'] == name
            lines = (ROOT / 'options' / 'demo' / f'{name}.yml').read_text().splitlines()
            of_lens = name == demo.STAGE_1 or 'SemanticLens' in name
            target = 'make demo-lens' if of_lens else 'make demo'
            assert lines[1].startswith(f'# The table of `{target}`') and lines[2].startswith('# ')

    def test_control_and_seem_differ_in_nothing_but_what_is_trained(self):
        control, seem = self.options[demo.CONTROL], self.options[demo.SEEM]
        schedule = [{k: v for k, v in option['train'].items() if k != 'trainable'} for option in (control, seem)]
        assert schedule[0] == schedule[1]
        assert control['path']['pretrain_network_g'] == seem['path']['pretrain_network_g']
        extra = ('dataroot_priors', 'prior_kind', 'num_masks')
        data = {k: v for k, v in seem['datasets']['train'].items() if k not in extra}
        assert data == control['datasets']['train']
        assert control['manual_seed'] == seem['manual_seed']
        assert seem['train']['trainable'] == ['sam_embed', 'seem_']

    def test_the_control_is_the_baseline_going_on(self):
        baseline, control = self.options[demo.BASELINE], self.options[demo.CONTROL]
        assert baseline['network_g'] == control['network_g']
        assert baseline['train']['trainable'] == control['train']['trainable']
        assert baseline['datasets'] == control['datasets']
        assert control['path']['pretrain_network_g'] == f'experiments/{demo.BASELINE}/models/net_g_latest.pth'

    def test_semantic_lens_and_its_control_differ_in_nothing_but_the_priors(self):
        control, lens = self.options[demo.PLAIN], self.options[demo.LENS]
        assert control['train'] == lens['train'] and control['manual_seed'] == lens['manual_seed']
        extra = ('dataroot_priors', 'prior_kind', 'num_masks')
        data = {k: v for k, v in lens['datasets']['train'].items() if k not in extra}
        assert data == control['datasets']['train']
        switches = {'gps': False, 'isee': False, 'image': False}
        sizes = ('image_window', 'token_dim', 'global_dim')
        rest = {k: v for k, v in lens['network_g'].items() if k not in sizes}
        assert {**rest, **switches} == {k: v for k, v in control['network_g'].items() if k not in sizes}
        assert 'network_s' not in control

    def test_stage_2_reads_what_stage_1_leaves(self):
        semantic = self.options[demo.LENS]['network_s']
        assert semantic['instance_checkpoint'] == f'experiments/{demo.STAGE_1}/models/net_g_latest.pth'
        commands = {step.name: step.command for step in demo.build_steps(ROOT, quick=False, lens=True)}
        assert semantic['instance_checkpoint'] in commands['extract_xdecoder_val']
        assert semantic['checkpoint'] in commands['extract_xdecoder_train']
        assert str(semantic['short_side']) in commands['extract_xdecoder_train']

    @pytest.mark.parametrize('training', demo.TRAININGS)
    def test_each_test_is_of_its_training_on_held_out_clips(self, training):
        test = self.options[demo.test_name(training)]
        assert test['network_g'] == self.options[training]['network_g']
        assert test['path']['pretrain_network_g'] == f'experiments/{training}/models/net_g_latest.pth'
        assert test['datasets']['test_1']['dataroot_gt'].startswith('datasets/demo/val/')
        assert set(test['val']['metrics']) == set(demo_table.METRICS)

    def test_only_spynet_is_missing_from_what_the_baseline_trains(self):
        from basicsr.archs import build_network

        network = build_network(self.options[demo.BASELINE]['network_g'])
        trainable = tuple(self.options[demo.BASELINE]['train']['trainable'])
        frozen = {name.split('.')[0] for name, _ in network.named_parameters() if not name.startswith(trainable)}
        assert frozen == {'spynet'}

    def test_steps_come_after_what_they_need(self):
        seen: set[str] = set()
        for step in demo.build_steps(ROOT, quick=False, lens=True):
            assert set(step.needs) <= seen
            assert step.name not in seen
            assert step.command[0] in ('basicsr', 'python')
            seen.add(step.name)
        assert 'options/demo/train_BasicVSR_demo.yml' in str(demo.build_steps(ROOT, quick=False, lens=True))

    def test_semantic_lens_comes_after_all_of_seem_and_only_when_asked_for(self):
        seem, both = (demo.build_steps(ROOT, quick=False, lens=lens) for lens in (False, True))
        assert both[: len(seem)] == seem, 'steps that are done are found again by the other command'
        assert {step.name for step in both[len(seem) :]} == {
            demo.STAGE_1,
            demo.PLAIN,
            demo.LENS,
            'extract_xdecoder_train',
            'extract_xdecoder_val',
            demo.test_name(demo.PLAIN),
            demo.test_name(demo.LENS),
        }
        assert list(demo.trainings(lens=False)) == [demo.BASELINE, demo.CONTROL, demo.SEEM]
        assert demo.trainings(lens=True) == demo.TRAININGS


@pytest.fixture(scope='module')
def finished(tmp_path_factory) -> Path:
    """A working folder as the demo's commands leave it: one held-out clip of three frames, 64x64, two tests."""
    root = tmp_path_factory.mktemp('finished')
    val = root / 'datasets/demo/val'
    rng = np.random.default_rng(3)
    frames = [cv2.GaussianBlur(rng.integers(0, 256, (64, 64, 3), np.uint8), (0, 0), 1) for _ in range(3)]
    for kind, factor in (('gt', 1), ('lq', 4)):
        (val / f'{kind}.lmdb').mkdir(parents=True)
        with lmdb.open(str(val / f'{kind}.lmdb'), map_size=2**24) as store, store.begin(write=True) as transaction:
            for index, frame in enumerate(frames):
                small = cv2.resize(frame, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
                transaction.put(f'c/{index:08d}'.encode(), cv2.imencode('.png', small)[1].tobytes())
        lines = [f'c/{index:08d}.png ({64 // factor},{64 // factor},3) 1\n' for index in range(3)]
        (val / f'{kind}.lmdb' / 'meta_info.txt').write_text(''.join(lines))
    for kind in ('regions', 'xdecoder'):
        meta = {'kind': kind, 'parameters': {}, 'checkpoint': None, 'order': 'id', 'max_masks': 64}
        with PriorStoreWriter(val / f'{kind}.lmdb', meta) as store:
            for index in range(3):
                store.put(f'c/{index:08d}', np.ones((1, 16, 16), bool))
    for test in ('test_a', 'test_b'):
        for index, frame in enumerate(frames):
            path = demo_report.restored_path(root, test, 'c', f'{index:08d}')
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), frame)
        content = {'dataset': 'demo', 'average': values(30, 0.9), 'clips': {'c': values(30, 0.9)}, 'frames': []}
        (root / 'results' / test / 'validation').mkdir()
        (root / 'results' / test / 'validation' / f'demo_{test}.json').write_text(json.dumps(content))
    return root


class TestReport:
    tests = {'baseline': ('test_a', 'a network'), 'control': ('test_a', 'more'), 'SEEM': ('test_b', 'SEEM')}
    stores = ['regions', 'xdecoder']

    def test_table_and_picture_are_written_and_named(self, finished, tmp_path, capsys):
        demo_report.report(finished, tmp_path / 'out', self.tests, self.stores, tmp_path / 'docs' / 'demo.png')
        out = capsys.readouterr().out
        for name in ('table.md', 'table.json', 'comparison.png'):
            assert (tmp_path / 'out' / name).is_file()
        assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
            'comparison.png',
            'table.json',
            'table.md',
        ]
        assert (tmp_path / 'out' / 'table.md').read_text() in out
        assert str(tmp_path / 'out' / 'comparison.png') in out
        lines = json.loads((tmp_path / 'out' / 'table.json').read_text())['results']
        assert [line['method'] for line in lines] == ['bicubic', *self.tests]
        assert lines[0]['average']['psnr_y'] < 40
        assert lines[1]['clips'] == {'c': values(30, 0.9)}
        picture, small = (cv2.imread(str(tmp_path / name)).shape for name in ('out/comparison.png', 'docs/demo.png'))
        assert picture[1] == 6 + 8 * 262, 'GT, bicubic, baseline, control, SEEM, LR, regions and instances'
        assert small[1] < picture[1]

    def test_bicubic_frames_meet_their_ground_truth(self, finished):
        rows = list(demo_report.HeldOut(finished / 'datasets/demo/val').bicubic())
        assert [clip for clip, _, _ in rows] == ['c'] * 3
        for _, restored, gt in rows:
            assert demo_table.measure(restored, gt)['psnr_rgb'] > 15

    def test_a_missing_frame_is_named(self, finished):
        held_out = demo_report.HeldOut(finished / 'datasets/demo/val')
        with pytest.raises(UserError, match=r'lq.lmdb has no frame "c/9"'):
            held_out.lq('c', '9')
        with pytest.raises(UserError, match=r'1_test_c.png is missing'):
            demo_report.draw(finished, held_out, {'c': 'test_c'}, [])


@pytest.mark.slow(300)
def test_the_whole_demo_at_a_tiny_size(tmp_path):
    command = [sys.executable, str(ROOT / 'tools' / 'demo' / 'demo.py'), '--quick', '--root', str(tmp_path)]
    settings = {'capture_output': True, 'text': True, 'check': False, 'env': demo_steps.environment()}

    def run(*arguments: str, lens: bool, columns: int) -> str:
        """One call of the demo, with its table and picture looked at; returns what it printed."""
        done = subprocess.run([*command, *arguments], **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / 'results/demo/table.md').read_text() in done.stdout
        content = json.loads((tmp_path / 'results/demo/table.json').read_text())['results']
        assert [line['method'] for line in content] == ['bicubic', *(e.row for e in demo.trainings(lens).values())]
        assert all(set(line['clips']) == {'wall', 'launch'} for line in content)
        assert all(np.isfinite(list(line['average'].values())).all() for line in content)
        picture = cv2.imread(str(tmp_path / 'results/demo/comparison.png'))
        assert picture.shape[1] == 6 + columns * (256 + 6)
        assert f'Picture: {tmp_path / "results/demo/comparison.png"}' in done.stdout
        assert not (tmp_path / 'docs').exists()
        return done.stdout

    first = run(lens=False, columns=7)
    named = first.index(f'First picture, before any training: {tmp_path / "results/demo/comparison.png"}')
    assert first.index('[3/13]') < named < first.index('[4/13]')
    video, side = (tmp_path / 'results/demo' / f'bikes{name}.mp4' for name in ('', '_side_by_side'))
    assert f'Video: {video}; next to its input: {side}' in first
    assert cv2.VideoCapture(str(video)).read()[1].shape == (272, 640, 3)
    assert cv2.VideoCapture(str(side)).read()[1].shape == (272, 1280, 3)
    assert 'Semantic Lens' not in (tmp_path / 'results/demo/table.md').read_text()

    second = run(lens=False, columns=7)
    assert second.count('done before, skipped') == first.count('$ ') == 13
    assert '$ ' not in second
    assert 'First picture' not in second, 'the first picture took the place of the whole one'

    third = run('--lens', lens=True, columns=10)
    assert third.count('done before, skipped') == 13
    assert third.count('$ ') == 7
