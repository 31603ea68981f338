"""Clips from meta info files, LMDB lists and folders, and what is said about those that do not fit."""

from __future__ import annotations

import pytest
from helpers.clips import coded_frame, make_coded_clips, to_lmdb, write_png

from basicsr_semantic.data.clip_folders import natural_order
from basicsr_semantic.data.clip_lists import META_INFO_FOLDER, read_meta_info, resolve_meta_info
from basicsr_semantic.data.clips import VAL_PARTITIONS, Clip, ClipIndex, val_partition_clips
from basicsr_semantic.data.prepare.clips import prepare_clips
from basicsr_semantic.utils.errors import UserError


def touch(root, *files):
    for file in files:
        write_png(root / file, coded_frame(4, 4, 0, 1))
    return root


def listing(tmp_path, *lines):
    path = tmp_path / 'list.txt'
    path.write_text('\n'.join(lines) + '\n')
    return path


def test_basicsr_meta_info(tmp_path):
    root = touch(tmp_path / 'gt', '000/00000000.png', '011/00000000.png')
    index = ClipIndex.load(root, 'disk', listing(tmp_path, '000 100 (720,1280,3)', '', '011 7 (720,1280,3)'))
    assert [(clip.name, len(clip)) for clip in index] == [('000', 100), ('011', 7)]
    assert index['011'].keys == tuple(f'011/{i:08d}' for i in range(7))
    assert index['000'].key(99) == '000/00000099'


@pytest.mark.parametrize('line', ['00001/0266 7 (256,448,3)', '00001/0266'])
def test_vimeo_lists(tmp_path, line):
    root = touch(tmp_path / 'gt', '00001/0266/im1.png')
    index = ClipIndex.load(root, 'disk', listing(tmp_path, line))
    assert index['00001/0266'].keys == tuple(f'00001/0266/im{i}' for i in range(1, 8))


def test_names_alone_take_the_images_of_the_folder(tmp_path):
    files = [f'walk/{name}.jpg' for name in ('00000', '00005', '00010')]
    root = touch(tmp_path / 'JPEGImages', *files, 'calendar/a2.png', 'calendar/a10.png', 'other/0.png')
    index = ClipIndex.load(root, 'disk', listing(tmp_path, 'walk', 'calendar'))
    assert index['walk'].frames == ('00000', '00005', '00010')
    assert index['calendar'].frames == ('a2', 'a10')
    assert 'other' not in index


def test_filename_template(tmp_path):
    root = touch(tmp_path / 'gt', 'bear/00000.jpg')
    index = ClipIndex.load(root, 'disk', listing(tmp_path, 'bear 3 (320,544,3)'), '{:05d}')
    assert index['bear'].frames == ('00000', '00001', '00002')


def test_folders_are_scanned_at_any_depth_in_natural_order(tmp_path):
    root = touch(
        tmp_path, 'b/1/0.png', 'b/10/0.PNG', 'b/2/0.jpeg', 'a/9.png', 'a/10.png', 'a/.hidden.png', '.git/0.png'
    )
    (root / 'a' / 'Thumbs.db').write_bytes(b'x')
    (root / 'empty').mkdir()
    index = ClipIndex.load(root)
    assert [clip.name for clip in index] == ['a', 'b/1', 'b/2', 'b/10']
    assert index['a'].frames == ('9', '10')
    assert index['b/10'].keys == ('b/10/0',)


GAPS = {'a': (0, 1, 2, 4, 5, 9), 'b': (3, 4, 5), 'c': (0, 5, 10, 20, 25), 'd': (1, 7)}
PARTS = {
    'a': ('0', '1', '2'),
    'a_from_00004': ('4', '5'),
    'a_from_00007': ('9',),
    'b': ('3', '4', '5'),
    'c': ('0', '5', '10'),
    'c_from_00004': ('20', '25'),
    'd': ('1', '7'),
}


