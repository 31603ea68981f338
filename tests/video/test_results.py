"""What `basicsr upscale` may not replace, take for its own work, or leave out of a result without a word."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from helpers.coded_videos import decoded, moving_frames, write_video
from helpers.seem import randomise

import basicsr_semantic
from basicsr_semantic import load
from basicsr_semantic.archs import BasicVSRLite
from basicsr_semantic.cli import main
from basicsr_semantic.priors import PriorStoreWriter, SemanticPriors
from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.safetensors_files import write_safetensors
from basicsr_semantic.video.sources import open_source

LITE = {'type': 'BasicVSRLite', 'num_feat': 8, 'num_block': 1, 'flow_feat': 4}
SEEM = LITE | {'num_masks': 4, 'branches': ['forward']}


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """A function: `basicsr upscale` in a folder with in.mp4 (8 frames), gives its exit status and last message."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / 'in.mp4', moving_frames(8))
    model_file('net.safetensors')

    def run(*arguments):
        status = main(['upscale', *map(str, arguments), '--model', 'net.safetensors', '--segment', '3'])
        return status, (capsys.readouterr().err.splitlines() or [''])[-1]

    return run


def model_file(name, network=LITE, **more):
    net = randomise(BasicVSRLite(**{key: value for key, value in network.items() if key != 'type'}), 1, 0.05)
    record = {'network': network, 'model_type': 'SemanticVSRModel', 'scale': 4, 'version': '0'}
    write_safetensors({'params': net.state_dict(), 'arch': record, **more}, name)


def stopped(call, monkeypatch, after, *arguments):
    """The call, interrupted after so many frames."""
    from basicsr_semantic.video import upscaling

    real, made = upscaling.as_image, []

    def interrupted(frame, dtype):
        made.append(1)
        if len(made) > after:
            raise KeyboardInterrupt
        return real(frame, dtype)

    with monkeypatch.context() as patch:
        patch.setattr(upscaling, 'as_image', interrupted)
        assert call(*arguments)[0] == 130


def foreign(folder):
    """Replace every PNG by another picture; gives what each has."""
    files = sorted(folder.glob('*.png'))
    for file in files:
        cv2.imwrite(str(file), np.zeros((5, 5, 3), np.uint8))
    return {file: file.read_bytes() for file in files}


def test_force_restores_every_frame_again(call, tmp_path):
    assert call('in.mp4', 'out')[0] == 0
    right = {file: file.read_bytes() for file in (tmp_path / 'out').iterdir()}
    foreign(tmp_path / 'out')
    assert call('in.mp4', 'out', '--force')[0] == 0
    assert {file: file.read_bytes() for file in (tmp_path / 'out').iterdir()} == right


def test_pictures_without_a_stopped_run_are_not_taken_for_done(call, tmp_path):
    assert call('in.mp4', 'out')[0] == 0
    before = foreign(tmp_path / 'out')
    status, message = call('in.mp4', 'out', '--resume')
    assert status == 2 and 'has PNG files already' in message
    assert all(file.read_bytes() == content for file, content in before.items())


