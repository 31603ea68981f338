"""docs/first_hour.md: all its commands, typed in their order, do what the page says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import pytest
import torch
from helpers.project import ROOT, basicsr, basicsr_until
from helpers.terminal import indented_blocks, sh_blocks, type_in
from helpers.videos import make_video, picture

PAGE = (ROOT / 'docs/first_hour.md').read_text(encoding='utf-8')
INSTALLATION = ('sudo apt install ', 'make venv ', '. .venv/bin/activate ')
"""Lines that begin so are not typed: they install what the tests run in."""
SMALLER = (
    'train:total_iter=6',
    'train:scheduler:periods=[6]',
    'val:val_freq=3',
    'logger:print_freq=1',
    'logger:save_checkpoint_freq=3',
    'datasets:train:num_worker_per_gpu=0',
)
"""Follows what the page itself makes smaller in a training."""
HEIGHT, WIDTH, FRAMES = 152, 160, 8
LQ_HEIGHT, LQ_WIDTH, LQ_FRAMES = 40, 48, 3
MINE, BASE, TUNED = 'train_BasicVSRSEEM_mine', 'train_BasicVSR_mine', 'tune_BasicVSRSEEM_mine'
LISTINGS = ('my_clips/', 'datasets/frames/lq/')
"""What stands indented and begins so is a folder's content, not an output."""


