"""YouTube-VIS files: what is read, what is refused (the formats of masks: see the annotations extractor)."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers_ytvis import LISTED, SIZES, box_mask, train_json

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
        UserError, match=r'is no YouTube-VIS file: .* is (missing|of the wrong type).*It needs "videos"'
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
        (lambda c: c['videos'][0].update(id='1abc'), 'the id \'1abc\' among its "videos" is no whole number'),
        (lambda c: c['annotations'][0].update(category_id=99), 'has the category 99, which the file does not have'),
        (lambda c: c['annotations'][0].update(video_id=99), 'belongs to video 99, which the file does not have'),
        (lambda c: c['annotations'][0]['segmentations'].append(None), r'has \d+ segmentations for the \d+ frames'),
        (lambda c: c['videos'][0].update(file_names='a/0.jpg'), 'is no list of names'),
    ],
)
def test_what_would_be_found_out_late_is_refused_at_once(read, change, says):
    content = train_json()
    change(content)
    with pytest.raises(UserError, match=says):
        read(content)


def test_polygons_without_finite_numbers_are_refused(read):
    content = train_json()
    content['annotations'][0]['segmentations'][0] = [[0, 0, float('nan'), 4, 4, 4]]
    file = read(content)
    with pytest.raises(UserError, match='finite numbers'):
        file.mask(file.videos[0], file.videos[0].instances[0], 0)