def test_clips_are_cut_where_the_numbers_of_their_frames_jump_as_prepare_cuts_them(tmp_path):
    root = touch(tmp_path / 'gt', *(f'{clip}/{number}.png' for clip, numbers in GAPS.items() for number in numbers))
    index = ClipIndex.load(root)
    assert {clip.name: clip.frames for clip in index} == PARTS
    assert index['a_from_00004'].keys == ('a/4', 'a/5')
    prepared = prepare_clips(root, tmp_path / 'dst')
    assert {name: tuple(clip.frame_names) for name, clip in prepared.clips.items()} == PARTS
    for other in (
        ClipIndex.load(root, 'disk', listing(tmp_path, *GAPS)),
        ClipIndex.load(to_lmdb(root, tmp_path / 'gt.lmdb'), 'lmdb'),
        ClipIndex.load(tmp_path / 'gt.lmdb', 'lmdb', listing(tmp_path, 'a 6', 'b', 'c', 'd')),
    ):
        index.check_same_frames(other)
        assert len(other) == len(index)
    other.check_on_disk(root)
    assert [clip.name for clip in ClipIndex.load(tmp_path / 'gt.lmdb', 'lmdb', listing(tmp_path, 'a 4'))] == [
        'a',
        'a_from_00004',
    ]
    # a folder that is held out is held out whole
    assert [clip.name for clip in index.without(['a', 'b', 'c_from_00004'])] == ['c', 'd']
    assert [clip.name for clip in index.only(['c', 'a_from_00007'])] == ['a_from_00007', 'c', 'c_from_00004']
    touch(root, 'a_from_00004/0.png')
    with pytest.raises(UserError, match="has the clip 'a_from_00004' twice"):
        ClipIndex.load(root)


def test_lmdb_lists_its_own_frames(tmp_path):
    make_coded_clips(tmp_path, {'000': 3, '00001/0001': 2}, 8, 8)
    root = to_lmdb(tmp_path / 'gt', tmp_path / 'gt.lmdb')
    index = ClipIndex.load(root, 'lmdb')
    assert index['000'].keys == ('000/00000000', '000/00000001', '000/00000002')
    assert index['00001/0001'].frames == ('00000000', '00000001')  # not im1, im2: the LMDB knows best
    shorter = ClipIndex.load(root, 'lmdb', listing(tmp_path, '000 2 (32,32,3)'))
    assert [clip.keys for clip in shorter] == [('000/00000000', '000/00000001')]
    (root / 'meta_info.txt').unlink()
    by_rule = ClipIndex.load(root, 'lmdb', listing(tmp_path, '000 3', '00001/0001'))
    assert by_rule['000'] == index['000']
    assert by_rule['00001/0001'].frames[0] == 'im1'