@dataclass
class Hour:
    """What came of the page."""

    folder: Path
    shell: subprocess.CompletedProcess[str] | None = None
    commands: list[list[str]] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def basicsr(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        """The command; the first training is stopped by Ctrl+C where the page says so."""
        stopped = arguments[0] == 'train' and not any(one[0] == 'train' for one in self.commands)
        self.commands.append(arguments)
        if arguments[0] == 'train':
            assert arguments.index('--force_yml') == max(i for i, one in enumerate(arguments) if one.startswith('-'))
            arguments = [*arguments, *SMALLER]
        if stopped:
            self.outputs.append(basicsr_until('Saving models', signal.SIGINT, *arguments, cwd=self.folder))
            return subprocess.CompletedProcess(arguments, 0, '', '')
        done = basicsr(*arguments, cwd=self.folder)
        self.outputs.append(done.stdout + done.stderr)
        assert done.returncode == 0, f'{" ".join(arguments)}\n{done.stderr[-2000:]}'
        return done

    def output(self, *words: str) -> str:
        """The output of the only command with these arguments."""
        (found,) = [self.outputs[i] for i, one in enumerate(self.commands) if set(words) <= set(one)]
        return found


@pytest.fixture(scope='module')
def hour(tmp_path_factory) -> Hour:
    """The folder in which the whole page was typed."""
    folder = tmp_path_factory.mktemp('hour')
    (folder / 'options').symlink_to(ROOT / 'options')
    for clip in ('cats', 'coffee', 'rocket'):
        _images(folder / 'my_clips' / clip, FRAMES, HEIGHT, WIDTH, 'jpg')
    make_video(folder / 'my_clips/market.mp4', FRAMES, HEIGHT, WIDTH)
    _images(folder / 'datasets/frames/lq/old_film', LQ_FRAMES, LQ_HEIGHT, LQ_WIDTH, 'png')
    make_video(folder / 'datasets/frames/lq/phone.mp4', LQ_FRAMES, LQ_HEIGHT, LQ_WIDTH)
    lines = [line for block in sh_blocks(PAGE) for line in block.splitlines()]
    script = '\n'.join(line for line in lines if not f'{line} '.startswith(INSTALLATION))
    typed = Hour(folder)
    typed.shell = type_in(script, folder, {'basicsr': typed.basicsr}, os.environ['PATH'])
    assert typed.shell.returncode == 0, typed.shell.stderr
    return typed


def _images(folder: Path, count: int, height: int, width: int, suffix: str) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        assert cv2.imwrite(str(folder / f'{number + 1:04d}.{suffix}'), picture(number, height, width))


def test_the_installation_is_that_of_the_makefile():
    block = sh_blocks(PAGE)[0]
    assert all(line.startswith(INSTALLATION) for line in block.splitlines())
    assert re.search(r'^venv:', (ROOT / 'Makefile').read_text(), re.MULTILINE)


@pytest.mark.slow(40)
def test_every_command_is_run(hour):
    typed = re.findall(r'^basicsr ', '\n'.join(sh_blocks(PAGE)), re.MULTILINE)
    assert len(hour.commands) == len(typed) > 10
    assert {one[0] for one in hour.commands} == {'prepare', 'extract', 'check', 'train', 'test', 'adapter'}


@pytest.mark.slow(40)
def test_one_clip_is_held_out(hour):
    data = hour.folder / 'datasets/mine'
    clips = {
        name: [line.split()[0] for line in (data / f'{name}.txt').read_text().splitlines()] for name in ('train', 'val')
    }
    assert clips == {'train': ['cats', 'coffee', 'market'], 'val': ['rocket']}


@pytest.mark.slow(40)
def test_outputs_are_those_that_the_page_shows(hour):
    shown = [line.strip() for one in indented_blocks(PAGE) if not one.startswith(LISTINGS) for line in one.splitlines()]
    printed = '\n'.join([*hour.outputs, hour.shell.stdout])
    assert len(shown) > 20
    for line in shown:
        assert line == '...' or re.search(_pattern(line), printed), f'nothing printed is like {line!r}'


def _pattern(line: str) -> str:
    """An expression for a line with other numbers, other spaces, and anything in the place of three dots."""
    line = re.sub(r'\d[\d.,:e-]*\d|\d', '0', line)
    parts = [re.sub(r'(\\ )+', r'\\s+', re.escape(part)).replace('0', r'\d[\d.,:e-]*') for part in line.split('...')]
    return '.*'.join(parts)


@pytest.mark.slow(40)
def test_a_training_that_was_stopped_goes_on_to_its_end(hour):
    first = next(i for i, one in enumerate(hour.commands) if one[0] == 'train')
    (saved,) = re.findall(r'Interrupted; iteration (\d+) is saved', hour.outputs[first])
    assert '--auto_resume' in hour.commands[first + 1] and 3 <= int(saved) < 6
    assert f'Resuming after iteration {saved}.' in hour.outputs[first + 1]
    assert 'iter:       6,' in hour.outputs[first + 1] and 'End of training' in hour.outputs[first + 1]


@pytest.mark.slow(40)
def test_a_training_leaves_what_the_page_lists(hour):
    run = hour.folder / 'experiments' / MINE
    for name in ('models/net_g_latest.pth', 'models/net_g_3.pth', 'training_states/3.state', 'validation/mine_3.csv'):
        assert (run / name).is_file(), name
    assert list(run.glob('train_*.log')) and list((hour.folder / 'tb_logger' / MINE).iterdir())


@pytest.mark.slow(40)
@pytest.mark.parametrize('name', ['test_BasicVSRSEEM_mine', 'test_tuned_mine'])
def test_the_clip_held_out_is_restored(hour, name):
    images = sorted((hour.folder / 'results' / name / 'visualization/mine/rocket').iterdir())
    assert [image.name for image in images] == [f'{i:08d}_{name}.png' for i in range(FRAMES)]
    assert {cv2.imread(str(image)).shape for image in images} == {(HEIGHT, WIDTH, 3)}


@pytest.mark.slow(40)
def test_clips_without_ground_truth_are_enlarged_four_times(hour):
    place = hour.folder / 'results/test_BasicVSRSEEM_frames/visualization/frames'
    names = {'old_film': '{:04d}', 'phone': '{:08d}'}
    for clip, name in names.items():
        images = sorted((place / clip).iterdir())
        first = 1 if clip == 'old_film' else 0
        expected = [f'{name.format(i + first)}_test_BasicVSRSEEM_frames.png' for i in range(LQ_FRAMES)]
        assert [image.name for image in images] == expected
        assert {cv2.imread(str(image)).shape for image in images} == {(4 * LQ_HEIGHT, 4 * LQ_WIDTH, 3)}


@pytest.mark.slow(40)
def test_the_baseline_has_no_seem_and_its_adapter_is_small(hour):
    models = hour.folder / 'experiments'
    base = torch.load(models / BASE / 'models/net_g_latest.pth', weights_only=True)['params']
    assert not [name for name in base if name.startswith(('sam_embed', 'seem_'))]
    whole = torch.load(models / TUNED / 'models/net_g_latest.pth', weights_only=True)['params']
    assert all(torch.equal(whole[name], value) for name, value in base.items())
    sizes = [(models / TUNED / 'models' / f'{name}_latest.pth').stat().st_size for name in ('net_g_seem', 'net_g')]
    assert round(sizes[0] / 1e6, 1) == 0.4 and round(sizes[1] / 1e6) == 13
    merged = torch.load(models / 'tuned.pth', weights_only=True)['params']
    assert merged.keys() == whole.keys() and all(torch.equal(merged[name], whole[name]) for name in whole)
