"""Annotated instances: YouTube-VIS and DAVIS, identities that last, and masks at the size of the LR frames."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pycocotools.mask as coco
import pytest
from helpers.project import REAL_CLIPS, needs_clips
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from basicsr_semantic.extractors import build_extractor
from basicsr_semantic.extractors.annotations import shrink_masks
from basicsr_semantic.priors.segmentations import decode_segmentation
from basicsr_semantic.utils.errors import UserError

HIGH, WIDE = 24, 32
LR_FRAME = np.zeros((HIGH // 4, WIDE // 4, 3), np.uint8)


def square(top: int, left: int, side: int = 8) -> np.ndarray:
    mask = np.zeros((HIGH, WIDE), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def compressed(mask: np.ndarray) -> dict:
    run = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {'size': run['size'], 'counts': run['counts'].decode()}


def uncompressed(mask: np.ndarray) -> dict:
    flat = mask.ravel(order='F').astype(int)
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends, flat.size]).tolist()
    return {'size': list(mask.shape), 'counts': [0, *counts] if flat[0] else counts}


# ----------------------------------------------------------------------------------------------------- segmentations


@given(arrays(np.bool_, st.tuples(st.integers(1, 8), st.integers(1, 8))))
def test_both_forms_of_runs_are_read(mask):
    for form in (compressed, uncompressed):
        assert np.array_equal(decode_segmentation(form(mask), *mask.shape), mask)


def test_polygons_and_absence():
    drawn = decode_segmentation([[8, 4, 16, 4, 16, 12, 8, 12], [0, 0, 2, 0, 2, 2, 0, 2]], HIGH, WIDE)
    assert np.array_equal(drawn, square(4, 8) | square(0, 0, 2))
    assert not decode_segmentation(None, HIGH, WIDE).any()
    assert not decode_segmentation([], HIGH, WIDE).any()


@pytest.mark.parametrize(
    ('segmentation', 'message'),
    [
        (3, 'neither RLE, nor polygons, nor null, but int'),
        ({'size': [24, 31], 'counts': '0'}, r'its size is \[24, 31\], but the frame is \[24, 32\]'),
        ({'counts': '0'}, 'its size is null'),
        ({'size': [24, 32]}, 'neither a string nor a list'),
        ({'size': [24, 32], 'counts': [1, -1, 768]}, 'neither a string nor a list'),
        ({'size': [24, 32], 'counts': [10, 20]}, 'do not add up to the 768 pixels'),
        ({'size': [24, 32], 'counts': 'd1'}, 'do not add up'),
        ({'size': [24, 32], 'counts': 'oops!'}, 'not compressed run lengths'),
        ([[1, 2, 3, 4]], 'at least three points'),
        ([[1, 2, 3, 4, 5, 'x']], 'made of numbers'),
    ],
)
def test_malformed_segmentations(segmentation, message):
    with pytest.raises(ValueError, match=message):
        decode_segmentation(segmentation, HIGH, WIDE)


# ------------------------------------------------------------------------------------------------------- HR to LR


@given(arrays(np.bool_, st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 3), st.just(4), st.just(4))))
def test_half_of_a_block_decides(blocks):
    """Against a plain loop over the 4x4 blocks."""
    count, rows, columns = blocks.shape[:3]
    high = blocks.transpose(0, 1, 3, 2, 4).reshape(count, rows * 4, columns * 4)
    expected = blocks.reshape(count, rows, columns, 16).mean(-1) >= 0.5 if count else np.zeros((0, rows, columns))
    assert np.array_equal(shrink_masks(high, rows, columns), expected)


def test_rows_left_over_are_cut_as_frames_are():
    masks = np.ones((1, 27, 34), bool)
    assert shrink_masks(masks, 6, 8).shape == (1, 6, 8)
    assert shrink_masks(masks, 27, 34) is masks
    for height, width in ((6, 9), (7, 8), (54, 68), (27, 8)):
        with pytest.raises(ValueError, match='not a whole multiple'):
            shrink_masks(masks, height, width)


# ------------------------------------------------------------------------------------------------------ YouTube-VIS


def youtube_vis(path: Path) -> Path:
    """Video v of three frames: instance 7 leaves in frame 1, instance 9 is listed first. Video w has no instance."""
    names = [f'v/{i:05d}.jpg' for i in (0, 5, 10)]
    videos = [{'id': 1, 'height': HIGH, 'width': WIDE, 'file_names': names}]
    videos.append({'id': 2, 'height': HIGH, 'width': WIDE, 'file_names': ['w/00000.jpg']})
    nine = {'id': 9, 'video_id': 1, 'segmentations': [uncompressed(square(0, 4 * i)) for i in range(3)]}
    polygon = [[16, 16, 24, 16, 24, 24, 16, 24]]
    seven = {'id': 7, 'video_id': 1, 'segmentations': [compressed(square(8, 8)), None, polygon]}
    path.write_text(json.dumps({'videos': videos, 'annotations': [nine, seven]}))
    return path


def test_identity_is_the_channel(tmp_path):
    extractor = build_extractor('annotations', annotations=str(youtube_vis(tmp_path / 'instances.json')))
    assert extractor.order == 'id'
    for i, (key, seven) in enumerate(
        [('v/00000', square(8, 8)), ('v/00005', np.zeros((HIGH, WIDE))), ('v/00010', square(16, 16))]
    ):
        masks, scores = extractor(LR_FRAME, key)
        assert scores is None
        assert np.array_equal(masks[0], seven[::4, ::4])
        assert np.array_equal(masks[1], square(0, 4 * i)[::4, ::4])
    assert extractor(LR_FRAME, 'w/00000')[0].shape == (0, 6, 8)


def test_the_size_of_the_frame_may_be_that_of_the_annotations(tmp_path):
    extractor = build_extractor('annotations', annotations=str(youtube_vis(tmp_path / 'a.json')), max_masks=1)
    masks, _ = extractor(np.zeros((HIGH, WIDE, 3), np.uint8), 'v/00000')
    assert np.array_equal(masks, square(8, 8)[None])


def test_the_file_is_known_by_its_content(tmp_path):
    path = youtube_vis(tmp_path / 'a.json')
    first = build_extractor('annotations', annotations=str(path)).parameters
    path.write_text(path.read_text() + ' ')
    second = build_extractor('annotations', annotations=str(path)).parameters
    assert first['file'] == second['file'] == 'a.json'
    assert first['sha256'] != second['sha256']


def test_frames_that_do_not_fit(tmp_path):
    extractor = build_extractor('annotations', annotations=str(youtube_vis(tmp_path / 'a.json')))
    with pytest.raises(UserError, match=r"have no frame 'v/00000005'\. They name a frame 'v/00000'"):
        extractor(LR_FRAME, 'v/00000005')
    with pytest.raises(UserError, match=r"frame 'v/00000' do not fit it: they are 32x24, .* multiple of 9x6"):
        extractor(np.zeros((6, 9, 3), np.uint8), 'v/00000')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda c: c.pop('videos'), "not a YouTube-VIS file: 'videos' is missing"),
        (lambda c: c['videos'][0].pop('height'), "'height' is missing"),
        (lambda c: c['annotations'][0].pop('id'), "'id' is missing"),
        (lambda c: c.update(annotations=3), '"annotations" is of the wrong type, 3 instead of a list'),
        (lambda c: c.update(annotations=None), 'has no annotations. The valid and test files'),
        (lambda c: c['annotations'].clear(), 'has no annotations. The valid and test files'),
        (lambda c: c['videos'][1].update(file_names=['v/00000.png']), "names the frame 'v/00000' twice"),
        (
            lambda c: c['annotations'][0].update(segmentations=[]),
            'annotation 9 has 0 segmentations for the 3 frames of its video',
        ),
        (lambda c: c['annotations'][0]['segmentations'][0].update(counts=[1]), r'annotation 9 .*do not add up'),
    ],
)
def test_files_of_another_form(tmp_path, change, message):
    path = youtube_vis(tmp_path / 'a.json')
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        build_extractor('annotations', annotations=str(path))(LR_FRAME, 'v/00000')


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match='do not exist'):
        build_extractor('annotations', annotations=str(tmp_path / 'none.json'))
    for content in (b'{"videos": [', b'\xff\xfe\x00', b'[]', b'3'):
        (tmp_path / 'a.json').write_bytes(content)
        with pytest.raises(UserError, match=r'cannot be read as JSON|is not a YouTube-VIS file'):
            build_extractor('annotations', annotations=str(tmp_path / 'a.json'))


def test_a_file_with_a_byte_order_mark(tmp_path):
    path = youtube_vis(tmp_path / 'a.json')
    path.write_text(path.read_text(), encoding='utf-8-sig')
    assert build_extractor('annotations', annotations=str(path))(LR_FRAME, 'v/00000')[0].shape == (2, 6, 8)


def test_masks_of_any_size_are_drawn_only_where_they_fit_and_only_those_that_are_kept(tmp_path, monkeypatch):
    path = youtube_vis(tmp_path / 'a.json')
    content = json.loads(path.read_text())
    content['videos'][0].update(height=16_384, width=16_384)
    path.write_text(json.dumps(content))
    drawn = []
    monkeypatch.setattr('basicsr_semantic.priors.youtube_vis.decode_segmentation', lambda *_: drawn.append(1))
    with pytest.raises(UserError, match='they are 16384x16384, not a whole multiple of 8x6'):
        build_extractor('annotations', annotations=str(path))(LR_FRAME, 'v/00000')
    assert not drawn
    monkeypatch.undo()
    content['videos'][0].update(height=HIGH, width=WIDE)
    content['annotations'][0]['segmentations'][0] = 'no mask'  # of the second instance
    path.write_text(json.dumps(content))
    assert len(build_extractor('annotations', annotations=str(path), max_masks=1)(LR_FRAME, 'v/00000')[0]) == 1


@pytest.mark.parametrize('size', [(1, 1), (1, 2), (6, 8)])
def test_frames_of_one_colour_and_of_few_pixels(tmp_path, size):
    """What a frame shows does not matter; without instances there are no masks, at its size."""
    video = {'id': 1, 'height': 4 * size[0], 'width': 4 * size[1], 'file_names': ['v/0.jpg', 'v/1.jpg']}
    whole = {'size': [16 * size[0] // 4, 4 * size[1]], 'counts': [0, 16 * size[0] * size[1]]}
    one = {'id': 1, 'video_id': 1, 'segmentations': [whole, None]}
    other = {**video, 'id': 2, 'file_names': ['w/0.jpg']}
    (tmp_path / 'a.json').write_text(json.dumps({'videos': [video, other], 'annotations': [one]}))
    extractor = build_extractor('annotations', annotations=str(tmp_path / 'a.json'))
    for key, expected in (('v/0', [True]), ('v/1', [False]), ('w/0', [])):
        masks, _ = extractor(np.full((*size, 3), 7, np.uint8), key)
        assert masks.shape == (len(expected), *size) and masks.dtype == bool
        assert masks.all((1, 2)).tolist() == expected


# ------------------------------------------------------------------------------------------------------------ DAVIS


def test_a_picture_too_large_to_open(tmp_path, monkeypatch):
    indexed(tmp_path / 'a' / '00000.png', square(4, 4) * 1)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(UserError, match=r'a/00000.png is damaged or not a PNG: Image size .* exceeds limit'):
        build_extractor('annotations', annotations=str(tmp_path))(LR_FRAME, 'a/00000')


def test_davis_frames_without_instances(tmp_path):
    indexed(tmp_path / 'a' / '00000.png', square(0, 0) * 255)
    masks, _ = build_extractor('annotations', annotations=str(tmp_path))(LR_FRAME, 'a/00000')
    assert masks.shape == (0, 6, 8) and masks.dtype == bool


def indexed(path: Path, labels: np.ndarray, mode: str = 'P') -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels.astype(np.uint8))
    if mode == 'P':
        image = image.convert('P')
        image.putdata(labels.astype(np.uint8).ravel().tolist())
        image.putpalette([channel for value in range(256) for channel in (value, 255 - value, 7 * value % 256)])
    image.save(path)


def test_davis_2017(tmp_path):
    """Instance 2 is absent in the first frame, instance 3 in the second; 255 is nobody."""
    indexed(tmp_path / 'a' / '00000.png', square(0, 0) * 1 + square(8, 8) * 3 + square(16, 16) * 255)
    indexed(tmp_path / 'a' / '00001.png', square(0, 8) * 1 + square(8, 0) * 2)
    extractor = build_extractor('annotations', annotations=str(tmp_path))
    empty = np.zeros((HIGH, WIDE))
    for key, planes in (
        ('a/00000', (square(0, 0), empty, square(8, 8))),
        ('a/00001', (square(0, 8), square(8, 0), empty)),
    ):
        masks, _ = extractor(LR_FRAME, key)
        assert np.array_equal(masks, np.stack(planes)[:, ::4, ::4])
    assert extractor.parameters['form'] == 'davis'


def test_davis_2016(tmp_path):
    indexed(tmp_path / 'a' / '00000.png', square(4, 4) * 255, mode='L')
    masks, _ = build_extractor('annotations', annotations=str(tmp_path))(LR_FRAME, 'a/00000')
    assert np.array_equal(masks, square(4, 4)[None, ::4, ::4])


def test_davis_folders_are_known_by_their_content(tmp_path):
    """DAVIS has Annotations/480p and Annotations_unsupervised/480p; stores of one do not take the other's masks."""
    places = [tmp_path / name / '480p' for name in ('Annotations', 'Annotations_unsupervised', 'copy')]
    for place, corner in zip(places, (0, 8, 0), strict=True):
        indexed(place / 'a' / '00000.png', square(corner, corner) * 1)
    first, other, copy = (build_extractor('annotations', annotations=str(place)).parameters for place in places)
    assert first == copy and first['sha256'] != other['sha256']
    (places[2] / 'a').rename(places[2] / 'b')
    assert build_extractor('annotations', annotations=str(places[2])).parameters != first


