"""The validation loop: our items and BasicSR's, with and without GT, and what it writes."""

from __future__ import annotations

import csv
import json
import logging
import math
from types import SimpleNamespace

import pytest
import torch
from basicsr.utils.registry import METRIC_REGISTRY

from basicsr_semantic.engine.validation import Report, validate
from basicsr_semantic.utils.errors import UserError

PSNR = {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}


class Repeat:
    """A model that repeats every pixel four times; a constant image comes back exactly, plus an offset."""

    is_train = False

    def __init__(self, folder, metrics=PSNR, offset: float = 0.0):
        path = {'log': str(folder), 'visualization': str(folder / 'visualization')}
        self.opt = {'is_train': False, 'name': 'exp', 'path': path, 'val': {'metrics': metrics}, 'dist': False}
        self.offset = offset

    def feed_data(self, data):
        self.lq = data['lq']

    def test(self):
        self.output = self.lq.repeat_interleave(4, -1).repeat_interleave(4, -2) + self.offset
        if self.lq.size(1) == 3 and self.lq.dim() == 5 and self.opt.get('window'):
            self.output = self.output[:, 1]

    def _initialize_best_metric_results(self, name):
        from basicsr.models.base_model import BaseModel

        BaseModel._initialize_best_metric_results(self, name)

    def _update_best_metric_result(self, *args):
        from basicsr.models.base_model import BaseModel

        BaseModel._update_best_metric_result(self, *args)


class Items(list):
    """A list of items with what the loop asks of a data set."""

    def __init__(self, items, gt=None):
        super().__init__(items)
        self.opt = {'name': 'set'}
        if gt is not None:
            self.read_gt = lambda index, k: gt


def frames(count: int, value: float = 0.5, scale: int = 1) -> torch.Tensor:
    return torch.full((count, 3, 8 * scale, 8 * scale), value)


def run(model, items, save_img=False):
    return validate(model, SimpleNamespace(dataset=items), 'exp', None, save_img)


def clip_item(clip: str, indices) -> dict:
    return {
        'lq': frames(len(indices)),
        'clip': clip,
        'frame_indices': list(indices),
        'frame_names': [f'{i:08d}' for i in indices],
    }


def test_clips_are_averaged_before_the_set(tmp_path):
    """A clip of 4 frames in two segments and one of 1 frame count the same."""
    report = Report('set', ['psnr'])
    report.frames = [{'clip': 'a', 'index': i, 'frame': str(i), 'psnr': v} for i, v in enumerate((10, 20, 30, 40))]
    report.frames.append({'clip': 'b', 'index': 0, 'frame': '0', 'psnr': 45})
    assert report.clips() == {'a': {'psnr': 25.0}, 'b': {'psnr': 45.0}}
    assert report.average() == {'psnr': 35.0}


