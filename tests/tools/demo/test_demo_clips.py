"""The demo clips: what they promise (exact masks, real motion, held-out photographs), and how they are written."""

from __future__ import annotations

import json
import socket
import sys
from hashlib import sha256
from pathlib import Path

import cv2
import demo_clips
import demo_render
import make_demo_clips as command
import numpy as np
import pytest
from demo_scenes import CUTOUTS, SCENES, Camera, Ellipse, Outline, Scene
from pycocotools import mask as coco

from basicsr_semantic.utils.errors import UserError

SMALL = {'size': 64, 'frames': 3}
SCENE_IDS = [scene.name for scene in SCENES]


def tree(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    files = (path for path in sorted(folder.rglob('*')) if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope='module')
def clips(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('demo') / 'demo'
    assert demo_clips.make_demo_clips(root, **SMALL)
    return root


def test_there_are_enough_clips_and_objects():
    assert sum(scene.split == 'train' for scene in SCENES) >= 6
    assert sum(scene.split == 'val' for scene in SCENES) >= 2
    assert all(len(scene.objects) >= 3 for scene in SCENES)
    assert demo_render.FRAMES == 16
    assert demo_render.SIZE >= 256
    assert len(set(SCENE_IDS)) == len(SCENES)


def test_no_held_out_photograph_is_trained_on():
    used: dict[str, set[str]] = {'train': set(), 'val': set()}
    for scene in SCENES:
        used[scene.split] |= scene.photographs(CUTOUTS)
    assert not used['train'] & used['val']


def test_no_network_is_touched(monkeypatch, tmp_path):
    def refuse(*arguments, **keywords):
        raise AssertionError('the demo clips went to the network')

    monkeypatch.setattr(socket.socket, 'connect', refuse)
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    demo_render._photograph.cache_clear()
    next(iter(demo_render.render_clip(SCENES[0], **SMALL)))


@pytest.mark.parametrize('scene', SCENES, ids=SCENE_IDS)
def test_masks_are_what_is_visible(scene: Scene):
    layers = demo_render.build_layers(scene, size=128)
    for index in (0, 7, 15):
        frame = demo_render.render_frame(layers, index, 128)
        assert frame.image.shape == (128, 128, 3) and frame.image.dtype == np.uint8
        assert frame.masks.shape == frame.coverage.shape == (len(scene.objects), 128, 128)
        assert frame.masks.sum(0).max() <= 1, 'two objects claim one pixel'
        assert frame.coverage.min() >= 0 and frame.coverage.sum(0).max() <= 1 + 1e-5
        assert (frame.coverage[frame.masks] >= 0.5).all()
        assert ((frame.coverage >= 0.5).any(0) == frame.masks.any(0)).all()
        edges = (frame.coverage > 0.02) & (frame.coverage < 0.98)
        assert edges.any(), 'the outlines are not anti-aliased'


@pytest.mark.parametrize('scene', SCENES, ids=SCENE_IDS)
def test_objects_hide_each_other_and_come_into_view(scene: Scene):
    layers = demo_render.build_layers(scene, size=128)
    hidden = 0
    for index in (0, 7, 15):
        together = demo_render.render_frame(layers, index, 128).coverage
        alone = [demo_render.render_frame([layers[0], layer], index, 128).coverage[0] for layer in layers[1:]]
        np.testing.assert_allclose(together[-1], alone[-1], atol=1e-6, err_msg='nothing lies before the front object')
        hidden += sum(float((a - t).sum()) for a, t in zip(alone, together, strict=True))
    assert hidden > 100, 'no occlusion'
    seen = [max(demo_render.render_frame(layers, i, 128).masks[k].sum() for i in (0, 7, 15)) for k in range(len(alone))]
    assert min(seen) > 100, 'an object is never to be seen'


@pytest.mark.parametrize('scene', SCENES, ids=SCENE_IDS)
@pytest.mark.parametrize('seed', [0, demo_render.SEED, 99])
def test_everything_moves_by_fractions_of_a_pixel(scene: Scene, seed: int):
    layers = demo_render.build_layers(scene, seed)
    paths = []
    for layer in layers:
        motion = layer.motion
        steps = np.hypot(np.diff(motion.x), np.diff(motion.y))
        assert steps.mean() > 0.5, 'it stands still'
        assert steps.max() < 8, 'it jumps further than two LR pixels'
        assert (np.abs(steps - np.round(steps)) > 0.01).mean() > 0.5
        assert abs(motion.scale[-1] / motion.scale[0] - 1) > 0.03, 'no scale change'
        paths.append(np.stack((motion.x - motion.x[0], motion.y - motion.y[0])))
    for first in range(len(paths)):
        for second in range(first):
            assert np.abs(paths[first] - paths[second]).max() > 1, 'two layers move alike'


@pytest.mark.parametrize('scene', SCENES, ids=SCENE_IDS)
@pytest.mark.parametrize('seed', [0, demo_render.SEED, 99])
def test_the_camera_never_sees_the_border_of_the_photograph(scene: Scene, seed: int):
    background = demo_render.build_layers(scene, seed, size=128)[0]
    for index in range(0, 16, 3):
        assert background.draw(index, 128)[:, :, 3].min() > 0.999


def test_rendered_motion_is_the_motion_said():
    camera = Camera('grass.png', (256, 256), (256, 256), (0.7, 0.7))
    still = demo_render.Motion(*(np.full(2, value) for value in (127.5, 127.5, 0.7, 0.0)))
    moved = demo_render.Motion(np.float64([127.5, 127.8]), np.float64([127.5, 126.9]), still.scale, still.rotation)
    layer = demo_render._background_layer(camera, moved, np.float64([256, 256]))
    first, second = (demo_render._average(layer.draw(index, 256)[:, :, 1]) for index in (0, 1))
    # Least squares for the shift d of second(p) = first(p - d), on blurred pictures where a first-order step suffices.
    first, second = (cv2.GaussianBlur(image, (0, 0), 2)[16:-16, 16:-16] for image in (first, second))
    down, right = np.gradient((first + second) / 2)
    shift = np.linalg.lstsq(np.stack((right.ravel(), down.ravel()), 1), (first - second).ravel(), rcond=None)[0]
    np.testing.assert_allclose(shift, (0.3, -0.6), atol=0.03)


def test_a_smooth_outline_passes_through_its_points():
    points = ((0.0, 0.0), (10.0, 0.0), (12.0, 8.0), (0.0, 10.0))
    curve = demo_render.closed_curve(points, samples=5)
    assert curve.shape == (20, 2)
    np.testing.assert_allclose(curve[::5], points)


def test_opacity_of_a_shape_has_its_area_and_place():
    alpha = demo_render.shape_alpha(Ellipse(30, 20, 10, 6), 50, 60)
    assert alpha.sum() == pytest.approx(np.pi * 10 * 6, rel=0.05)
    rows, columns = np.indices(alpha.shape)
    assert (alpha * columns).sum() / alpha.sum() == pytest.approx(30, abs=0.1)
    assert (alpha * rows).sum() / alpha.sum() == pytest.approx(20, abs=0.1)
    square = demo_render.shape_alpha(Outline('10,10 30,10 30,30 10,30', corners=True), 40, 40)
    assert square[20, 20] == 1 and square[5, 5] == 0
    assert square.sum() == pytest.approx(400, rel=0.05)


def test_same_seed_same_pixels_and_another_seed_others():
    def pixels(seed):
        return [frame.image for frame in demo_render.render_clip(SCENES[1], seed, **SMALL)]

    assert all(np.array_equal(a, b) for a, b in zip(pixels(5), pixels(5), strict=True))
    assert not np.array_equal(pixels(5)[0], pixels(6)[0])


def test_two_runs_write_identical_folders(clips, tmp_path):
    demo_clips.make_demo_clips(tmp_path / 'again', **SMALL)
    assert tree(clips) == tree(tmp_path / 'again')
    assert not [path for path in tmp_path.iterdir() if path.name != 'again'], 'a temporary folder is left'


@pytest.mark.parametrize('split', ['train', 'val'])
def test_annotations_are_the_masks_in_youtube_vis_form(clips, split):
    data = json.loads((clips / split / 'instances.json').read_text())
    names = {entry['id']: entry['name'] for entry in data['categories']}
    scenes = [scene for scene in SCENES if scene.split == split]
    assert len(data['videos']) == len(scenes)
    assert len({entry['id'] for entry in data['annotations']}) == len(data['annotations'])
    for video, scene in zip(data['videos'], scenes, strict=True):
        tracks = [entry for entry in data['annotations'] if entry['video_id'] == video['id']]
        assert [names[entry['category_id']] for entry in tracks] == [
            CUTOUTS[track.cutout].category for track in scene.objects
        ]
        assert (video['height'], video['width'], video['length']) == (64, 64, 3)
        frames = demo_render.render_clip(scene, **SMALL)
        for index, (name, frame) in enumerate(zip(video['file_names'], frames, strict=True)):
            written = cv2.imread(str(clips / split / 'frames' / name))[:, :, ::-1]
            assert np.array_equal(written, frame.image)
            for track, mask in zip(tracks, frame.masks, strict=True):
                code, box, area = (track[key][index] for key in ('segmentations', 'bboxes', 'areas'))
                if not mask.any():
                    assert code is box is area is None
                    continue
                assert np.array_equal(coco.decode(code).astype(bool), mask)
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                assert area == mask.sum()
                assert box == [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]


def test_an_object_hidden_in_some_frames_has_null_there():
    scene = next(scene for scene in SCENES if scene.name == 'campus')
    masks = [frame.masks[0] for frame in demo_render.render_clip(scene)]
    track = demo_clips.annotate(masks)
    empty = [not mask.any() for mask in masks]
    assert any(empty) and not all(empty)
    for field in ('segmentations', 'bboxes', 'areas'):
        assert [value is None for value in track[field]] == empty


def test_the_manifest_tells_seed_version_and_photographs(clips):
    manifest = json.loads((clips / 'manifest.json').read_text())
    assert manifest['made_with'] == {'version': demo_clips.VERSION, 'seed': demo_render.SEED, **SMALL}
    assert sorted(manifest['splits']['train'] + manifest['splits']['val']) == sorted(SCENE_IDS)
    for path, digest in manifest['sha256'].items():
        if path.endswith('.png'):
            pixels = np.ascontiguousarray(cv2.imread(str(clips / path))[:, :, ::-1])
            assert sha256(pixels.tobytes()).hexdigest() == digest
    assert len(manifest['sha256']) == len(SCENES) * SMALL['frames'] + 2
    assert 'astronaut.png' in manifest['photographs']


def test_a_second_run_does_nothing_and_another_seed_replaces(tmp_path):
    root = tmp_path / 'demo'
    assert demo_clips.make_demo_clips(root, seed=1, **SMALL)
    (root / 'kept').touch()
    before = tree(root)
    assert not demo_clips.make_demo_clips(root, seed=1, **SMALL)
    assert tree(root) == before
    assert demo_clips.make_demo_clips(root, seed=2, **SMALL)
    assert not (root / 'kept').exists()
    assert demo_clips.make_demo_clips(root, seed=2, fresh=True, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ['demo']


def test_a_run_that_breaks_leaves_nothing_or_what_was_there(tmp_path, monkeypatch):
    root = tmp_path / 'demo'
    demo_clips.make_demo_clips(root, seed=1, **SMALL)
    before = tree(root)

    def full(path, data):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OSError, match='No space left'):
        demo_clips.make_demo_clips(root, seed=2, **SMALL)
    with pytest.raises(OSError, match='No space left'):
        demo_clips.make_demo_clips(tmp_path / 'other', seed=2, **SMALL)
    assert tree(root) == before
    assert [path.name for path in tmp_path.iterdir()] == ['demo']


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / 'holiday.png').touch()
    with pytest.raises(UserError, match='was not made by this tool'):
        demo_clips.make_demo_clips(tmp_path, **SMALL)
    assert (tmp_path / 'holiday.png').exists()


@pytest.mark.parametrize(
    ('changed', 'message'), [({'size': 62}, 'multiple of 4'), ({'frames': 1}, 'cannot show motion')]
)
def test_impossible_sizes_are_refused(tmp_path, changed, message):
    with pytest.raises(UserError, match=message):
        demo_clips.make_demo_clips(tmp_path / 'demo', **(SMALL | changed))
    assert not list(tmp_path.iterdir())


def test_a_photograph_that_is_missing_is_one_sentence():
    with pytest.raises(UserError, match=r'no file "unicorn.png".*pip install'):
        demo_render.photograph_path('unicorn.png')


def test_without_scikit_image_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'skimage', None)
    with pytest.raises(UserError, match='pip install scikit-image'):
        demo_render.photograph_path('astronaut.png')


def test_the_command_says_where_the_clips_are(tmp_path, capsys):
    arguments = ['--out', str(tmp_path / 'demo'), '--size', '64', '--frames', '2']
    assert command.main(arguments) == 0
    assert command.main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == [
        f'{tmp_path / "demo"}: made',
        f'{tmp_path / "demo"}: already there, nothing to do',
    ]
    assert command.main(['--out', str(tmp_path / 'other'), '--size', '50']) == 2
    assert 'multiple of 4' in capsys.readouterr().err
