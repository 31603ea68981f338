"""The clips of the comparisons, made of the original data set."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import make_davis320
import numpy as np
import pytest
from pycocotools import mask as coco_mask

CLIPS = {'train': {'dog': 'dog'}, 'val': {'goat': 'goat'}}


@pytest.fixture
def davis(tmp_path, monkeypatch) -> Path:
    """Two clips whose frames are grey ramps, with an object of the right half that is away in the first frame."""
    monkeypatch.setattr(make_davis320, 'CLIPS', CLIPS)
    monkeypatch.setattr(make_davis320, 'FRAMES', 3)
    monkeypatch.setattr(sys, 'argv', ['make_davis320.py', str(tmp_path / 'DAVIS'), str(tmp_path / 'out')])
    ramp = np.repeat(np.linspace(0, 255, 854).astype(np.uint8)[None], 480, 0)
    for clip in ('dog', 'goat'):
        for kind in ('JPEGImages', 'Annotations'):
            (tmp_path / 'DAVIS' / kind / '480p' / clip).mkdir(parents=True)
        for frame in range(4):
            cv2.imwrite(str(tmp_path / f'DAVIS/JPEGImages/480p/{clip}/{frame:05d}.jpg'), np.stack([ramp] * 3, -1))
            mask = np.where(np.arange(854) >= 427, 38 if frame else 0, 0).astype(np.uint8)
            cv2.imwrite(str(tmp_path / f'DAVIS/Annotations/480p/{clip}/{frame:05d}.png'), np.repeat(mask[None], 480, 0))
    return tmp_path / 'DAVIS'


def test_frames_and_tracks(davis, tmp_path):
    make_davis320.main()
    for part, clip in (('train', 'dog'), ('val', 'goat')):
        frames = sorted((tmp_path / 'out' / part / 'frames' / clip).iterdir())
        assert [frame.name for frame in frames] == ['00000.jpg', '00001.jpg', '00002.jpg']
        shown = cv2.imread(str(frames[1]))
        assert shown.shape == (320, 544, 3)
        expected = np.linspace(0, 255, 569)[12:556]
        assert np.abs(shown.mean((0, 2)) - expected).max() < 1.5
        content = json.loads((tmp_path / 'out' / part / 'instances.json').read_text())
        (track,) = content['annotations']
        assert content['videos'][0]['file_names'] == [f'{clip}/{frame.name}' for frame in frames]
        assert [c['name'] for c in content['categories'] if c['id'] == track['category_id']] == [clip]
        assert track['segmentations'][0] is track['bboxes'][0] is track['areas'][0] is None
        mask = coco_mask.decode(track['segmentations'][1]).astype(bool)
        assert mask[:, 274:].all() and not mask[:, :272].any()  # 427 of 854 is 272.5 of the 544 that are left
        assert track['areas'][1] == mask.sum()


@pytest.mark.parametrize('kind', ['JPEGImages', 'Annotations'])
def test_a_missing_or_damaged_picture_is_named(davis, kind):
    (file,) = davis.glob(f'{kind}/480p/goat/00002.*')
    file.write_bytes(b'')
    with pytest.raises(SystemExit, match=rf'{file} is missing or damaged'):
        make_davis320.main()
    assert not (davis.parent / 'out/val/instances.json').exists()


def test_a_narrow_picture_is_refused(davis):
    (file,) = davis.glob('JPEGImages/480p/dog/00000.jpg')
    cv2.imwrite(str(file), np.zeros((480, 640, 3), np.uint8))
    with pytest.raises(SystemExit, match='640x480 is too narrow'):
        make_davis320.main()