def test_segments_make_one_clip_and_gt_is_streamed(tmp_path):
    items = Items([clip_item('a', range(2)), clip_item('a', range(2, 3))], gt=frames(1, 0.6, 4)[0])
    result = run(Repeat(tmp_path), items)
    expected = 20 * math.log10(255 / (153 - 128))  # 0.5 and 0.6 are quantised to 128 and 153
    assert result['psnr'] == pytest.approx(expected)
    written = json.loads((tmp_path / 'validation/set_exp.json').read_text())
    assert [row['index'] for row in written['frames']] == [0, 1, 2] and list(written['clips']) == ['a']
    with (tmp_path / 'validation/set_exp.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [row['frame'] for row in rows] == ['00000000', '00000001', '00000002']
    assert float(rows[0]['psnr']) == pytest.approx(expected)


def test_a_segment_that_was_lengthened_to_the_front_shows_its_last_frames(tmp_path):
    """Brightness says which frame is which: 0.1 and 0.2 were shown by the segment before."""
    item = clip_item('a', range(2, 4)) | {'lq': torch.cat([frames(1, value) for value in (0.1, 0.2, 0.6, 0.6)])}
    run(Repeat(tmp_path), Items([item], gt=frames(1, 0.5, 4)[0]))
    rows = json.loads((tmp_path / 'validation/set_exp.json').read_text())['frames']
    expected = pytest.approx(20 * math.log10(255 / 25))
    assert [(row['index'], row['psnr']) for row in rows] == [(2, expected), (3, expected)]


def test_a_frame_of_infinite_psnr_does_not_count_and_the_report_is_strict_json(tmp_path, caplog):
    """A black frame comes back black."""
    item = clip_item('a', range(2)) | {'lq': torch.cat([frames(1, 0.0), frames(1, 0.6)])}
    model = Repeat(tmp_path)
    gt = torch.zeros(3, 32, 32)
    with caplog.at_level(logging.WARNING, 'basicsr'):
        average = run(model, Items([item], gt=gt))
    assert average == {'psnr': pytest.approx(20 * math.log10(1 / 0.6), abs=1e-3)}
    text = (tmp_path / 'validation/set_exp.json').read_text()
    rows = json.loads(text, parse_constant=lambda name: pytest.fail(f'{name} is no JSON'))['frames']
    assert ['psnr' in row for row in rows] == [False, True]
    assert 'psnr is infinite for 1 frame (as PSNR is' in caplog.text
    assert model.best_metric_results['set']['psnr']['val'] == average['psnr']
    run(Repeat(tmp_path), Items([clip_item('a', range(1)) | {'lq': frames(1, 0.0)}], gt=gt))
    assert json.loads((tmp_path / 'validation/set_exp.json').read_text())['average'] == {}


def test_without_gt_frames_are_restored_and_nothing_is_measured(tmp_path):
    assert run(Repeat(tmp_path), Items([clip_item('a', range(2))]), save_img=True) == {}
    saved = sorted(p.name for p in (tmp_path / 'visualization/set/a').iterdir())
    assert saved == ['00000000_exp.png', '00000001_exp.png']
    assert json.loads((tmp_path / 'validation/set_exp.json').read_text())['average'] == {}


def brightness(img):
    return float(img.mean())


def brightening(img, previous):
    return float(img.mean()) - float(previous.mean())


@pytest.fixture
def over_time(monkeypatch):
    """Metrics of an output alone: its brightness, and by how much it is brighter than the frame before."""
    for metric in (brightness, brightening):
        monkeypatch.setitem(METRIC_REGISTRY._obj_map, metric.__name__, metric)
    return PSNR | {metric.__name__: {'type': metric.__name__} for metric in (brightness, brightening)}


def test_without_gt_what_needs_none_is_measured(tmp_path, over_time):
    item = clip_item('a', range(3)) | {'lq': torch.cat([frames(1, value) for value in (0.2, 0.4, 0.8)])}
    assert run(Repeat(tmp_path, over_time), Items([item])) == {
        'brightness': pytest.approx((51 + 102 + 204) / 3),
        'brightening': pytest.approx((51 + 102) / 2),
    }
    with (tmp_path / 'validation/set_exp.csv').open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ['clip', 'index', 'frame', 'psnr', 'brightness', 'brightening']
    assert rows[1:] == [
        ['a', '0', '00000000', '', '51.0', ''],
        ['a', '1', '00000001', '', '102.0', '51.0'],
        ['a', '2', '00000002', '', '204.0', '102.0'],
    ]


def test_consecutive_frames_are_those_of_one_item(tmp_path, over_time):
    """The first frame of a segment has no value, so that the processes may share the segments as they like."""
    values = (0.2, 0.4, 0.8, 0.8)
    whole = clip_item('a', range(4)) | {'lq': torch.cat([frames(1, value) for value in values])}
    parts = [clip_item('a', part) | {'lq': whole['lq'][part.start : part.stop]} for part in (range(2), range(2, 4))]
    gt = frames(1, 0.6, 4)[0]
    one, two = (run(Repeat(tmp_path, over_time), Items(items, gt=gt)) for items in ([whole], parts))
    assert one['brightening'] == pytest.approx((51 + 102 + 0) / 3) and two['brightening'] == pytest.approx(51 / 2)
    assert one['psnr'] == two['psnr'] and one['brightness'] == two['brightness']
    rows = json.loads((tmp_path / 'validation/set_exp.json').read_text())['frames']
    assert ['brightening' in row for row in rows] == [False, True, False, True]


def test_a_segment_that_was_lengthened_to_the_front_has_no_frame_before_its_first_new_one(tmp_path, over_time):
    item = clip_item('a', range(2, 4)) | {'lq': torch.cat([frames(1, value) for value in (0.1, 0.2, 0.6, 0.8)])}
    assert run(Repeat(tmp_path, over_time), Items([item]))['brightening'] == pytest.approx(51)


def test_windows_have_no_value_over_time_and_keep_the_others(tmp_path, over_time, monkeypatch):
    messages = []
    monkeypatch.setattr(logging.getLogger('basicsr'), 'warning', messages.append)
    model = Repeat(tmp_path, over_time)
    model.opt['window'] = True
    items = [
        {'lq': frames(3), 'gt': frames(1, 0.6, 4)[0], 'folder': '000', 'idx': f'{i}/4', 'lq_path': f'x/000/0{i}.png'}
        for i in range(4)
    ]
    assert set(run(model, Items(items))) == {'psnr', 'brightness'}
    assert len(messages) == 1 and 'brightening compares consecutive frames' in messages[0]


def test_clips_average_over_the_frames_that_have_a_value():
    report = Report('set', ['psnr', 'warp'])
    report.frames = [{'clip': 'a', 'index': i, 'frame': str(i), 'psnr': 30.0} for i in range(3)]
    report.frames[1]['warp'], report.frames[2]['warp'] = 1.0, 2.0
    report.frames.append({'clip': 'b', 'index': 0, 'frame': '0', 'psnr': 20.0})
    assert report.clips() == {'a': {'psnr': 30.0, 'warp': 1.5}, 'b': {'psnr': 20.0}}
    assert report.average() == {'psnr': 25.0, 'warp': 1.5}


def test_small_values_are_logged_with_their_digits(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(logging.getLogger('basicsr'), 'info', messages.append)
    metrics = {'warp': {'type': 'calculate_warping_error', 'device': 'cpu', 'better': 'lower'}}
    item = clip_item('a', range(2)) | {'lq': torch.cat([frames(1, value) for value in (0.2, 0.212)])}
    model = Repeat(tmp_path, metrics)
    value = run(model, Items([item]))['warp']
    assert value == pytest.approx((3 / 255) ** 2, rel=1e-3)
    assert '# warp: 0.0001384\t # a: 0.0001384\n\t    Best: 0.0001384 @ exp iter' in messages[-1]
    assert model.best_metric_results['set']['warp']['better'] == 'lower'


def test_items_of_basicsr_recurrent_and_window_data_sets(tmp_path):
    recurrent = {'lq': frames(3), 'gt': frames(3, 0.6, 4), 'folder': '000', 'lq_path': 'x/000/00000000.png'}
    assert run(Repeat(tmp_path), Items([recurrent]))['psnr'] > 20
    model = Repeat(tmp_path)
    model.opt['window'] = True
    window = {'lq': frames(3), 'gt': frames(1, 0.6, 4)[0], 'folder': '000', 'idx': '7/100', 'lq_path': 'x/000/07.png'}
    run(model, Items([window]))
    row = json.loads((tmp_path / 'validation/set_exp.json').read_text())['frames'][0]
    assert (row['clip'], row['index'], row['frame']) == ('000', 7, '07')


def test_a_metric_that_cannot_judge_a_frame_names_it(tmp_path):
    with pytest.raises(UserError, match=r'^Frame 00000000 of clip a: calculate_niqe .* 32x32 pixels'):
        run(Repeat(tmp_path, {'niqe': {'type': 'calculate_niqe', 'crop_border': 0}}), Items([clip_item('a', range(1))]))


def test_gt_of_another_size_is_named(tmp_path):
    with pytest.raises(UserError, match=r'clip a was restored to \(32, 32\), but its GT is \(24, 24\)'):
        run(Repeat(tmp_path), Items([clip_item('a', range(1))], gt=frames(1, 0.6, 3)[0]))


def test_one_centre_frame_of_segments_that_share_frames_is_refused(tmp_path):
    model, items = Repeat(tmp_path), Items([clip_item('a', range(3))])
    model.opt['val']['center_frame_only'] = True
    items.opt['shift_last'] = True
    with pytest.raises(UserError, match='Remove one of the two options'):
        run(model, items)


def test_results_that_cannot_be_written_are_an_error(tmp_path):
    (tmp_path / 'validation').write_text('a file where the folder should be')
    with pytest.raises(UserError, match='could not be written'):
        run(Repeat(tmp_path), Items([clip_item('a', range(1))]))


def test_the_best_result_is_kept(tmp_path):
    model = Repeat(tmp_path)
    items = Items([clip_item('a', range(1))], gt=frames(1, 0.6, 4)[0])
    run(model, items)
    best = model.best_metric_results['set']['psnr']['val']
    model.offset = -0.3
    run(model, items)
    assert model.best_metric_results['set']['psnr']['val'] == best


OUTSIDE = ['..', '/tmp/names', 'a\\b', 'a/../../b', '../../../b', 'a\0', '']


@pytest.mark.parametrize('name', OUTSIDE)
@pytest.mark.parametrize('what', ['data set', 'clip', 'frame'])
def test_no_name_leads_out_of_the_folder_of_the_results(tmp_path, what, name):
    if what == 'frame' and name in ('..', 'a\0', ''):
        name = f'/../{name}/../b'
    item = clip_item(name if what == 'clip' else 'a', range(1))
    if what == 'frame':
        item['frame_names'] = [name]
    items = Items([item])
    items.opt = {'name': name if what == 'data set' else 'set'}
    with pytest.raises(UserError, match='must stay inside'):
        run(Repeat(tmp_path / 'results'), items, save_img=True)
    assert not [path for path in tmp_path.rglob('*') if path.is_file()]


def test_clips_are_refused_before_the_first_is_restored(tmp_path):
    items = Items([])
    items.clip_lengths = {'000/0001': 5, '../a': 5}
    run(Repeat(tmp_path), items)
    with pytest.raises(UserError, match=r"The name '\.\./a' has '\.\.' in it"):
        run(Repeat(tmp_path), items, save_img=True)


def test_clips_in_folders_are_saved_in_folders(tmp_path):
    run(Repeat(tmp_path), Items([clip_item('00001/0001', range(1))]), save_img=True)
    assert (tmp_path / 'visualization/set/00001/0001/00000000_exp.png').is_file()


def test_names_do_not_steer_the_terminal(tmp_path, capsys, caplog):
    items = Items([clip_item('a\x1b[2J\nb', range(1))], gt=frames(1, 0.6, 4)[0])
    items.opt = {'name': 'set\x1b\u202e'}
    with caplog.at_level(logging.INFO, 'basicsr'):
        run(Repeat(tmp_path), items)
    assert 'Test set\\u001b\\u202e' in capsys.readouterr().err
    (message,) = [one for one in caplog.messages if one.startswith('Validation')]
    assert 'Validation set\\u001b\\u202e\n' in message and '# a\\u001b[2J\\nb: ' in message
