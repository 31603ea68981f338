"""``basicsr extract`` from frames on the disk to a store that a data set can read."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time

import cv2
import lmdb
import numpy as np
import pytest
from helpers.openseed import openseed_files
from helpers.project import basicsr, environment

from basicsr_semantic.cli import build_parser, main
from basicsr_semantic.config.signatures import argument_docs
from basicsr_semantic.extractors import EXTRACTOR_REGISTRY, build_extractor, extractor_class
from basicsr_semantic.priors import PriorStore


@pytest.fixture
def frames_lmdb(clips, tmp_path):
    """The LR frames as an LMDB of PNG in BasicSR's form."""
    path = tmp_path / 'lq.lmdb'
    lines = []
    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        for file in sorted((clips / 'lq').rglob('*.png')):
            key = f'{file.parent.name}/{file.stem}'
            transaction.put(key.encode(), file.read_bytes())
            lines.append(f'{key}.png (24,24,3) 1')
    (path / 'meta_info.txt').write_text('\n'.join(lines))
    return path


def extract(*arguments) -> int:
    return main(['extract', *map(str, arguments)])


def test_frames_from_folders_and_from_lmdb_give_the_same_masks(clips, frames_lmdb, tmp_path, capsys):
    for frames, out in ((clips / 'lq', 'a'), (frames_lmdb, 'b')):
        assert extract('--extractor', 'regions', '--frames', frames, '--out', tmp_path / out, '--min-size', 4) == 0
        assert 'masks of 21 frames made' in capsys.readouterr().out
    first, second = PriorStore(tmp_path / 'a'), PriorStore(tmp_path / 'b')
    assert first.meta == second.meta
    assert first.meta['parameters']['min_size'] == 4
    keys = first.keys()
    assert keys == second.keys() == [f'{clip:03d}/{i:08d}' for clip in range(3) for i in range(7)]
    assert all(np.array_equal(first.masks(key), second.masks(key)) for key in keys)
    bgr = cv2.imread(str(clips / 'lq' / '001' / '00000004.png'))
    masks, _ = build_extractor('regions', min_size=4)(np.ascontiguousarray(bgr[..., ::-1]), '')
    assert np.array_equal(first.masks('001/00000004', len(masks)), masks)


def test_the_data_set_reads_what_was_extracted(clips, tmp_path):
    from basicsr_semantic.data.semantic_clip_dataset import SemanticClipDataset

    assert extract('--extractor', 'regions', '--frames', clips / 'lq', '--out', tmp_path / 'masks') == 0
    options = {
        'name': 'tiny',
        'type': 'SemanticClipDataset',
        'dataroot_gt': str(clips / 'gt'),
        'dataroot_lq': str(clips / 'lq'),
        'dataroot_priors': str(tmp_path / 'masks'),
        'prior_kind': 'regions',
        'num_frame': 3,
        'gt_size': 64,
    }
    item = SemanticClipDataset(options)[0]
    assert item['masks'].shape == (3, 64, 16, 16)
    assert item['masks'].any()
    assert item['prior_kind'] == 'regions'


def test_runs_are_continued_and_divided(clips, tmp_path, capsys):
    arguments = ['--extractor', 'regions', '--frames', clips / 'lq', '--out', tmp_path / 's', '--batch', 2]
    assert extract(*arguments, '--shard', '2/3') == 0
    assert 'masks of 7 frames made' in capsys.readouterr().out
    assert extract(*arguments) == 0
    assert 'masks of 14 frames made' in capsys.readouterr().out
    assert extract(*arguments) == 0
    assert 'masks of 0 frames made, 21 were there already' in capsys.readouterr().out