def test_shipped_lists_are_those_of_basicsr(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = 'basicsr/data/meta_info/meta_info_REDS_GT.txt'
    assert resolve_meta_info(asked) == META_INFO_FOLDER / 'meta_info_REDS_GT.txt'
    assert read_meta_info(resolve_meta_info(asked)) == [(f'{i:03d}', 100) for i in range(270)]
    for name, clips in (('REDS4', VAL_PARTITIONS['REDS4']), ('REDSofficial4', ('240', '241', '246', '257'))):
        file = resolve_meta_info(f'basicsr/data/meta_info/meta_info_{name}_test_GT.txt')
        assert [clip for clip, _ in read_meta_info(file)] == list(clips)
    own = tmp_path / asked
    own.parent.mkdir(parents=True)
    own.write_text('mine 3\n')
    assert read_meta_info(resolve_meta_info(asked)) == [('mine', 3)]  # the file that exists wins


def test_partitions(tmp_path):
    root = touch(tmp_path / 'gt', '000/00000000.png')
    index = ClipIndex.load(root, 'disk', META_INFO_FOLDER / 'meta_info_REDS_GT.txt')
    assert len(index.without(val_partition_clips('REDS4'))) == 266
    assert len(index.without(val_partition_clips('official'))) == 240
    assert [clip.name for clip in index.only(val_partition_clips('REDS4'))] == ['000', '011', '015', '020']


def test_natural_order():
    names = ['frame10', 'frame2', 'frame02', 'a', '10', '9']
    assert sorted(names, key=natural_order) == ['9', '10', 'a', 'frame02', 'frame2', 'frame10']


MISTAKES = {
    'no list': (lambda t: ClipIndex.load(t, 'disk', t / 'nowhere.txt'), r"no file '.*nowhere\.txt'.*sep_trainlist"),
    'near list': (
        lambda t: ClipIndex.load(t, 'disk', 'basicsr/data/meta_info/meta_info_RED_GT.txt'),
        "'basicsr/data/meta_info/meta_info_REDS_GT.txt' is there",
    ),
    'list of images': (
        lambda t: ClipIndex.load(t, 'disk', listing(t, '000 1', '0001_s001.png (480,480,3)')),
        'line 2.*list of single images',
    ),
    'empty list': (lambda t: ClipIndex.load(t, 'disk', listing(t, '', '')), 'is empty'),
    'binary list': (
        lambda t: (t / 'l').write_bytes(b'\xff\xfe\x00') and ClipIndex.load(t, 'disk', t / 'l'),
        'not a text',
    ),
    'twice': (lambda t: ClipIndex([Clip('a', ('0',)), Clip('a', ('1',))], 'x'), "the clip 'a' twice"),
    'no root': (lambda t: ClipIndex.load(t / 'gone'), "no folder '.*gone'"),
    'empty root': (lambda t: ClipIndex.load(t), 'neither folders of images nor videos'),
    'images in the root': (lambda t: ClipIndex.load(touch(t, '0.png')), 'Each clip needs a folder of its own'),
    'clip missing': (lambda t: ClipIndex.load(t, 'disk', listing(t, '000 5')), r"clip '000', but there is no folder"),
    'clip missing by name': (
        lambda t: ClipIndex.load(touch(t, 'a/0.png'), 'disk', listing(t, 'a', 'b')),
        "clip 'b', but there is no folder",
    ),
    'clip empty': (lambda t: (t / '000').mkdir() or ClipIndex.load(t, 'disk', listing(t, '000 5')), 'holds no images'),
    'other names': (
        lambda t: ClipIndex.load(touch(t, 'bear/00000.jpg', 'bear/00001.jpg'), 'disk', listing(t, 'bear 2')),
        r"begin with frame '00000000', but holds 00000\.jpg to 00001\.jpg\. Set filename_tmpl: '\{:05d\}'",
    ),
    'no place in template': (lambda t: ClipIndex.load(t, 'disk', None, 'frame'), 'not a format for one number'),
    'bad template': (lambda t: ClipIndex.load(t, 'disk', None, '{name}'), 'not a format for one number'),
    'two files a frame': (lambda t: ClipIndex.load(touch(t, 'a/0.png', 'a/0.jpg')), r'two files for one frame: 0\.'),
    'partition': (lambda t: val_partition_clips('REDS5'), 'Choose one of REDS4, official'),
    'nothing left': (lambda t: ClipIndex([Clip('000', ('0',))], 'x').without(['000']), 'has no clips'),
    'unknown clip': (lambda t: ClipIndex([Clip('bear', ('0',))], 'x')['baer'], "Did you mean 'bear'"),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_mistakes_are_sentences(tmp_path, name):
    action, message = MISTAKES[name]
    with pytest.raises(UserError, match=message):
        action(tmp_path)


def test_mistakes_in_lmdb_lists(tmp_path):
    make_coded_clips(tmp_path, {'000': 3}, 8, 8)
    root = to_lmdb(tmp_path / 'gt', tmp_path / 'gt.lmdb')
    with pytest.raises(UserError, match=r"says that clip '000' has 100 frames, but the LMDB .* has 3"):
        ClipIndex.load(root, 'lmdb', listing(tmp_path, '000 100'))
    with pytest.raises(UserError, match=r"has none of that name\. It has '000'"):
        ClipIndex.load(root, 'lmdb', listing(tmp_path, '00'))
    (root / 'meta_info.txt').write_text('00000000.png (8,8,3) 1\n')
    with pytest.raises(UserError, match=r"line 1: the key '00000000\.png' is not of the form clip/frame"):
        ClipIndex.load(root, 'lmdb')
    (root / 'meta_info.txt').unlink()
    with pytest.raises(UserError, match='How many frames'):
        ClipIndex.load(root, 'lmdb', listing(tmp_path, '000'))
    with pytest.raises(UserError, match=r'no meta_info\.txt.*run it again'):
        ClipIndex.load(root, 'lmdb')


def test_lq_and_gt_must_have_the_same_frames():
    lq = ClipIndex([Clip('a', ('0', '1')), Clip('b', ('0',))], 'lq')
    lq.check_same_frames(ClipIndex([Clip('b', ('0',)), Clip('a', ('0', '1')), Clip('c', ('0',))], 'gt'))
    for other, message in (
        ([Clip('a', ('0', '1'))], "Clip 'b' is in lq but not in gt"),
        ([Clip('a', ('0', '1', '2')), Clip('b', ('0',))], "'a' has 2 frames in lq but 3 in gt"),
        ([Clip('a', ('0', 'x1')), Clip('b', ('0',))], "calls a frame '1' in lq but 'x1' in gt"),
    ):
        with pytest.raises(UserError, match=message):
            lq.check_same_frames(ClipIndex(other, 'gt'))