@pytest.mark.parametrize('after', [4, 8])
def test_a_report_of_a_resumed_run_has_every_frame(call, tmp_path, monkeypatch, after):
    """After 8 of 8 frames, too: the last segment is shorter than the others."""
    from basicsr_semantic.video import upscaling

    assert call('in.mp4', 'once.mp4', '--report', 'once.json')[0] == 0
    arguments = ('in.mp4', 'out.mp4', '--report', 'out.json')
    if after < 8:
        stopped(call, monkeypatch, after, *arguments)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(upscaling.Upscaler, 'join', lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
            assert call(*arguments)[0] == 130
    assert call(*arguments, '--resume')[0] == 0
    once, resumed = (json.loads((tmp_path / name).read_text()) for name in ('once.json', 'out.json'))
    assert resumed['of every frame'] == once['of every frame'] and len(resumed['of every frame']['warping error']) == 8
    assert resumed['frames'] == 8 and resumed['warping error'] == once['warping error']
    assert once['settings']['segment'] == 3  # the report has the settings


@pytest.mark.parametrize(
    'flags',
    [
        ['in.mp4', 'o.mp4', '--report', 'in.mp4'],
        ['in.mp4', 'o.mp4', '--report', 'o.mp4'],
        ['in.mp4', 'o.mp4', '--side-by-side', 'in.mp4'],
        ['in.mp4', 'o.mp4', '--side-by-side', './o.mp4'],
        ['clip', 'o.mp4', '--frames', 'clip'],
        ['clip', 'clip'],
        ['a.jpg', '.'],
    ],
    ids=' '.join,
)
def test_a_result_is_neither_the_input_nor_another_result(call, tmp_path, flags):
    (tmp_path / 'clip').mkdir()
    for name in ('a.jpg', 'clip/0.jpg', 'clip/1.jpg'):
        cv2.imwrite(name, moving_frames(1)[0])
    before = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
    status, message = call(*flags, '--force')
    assert status == 2 and 'Give another name.' in message and ' is ' in message
    assert {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()} == before


@pytest.mark.parametrize(
    ('flags', 'place'), [(['a.jpg', 'b.png'], 'b.png'), (['in.mp4', 'o.mp4', '--report', 'r.json'], 'r.json')]
)
def test_what_is_there_is_replaced_by_force_alone(call, tmp_path, flags, place):
    cv2.imwrite('a.jpg', moving_frames(1)[0])
    (tmp_path / place).write_text('mine')
    status, message = call(*flags)
    assert status == 2 and f'{place} exists already' in message and (tmp_path / place).read_text() == 'mine'
    assert call(*flags, '--force')[0] == 0
    assert (tmp_path / place).read_bytes() != b'mine'


@pytest.mark.parametrize('force', [[], ['--force']])
def test_a_folder_of_somebody_else_is_not_the_working_folder(call, tmp_path, force):
    (tmp_path / 'o.mp4.parts').mkdir()
    (tmp_path / 'o.mp4.parts' / 'notes.txt').write_text('mine')
    status, message = call('in.mp4', 'o.mp4', *force)
    assert status == 2 and 'o.mp4.parts is in the way' in message
    assert (tmp_path / 'o.mp4.parts' / 'notes.txt').read_text() == 'mine'
    cv2.imwrite('a.jpg', moving_frames(1)[0])
    (tmp_path / 'b.png.image').mkdir()
    (tmp_path / 'b.png.image' / 'notes.txt').write_text('mine')
    assert call('a.jpg', 'b.png')[0] == 0
    assert (tmp_path / 'b.png.image' / 'notes.txt').read_text() == 'mine'


def test_resume_refuses_other_places_and_knows_the_same_place_by_another_name(call, tmp_path, monkeypatch):
    stopped(call, monkeypatch, 4, 'in.mp4', 'out.mp4', '--frames', 'one')
    status, message = call('in.mp4', 'out.mp4', '--frames', 'two', '--resume')
    assert status == 2 and 'is of a run with another PNG files' in message and not (tmp_path / 'two').exists()
    assert call('in.mp4', tmp_path / 'out.mp4', '--frames', 'one', '--resume')[0] == 0
    assert len(decoded(tmp_path / 'out.mp4')) == len([*(tmp_path / 'one').iterdir()]) == 8


def test_after_a_stop_the_same_call_says_how_to_go_on(call, monkeypatch):
    stopped(call, monkeypatch, 4, 'in.mp4', 'out.mp4')
    status, message = call('in.mp4', 'out.mp4')
    assert status == 2 and '--resume goes on' in message


def test_a_damaged_file_of_a_stopped_run_is_told(call, tmp_path, monkeypatch):
    stopped(call, monkeypatch, 4, 'in.mp4', 'out.mp4')
    (tmp_path / 'out.mp4.parts' / 'settings.json').write_text('{"')
    status, message = call('in.mp4', 'out.mp4', '--resume')
    assert status == 2 and 'settings.json is damaged' in message and '--force begins from the start' in message


def test_a_call_that_fails_at_once_leaves_nothing(call, tmp_path):
    (tmp_path / 'clip').mkdir()
    for k, image in enumerate([moving_frames(1)[0], np.zeros((5, 5, 3), np.uint8)]):
        cv2.imwrite(f'clip/{k}.png', image)
    status, message = call('clip', 'out')
    assert status == 2 and 'Frames of a clip have one size' in message
    assert not (tmp_path / 'out.parts').exists()


@pytest.mark.parametrize(
    ('flags', 'sentence'),
    [
        (['in.mp4', 'o.avi'], "o.avi: a file .avi does not keep libx264's frames and their times."),
        (['in.mp4', 'o.mpg'], 'does not keep'),
        (['in.mp4', 'o.flv'], 'does not keep'),
        (['in.mp4', 'o.webm', '--codec', 'libx264'], 'does not keep'),
        (['in.mp4', 'o.mp4', '--side-by-side', 's.webm'], 'does not keep'),
        (['in.mp4', 'o.mp4', '--side-by-side', 's.png'], '--side-by-side writes a video; s.png is no name of one.'),
        (['in.mp4', 'o.ts'], 'o.ts: videos are written as .mp4, .m4v, .mov, .mkv, .webm.'),
        (['in.mp4', 'o.mp4', '--crf', 'nan'], '--crf is a number from 0 to 63, smaller is better, not nan.'),
        (['in.mp4', 'o.mp4', '--codec', 'rawvideo', '--pix-fmt', 'foo'], "There is no pixel format 'foo'."),
        (['in.mp4', 'folder.mp4', '--force'], 'folder.mp4 is a folder'),
        (['in.mp4', 'o.mp4', '--report', 'folder.mp4'], 'folder.mp4 is a folder'),
        (['in.mp4', 'net.safetensors', '--force'], 'net.safetensors is a file; PNG files need a folder.'),
        (['in.mp4', 'out', '--frames', 'more'], '--frames is for a video as OUTPUT'),
        (['in.mp4', '/'], 'OUTPUT is /.'),
        (['in.mp4', 'o.mp4', '--extractor', 'regions'], 'takes no priors, so it has no use for --extractor.'),
        (['in.mp4', 'o.mp4', '--device', 'cudda'], "The device 'cudda' cannot be used: "),
        (['in.mp4', 'o.mp4', '--device', 'meta'], "The device 'meta' cannot be used: "),
        (['videos', 'o', '--report', 'r.json'], '--report is for one video, and videos has 2.'),
    ],
)
def test_mistakes_are_told_before_the_work(call, tmp_path, flags, sentence):
    (tmp_path / 'folder.mp4').mkdir()
    (tmp_path / 'videos').mkdir()
    for name in ('a.mp4', 'b.mp4'):
        shutil.copy('in.mp4', tmp_path / 'videos' / name)
    before = sorted(tmp_path.rglob('*'))
    status, message = call(*flags)
    assert status == 2 and sentence in message and message.startswith('basicsr: ')
    assert sorted(tmp_path.rglob('*')) == before


def test_videos_out_of_a_folder_keep_times_or_become_matroska(call, tmp_path):
    (tmp_path / 'videos').mkdir()
    write_video(tmp_path / 'videos' / 'a.avi', moving_frames(8))
    assert call('videos', 'out')[0] == 0
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['a.mkv']
    assert len(decoded(tmp_path / 'out' / 'a.mkv')) == 8
    write_video(tmp_path / 'videos' / 'a.mkv', moving_frames(8))
    status, message = call('videos', 'again')
    assert status == 2 and 'OUTPUT is the result of another video' in message


@pytest.mark.parametrize(('pix_fmt', 'said'), [('yuv420p', True), ('yuv420p10le', False)])
def test_bits_that_are_lost_are_said(call, tmp_path, pix_fmt, said):
    write_video(tmp_path / 'deep.mkv', moving_frames(3), pix_fmt='yuv420p10le')
    status, message = call('deep.mkv', 'o.mkv', '--pix-fmt', pix_fmt, '--codec', 'libx264')
    assert status == 0 and ('o.mkv has 8 bits, as libx264 writes it; the input has more.' in message) == said


@pytest.mark.parametrize('ending', ['png', 'tif', 'jpg', 'webp', 'bmp'])
def test_an_image_of_sixteen_bits_is_as_bright_in_every_format(call, tmp_path, ending):
    frame = moving_frames(1, top=65535)[0]
    cv2.imwrite('deep.png', frame)
    status, message = call('deep.png', f'o.{ending}')
    made = cv2.imread(f'o.{ending}', cv2.IMREAD_UNCHANGED)
    deep = ending in ('png', 'tif')
    assert status == 0 and made.dtype == (np.uint16 if deep else np.uint8)
    assert (f'o.{ending} has 8 bits, as its format holds; the input has more.' in message) != deep
    assert made.mean() / np.iinfo(made.dtype).max == pytest.approx(frame.mean() / 65535, abs=0.02)


def test_images_next_to_videos_are_not_passed_over_without_a_word(call, tmp_path, capsys):
    (tmp_path / 'videos').mkdir()
    write_video(tmp_path / 'videos' / 'a.mp4', moving_frames(2))
    cv2.imwrite('videos/still.png', np.zeros((5, 5, 3), np.uint8))
    assert main(['upscale', 'videos', 'out', '--model', 'net.safetensors']) == 0
    assert 'videos has images (still.png) and videos (a.mp4); the videos are restored.' in capsys.readouterr().err
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['a.mp4']


def test_two_runs_to_one_place_do_not_meet(call, tmp_path, monkeypatch):
    from basicsr_semantic.video.upscaling import Upscaler

    real, inner = Upscaler.run, []

    def run(self):
        if not inner:
            inner.append(call('in.mp4', 'out.mp4', '--force'))
        return real(self)

    monkeypatch.setattr(Upscaler, 'run', run)
    assert call('in.mp4', 'out.mp4')[0] == 0
    status, message = inner[0]
    assert status == 2 and 'out.mp4.parts is in use: ' in message and message.endswith('or give another OUTPUT.')
    assert len(decoded(tmp_path / 'out.mp4')) == 8 and not [*tmp_path.glob('.*.lock')]


def test_a_folder_of_frames_is_read_whatever_is_in_it_or_next_to_it(tmp_path):
    clip = tmp_path / 'some' / 'clip'
    (clip / 'sub').mkdir(parents=True)
    for k in (0, 1, 2, 7, 8):  # numbers that are missing are no end
        cv2.imwrite(str(clip / f'{k:05d}.png'), np.full((20, 30, 3), k, np.uint8))
    cv2.imwrite(str(tmp_path / 'some' / 'still.png'), np.zeros((5, 5, 3), np.uint8))
    (tmp_path / 'some' / 'damaged.mp4').write_text('no video')
    source = open_source(clip)
    assert (source.name, source.frames) == ('clip', 5)
    assert [int(frame.image[0, 0, 0]) for frame in source.read()] == [0, 1, 2, 7, 8]
    cv2.imwrite(str(clip / '00007.jpg'), np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(UserError, match=r'has two files for one frame: 00007\.jpg and 00007\.png'):
        open_source(clip)


def test_priors_of_another_kind_or_unknown_options_are_refused(tmp_path, call, capsys):
    extractor = {'kind': 'regions', 'parameters': {}, 'checkpoint': None}
    model_file('seem.safetensors', SEEM, prior_kind='annotations', extractor=extractor | {'kind': 'annotations'})
    meta = {'kind': 'regions', 'max_masks': 4, 'order': 'area'}
    with PriorStoreWriter(tmp_path / 'store.lmdb', meta) as writer:
        for k in range(8):
            writer.put(f'in/{k:08d}', np.zeros((4, 24, 32), bool))
    arguments = ['upscale', 'in.mp4', 'o.mp4', '--model', 'seem.safetensors']
    assert main([*arguments, '--priors', 'store.lmdb']) == 2
    assert "trained with priors of kind 'annotations'; these are 'regions'" in capsys.readouterr().err
    assert main([*arguments, '--extractor', 'regions']) == 2
    assert "trained with priors of kind 'annotations'; these are 'regions'" in capsys.readouterr().err
    model_file('seem.safetensors', SEEM, prior_kind='regions', extractor=extractor)
    assert main([*arguments, '--extractor-option', 'max_maskz=3']) == 2
    assert (
        "The extractor 'regions' takes no argument 'max_maskz'. Did you mean 'max_masks'? It takes: "
        in capsys.readouterr().err
    )


def test_a_loaded_network_takes_any_floating_point_type_and_says_what_it_does_not_take(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model_file('net.safetensors')
    net, lq = load('net.safetensors'), torch.rand(1, 2, 3, 24, 32)
    assert all(key.startswith('net.') for key in net.state_dict())
    made = net(lq)
    for given in (lq.double(), load('net.safetensors').double()):
        again = net(given) if isinstance(given, torch.Tensor) else given(lq)
        assert again.dtype == torch.float32 and (again - made).abs().max() < 1e-5
    with pytest.raises(UserError, match='not ndarray'):
        net(lq.numpy())
    model_file('seem.safetensors', SEEM)
    masks = torch.ones(1, 2, 4, 24, 32, dtype=torch.uint8)
    with pytest.raises(UserError, match='not Tensor'):
        load('seem.safetensors')(lq, masks)
    with pytest.raises(UserError, match='Masks are 0 and 1; the largest value of these is 255'):
        load('seem.safetensors')(lq, SemanticPriors(masks=255 * masks))
    images = moving_frames(2)
    mistakes = {
        'window is a number of frames': {'window': 0},
        'cannot be used': {'device': 'nowhere'},
        'tile is a number of pixels': {'tile': 'auto'},
    }
    for sentence, how in mistakes.items():
        with pytest.raises(UserError, match=sentence):
            list(basicsr_semantic.upscale(images, 'net.safetensors', **how))
    for frames, sentence in (([None], 'Frame 0 is object'), ([images[0][:0]], r'Frame 0 is uint8 \(0, ')):
        with pytest.raises(UserError, match=sentence):
            list(basicsr_semantic.upscale(frames, 'net.safetensors'))
    with pytest.raises(UserError, match='what load gives, not BasicVSRLite'):
        list(basicsr_semantic.upscale(images, net.net))
    with pytest.raises(UserError, match='restored in float32'):
        list(basicsr_semantic.upscale(images, load('net.safetensors').half()))
