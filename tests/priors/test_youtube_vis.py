"""YouTube-VIS files: what is read, what is refused (the formats of masks: see the annotations extractor)."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from helpers.ytvis import LISTED, SIZES, box_mask, train_json

from basicsr_semantic.priors.segmentations import encode_mask
from basicsr_semantic.priors.youtube_vis import read_youtube_vis
from basicsr_semantic.utils.errors import UserError


@pytest.fixture
def read(tmp_path):
    """Reads a file of the given content."""

    def read(content):
        (tmp_path / 'a.json').write_text(json.dumps(content))
        return read_youtube_vis(tmp_path / 'a.json')

    return read


@pytest.mark.parametrize('compressed', [False, True])
def test_videos_instances_and_masks(read, compressed):
    file = read(train_json(compressed=compressed))
    assert [video.name for video in file.videos] == list(SIZES) and file.annotated
    assert [category['id'] for category in file.categories] == [3, 7]
    for video in file.videos:
        assert (video.height, video.width) == SIZES[video.name]
        assert video.frames[1] == f'{video.name}/00005'
        assert [instance.category for instance in video.instances] == [7, 3]
        for number, instance in enumerate(video.instances):
            for position in range(LISTED):
                mask = box_mask(video.name, number, 5 * position)
                expected = np.zeros(SIZES[video.name], bool) if mask is None else mask
                assert np.array_equal(file.mask(video, instance, position), expected)


def test_lists_of_runs_are_kept_compressed(read):
    (first, *_), _ = (video.instances for video in read(train_json()).videos[:2])
    assert first.segmentations[0] == encode_mask(box_mask('ant', 0, 0))


def test_files_without_annotations(read):
    for nothing in (None, []):
        file = read(train_json() | {'annotations': nothing})
        assert not file.annotated and len(file.videos) == 3
    content = train_json()
    del content['annotations'], content['categories']
    assert read(content).categories == ()


def test_crowds_and_instances_without_category(read):
    content = train_json()
    content['annotations'][0]['iscrowd'] = 1
    del content['annotations'][1]['category_id']
    crowd, nameless = read(content).videos[0].instances
    assert crowd.crowd and not nameless.crowd and nameless.category is None


@pytest.mark.parametrize(
    'change',
    [
        lambda c: c.pop('videos'),
        lambda c: c['videos'][0].pop('width'),
        lambda c: c['annotations'][0].update(segmentations=3),
        lambda c: c.update(videos=[1]),
    ],
)
def test_files_of_another_form(read, change):
    content = train_json()
    change(content)
    with pytest.raises(
        UserError, match=r'is not a YouTube-VIS file: .* is (missing|of the wrong type).*It needs "videos"'
    ):
        read(content)


def test_malformed_masks_are_named_when_they_are_asked_for(read):
    content = train_json()
    content['annotations'][0]['segmentations'][1]['counts'] = [1, 2, 3]
    file = read(content)
    video = file.videos[0]
    with pytest.raises(UserError, match=r"annotation 100 .* frame 'ant/00005' \(number 1 of its video\).*add up"):
        file.mask(video, video.instances[0], 1)


def test_no_json(tmp_path):
    (tmp_path / 'a.json').write_text('{"videos": ')
    with pytest.raises(UserError, match='cannot be read as JSON'):
        read_youtube_vis(tmp_path / 'a.json')


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        (lambda c: c['videos'][1].update(id=c['videos'][0]['id']), 'among its "videos" comes twice'),
        (lambda c: c['annotations'][1].update(id=c['annotations'][0]['id']), 'among its "annotations" comes twice'),
        (lambda c: c['videos'][0].update(id='1abc'), 'the id \'1abc\' among its "videos" is not a whole number'),
        (lambda c: c['annotations'][0].update(category_id=99), 'has the category 99, which the file does not have'),
        (lambda c: c['annotations'][0].update(video_id=99), 'belongs to video 99, which the file does not have'),
        (lambda c: c['annotations'][0]['segmentations'].append(None), r'has \d+ segmentations for the \d+ frames'),
        (lambda c: c['videos'][0].update(file_names='a/0.jpg'), 'is not a list of names'),
    ],
)
def test_what_would_be_found_out_late_is_refused_at_once(read, change, says):
    content = train_json()
    change(content)
    with pytest.raises(UserError, match=says):
        read(content)


NAN, INFINITY = float('nan'), float('inf')
LONG = 'o' * 100_000


def first_mask(value):
    return lambda c: c['annotations'][0]['segmentations'].__setitem__(0, value)


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps(train_json()), encoding='utf-8-sig')
    assert len(read_youtube_vis(tmp_path / 'a.json').videos) == 3


def test_whole_numbers_may_be_written_as_tables_do(read):
    content = train_json()
    content['videos'][0].update(height=64.0, width=96.0)
    content['annotations'][0].update(video_id=10.0, category_id=7.0, iscrowd=1.0)
    video = read(content).videos[0]
    one = video.instances[0]
    assert (video.height, video.width, one.category, one.crowd) == (64, 96, 7, True)
    assert type(video.height) is type(one.category) is int


@pytest.mark.parametrize('name', ['height', 'width'])
@pytest.mark.parametrize(
    'value', [0, -1, 1e9, 10**9, 10**30, 64.5, True, '64', None, NAN, INFINITY, [64], {}, 65_536], ids=str
)
def test_sizes_are_bounded_before_anything_is_made(read, name, value):
    content = train_json()
    content['videos'][0][name] = value
    with pytest.raises(UserError, match=f'{name} of video 10 must be a whole number from 1 to 65,535, not '):
        read(content)
    content['videos'][0].update(height=65_535, width=65_535)
    with pytest.raises(UserError, match='frames of 65535x65535 pixels, more than the 268,435,456'):
        read(content)


@pytest.mark.parametrize('part', ['videos', 'annotations', 'categories'])
@pytest.mark.parametrize('value', ['a', True, None, 1.5, NAN, [1], {}, 10**30, -(10**30)], ids=str)
def test_ids_of_another_kind(read, part, value):
    content = copy.deepcopy(train_json())
    content[part][0]['id'] = value
    with pytest.raises(UserError, match=f'the id .* among its "{part}" (is not a whole number|does not fit into 64)'):
        read(content)


@pytest.mark.parametrize('value', [-5, 10**30, 'a', True, None, 10.5, NAN, [10], {}], ids=str)
def test_references_of_another_kind(read, value):
    content = train_json()
    content['annotations'][0]['video_id'] = value
    with pytest.raises(UserError, match=r'annotation 100 belongs to video .*, which the file does not have'):
        read(content)
    content = train_json()
    content['annotations'][0]['category_id'] = value if value is not None else 'x'
    with pytest.raises(UserError, match=r'annotation 100 has the category .*, which the file does not have'):
        read(content)
    content = train_json()
    content['annotations'][0]['iscrowd'] = value if value not in (None, True) else 2
    with pytest.raises(UserError, match='iscrowd of annotation 100 must be 0 or 1, not'):
        read(content)


@pytest.mark.parametrize('value', [1, 'a', True, {}, [1], [None], [[]], ['a'], [NAN]], ids=str)
@pytest.mark.parametrize('part', ['videos', 'annotations', 'categories', 'segmentations', 'file_names'])
def test_lists_of_another_kind(read, part, value):
    content = train_json()
    owner = {'segmentations': content['annotations'][0], 'file_names': content['videos'][0]}.get(part, content)
    owner[part] = value
    with pytest.raises(UserError, match=r'a\.json') as caught:
        read(content)
    assert part in str(caught.value) or (part, value) == ('file_names', ['a'])  # too few of them


@pytest.mark.parametrize(
    'name',
    ['', '/', '.', '..', '../x.jpg', 'ant/../x.jpg', '/x.jpg', 'a\0b.jpg', '\ud800.jpg', 'a/' * 2000 + 'b', 'é' * 200],
    ids=lambda name: ascii(name)[:20],
)
def test_names_that_are_no_files_below_a_folder(read, name):
    content = train_json()
    content['videos'][0]['file_names'][0] = name
    with pytest.raises(
        UserError, match=r'video 10 names the file .* It must be a path below the folder of frames'
    ) as caught:
        read(content)
    str(caught.value).encode()


@pytest.mark.parametrize(
    ('mask', 'says'),
    [
        *(([[0, 0, far, 4, 4, 4]], 'x from -1000 to 1096, not') for far in (1e9, -1e9, 1e300, 2**63, 10**400, NAN)),
        *(([[0, 0, 4, far, 4, 4]], 'y from -1000 to 1064, not') for far in (1e5, -1e300, INFINITY, -INFINITY)),
        *(([[0, 0, wrong, 4, 4, 4]], 'made of numbers') for wrong in ('5', None, True, [1], {})),
        *(([wrong], 'at least three points') for wrong in ([], [0, 0, 4, 4], [0] * 7, None, 0, {}, [[0] * 6])),
        ([[-900, -900, 1000, 900] * 1000], 'longer than 2,097,152 pixels in all'),
        ([[-900, -900, 1000, 900, -900, 900]] * 1000, 'longer than 2,097,152 pixels in all'),
        *(
            ({'size': [64, 96], 'counts': [wrong, 6144]}, 'not a whole number from 0 to 6144')
            for wrong in (-1, 6145, 10**30, 1.0, True, 'x', None, NAN, [1])
        ),
        ({'size': [64, 96], 'counts': [6144, 1]}, 'do not add up'),
        ({'size': [64, 96], 'counts': []}, 'neither a string nor a list'),
        ({'size': [64, 96], 'counts': 10**30}, 'neither a string nor a list'),
        *(
            ({'size': [64, 96], 'counts': broken}, 'not compressed run lengths')
            for broken in ('', '~~', 'oops', '\xe9', '\ud800', LONG, LONG + '0', 'oooooo0')
        ),
        ({'size': [64, 96], 'counts': 'ooooo0'}, 'do not add up'),
        ({'size': [64, 96], 'counts': '0' * 100_000}, 'do not add up'),
        *(
            ({'size': wrong, 'counts': [6144]}, 'its size is')
            for wrong in (None, [64], [10**9] * 2, '64x96', {}, [NAN])
        ),
        *((wrong, 'neither RLE, nor polygons, nor null') for wrong in (1, 'a', True, NAN)),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_masks_that_cannot_be_drawn_are_refused_before_they_are(read, mask, says):
    content = train_json()
    first_mask(mask)(content)
    file = read(content)
    with pytest.raises(UserError, match=rf"a\.json: annotation 100 .* frame 'ant/00000'.*{says}") as caught:
        file.mask(file.videos[0], file.videos[0].instances[0], 0)
    assert len(str(caught.value)) < 500


def test_polygons_over_the_edge_are_cut_there(read):
    content = train_json()
    first_mask([[-50, -50, 200, -50, 200, 32, -50, 32]])(content)
    content['annotations'][0]['segmentations'][1] = [[0, 0, 4, 0, 4, 4, 0, 4]] * 2000
    file = read(content)
    masks = [file.mask(file.videos[0], file.videos[0].instances[0], position) for position in (0, 1)]
    assert masks[0][:32].all() and not masks[0][32:].any()
    assert masks[1].sum() == 16


@pytest.mark.parametrize(
    'text', ['', '[' * 100_000, '{"videos":' * 100_000, '{"videos": NaN}', 'null', '[]', '9' * 5000, '\0' * 100]
)
def test_other_texts(tmp_path, text):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(UserError, match=r'a\.json (cannot be read as JSON|is not a YouTube-VIS file)'):
        read_youtube_vis(tmp_path / 'a.json')


def test_polygons_without_finite_numbers_are_refused(read):
    content = train_json()
    content['annotations'][0]['segmentations'][0] = [[0, 0, float('nan'), 4, 4, 4]]
    file = read(content)
    with pytest.raises(UserError, match='finite numbers'):
        file.mask(file.videos[0], file.videos[0].instances[0], 0)
