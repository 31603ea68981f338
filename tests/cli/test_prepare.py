"""`basicsr prepare` as people type it."""

from __future__ import annotations

import argparse
import shutil

import pytest
from helpers.clips import coded_frame, write_png
from helpers.project import REAL_CLIPS, needs_clips
from helpers.ytvis import make_ytvis

from basicsr_semantic.cli import main, prepare
from basicsr_semantic.data.prepare.output import only_writer
from basicsr_semantic.utils.errors import UserError


@pytest.fixture
def source(tmp_path):
    for number in range(3):
        write_png(tmp_path / 'src' / 'bear' / f'{number}.png', coded_frame(16, 24, number, 1))
    return tmp_path / 'src'


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    prepare.add_parser(parser.add_subparsers())
    args = parser.parse_args(['prepare', *map(str, arguments)])
    return args.run(args)


def test_prepare_and_verify(source, tmp_path, capsys):
    assert run('clips', source, tmp_path / 'dst', '--verify', '--workers', 1, '--degradation', 'BD') == 0
    out = capsys.readouterr().out
    assert 'has 1 clips of 3 frames, GT and LQ (BD).' in out
    assert 'All 6 images agree' in out
    shutil.rmtree(source)
    assert run('clips', source, tmp_path / 'dst', '--verify', '--degradation', 'BD') == 0
    assert 'only what was prepared from it is verified' in capsys.readouterr().out


def test_skipped_frames_are_listed(source, tmp_path, capsys):
    (source / 'bear' / '1.png').write_bytes(b'')
    assert run('clips', source, tmp_path / 'dst') == 0
    out = capsys.readouterr().out
    assert 'skipped bear/1.png: it is empty' in out
    assert 'manifest.json lists all that was skipped. A clip is cut where frames of it were' in out
    assert 'has 2 clips of 2 frames' in out


def test_many_skipped_frames_are_counted(source, tmp_path, capsys):
    for number in range(3, 30):
        (source / 'bear' / f'{number}.png').write_bytes(b'')
    run('clips', source, tmp_path / 'dst')
    out = capsys.readouterr().out
    assert out.count('skipped bear/') == 20
    assert 'skipped 7 more' in out


def test_mistakes_are_one_sentence_and_code_2(source, tmp_path, capsys):
    assert main(['prepare', 'clips', str(tmp_path / 'gone'), str(tmp_path / 'dst')]) == 2
    assert capsys.readouterr().err.strip() == f"basicsr: There is no folder or video '{tmp_path / 'gone'}'."
    with pytest.raises(UserError, match='--workers is 0'):
        run('clips', source, tmp_path / 'dst', '--workers', 0)
    with pytest.raises(UserError, match='defined for scale 4, not for scale 3'):
        run('clips', source, tmp_path / 'dst', '--degradation', 'BD', '--scale', 3)
    for wrong in (['clips'], ['clip', 'a', 'b'], ['clips', 'a', 'b', '--degradation', 'bicubic']):
        with pytest.raises(SystemExit):
            run(*wrong)


def test_youtube_vis(tmp_path, capsys):
    source = make_ytvis(tmp_path / 'ytvis19')
    assert run('ytvis', source, tmp_path / 'dst', '--workers', 1, '--verify') == 0
    out = capsys.readouterr().out
    assert 'has 3 clips of 18 frames, GT and LQ (BI).' in out
    assert 'instances.json has 3 videos with 6 instances of 2 categories.' in out
    assert 'All 36 images agree' in out
    shutil.rmtree(source)
    assert run('ytvis', source, tmp_path / 'dst', '--verify') == 0
    assert 'only what was prepared from it is verified' in capsys.readouterr().out


def test_youtube_vis_elsewhere(tmp_path, capsys):
    source = make_ytvis(tmp_path / 'ytvis22', 'valid_long', every=1)
    flags = ('--split', 'valid_long', '--degradation', 'BD', '--all-frames', '--workers', 1)
    assert run('ytvis', source, tmp_path / 'dst', *flags) == 0
    assert 'has 3 clips of 90 frames, GT and LQ (BD).' in capsys.readouterr().out
    places = ('--json', source / 'valid_long.json', '--frames', source / 'valid_long' / 'JPEGImages')
    assert run('ytvis', tmp_path, tmp_path / 'other', *places) == 0
    assert main(['prepare', 'ytvis', str(source), str(tmp_path / 'third')]) == 2
    assert "has no JSON file of the split 'train'" in capsys.readouterr().err


@pytest.mark.slow
@needs_clips('davis320')
def test_real_frames(tmp_path):
    clips = tmp_path / 'clips'
    clips.mkdir()
    (clips / 'goat').symlink_to(REAL_CLIPS / 'davis320' / 'val' / 'frames' / 'goat')
    assert run('clips', clips, tmp_path / 'dst', '--verify') == 0
    assert (tmp_path / 'dst' / 'meta_info.txt').read_text() == 'goat 32 (320,544,3)\n'


def test_two_commands_do_not_prepare_one_folder(source, tmp_path, capsys):
    with only_writer(tmp_path / 'dst'):
        assert main(['prepare', 'clips', str(source), str(tmp_path / 'dst')]) == 2
        message = capsys.readouterr().err
        assert 'dst is in use: ' in message and 'or choose another folder.' in message
        assert run('clips', source, tmp_path / 'other') == 0
    assert not (tmp_path / 'dst').exists()
    assert run('clips', source, tmp_path / 'dst') == 0
    assert sorted(path.name for path in (tmp_path / 'dst').iterdir()) == [
        'gt.lmdb', 'lq.lmdb', 'manifest.json', 'meta_info.txt'
    ]  # fmt: skip


def test_the_digest_compares_the_records_of_folders(source, tmp_path, capsys):
    """Written in one go, in two, and of other frames."""

    def digest(target: str) -> str:
        run('clips', source, tmp_path / target, '--verify')
        return capsys.readouterr().out.rpartition('Digest of the records: ')[2].strip()

    whole = digest('a')
    write_png(source / 'cow' / '0.png', coded_frame(16, 24, 7, 1))
    both = digest('b')
    shutil.move(source / 'cow', tmp_path / 'cow')
    assert digest('c') == whole != both and len(whole) == 32
    shutil.move(tmp_path / 'cow', source / 'cow')
    assert digest('c') == both
    files = [(tmp_path / target / 'gt.lmdb/data.mdb').read_bytes() for target in 'bc']
    assert files[0] != files[1]


def test_names_of_files_do_not_steer_the_terminal(source, tmp_path, capsys):
    (source / 'bear' / '1\x1b[2J\n\u202e.png').write_bytes(b'')
    assert run('clips', source, tmp_path / 'dst') == 0
    assert 'skipped bear/1\\u001b[2J\\n\\u202e.png: it is empty\n' in capsys.readouterr().out
