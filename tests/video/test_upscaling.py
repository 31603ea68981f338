"""`basicsr upscale`: the result of the whole clip, whatever its length, and the same after a stop."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from helpers.coded_videos import decoded, moving_frames, seconds_of, write_video
from helpers.project import ROOT
from helpers.seem import randomise
from hypothesis import given, settings
from hypothesis import strategies as st

import basicsr_semantic
from basicsr_semantic import load
from basicsr_semantic.archs import BasicVSRLite, BasicVSRSEEM
from basicsr_semantic.cli import main
from basicsr_semantic.inference.streaming import RecurrentStream, streamable
from basicsr_semantic.models.padding import run_padded
from basicsr_semantic.utils.errors import UserError
from basicsr_semantic.utils.safetensors_files import write_safetensors
from basicsr_semantic.video.scene_restorers import windows

LITE = {'type': 'BasicVSRLite', 'num_feat': 8, 'num_block': 1, 'flow_feat': 4}
SEEM = {'type': 'BasicVSRLite', 'num_feat': 8, 'num_block': 1, 'flow_feat': 4, 'num_masks': 8, 'branches': ['forward']}
EDVR = {'type': 'EDVR', 'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}
PSRT = {'type': 'PSRTRecurrent', 'mid_channels': 8, 'embed_dim': 12, 'depths': [1], 'num_heads': [2]}
PSRT['window_size'] = [3, 8, 8]


def build_network(section):
    """A network, without the line that BasicSR logs to the output of whichever test was first."""
    arguments = dict(section)
    return ARCH_REGISTRY.get(arguments.pop('type'))(**arguments)


@pytest.fixture
def model(tmp_path):
    """A function: the file of a small network with random weights."""

    def make(network=LITE, std=0.05, **more):
        net = randomise(build_network(dict(network)), 1, std)
        file = tmp_path / f'{network["type"]}.safetensors'
        record = {'network': network, 'model_type': 'SemanticVSRModel', 'scale': 4, 'version': '0'}
        write_safetensors({'params': net.state_dict(), 'arch': record, **more}, file)
        return file

    return make


def whole(file, frames, **priors):
    """What a network makes of a clip in one tensor, (t, H, W, 3) uint8."""
    lq = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None].float() / 255
    made = load(file)(lq, **priors)[0].clamp(0, 1).mul(255).round().byte()
    return made.permute(0, 2, 3, 1).numpy()


def pngs(folder):
    files = sorted(folder.glob('*.png'))
    return [cv2.imread(str(file))[..., ::-1] for file in files]


@pytest.mark.parametrize('network', [LITE, EDVR], ids=['recurrent', 'centred'])
@pytest.mark.parametrize('frames', [1, 7, 40])
def test_the_result_is_that_of_the_whole_clip(tmp_path, model, network, frames):
    file, images = model(network), moving_frames(frames, 20, 28)
    path = write_video(tmp_path / 'in.mp4', images)
    (tmp_path / 'frames').mkdir()
    read = _read(path)
    assert main(['upscale', str(path), str(tmp_path / 'frames'), '--model', str(file), '--segment', '5']) == 0
    made = pngs(tmp_path / 'frames')
    assert np.abs(np.stack(made).astype(int) - whole(file, read)).max() <= 1  # a value halfway between two
    assert not (tmp_path / 'frames.parts').exists()


def _read(path):
    from basicsr_semantic.video.sources import open_source

    return [frame.image for frame in open_source(path).read()]


@pytest.mark.parametrize('arch', [BasicVSRLite, BasicVSRSEEM])
@pytest.mark.parametrize('frames', [1, 2, 5])
def test_streaming_equals_the_whole_tensor_to_1e_5(arch, frames):
    arguments = {'num_feat': 8, 'num_block': 2, 'num_masks': 4, 'reduction': 4, 'branches': ['backward', 'forward']}
    net = randomise(arch(**arguments), 1).eval()
    lq, masks = torch.rand(frames, 3, 21, 30), torch.rand(frames, 4, 21, 30) > 0.5
    stream = RecurrentStream(net, frames, lambda k: lq[k : k + 1], lambda k: masks[k : k + 1], (21, 30))
    kept, states = {}, {}
    assert list(stream.backward(kept.__setitem__)) == list(range(frames))[::-1]
    made = torch.stack(list(stream.forward(kept.__getitem__, states=states.__setitem__)))
    with torch.no_grad():
        wanted = run_padded(net, (lq[None], masks[None]), net.size_requirements)[0]
    assert (made - wanted).abs().max() < 1e-5
    for first in range(1, frames):  # taken up again at any frame, with the state behind the one before or without
        for state in (states[first - 1], None):
            again = torch.stack(list(stream.forward(kept.__getitem__, first, state)))
            assert torch.equal(again, made[first:])


def test_released_basicvsr_is_streamed_too():
    net = randomise(build_network({'type': 'BasicVSR', 'num_feat': 8, 'num_block': 2}), 1).eval()
    same = streamable(net)
    lq = torch.rand(1, 3, 3, 36, 40)
    with torch.no_grad():
        assert torch.equal(same(lq), net(lq))
    assert streamable(build_network(dict(EDVR))) is None


def test_rate_sound_and_number_of_frames_stay(tmp_path, model):
    path = write_video(tmp_path / 'in.mkv', moving_frames(30), sound=True, rate=30)
    side, report, out = tmp_path / 'side.mp4', tmp_path / 'report.json', tmp_path / 'out.mp4'
    call = ['upscale', str(path), str(out), '--model', str(model()), '--segment', '8']
    assert main([*call, '--side-by-side', str(side), '--report', str(report)]) == 0
    assert seconds_of(out) == seconds_of(path)
    assert decoded(out)[0].shape == (96, 128, 3) and decoded(side)[0].shape == (96, 256, 3)
    import av

    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ['video', 'audio']
    said = json.loads(report.read_text())
    assert said['frames'] == 30 and len(said['of every frame']['warping error']) == 30 and said['warping error'] >= 0
    assert said['model'][1] and said['seconds'] >= said['seconds in the network'] > 0


def test_a_cut_ends_a_clip(tmp_path, model):
    first, second = moving_frames(9, 24, 32), [255 - frame // 2 for frame in moving_frames(9, 24, 32, 5)]
    path, file = write_video(tmp_path / 'in.mp4', first + second), model()
    assert main(['upscale', str(path), str(tmp_path / 'cut'), '--model', str(file)]) == 0
    assert main(['upscale', str(path), str(tmp_path / 'one'), '--model', str(file), '--scenes', 'none']) == 0
    read = _read(path)
    apart = np.concatenate([whole(file, read[:9]), whole(file, read[9:])])
    assert np.abs(np.stack(pngs(tmp_path / 'cut')).astype(int) - apart).max() <= 1
    assert np.abs(np.stack(pngs(tmp_path / 'one')).astype(int) - whole(file, read)).max() <= 1
    assert np.abs(apart.astype(int) - whole(file, read)).max() > 1


def test_a_scene_that_is_removed_while_states_are_looked_for_is_passed_over(tmp_path, monkeypatch):
    """Two threads: one is through with a scene while the other, which writes, looks for what is no longer needed."""
    from basicsr_semantic.video import upscaling

    for scene in ('scene_00000000', 'scene_00000006'):
        (tmp_path / scene / 'tile_0').mkdir(parents=True)
        (tmp_path / scene / 'tile_0' / 'state_4').write_bytes(b'')
    real = os.scandir

    def removed(path):
        if str(path).endswith('scene_00000000'):
            monkeypatch.setattr(os, 'scandir', real)
            shutil.rmtree(path)
        return real(path)

    monkeypatch.setattr(os, 'scandir', removed)
    assert [*upscaling._states(tmp_path)] == [tmp_path / 'scene_00000006/tile_0/state_4']


@pytest.mark.parametrize('network', [LITE, PSRT], ids=['recurrent', 'windows'])
def test_a_run_that_was_stopped_goes_on_and_gives_the_same(tmp_path, model, network, monkeypatch, capsys):
    from basicsr_semantic.video import upscaling

    path, file = write_video(tmp_path / 'in.mp4', moving_frames(22, 24, 24), sound=True), model(network)
    once, out = tmp_path / 'once.mp4', tmp_path / 'out.mp4'
    flags = ['--model', str(file), '--segment', '6', *(['--window', '8'] if network is PSRT else [])]
    assert main(['upscale', str(path), str(once), *flags]) == 0
    real = upscaling.as_image
    for stop in (9, 8):
        made = []

        def interrupted(frame, dtype, made=made, stop=stop):
            made.append(1)
            if len(made) == stop:
                raise KeyboardInterrupt
            return real(frame, dtype)

        monkeypatch.setattr(upscaling, 'as_image', interrupted)
        assert main(['upscale', str(path), str(out), *flags, '--resume']) == 130
        monkeypatch.setattr(upscaling, 'as_image', real)
    assert '12 frames; the same call with --resume goes on' in capsys.readouterr().err
    assert len(decoded(out)) == 12  # can be played
    assert main(['upscale', str(path), str(out), *flags]) == 2
    assert 'exists already' in capsys.readouterr().err
    assert main(['upscale', str(path), str(out), *flags, '--resume']) == 0
    assert out.read_bytes() == once.read_bytes()


@pytest.mark.slow(40)
def test_ctrl_c_leaves_a_video_that_plays(tmp_path, model):
    path, file = write_video(tmp_path / 'in.mp4', moving_frames(400, 64, 64)), model({**LITE, 'num_feat': 32})
    out = tmp_path / 'out.mp4'
    call = [sys.executable, '-m', 'basicsr_semantic', 'upscale', str(path), str(out), '--model', str(file)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    run = subprocess.Popen([*call, '--segment', '8'], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(tmp_path.glob('out.mp4.parts/video_*.segment'))) < 3:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    message = run.communicate(timeout=120)[1]
    assert run.returncode == 130 and 'the same call with --resume goes on' in message, message[-500:]
    assert len(decoded(out)) % 8 == 0 and len(decoded(out)) >= 24
    assert 'Traceback' not in message


def test_priors_are_made_on_the_way_and_stores_are_read(tmp_path, model):
    from helpers.project import basicsr

    extractor = {'kind': 'regions', 'parameters': {'scales': [50.0], 'sigma': 0.5, 'min_size': 8}, 'checkpoint': None}
    file = model(SEEM, 0.15, prior_kind='regions', extractor=extractor)
    path = write_video(tmp_path / 'in.mp4', moving_frames(6, 32, 40))
    made, read, without = (tmp_path / name for name in ('made', 'read', 'without'))
    call = ['upscale', str(path), '--model', str(file)]
    assert main([*call[:2], str(made), *call[2:]]) == 0
    flags = ['--extractor', 'regions', '--scales', '50', '--min-size', '8', '--max-masks', '64']
    basicsr('extract', *flags, '--frames', str(path), '--out', 'store.lmdb', cwd=tmp_path)
    assert main([*call[:2], str(read), *call[2:], '--priors', str(tmp_path / 'store.lmdb')]) == 0
    assert main([*call[:2], str(without), *call[2:], '--no-priors']) == 0
    a, b, c = (np.stack(pngs(folder)).astype(int) for folder in (made, read, without))
    assert np.abs(a - b).max() <= 1 and np.abs(a - c).max() > 1


def test_an_image_a_folder_of_videos_and_odd_sizes(tmp_path, model):
    file, images = model(), moving_frames(3, 17, 23)
    cv2.imwrite(str(tmp_path / 'a.png'), images[0])
    assert main(['upscale', str(tmp_path / 'a.png'), str(tmp_path / 'b.png'), '--model', str(file)]) == 0
    assert cv2.imread(str(tmp_path / 'b.png')).shape == (68, 92, 3)
    (tmp_path / 'videos').mkdir()
    for name in ('x.mp4', 'y.mkv'):
        write_video(tmp_path / 'videos' / name, images)
    (tmp_path / 'out').mkdir()
    assert main(['upscale', str(tmp_path / 'videos'), str(tmp_path / 'out'), '--model', str(file)]) == 0
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['x.mp4', 'y.mkv']
    assert len(decoded(tmp_path / 'out' / 'y.mkv')) == 3


def test_a_dry_run_says_what_would_be_and_writes_nothing(tmp_path, model, capsys):
    path = write_video(tmp_path / 'in.mp4', moving_frames(8))
    assert main(['upscale', str(path), str(tmp_path / 'out.mp4'), '--model', str(model()), '--dry-run']) == 0
    said = capsys.readouterr().out
    assert '8 frames, 32x24 to 128x96.' in said and 'GB on disk' in said and 's a frame in the network' in said
    assert not list(tmp_path.glob('out*'))
    assert main(['upscale', str(path), str(tmp_path / 'o.mp4'), '--model', str(model(PSRT)), '--dry-run']) == 0
    assert 'Windows of 16 frames, of which neighbours share 4.' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('flags', 'sentence'),
    [
        (['--segment', '0'], '--segment must be at least 1, not 0.'),
        (['--window', '4', '--overlap', '4'], 'Windows of 4 frames cannot share 4.'),
        (['--resume', '--force'], '--resume and --force contradict each other.'),
        (['--codec', 'nonsense'], "There is no encoder 'nonsense'"),
        (['--model', 'nowhere.pth'], 'nowhere.pth'),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, model, flags, sentence, capsys):
    path = write_video(tmp_path / 'in.mp4', moving_frames(2))
    assert main(['upscale', str(path), str(tmp_path / 'out.mp4'), '--model', str(model()), *flags]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert sentence in message and message.startswith('basicsr: ')
    assert main(['upscale', str(path), str(path), '--model', str(model())]) == 2
    assert 'OUTPUT is INPUT' in capsys.readouterr().err


def test_a_model_that_takes_priors_needs_to_know_which(tmp_path, model, capsys):
    path = write_video(tmp_path / 'in.mp4', moving_frames(2))
    for more, sentence in (
        ({}, 'does not say which. Name the extractor'),
        ({'prior_kind': 'annotations'}, "priors of 'annotations', which cannot be made of frames"),
    ):
        call = ['upscale', str(path), str(tmp_path / 'out.mp4'), '--model', str(model(SEEM, **more))]
        assert main(call) == 2
        assert sentence in capsys.readouterr().err


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 80), st.integers(1, 24), st.data())
def test_windows_take_every_frame_once(count, window, data):
    overlap = data.draw(st.integers(0, window - 1))
    centred = data.draw(st.sampled_from([None, 3, 5, 7]))
    cut = list(windows(count, window, overlap, centred))
    assert [k for *_, shown in cut for k in shown] == list(range(count))
    for begin, end, shown in cut:
        assert 0 <= begin <= shown[0] and shown[-1] < end <= count
        if centred is not None:
            assert all(begin in (0, max(k - centred + 1, 0)) or k - begin >= centred - 1 for k in shown)


def test_frames_in_frames_out_from_python(tmp_path, model):
    file, images = model(), moving_frames(7, 20, 24)
    taken = []

    def frames():
        for image in images:
            taken.append(1)
            yield image

    made = basicsr_semantic.upscale(frames(), file, folder=tmp_path)
    assert not taken  # lazily
    assert np.abs(np.stack(list(made)).astype(int) - whole(file, images)).max() <= 1
    deep = basicsr_semantic.upscale((image.astype(np.uint16) * 257 for image in images), load(file))
    assert next(deep).dtype == np.uint16
    assert list(basicsr_semantic.upscale([], file)) == []
    for wrong, sentence in (
        ([images[0][..., :2]], r'Frame 0 is uint8 \(20, 24, 2\)'),
        ([images[0], images[1][1:]], r'Frame 1 is uint8 \(19, 24, 3\), those before are uint8 \(20, 24, 3\)'),
    ):
        with pytest.raises(UserError, match=sentence):
            list(basicsr_semantic.upscale(wrong, file))


def test_a_full_disk_leaves_what_is_whole(tmp_path, model, monkeypatch, capsys):
    from basicsr_semantic.video import segments

    path, file, out = write_video(tmp_path / 'in.mp4', moving_frames(20)), model(), tmp_path / 'out.mp4'
    call = ['upscale', str(path), str(out), '--model', str(file), '--segment', '5']
    real, written = segments.SegmentWriter.finish, []

    def finish(self):
        written.extend([self.path] * (self.path.parent == tmp_path / 'out.mp4.parts'))
        if len(written) == 3:
            raise UserError(f'{self.path} could not be written: No space left on device.')
        real(self)

    monkeypatch.setattr(segments.SegmentWriter, 'finish', finish)
    assert main(call) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.endswith('could not be written: No space left on device.')
    assert len(decoded(out)) == 10
    monkeypatch.setattr(segments.SegmentWriter, 'finish', real)
    assert main([*call, '--resume']) == 0
    assert len(decoded(out)) == 20


def test_pictures_of_another_run_are_not_written_over(tmp_path, model, capsys):
    path, file, out = write_video(tmp_path / 'in.mp4', moving_frames(2)), model(), tmp_path / 'frames'
    call = ['upscale', str(path), str(out), '--model', str(file)]
    assert main(call) == 0
    assert main(call) == 2
    assert 'frames has PNG files already' in capsys.readouterr().err
    assert main([*call, '--force']) == 0


def test_frames_that_nothing_takes_are_refused_before_the_first_is_restored(tmp_path, model, monkeypatch, capsys):
    from basicsr_semantic.video import upscaling

    file = str(model())
    path = write_video(tmp_path / 'in.mp4', [np.zeros((2, 4200, 3), np.uint8)])
    assert main(['upscale', str(path), str(tmp_path / 'out.mp4'), '--model', file]) == 2
    assert 'libx264 does not write frames of 16800x8.' in capsys.readouterr().err
    assert main(['upscale', str(path), str(tmp_path / 'out'), '--model', file, '--max-megapixels', '0.001']) == 2
    assert 'megapixels' in capsys.readouterr().err
    monkeypatch.setattr(upscaling, 'free_memory', lambda device: 1000)
    small = write_video(tmp_path / 'small.mp4', moving_frames(2))
    assert main(['upscale', str(small), str(tmp_path / 'out'), '--model', file]) == 2
    assert 'Frames of 128x96 take about 0.0 GB of memory' in capsys.readouterr().err
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith('out')]


@pytest.mark.parametrize('flags', [['file/out.mp4'], ['file/frames'], ['o.mp4', '--report', 'file/r.json']])
def test_a_place_where_nothing_can_be_written_is_said_before_the_work(tmp_path, model, flags, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / 'in.mp4', moving_frames(2))
    (tmp_path / 'file').touch()
    assert main(['upscale', 'in.mp4', *flags, '--model', str(model())]) == 2
    message = capsys.readouterr().err
    assert message.splitlines()[-1].startswith('basicsr: file/') and 'cannot be written: ' in message
    assert not (tmp_path / 'o.mp4').exists()


def test_a_network_of_basicsr_that_says_no_scale_is_tried(tmp_path, model):
    section = {'type': 'BasicVSR', 'num_feat': 8, 'num_block': 1}
    torch.save({'params': randomise(build_network(section), 1, 0.05).state_dict()}, tmp_path / 'net.pth')
    net, images = load(tmp_path / 'net.pth', network=section), moving_frames(3, 24, 32)
    assert net.scale is None
    for how in ({}, {'tile': 32}, {'ensemble': True}):
        made = list(basicsr_semantic.upscale(images, net, **how))
        assert [image.shape for image in made] == [(96, 128, 3)] * 3
    assert net.scale == 4


def test_a_file_that_says_another_scale_is_told(tmp_path, model, capsys):
    record = {'network': {'type': 'BasicVSR', 'num_feat': 8, 'num_block': 1}, 'model_type': 'VideoRecurrentModel'}
    net = randomise(build_network(record['network']), 1, 0.05)
    content = {'params': net.state_dict(), 'arch': {**record, 'scale': 2, 'version': '0'}}
    write_safetensors(content, tmp_path / 'net.safetensors')
    path = write_video(tmp_path / 'in.mp4', moving_frames(3))
    assert main(['upscale', str(path), str(tmp_path / 'o.mp4'), '--model', str(tmp_path / 'net.safetensors')]) == 2
    assert 'The network makes frames of 128x96, its file says 64x48: another scale.' in capsys.readouterr().err