def test_annotations(clips, tmp_path):
    run = {'size': [96, 96], 'counts': [0, 96 * 48, 96 * 48]}
    names = [f'000/{i:08d}.png' for i in range(7)]
    (tmp_path / 'a.json').write_text(
        json.dumps(
            {
                'videos': [{'id': 1, 'height': 96, 'width': 96, 'file_names': names}],
                'annotations': [{'id': 1, 'video_id': 1, 'segmentations': [run] * 7}],
            }
        )
    )
    (tmp_path / 'lq').mkdir()
    (tmp_path / 'lq' / '000').symlink_to(clips / 'lq' / '000')
    out = tmp_path / 's'
    where = ['--frames', tmp_path / 'lq', '--out', out]
    assert extract('--extractor', 'annotations', *where, '--annotations', tmp_path / 'a.json') == 0
    reader = PriorStore(out)
    assert reader.meta['order'] == 'id'
    masks = reader.masks('000/00000003')
    assert masks[0, :, :12].all()
    assert masks.sum() == 24 * 12


def test_tokens_and_pixel_features(clips, tmp_path, capsys):
    out = tmp_path / 's'
    flags = [f'--{name.replace("_", "-")}={value}' for name, value in openseed_files(tmp_path).items()]
    arguments = ['--extractor', 'openseed', '--frames', clips / 'lq', '--out', out, '--num-tokens', 4, *flags]
    assert extract(*arguments, '--short-side', 0) == 0
    assert 'tokens and pixel features of 21 frames made' in capsys.readouterr().out
    reader = PriorStore(out)
    assert (reader.kind, len(reader), reader.has_masks) == ('openseed', 21, False)
    assert reader.clip_tokens(['001/00000003'])[0].shape == (1, 4, 16)
    assert reader.clip_features(['001/00000003'], (8, 4, 16, 20)).shape == (1, 12, 4, 5)
    reader.close()
    assert extract(*arguments, '--short-side', 32) == 2
    assert 'parameters.short_side is null in the store and 32 now' in capsys.readouterr().err


def help_of(capsys, *words: str) -> str:
    with pytest.raises(SystemExit) as done:
        main(['extract', *words, '--help'])
    assert done.value.code == 0
    return ' '.join(capsys.readouterr().out.split())


@pytest.mark.parametrize('name', EXTRACTOR_REGISTRY.keys())
def test_every_argument_of_every_extractor_is_a_flag_with_text_and_default(name, capsys):
    chosen = extractor_class(name)
    if not chosen.fills_stores():
        assert extract('--extractor', name, '--help') == 2
        return
    text = help_of(capsys, '--extractor', name)
    for argument, parameter in inspect.signature(chosen).parameters.items():
        entry = re.search(rf' --{argument.replace("_", "-")} (?!.*usage).*?(?= --|$)', text.split('options:')[1])
        assert entry, argument
        words = argument_docs(chosen)[argument].replace('``', '').split()[:4]
        assert ' '.join(words).rstrip('.') in entry[0]
        if parameter.default is parameter.empty:
            assert '(required)' in entry[0]
        elif isinstance(parameter.default, int | str):
            assert f'(default {str(parameter.default).replace("F", "f").replace("T", "t")})' in entry[0]


def test_flags_may_be_abbreviated_while_they_name_one_extractor(clips, tmp_path, capsys):
    where = ['--fra', clips / 'lq', '--out', tmp_path / 's', '--min-s', 4]
    assert extract('--extr', 'regions', *where) == 0
    assert PriorStore(tmp_path / 's').meta['parameters']['min_size'] == 4
    assert extract('--extractor', 'regions', *where, '--extr', 'sam') == 2
    assert "Two extractors are named, 'regions' and 'sam'" in capsys.readouterr().err


def test_the_help_lists_the_extractors_that_fill_stores(capsys):
    text = help_of(capsys).split('extractors, each with flags of its own')[1]
    for name, one in EXTRACTOR_REGISTRY:
        summary = one.__doc__.splitlines()[0]
        assert (f' {name} {summary}' in text) == one.fills_stores()
    assert '--min-size' not in text


