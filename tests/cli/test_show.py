"""`basicsr show`: masks over frames, one colour a mask, as a video or as pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from helpers.coded_videos import decoded, moving_frames, write_video

from basicsr_semantic.cli import main
from basicsr_semantic.priors import PriorStoreWriter, store_metadata


@pytest.fixture
def made(tmp_path):
    """A video, and a store with two masks of each of its frames."""
    path = write_video(tmp_path / 'in.mp4', [np.full((24, 33, 3), 100, np.uint8) for _ in moving_frames(3)][:3])
    with PriorStoreWriter(tmp_path / 'store.lmdb', store_metadata('regions')) as store:
        for k in range(3):
            masks = np.zeros((2, 24, 33), bool)
            masks[0, :12], masks[1, 14:, k : k + 9] = True, True
            store.put(f'in/{k:08d}', masks)
    return path, tmp_path / 'store.lmdb'


def test_every_mask_has_its_colour_in_every_frame(made, tmp_path):
    path, store = made
    assert main(['show', str(store), '--frames', str(path), '-o', str(tmp_path / 'out')]) == 0
    files = sorted((tmp_path / 'out').glob('*.png'))
    assert [file.name for file in files] == [f'{k:08d}.png' for k in range(3)]
    images = [cv2.imread(str(file)) for file in files]
    assert images[0].shape == (480, 660, 3)
    assert all(np.array_equal(image[100, 300], images[0][100, 300]) for image in images)
    assert not np.array_equal(images[0][100, 300], images[0][350, 60])
    assert np.abs(images[0][350, 600].astype(int) - 100).max() <= 2  # where nothing is masked
    assert main(['show', str(store), '--frames', str(path), '-o', str(tmp_path / 'out.mp4')]) == 0
    video = decoded(tmp_path / 'out.mp4')
    assert len(video) == 3 and video[0].shape == (480, 660, 3)
    assert np.abs(video[0].astype(int) - images[0][..., ::-1]).mean() < 6


def test_nothing_is_drawn_over_what_is_there(made, tmp_path, capsys):
    path, store = made
    clip = tmp_path / 'frames' / 'in'
    clip.mkdir(parents=True)
    for k in range(3):
        cv2.imwrite(str(clip / f'{k:08d}.png'), np.full((24, 33, 3), 100, np.uint8))
    before = {file: file.read_bytes() for file in [*clip.iterdir(), *store.iterdir(), path]}
    for frames, out, sentence in (
        (clip.parent, clip, 'is in '),
        (clip.parent, clip.parent, 'is what is read'),
        (path, path, 'is what is read'),
        (path, store, 'is what is read'),
        (path, store / 'masks', 'is in '),
        (path, tmp_path / 'masks.gif', 'masks are drawn as a video'),
        (path, tmp_path / 'masks.png', 'masks are drawn as a video'),
    ):
        assert main(['show', str(store), '--frames', str(frames), '-o', str(out), '--force']) == 2
        assert sentence in capsys.readouterr().err
    assert {file: file.read_bytes() for file in before} == before and len([*store.iterdir()]) + 3 + 1 == len(before)
    call = ['show', str(store), '--frames', str(path), '-o', str(tmp_path / 'out')]
    assert main(call) == 0
    (tmp_path / 'out' / '00000000.png').unlink()
    assert main(call) == 2
    assert '00000001.png exists already. Give another name, or --force' in capsys.readouterr().err
    assert not (tmp_path / 'out' / '00000000.png').exists() and main([*call, '--force']) == 0


def test_frames_of_another_size_are_one_sentence(made, tmp_path, capsys):
    _, store = made
    (tmp_path / 'large' / 'in').mkdir(parents=True)
    for k in range(3):
        cv2.imwrite(str(tmp_path / 'large' / 'in' / f'{k:08d}.png'), np.zeros((96, 132, 3), np.uint8))
    assert main(['show', str(store), '--frames', str(tmp_path / 'large'), '-o', str(tmp_path / 'out')]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith('basicsr: ') and '33x24' in message and '132x96' in message


def test_mistakes_are_one_sentence(made, tmp_path, capsys):
    path, store = made
    call = ['show', str(store), '--frames', str(path), '-o', str(tmp_path / 'out.mp4')]
    for more, sentence in (
        (['--opacity', '2'], '--opacity must be from 0 to 1, not 2.'),
        (['--clip', 'other'], 'has the clips in; name one of them by --clip'),
    ):
        assert main([*call, *more]) == 2
        assert sentence in capsys.readouterr().err
    other = write_video(tmp_path / 'b.mp4', moving_frames(2, 24, 32))
    assert main(['show', str(store), '--frames', str(other), '-o', str(tmp_path / 'o')]) == 2
    assert 'b/00000000' in capsys.readouterr().err
    (tmp_path / 'out.mp4').write_text('here')
    assert main(call) == 2
    assert 'exists already' in capsys.readouterr().err
