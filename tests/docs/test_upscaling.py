"""docs/upscaling.md: its example of Python runs, and its sentence on what is missing names nothing that is there."""

from __future__ import annotations

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
    (block,) = re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL)
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