def test_davis_folders_that_do_not_fit(tmp_path):
    with pytest.raises(UserError, match=r'has no PNG files one folder below.* Annotations/480p'):
        build_extractor('annotations', annotations=str(tmp_path))
    indexed(tmp_path / 'a' / '00000.png', square(4, 4) * 1)
    extractor = build_extractor('annotations', annotations=str(tmp_path))
    with pytest.raises(UserError, match=r"have no frame 'b/00000'\. They name a frame 'a/00000'"):
        extractor(LR_FRAME, 'b/00000')
    whole = (tmp_path / 'a' / '00000.png').read_bytes()
    for name, content in (('cut', whole[: len(whole) // 2]), ('text', b'no png')):
        (tmp_path / name).mkdir()
        (tmp_path / name / '00000.png').write_bytes(content)
        with pytest.raises(UserError, match=f'annotation .*{name}/00000.png is damaged'):
            extractor(LR_FRAME, f'{name}/00000')
    Image.new('RGB', (WIDE, HIGH)).save(tmp_path / 'a' / '00001.png')
    with pytest.raises(UserError, match='PNG of mode RGB'):
        extractor(LR_FRAME, 'a/00001')


# ------------------------------------------------------------------------------------------------------- real clips


@needs_clips('davis320')
def test_real_annotations_against_pycocotools():
    """All frames of the three validation clips of davis320, shrunk by hand."""
    path = REAL_CLIPS / 'davis320' / 'val' / 'instances.json'
    content = json.loads(path.read_text())
    extractor = build_extractor('annotations', annotations=str(path))
    frames = 0
    for track in content['annotations']:
        video = next(item for item in content['videos'] if item['id'] == track['video_id'])
        for name, segmentation in zip(video['file_names'], track['segmentations'], strict=True):
            masks, _ = extractor(np.zeros((80, 136, 3), np.uint8), name.removesuffix('.jpg'))
            blocks = coco.decode(segmentation).reshape(80, 4, 136, 4)
            assert np.array_equal(masks[0], blocks.mean((1, 3)) >= 0.5)
            frames += 1
    assert frames == 96
