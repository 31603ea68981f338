"""The demo's pictures: the one that is there after the first step, and the columns from better to worse."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import demo
import demo_picture
import demo_report
import demo_table
import numpy as np
import pytest
from demo_clips import make_demo_clips

from basicsr_semantic.data.prepare.clips import prepare_clips
from basicsr_semantic.priors.store import PriorStoreWriter


@pytest.fixture(scope='module')
def val(tmp_path_factory) -> Path:
    """The held-out clips, 64x64, three frames, as the first step leaves them."""
    root = tmp_path_factory.mktemp('pictures') / 'demo'
    make_demo_clips(root, size=64, frames=3)
    return root / 'val'


@pytest.fixture
def panels(monkeypatch) -> list[demo_report.Panel]:
    """Filled with the panels of the picture that is drawn."""
    drawn: list[demo_report.Panel] = []
    compose = demo_picture.compose

    def record(given: list[demo_report.Panel], *where: int) -> np.ndarray:
        drawn.extend(given)
        return compose(given, *where)

    monkeypatch.setattr(demo_picture, 'compose', record)
    return drawn


class TestColumns:
    gt = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8), (0, 0), 2)
    low = gt[::4, ::4]

    @pytest.mark.parametrize(
        'errors', [{'control': 9, 'SEEM': 4, 'bicubic': 17}, {'bicubic': 30, 'SEEM': 6, 'control': 5}]
    )
    def test_they_go_from_better_to_worse_as_measured(self, errors):
        restored = {name: self.gt + np.uint8(error) for name, error in errors.items()}
        found = demo_report.columns(self.gt, self.low, restored)
        better_first = sorted(errors, key=errors.__getitem__)
        assert [name for name, _, _ in found] == ['GT', *better_first, 'LR']
        for name, figure, frame in found[1:-1]:
            assert frame is restored[name]
            assert figure == f'{demo_table.measure(frame, self.gt)["psnr_y"]:.2f} dB on Y'
        assert found[0][1:] == ('', self.gt) and found[-1][1] == ''
        assert found[-1][2].shape == self.gt.shape

    def test_equal_ones_keep_their_order(self):
        restored = {name: self.gt + np.uint8(3) for name in ('c', 'a', 'b')}
        assert [name for name, _, _ in demo_report.columns(self.gt, self.low, restored)][1:-1] == ['c', 'a', 'b']


class TestFirstPicture:
    def test_it_shows_the_frame_of_the_whole_picture_before_anything_is_prepared(self, val, panels, tmp_path):
        picture = demo_report.draw_first(val, panel=64)
        assert picture.shape[1] == 6 + 4 * 70
        assert [name for name, _, _ in panels] == ['GT', 'bicubic', 'LR', 'instances']

        prepare_clips(val / 'frames', tmp_path)
        held_out = demo_report.HeldOut(tmp_path)
        clip, frame = demo_report.middle(held_out.clips)
        low = held_out.lq(clip, frame)
        shown = {name: image for name, _, image in panels}
        assert np.array_equal(shown['GT'], held_out.gt(clip, frame))
        assert np.array_equal(shown['bicubic'], demo_table.bicubic(low))
        assert np.array_equal(shown['LR'][::4, ::4], low)

    def test_the_annotated_instances_are_painted(self, val, panels):
        from pycocotools import mask as coco

        demo_report.draw_first(val)
        content = json.loads((val / 'instances.json').read_text())
        video = next(v for v in content['videos'] if v['file_names'][1].startswith('launch/'))
        codes = [a['segmentations'][1] for a in content['annotations'] if a['video_id'] == video['id']]
        inside = np.any([coco.decode(code) for code in codes if code], axis=0)
        changed = (panels[3][2] != panels[0][2]).any(2)
        grown = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)  # the lines around
        assert inside.any() and changed[inside].mean() > 0.99
        assert not changed[~grown].any()

    def test_it_is_written_where_the_whole_one_will_be(self, val, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(demo_report, 'draw_first', lambda folder: np.full((4, 4, 3), len(folder.parts), np.uint8))
        demo_report.first_picture(tmp_path, tmp_path / 'out')
        assert (cv2.imread(str(tmp_path / 'out/comparison.png')) == len(tmp_path.parts) + 3).all()
        assert str(tmp_path / 'out/comparison.png') in capsys.readouterr().out

    @pytest.mark.parametrize(
        ('skipped', 'there', 'drawn'),
        [(False, False, True), (False, True, True), (True, False, True), (True, True, False)],
    )
    def test_it_comes_after_the_clips_and_spares_a_picture_of_these_clips(
        self, tmp_path, monkeypatch, skipped, there, drawn
    ):
        events: list[str] = []

        def run(_, step, *__) -> bool:
            events.append(step.name)
            return not skipped

        monkeypatch.setattr(demo.Runner, 'run', run)
        monkeypatch.setattr(demo, 'first_picture', lambda *_: events.append('first picture'))
        monkeypatch.setattr(demo, 'report', lambda *_: events.append('report'))
        if there:
            (tmp_path / demo.OUT).mkdir(parents=True)
            (tmp_path / demo.OUT / demo_report.PICTURE).touch()
        assert demo.main(['--quick', '--root', str(tmp_path)]) == 0
        assert events[:3] == ['video', 'upscale', 'clips'] and events[-1] == 'report'
        assert events.count('first picture') == drawn
        assert (events[3] == 'first picture') == drawn


def test_the_whole_picture_has_every_network_at_its_measured_place(val, panels, tmp_path):
    prepared = tmp_path / 'datasets/demo/val'
    prepare_clips(val / 'frames', prepared)
    held_out = demo_report.HeldOut(prepared)
    clip, frame = demo_report.middle(held_out.clips)
    meta = {'kind': 'regions', 'parameters': {}, 'checkpoint': None, 'order': 'id', 'max_masks': 64}
    with PriorStoreWriter(prepared / 'regions.lmdb', meta) as store:
        store.put(f'{clip}/{frame}', np.ones((1, 16, 16), bool))
    gt = held_out.gt(clip, frame)
    restored = {'test_a': cv2.GaussianBlur(gt, (0, 0), 6), 'test_b': gt, 'test_c': cv2.GaussianBlur(gt, (0, 0), 9)}
    for test, image in restored.items():
        demo_report.write_frame(demo_report.restored_path(tmp_path, test, clip, frame), image)
    demo_report.draw(
        tmp_path, held_out, {'control': 'test_a', 'SEEM': 'test_c', 'baseline': 'test_b'}, ['regions'], panel=64
    )
    assert [name for name, _, _ in panels] == ['GT', 'baseline', 'bicubic', 'control', 'SEEM', 'LR', 'regions']
    assert [figure for _, figure, _ in panels][1] == 'inf dB on Y'
    assert panels[-1][1] == 'what SEEM reads'