def test_pixel_features_are_a_flag_that_may_say_true():
    parse = build_parser().parse_args
    needed = ['extract', '--extractor', 'xdecoder', '--frames', 'a', '--out', 'b']
    assert parse(needed).pixel_features is None
    assert parse([*needed, '--pixel-features']).pixel_features is True
    for text, value in (('true', True), ('false', False)):
        assert parse([*needed, '--pixel-features', text]).pixel_features is value
    with pytest.raises(SystemExit):
        parse([*needed, '--pixel-features', 'yes'])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--extractor', 'sam'], "needs the argument 'checkpoint'"),
        (['--extractor', 'sam', '--checkpoint', 'none.pth'], 'The checkpoint none.pth does not exist'),
        (['--extractor', 'annotations'], "needs the argument 'annotations'"),
        (['--extractor', 'regions', '--checkpoint', 'x'], "'regions' takes no argument 'checkpoint'"),
        (['--extractor', 'regions', '--shard', '0/2'], "The shard '0/2' is not of the form i/n"),
        (['--extractor', 'regions', '--batch', '0'], '--batch must be at least 1'),
        (['--extractor', 'regions', '--max-masks', '0'], 'max_masks must be at least 1'),
    ],
)
def test_arguments_that_do_not_fit(clips, tmp_path, capsys, arguments, message):
    assert extract(*arguments, '--frames', clips / 'lq', '--out', tmp_path / 's') == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count('\n') == 1
    assert not (tmp_path / 's').exists()


def test_the_store_is_not_written_among_the_frames(clips, capsys):
    folder = str(clips / 'lq')
    before = sorted(clips.rglob('*'))
    assert main(['extract', '--extractor', 'regions', '--frames', folder, '--out', f'{folder}/.']) != 0
    assert 'is the folder of --frames' in capsys.readouterr().err and sorted(clips.rglob('*')) == before


def test_frames_that_do_not_exist(tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    for frames, message in (
        (tmp_path / 'none', 'there is no folder'),
        (tmp_path / 'empty', 'neither folders of images nor videos'),
    ):
        assert extract('--extractor', 'regions', '--frames', frames, '--out', tmp_path / 's') == 2
        assert message in capsys.readouterr().err


def test_a_damaged_frame_is_named(clips, frames_lmdb, tmp_path, capsys):
    whole = (clips / 'lq' / '001' / '00000002.png').read_bytes()
    with lmdb.open(str(frames_lmdb)) as env, env.begin(write=True) as transaction:
        transaction.put(b'001/00000002', whole[: len(whole) // 2])
    assert extract('--extractor', 'regions', '--frames', frames_lmdb, '--out', tmp_path / 's') == 2
    printed = capsys.readouterr().err
    assert '1 of 21 frames could not be read' in printed
    assert '001/00000002' in printed
    assert len(PriorStore(tmp_path / 's')) == 20


def test_a_store_that_was_made_otherwise(clips, tmp_path, capsys):
    arguments = ['--extractor', 'regions', '--frames', clips / 'lq', '--out', tmp_path / 's']
    assert extract(*arguments) == 0
    assert extract(*arguments, '--sigma', 1) == 2
    assert 'parameters.sigma is 0.5 in the store and 1.0 now' in capsys.readouterr().err


@pytest.mark.slow(50)
def test_the_command_is_killed_and_two_shards_finish_at_once(clips, tmp_path):
    """Real processes: SIGKILL in the middle, then two shards at the same time, then compare with one calm run."""
    arguments = ['extract', '--extractor', 'regions', '--frames', str(clips / 'lq'), '--batch', '1']
    calm = basicsr(*arguments, '--out', 'calm', cwd=tmp_path)
    assert calm.returncode == 0, calm.stderr
    assert 'frame/s' in calm.stderr

    def start(*more: str) -> subprocess.Popen:
        command = [sys.executable, '-m', 'basicsr_semantic', *arguments, '--out', 'rough', *more]
        return subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)

    doomed = start()
    while not (tmp_path / 'rough' / 'data.mdb').exists() and doomed.poll() is None:
        time.sleep(0.005)
    os.kill(doomed.pid, signal.SIGKILL)
    assert doomed.wait() == -signal.SIGKILL
    shards = [start('--shard', f'{i}/2') for i in (1, 2)]
    assert [shard.wait() for shard in shards] == [0, 0]
    first, second = PriorStore(tmp_path / 'calm'), PriorStore(tmp_path / 'rough')
    assert first.meta == second.meta
    keys = first.keys()
    assert keys == second.keys()
    assert all(first._get(key) == second._get(key) for key in keys)
