"""docs/upscaling.md: its example of Python runs, its flags are there, and its figures are those of the benchmark."""

from __future__ import annotations

import json
import re

import pytest
from helpers.coded_videos import decoded, moving_frames, write_video
from helpers.project import ROOT

from basicsr_semantic.cli import build_parser

TEXT = (ROOT / 'docs/upscaling.md').read_text(encoding='utf-8')


@pytest.mark.slow(10)
def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / 'in.mp4', moving_frames(8, 32, 48), rate=12)
    blocks = re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL)
    (block,) = (block for block in blocks if 'import av' in block)
    assert len(block.splitlines()) <= 20
    exec(compile(block, 'docs/upscaling.md', 'exec'), {})
    made = decoded(tmp_path / 'out.mp4')
    assert len(made) == 8 and made[0].shape == (128, 192, 3)


def test_every_flag_of_the_page_is_one(capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(['upscale', '--help'])
    known = capsys.readouterr().out
    for verb in ('export', 'show', 'extract'):
        with pytest.raises(SystemExit):
            build_parser().parse_args(
                [verb, '--help'] if verb != 'extract' else ['extract', '--extractor', 'regions', '--help']
            )
        known += capsys.readouterr().out
    for flag in set(re.findall(r'(?<![\w-])--[a-z][a-z-]*', TEXT)):
        assert flag in known, flag


def test_the_figures_are_those_of_the_benchmark():
    found = json.loads((ROOT / 'docs/results/upscale.json').read_text(encoding='utf-8'))
    rows = [found['lengths'][length] for length in ('32', '128', '512')]
    ratios = ' / '.join(f'{row["speed_ratio"]:.2f}' for row in rows)
    streamed, whole = (
        ' / '.join(f'{row[f"{name}_bytes"] / 1e9:.2f}' for row in rows) for name in ('streamed', 'whole')
    )
    assert f'{ratios} times its speed, in {streamed} GB for {whole} GB' in TEXT
    end = found['end_to_end']
    sentence = f'{end["frames_a_second"]:.1f} frames a second, of which all but the network takes'
    assert f'{sentence} {100 * end["share_beside_network"]:.1f} %' in TEXT
    assert f'{end["frames_a_second"]:.1f} frames a second' in (ROOT / 'docs/models.md').read_text(encoding='utf-8')
    assert rows[0]['speed_ratio'] >= 0.95 and end['frames_a_second'] >= 8 and end['share_beside_network'] < 0.15


def test_the_figures_of_windows_are_those_of_their_check():
    found = json.loads((ROOT / 'docs/results/seam.json').read_text(encoding='utf-8'))
    words = ' '.join(TEXT.split())
    assert f'has {found["windows"]:.3f} dB on Y, and over the whole scene {found["whole"]:.3f}' in words
    assert found['lost at most in a frame'] < 0.02 and found['frames'] == 64
